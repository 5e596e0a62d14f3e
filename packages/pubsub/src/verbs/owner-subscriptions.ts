/** Owners list and change subscriptions (XEP-0060 §8.8). */

import { parseRsm } from '@xmpp-grid/stream';
import { Element } from 'ltx';
import { decideSubscribe } from '../access/decide.ts';
import { PubsubError } from '../errors.ts';
import { pageOfList, pageRequest, pageSet } from '../request/paging.ts';
import { requiredNode, tryJid, verbElement } from '../request/parse.ts';
import { pubsubElement, type ShownSubscription } from '../request/render.ts';
import { untilFresh } from '../request/stale.ts';
import type { Verb } from '../request/verb.ts';
import { guardOf, type Page } from '../store/topic-store.ts';
import type { VerbDeps } from './deps.ts';
import { type ChangeRequest, failedEntries, type ListRequest, openOwned, parseEntries } from './owner-lists.ts';
import { affiliationOfOther, announceSubscriptions } from './subscription-changes.ts';

type Listed = readonly [jid: string, state: ShownSubscription];
const jidOf = ([jid]: Listed): string => jid;

/** @see XEP-0060 §8.8.1 */
export const ownerSubscriptionsGet: Verb<ListRequest, Page<Listed>, VerbDeps> = {
  key: 'get owner subscriptions',
  features: ['manage-subscriptions'],

  parse: (pubsub) => ({ node: requiredNode(verbElement(pubsub)), rsm: parseRsm(pubsub) }),

  /**
   * Lists who is subscribed; requests that wait are not listed (§8.8.1.2).
   *
   * @throws PubsubError `node-does-not-exist` | `insufficient-privileges` | `blocked`
   */
  async perform({ node, rsm }, who, deps) {
    await openOwned(node, who, deps);
    const list = (await deps.store.subscriptions(node))
      .filter(({ state }) => state === 'subscribed')
      .map(({ jid, state }): Listed => [jid, state])
      .sort((a, b) => (a[0] < b[0] ? -1 : 1));
    return pageOfList(list, pageRequest(rsm, deps.limits.pageEntries), jidOf);
  },

  render: (page, { node, rsm }) => pubsubElement('owner', subscriptionList(node, page.entries), pageSet(page, rsm, jidOf)),
};

function subscriptionList(node: string, entries: Iterable<Listed>): Element {
  const list = new Element('subscriptions', { node });
  for (const [jid, subscription] of entries) list.c('subscription', { jid, subscription });
  return list;
}

/** @see XEP-0060 §8.8.2, §8.8.3 */
export const ownerSubscriptionsSet: Verb<ChangeRequest, void, VerbDeps> = {
  key: 'set owner subscriptions',
  features: ['manage-subscriptions'],

  parse(pubsub) {
    const list = verbElement(pubsub);
    const node = requiredNode(list);
    const entries = parseEntries(list, 'subscription');
    const jids = entries.map(({ jid }) => tryJid(jid)?.toString() ?? jid);
    // §8.8.2.4: the same entity again would need another SubID, and there are none
    if (new Set(jids).size < jids.length) throw new PubsubError('duplicate-entries', { text: 'an entity is named twice' });
    return { node, entries };
  },

  /**
   * Subscribes or removes others in one atomic step and tells them, then answers with the entries that failed: no JID, a
   * state that an owner cannot give, an entity that may not subscribe.
   *
   * @throws PubsubError `node-does-not-exist` | `insufficient-privileges` | `blocked`; IqFailure `not-acceptable`
   */
  async perform({ node, entries }, who, deps) {
    const { failed, states, same } = await untilFresh(async () => {
      const { record } = await openOwned(node, who, deps);
      const states = new Map<string, 'subscribed' | 'none'>();
      const same = new Set<string>();
      const failed: Listed[] = [];
      for (const { jid: text, value } of entries) {
        const jid = tryJid(text);
        if (jid === undefined) {
          failed.push([text, 'none']);
          continue;
        }
        const key = jid.toString();
        const present = (await deps.store.subscriptionsOf(node, jid.bareString)).find((subscription) => subscription.jid === key);
        const now = present?.state ?? 'none';
        if (value === undefined) continue; // §8.8.2.1
        if (value === now) {
          same.add(jid.bareString);
          continue;
        }
        if (value === 'none') {
          states.set(key, value);
          continue;
        }
        const stored = await deps.store.affiliation(node, jid.bareString);
        const affiliation = await affiliationOfOther(node, jid.bareString, stored, deps);
        const decision = decideSubscribe(affiliation, record.config.accessModel); // pending: the owner's word is the approval
        if (value !== 'subscribed' || decision.verdict === 'deny') failed.push([text, now]);
        else states.set(key, value);
      }
      if (states.size > 0) {
        const done = await deps.store.commit(node, guardOf(record), {
          kind: 'access',
          affiliations: new Map(),
          subscriptions: states,
          publisher: who.account,
          stampMs: deps.now(),
        });
        if (done === 'stale') return done;
        if (done === 'gone') throw new PubsubError('node-does-not-exist');
      }
      return { failed, states, same };
    });
    for (const [jid, state] of states) {
      deps.audit.changed({ account: who.account, node, action: 'subscription', detail: `${jid} ${state}` });
    }
    await announceSubscriptions(node, states, deps);
    // Also where nothing changed: whoever should have been told may not have been (delivery.md §2.6).
    await Promise.all([...same].map((account) => deps.interest.changed(node, account)));
    if (failed.length > 0) throw failedEntries(subscriptionList(node, failed));
  },

  render: () => undefined,
};
