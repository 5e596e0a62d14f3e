import { StanzaError } from '@xmpp-grid/stream';
import { Element } from 'ltx';
import { decidePublish } from '../access/decide.ts';
import { demand, demandGrant, isSubscribed, openTopic } from '../access/topic-access.ts';
import { PubsubError, unsupported } from '../errors.ts';
import type { PublishResult } from '../metrics.ts';
import { isItemId, MAX_ITEM_ID_BYTES } from '../node/node-name.ts';
import { checkItem, checkItemPresence, payloadNamespace, requestKey, type SubmittedItem } from '../payload/type-check.ts';
import { requiredNode, verbElement } from '../request/parse.ts';
import { pubsubElement } from '../request/render.ts';
import { untilFresh } from '../request/stale.ts';
import type { Requester, Verb } from '../request/verb.ts';
import { guardOf } from '../store/topic-store.ts';
import type { VerbDeps } from './deps.ts';

interface PublishRequest {
  readonly node: string;
  /** Undefined for a publish without item, right at a transient notification-only topic (§4.3). */
  readonly item: SubmittedItem | undefined;
}

/** @see XEP-0060 §7.1; RFC 8600 §6 */
export const publish: Verb<PublishRequest, string, VerbDeps> = {
  key: 'set pubsub publish',
  features: ['publish', 'item-ids', 'persistent-items'],

  /** A `publisher` attribute is not read: only the service names the publisher (§7.1.2.3). */
  parse(pubsub) {
    const element = verbElement(pubsub);
    const node = requiredNode(element);
    if (pubsub.getChild('publish-options', pubsub.getNS())) throw unsupported('publish-options'); // §7.1.5
    const [item, second] = element.getChildren('item', pubsub.getNS());
    // §7.1.1 and its note: more than one item is no longer allowed
    if (second) throw new PubsubError('malformed-request', { text: 'a publish request has at most one item' });
    if (item === undefined) return { node, item: undefined };
    const itemId: string | undefined = item.attrs.id || undefined;
    if (itemId !== undefined && !isItemId(itemId)) {
      throw new StanzaError('not-acceptable', { text: `an item id has at most ${MAX_ITEM_ID_BYTES} bytes` });
    }
    return { node, item: { itemId, elements: item.getChildElements() } };
  },

  /**
   * Stores one item and returns the id it was stored under; delivery to subscribers starts from the stored entry, not
   * from here.
   *
   * Checks run in the order of §7.1.3, because clients see the difference: the topic exists, the rights, the payload's
   * size and kind, the event type.
   *
   * @throws PubsubError `node-does-not-exist` | `insufficient-privileges` | `blocked` | those of type-check.ts
   */
  async perform(request, who, deps) {
    try {
      const itemId = await store(request, who, deps);
      deps.metrics.published(request.node, 'ok');
      return itemId;
    } catch (error) {
      deps.metrics.published(request.node, resultOf(error));
      throw error;
    }
  },

  render(itemId, { node, item }) {
    const element = new Element('publish', { node });
    if (item !== undefined && item.itemId === undefined) element.c('item', { id: itemId }); // §7.1.2: the id that was made
    return pubsubElement('pubsub', element);
  },
};

async function store({ node, item }: PublishRequest, who: Requester, deps: VerbDeps): Promise<string> {
  const madeId = deps.randomId();
  return await untilFresh(async () => {
    const { record, affiliation } = await openTopic(node, who, deps);
    const { config } = record;
    demandGrant('publish', node, who, deps, item && payloadNamespace(item));
    const mayDependOnSubscription = config.publishModel === 'subscribers' && (affiliation === 'member' || affiliation === 'none');
    const subscribed = mayDependOnSubscription && (await isSubscribed(node, who.account, deps.store));
    demand(decidePublish(affiliation, config.publishModel, subscribed), 'publish', node, who, deps);
    const payload = item && checkItem(item, config);
    checkItemPresence(item !== undefined, config);
    // A transient notification has no item id (§4.3): the entry has the empty one.
    const itemId = item === undefined ? '' : (item.itemId ?? madeId);
    const done = await deps.store.commit(node, guardOf(record), {
      kind: 'publish',
      items: [payload === undefined ? { itemId } : { itemId, payload }],
      publisher: who.account,
      stampMs: deps.now(),
      requestKey: requestKey(who.account, who.iqId, node, item?.itemId, payload),
    });
    if (done === 'stale') return done;
    if (done === 'gone') throw new PubsubError('node-does-not-exist');
    return done.kind === 'repeated' ? (done.itemIds[0] ?? itemId) : itemId;
  });
}

function resultOf(error: unknown): PublishResult {
  if (error instanceof PubsubError) {
    if (error.condition === 'forbidden') return 'forbidden';
    return error.failure === 'payload-too-big' ? 'too_big' : 'refused';
  }
  return 'unavailable';
}
