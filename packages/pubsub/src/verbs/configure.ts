/** The three verbs of a topic's configuration: get the form, submit it, get the defaults (XEP-0060 §8.2, §8.3). */
import { Element } from 'ltx';
import { decideOwn } from '../access/decide.ts';
import { demand, demandGrant, openTopic } from '../access/topic-access.ts';
import { PubsubError, unsupported } from '../errors.ts';
import { formOf } from '../node/node-config.ts';
import { requiredNode, verbElement } from '../request/parse.ts';
import { pubsubElement } from '../request/render.ts';
import { untilFresh } from '../request/stale.ts';
import type { Verb } from '../request/verb.ts';
import { guardOf } from '../store/topic-store.ts';
import type { VerbDeps } from './deps.ts';
import { judgeSubscriptionsAgain } from './subscription-changes.ts';

/** @see XEP-0060 §8.2.1, §8.2.2 */
export const configureGet: Verb<string, Element, VerbDeps> = {
  key: 'get owner configure',
  features: ['config-node'],

  parse: (pubsub) => requiredNode(verbElement(pubsub)), // §8.2.3.3

  /** @throws PubsubError `node-does-not-exist` | `insufficient-privileges` | `blocked` */
  async perform(node, who, deps) {
    const { record, affiliation } = await openTopic(node, who, deps);
    demandGrant('configure', node, who, deps);
    demand(decideOwn(affiliation), 'configure', node, who, deps);
    return deps.form.render(record.config);
  },

  render(form, node) {
    const configure = new Element('configure', { node });
    configure.cnode(form);
    return pubsubElement('owner', configure);
  },
};

interface ConfigureRequest {
  readonly node: string;
  readonly form: Element;
}

/** @see XEP-0060 §8.2.4, §8.2.5 */
export const configureSet: Verb<ConfigureRequest, void, VerbDeps> = {
  key: 'set owner configure',
  features: ['config-node', 'config-node-max', 'multi-items'],

  parse(pubsub) {
    const element = verbElement(pubsub);
    const node = requiredNode(element);
    const form = formOf(element);
    if (form === undefined) throw new PubsubError('malformed-configure', { text: 'the form is missing' });
    return { node, form };
  },

  /**
   * Applies the submitted fields; a cancelled form leaves everything as it is (§8.2.4). Another access model is applied to
   * the subscribers already there before the answer goes out (§14.3).
   *
   * @throws PubsubError `node-does-not-exist` | `insufficient-privileges` | `blocked` | those of node-config.ts
   */
  async perform({ node, form }, who, deps) {
    const change = await untilFresh(async () => {
      const { record, affiliation } = await openTopic(node, who, deps);
      demandGrant('configure', node, who, deps);
      demand(decideOwn(affiliation), 'configure', node, who, deps);
      const config = deps.form.apply(form, record.config);
      if (config === undefined) return undefined;
      const done = await deps.store.commit(node, guardOf(record), {
        kind: 'configure',
        config,
        publisher: who.account,
        stampMs: deps.now(),
        notify: config.notifyConfig, // §8.2.5.3
      });
      if (done === 'stale') return done;
      if (done === 'gone') throw new PubsubError('node-does-not-exist');
      return { before: record.config, after: config };
    });
    if (change === undefined) return;
    deps.audit.changed({ account: who.account, node, action: 'configure', detail: change.after.accessModel });
    if (change.before.accessModel !== change.after.accessModel) await judgeSubscriptionsAgain(node, who.account, deps);
  },

  render: () => undefined,
};

/** @see XEP-0060 §8.3 */
export const defaultGet: Verb<void, Element, VerbDeps> = {
  key: 'get owner default',
  features: ['retrieve-default'],

  parse(pubsub) {
    const type: string | undefined = verbElement(pubsub).attrs.type;
    if (type === 'collection') throw unsupported('collections'); // XEP-0248
    if (type !== undefined && type !== 'leaf') throw new PubsubError('malformed-request', { text: 'type takes leaf' }); // §8.3.2
  },

  perform: async (_, __, deps) => deps.form.render(deps.defaults),

  render(form) {
    const element = new Element('default');
    element.cnode(form);
    return pubsubElement('owner', element);
  },
};
