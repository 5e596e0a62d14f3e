import { StanzaError } from '@xmpp-grid/stream';
import { Element } from 'ltx';
import { decidePublish, effectiveAffiliation } from '../access/decide.ts';
import { demand, demandGrant, isSubscribed, openTopic } from '../access/topic-access.ts';
import { PubsubError, unsupported } from '../errors.ts';
import type { Payload } from '../log/entry.ts';
import type { PublishResult } from '../metrics.ts';
import { isItemId, MAX_ITEM_ID_BYTES } from '../node/node-name.ts';
import { checkItem, checkItemPresence, payloadNamespace, requestKey, type SubmittedItem } from '../payload/type-check.ts';
import { requiredNode, verbElement } from '../request/parse.ts';
import { pubsubElement } from '../request/render.ts';
import { untilFresh } from '../request/stale.ts';
import type { Requester, Verb } from '../request/verb.ts';
import type { Affiliation, TopicConfig } from '../store/topic-config.ts';
import { guardOf, type TopicRecord } from '../store/topic-store.ts';
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

async function store(request: PublishRequest, who: Requester, deps: VerbDeps): Promise<string> {
  const { node, item } = request;
  const madeId = deps.randomId();
  const known = await storeAsKnown(request, madeId, who, deps);
  if (known !== undefined) return known;
  return await untilFresh(async () => {
    const { record, affiliation, stored } = await openTopic(node, who, deps);
    demandGrant('publish', node, who, deps, item && payloadNamespace(item));
    demand(await decide(node, affiliation, record, who, deps), 'publish', node, who, deps);
    const done = await commit(request, checked(item, record.config), record, madeId, who, deps);
    if (done === 'stale') return done;
    if (done === 'gone') throw new PubsubError('node-does-not-exist');
    deps.standings.keep(node, who.account, { record, stored });
    return done.itemId;
  });
}

/**
 * The short way of whoever published here before: what the publish before read of the topic is judged again, and the guard of
 * the commit tells whether it still holds (delivery.md §2.1). Undefined: it does not, or it comes to a refusal, which only
 * what the store says now may give; nothing was changed, counted or audited then.
 */
async function storeAsKnown(
  request: PublishRequest,
  madeId: string,
  who: Requester,
  deps: VerbDeps,
): Promise<string | undefined> {
  const { node, item } = request;
  const { policy, metrics, standings } = deps;
  const known = standings.get(node, who.account);
  if (known === undefined || policy.isHidden(who.role, node)) return undefined;
  if (policy.decide(who.role, 'publish', node, item && payloadNamespace(item)).verdict === 'deny') return undefined;
  const { record } = known;
  const affiliation = effectiveAffiliation(known.stored, policy.approves(who.role, node));
  if ((await decide(node, affiliation, record, who, deps)).verdict === 'deny') return undefined;
  let payload: Payload | undefined;
  try {
    payload = checked(item, record.config);
  } catch (error) {
    if (error instanceof PubsubError) return undefined;
    throw error;
  }
  const done = await commit(request, payload, record, madeId, who, deps);
  if (done === 'stale' || done === 'gone' || done.isRepeated) {
    standings.forget(node, who.account); // of a repeated request the guard was not asked
    return undefined;
  }
  metrics.decided('publish', 'allow', 'role');
  metrics.decided('publish', 'allow', 'affiliation');
  return done.itemId;
}

/** What affiliation, publish model and, where that is asked for, subscription say. */
async function decide(node: string, affiliation: Affiliation, { config }: TopicRecord, who: Requester, deps: VerbDeps) {
  const mayDependOnSubscription = config.publishModel === 'subscribers' && (affiliation === 'member' || affiliation === 'none');
  const subscribed = mayDependOnSubscription && (await isSubscribed(node, who.account, deps.store));
  return decidePublish(affiliation, config.publishModel, subscribed);
}

/** The payload to store. @throws PubsubError as `checkItem` and `checkItemPresence` */
function checked(item: SubmittedItem | undefined, config: TopicConfig): Payload | undefined {
  const payload = item && checkItem(item, config);
  checkItemPresence(item !== undefined, config);
  return payload;
}

async function commit(
  { node, item }: PublishRequest,
  payload: Payload | undefined,
  record: TopicRecord,
  madeId: string,
  who: Requester,
  deps: VerbDeps,
): Promise<{ readonly itemId: string; readonly isRepeated: boolean } | 'stale' | 'gone'> {
  // A transient notification has no item id (§4.3): the entry has the empty one.
  const itemId = item === undefined ? '' : (item.itemId ?? madeId);
  const done = await deps.store.commit(node, guardOf(record), {
    kind: 'publish',
    items: [payload === undefined ? { itemId } : { itemId, payload }],
    publisher: who.account,
    stampMs: deps.now(),
    requestKey: requestKey(who.account, who.iqId, node, item?.itemId, payload),
  });
  if (done === 'stale' || done === 'gone') return done;
  if (done.kind === 'repeated') return { itemId: done.itemIds[0] ?? itemId, isRepeated: true };
  return { itemId, isRepeated: false };
}

function resultOf(error: unknown): PublishResult {
  if (error instanceof PubsubError) {
    if (error.condition === 'forbidden') return 'forbidden';
    return error.failure === 'payload-too-big' ? 'too_big' : 'refused';
  }
  return 'unavailable';
}
