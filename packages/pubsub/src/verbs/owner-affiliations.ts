/** Owners list and change affiliations (XEP-0060 §8.9). */

import { parseRsm } from '@xmpp-grid/stream';
import { Element } from 'ltx';
import { mayChangeAffiliation, maySubscriptionStand } from '../access/decide.ts';
import { PubsubError } from '../errors.ts';
import { pageOfList, pageRequest, pageSet } from '../request/paging.ts';
import { requiredNode, tryJid, verbElement } from '../request/parse.ts';
import { pubsubElement } from '../request/render.ts';
import { untilFresh } from '../request/stale.ts';
import type { Verb } from '../request/verb.ts';
import { type AccessModel, AFFILIATIONS, type Affiliation } from '../store/topic-config.ts';
import { guardOf, type Page, type Subscription } from '../store/topic-store.ts';
import type { VerbDeps } from './deps.ts';
import { type ChangeRequest, type Entry, failedEntries, type ListRequest, openOwned, parseEntries } from './owner-lists.ts';
import { affiliationOfOther, announceSubscriptions } from './subscription-changes.ts';

type Listed = readonly [account: string, affiliation: Affiliation];
const accountOf = ([account]: Listed): string => account;

/** @see XEP-0060 §8.9.1 */
export const ownerAffiliationsGet: Verb<ListRequest, Page<Listed>, VerbDeps> = {
  key: 'get owner affiliations',
  features: ['modify-affiliations'],

  parse: (pubsub) => ({ node: requiredNode(verbElement(pubsub)), rsm: parseRsm(pubsub) }),

  /** @throws PubsubError `node-does-not-exist` | `insufficient-privileges` | `blocked` */
  async perform({ node, rsm }, who, deps) {
    await openOwned(node, who, deps);
    const list = [...(await deps.store.affiliations(node))].sort((a, b) => (a[0] < b[0] ? -1 : 1));
    return pageOfList(list, pageRequest(rsm, deps.limits.pageEntries), accountOf);
  },

  render(page, { node, rsm }) {
    const list = affiliationList(node, page.entries);
    return pubsubElement('owner', list, pageSet(page, rsm, accountOf));
  },
};

function affiliationList(node: string, entries: Iterable<Listed>): Element {
  const list = new Element('affiliations', { node });
  for (const [jid, affiliation] of entries) list.c('affiliation', { jid, affiliation });
  return list;
}

/** @see XEP-0060 §8.9.2, §8.9.3 */
export const ownerAffiliationsSet: Verb<ChangeRequest, void, VerbDeps> = {
  key: 'set owner affiliations',
  features: [
    'modify-affiliations',
    'member-affiliation',
    'outcast-affiliation',
    'publish-only-affiliation',
    'publisher-affiliation',
  ],

  parse(pubsub) {
    const list = verbElement(pubsub);
    const node = requiredNode(list);
    const entries = parseEntries(list, 'affiliation');
    const accounts = entries.map(({ jid }) => tryJid(jid)?.bareString ?? jid);
    if (new Set(accounts).size < accounts.length)
      throw new PubsubError('duplicate-entries', { text: 'an entity is named twice' });
    return { node, entries };
  },

  /**
   * Changes what may be changed in one atomic step, with what follows for subscriptions: those whose owner lost the right
   * end, requests of those who gained it are granted (§8.7.4). Then answers with the entries that failed.
   *
   * @throws PubsubError `node-does-not-exist` | `insufficient-privileges` | `blocked`; IqFailure `not-acceptable`
   */
  async perform({ node, entries }, who, deps) {
    const { failed, affiliations, states } = await untilFresh(async () => {
      const { record } = await openOwned(node, who, deps);
      const stored = await deps.store.affiliations(node);
      const { changes: affiliations, failed } = judgeEntries(entries, stored, who.account);
      const states = new Map<string, 'subscribed' | 'none'>();
      for (const [account, to] of affiliations) {
        const from = stored.get(account) ?? 'none';
        const effective = await affiliationOfOther(node, account, to, deps);
        for (const subscription of await deps.store.subscriptionsOf(node, account)) {
          const next = afterChange(subscription, from, effective, record.config.accessModel);
          if (next !== undefined) states.set(subscription.jid, next);
        }
      }
      if (affiliations.size > 0) {
        const done = await deps.store.commit(node, guardOf(record), {
          kind: 'access',
          affiliations,
          subscriptions: states,
          publisher: who.account,
          stampMs: deps.now(),
        });
        if (done === 'stale') return done;
        if (done === 'gone') throw new PubsubError('node-does-not-exist');
      }
      return { failed, affiliations, states };
    });
    for (const [account, affiliation] of affiliations) {
      deps.audit.changed({ account: who.account, node, action: 'affiliation', detail: `${account} ${affiliation}` });
    }
    await announceSubscriptions(node, states, deps);
    if (failed.length > 0) throw failedEntries(affiliationList(node, failed));
  },

  render: () => undefined,
};

/** Affiliations are kept for bare JIDs, whatever was named (§4.1). Entries that change nothing are left out. */
function judgeEntries(entries: readonly Entry[], stored: ReadonlyMap<string, Affiliation>, asker: string) {
  const changes = new Map<string, Affiliation>();
  const failed: Listed[] = [];
  for (const { jid, value } of entries) {
    const account = tryJid(jid)?.bareString;
    const from = (account !== undefined && stored.get(account)) || 'none';
    const to = AFFILIATIONS.find((affiliation) => affiliation === value);
    if (account === undefined || (value !== undefined && to === undefined)) {
      failed.push([jid, from]);
    } else if (to !== undefined && to !== from) {
      const isLastOwner = from === 'owner' && countOwners(stored) === 1; // §8.9.2.4: MUST NOT leave the topic without owner
      if (isLastOwner || !mayChangeAffiliation(from, to, account === asker)) failed.push([jid, from]);
      else changes.set(account, to);
    }
  }
  return { changes, failed };
}

function countOwners(stored: ReadonlyMap<string, Affiliation>): number {
  let count = 0;
  for (const affiliation of stored.values()) if (affiliation === 'owner') count++;
  return count;
}

/** What becomes of a subscription; undefined: nothing. `from` is as stored, `to` as it is in effect. */
function afterChange(
  subscription: Subscription,
  from: Affiliation,
  to: Affiliation,
  model: AccessModel,
): 'subscribed' | 'none' | undefined {
  // Whoever is taken off the list loses what the list gave, also where a new request could be made (P-B35).
  const isRemoved = to === 'none' && from !== 'outcast' && model !== 'open';
  if (isRemoved || !maySubscriptionStand(to, model)) return 'none';
  if (subscription.state === 'pending' && to !== 'none') return 'subscribed'; // §8.7.4
  return undefined;
}
