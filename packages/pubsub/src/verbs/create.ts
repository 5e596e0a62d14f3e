import { Element } from 'ltx';
import { demandGrant } from '../access/topic-access.ts';
import { PubsubError } from '../errors.ts';
import { formOf } from '../node/node-config.ts';
import { isNodeName, MAX_NODE_BYTES } from '../node/node-name.ts';
import { optionalNode, verbElement } from '../request/parse.ts';
import { pubsubElement } from '../request/render.ts';
import type { Verb } from '../request/verb.ts';
import type { VerbDeps } from './deps.ts';

interface CreateRequest {
  /** Undefined asks for an instant node. */
  readonly node: string | undefined;
  /** The submitted form; undefined takes the default configuration. */
  readonly form: Element | undefined;
}

/** @see XEP-0060 §8.1; RFC 8600 §6 */
export const create: Verb<CreateRequest, string, VerbDeps> = {
  key: 'set pubsub create',
  features: ['create-nodes', 'create-and-configure', 'instant-nodes'],

  parse(pubsub) {
    const element = verbElement(pubsub);
    const [, configure, more] = pubsub.getChildElements();
    if (configure === undefined) return { node: optionalNode(element), form: undefined };
    // §8.1.3: `<configure/>` follows `<create/>`, alone, and names no node
    if (configure.getName() !== 'configure' || configure.getNS() !== pubsub.getNS() || more !== undefined) {
      throw new PubsubError('malformed-configure', { text: 'only <configure/> may follow <create/>' });
    }
    if (configure.attrs.node !== undefined) {
      throw new PubsubError('malformed-configure', { text: '<configure/> may not name a node here' });
    }
    return { node: optionalNode(element), form: formOf(configure) };
  },

  /**
   * Creates the topic with the asker as its owner.
   *
   * @throws PubsubError `insufficient-privileges` | `nodeid-exists` | those of the form (node-config.ts)
   */
  async perform(request, who, deps) {
    const node = request.node ?? deps.randomId();
    // A role that is granted nothing here hears `forbidden` as well (§8.1.1), whether or not the topic exists.
    demandGrant('create', node, who, deps);
    if (!isNodeName(node)) {
      throw new PubsubError('configuration-not-processable', { text: `a node name has at most ${MAX_NODE_BYTES} bytes` });
    }
    const config = request.form === undefined ? deps.defaults : deps.form.apply(request.form, deps.defaults);
    if (config === undefined) throw new PubsubError('malformed-configure', { text: 'a cancelled form creates nothing' });
    const made = await deps.store.create(node, {
      config,
      creator: who.account,
      stampMs: deps.now(),
      affiliations: new Map([[who.account, 'owner']]),
    });
    if (made === 'exists') throw new PubsubError('nodeid-exists');
    deps.audit.changed({ account: who.account, node, action: 'create', detail: config.accessModel });
    return node;
  },

  /** The name is told only when the service chose it (§8.1.1); RFC 8600 §6 shows an empty result. */
  render: (node, request) => (request.node === undefined ? pubsubElement('pubsub', new Element('create', { node })) : undefined),
};
