import { newAttributes, OpaqueElement, parseRsm, type RsmRequest } from '@xmpp-grid/stream';
import { Element } from 'ltx';
import { decideRetrieve } from '../access/decide.ts';
import type { PolicyVerb } from '../access/policy.ts';
import { type AccessDeps, demand, demandGrant, isSubscribed, openTopic } from '../access/topic-access.ts';
import { PubsubError, unsupported } from '../errors.ts';
import { isItemId } from '../node/node-name.ts';
import { knownPage, pageRequest, pageSet } from '../request/paging.ts';
import { positiveInteger, requiredNode, verbElement } from '../request/parse.ts';
import { pubsubElement } from '../request/render.ts';
import type { Requester, Verb } from '../request/verb.ts';
import type { Item, Page } from '../store/topic-store.ts';
import type { VerbDeps } from './deps.ts';

interface ItemsRequest {
  readonly node: string;
  /** Empty: no particular ones. */
  readonly itemIds: readonly string[];
  /** §6.5.7 */
  readonly mostRecent: number | undefined;
  readonly rsm: RsmRequest | undefined;
}

interface ItemsResult {
  readonly items: readonly Item[];
  readonly set: Element | undefined;
}

/** @see XEP-0060 §6.5; XEP-0059 */
export const items: Verb<ItemsRequest, ItemsResult, VerbDeps> = {
  key: 'get pubsub items',
  features: ['retrieve-items', 'rsm'],

  /** A SubID is ignored, since there are none. */
  parse(pubsub) {
    const element = verbElement(pubsub);
    const node = requiredNode(element);
    const itemIds = element.getChildren('item', pubsub.getNS()).map((item): string => {
      if (!item.attrs.id) throw new PubsubError('malformed-request', { text: 'an item to retrieve has an id' });
      return item.attrs.id;
    });
    const most: string | undefined = element.attrs.max_items;
    const mostRecent = most === undefined ? undefined : positiveInteger(most, 'max_items');
    return { node, itemIds, mostRecent, rsm: parseRsm(pubsub) };
  },

  /**
   * Reads retained items in the order of publication: those asked for by id, else a page, else the N most recent, else
   * the first page. An item that is not there is left out (§6.5.9.12).
   *
   * @throws PubsubError `node-does-not-exist` | `insufficient-privileges` | `blocked` | `not-on-whitelist` |
   *   `entity-not-subscribed` | `unsupported`; StanzaError `item-not-found` for a page that is not there
   */
  async perform({ node, itemIds, mostRecent, rsm }, who, deps) {
    await demandRetrieval('retrieve', node, who, deps);
    const { pageEntries, pageBytes } = deps.limits;
    if (itemIds.length > 0) {
      const wanted = [...new Set(itemIds.filter(isItemId))].slice(0, pageEntries);
      const found = await deps.store.itemsById(node, wanted);
      return { items: fitting(found, pageBytes, 'first'), set: undefined };
    }
    const cap = Math.min(pageEntries, mostRecent ?? pageEntries);
    const request = rsm === undefined && mostRecent !== undefined ? { max: cap, before: '' } : pageRequest(rsm, cap);
    const page = cutToFit(knownPage(await deps.store.items(node, request)), pageBytes, request.before !== undefined);
    // Fewer than asked for: the client is told that there are more (§6.5.4). N most recent, all of them here, is complete.
    const isComplete = rsm === undefined && mostRecent !== undefined && page.entries.length === Math.min(mostRecent, page.count);
    return { items: page.entries, set: isComplete ? undefined : pageSet(page, rsm, (item) => item.itemId) };
  },

  render({ items: found, set }, { node }) {
    const element = new Element('items', { node });
    for (const item of found) element.cnode(itemElement(item));
    return pubsubElement('pubsub', element, set);
  },
};

/** The rule of §6.5.1, shared with the discovery of item ids (§5.5). */
export async function demandRetrieval(verb: PolicyVerb, node: string, who: Requester, deps: AccessDeps): Promise<void> {
  const { record, affiliation } = await openTopic(node, who, deps);
  demandGrant(verb, node, who, deps);
  const { accessModel, persistItems } = record.config;
  const dependsOnSubscription = (affiliation === 'member' || affiliation === 'none') && accessModel !== 'open';
  const subscribed = dependsOnSubscription && (await isSubscribed(node, who.account, deps.store));
  demand(decideRetrieve(affiliation, accessModel, subscribed), verb, node, who, deps);
  if (!persistItems) throw unsupported('persistent-items'); // §6.5.9.4
}

/** The publisher goes with every item, as it does with every notification (§7.1.2.3). */
function itemElement({ itemId, publisher, payload }: Item): Element {
  const element = new Element('item', { id: itemId, publisher });
  if (payload) {
    if (payload.lang !== undefined) element.attrs['xml:lang'] = payload.lang;
    element.cnode(new OpaqueElement('payload', newAttributes(), payload.bytes));
  }
  return element;
}

const size = (item: Item): number => (item.payload?.bytes.length ?? 0) + 128;

/** As many as fit into the budget from one end, at least one. */
function fitting(list: readonly Item[], budget: number, from: 'first' | 'last'): readonly Item[] {
  let used = 0;
  let count = 0;
  while (count < list.length) {
    const next = list[from === 'first' ? count : list.length - 1 - count] as Item;
    used += size(next);
    if (used > budget && count > 0) break;
    count++;
  }
  return from === 'first' ? list.slice(0, count) : list.slice(list.length - count);
}

/** A page read backwards is cut at its beginning, so that the next page joins it. */
function cutToFit(page: Page<Item>, budget: number, isBackwards: boolean): Page<Item> {
  const entries = fitting(page.entries, budget, isBackwards ? 'last' : 'first');
  return { ...page, entries, index: page.index + (isBackwards ? page.entries.length - entries.length : 0) };
}
