/** What follows a change of subscriptions: delivery looks again, the people concerned are told (XEP-0060 §12.14). */
import { decideSubscribe, effectiveAffiliation, maySubscriptionStand } from '../access/decide.ts';
import { type ShownSubscription, subscriptionChangedMessage } from '../request/render.ts';
import { untilFresh } from '../request/stale.ts';
import type { Affiliation } from '../store/topic-config.ts';
import { guardOf, type Subscription } from '../store/topic-store.ts';
import type { VerbDeps } from './deps.ts';

/** Bare part of an address that is stored as text (RFC 7622 §3.2: the first `/` ends it). */
export const bareOf = (jid: string): string => {
  const slash = jid.indexOf('/');
  return slash < 0 ? jid : jid.slice(0, slash);
};

export type SubscriptionStates = ReadonlyMap<string, ShownSubscription>;

/** Has delivery look at the accounts again, then tells each subscribed address. The change itself is durable already. */
export async function announceSubscriptions(node: string, states: SubscriptionStates, deps: VerbDeps): Promise<void> {
  await Promise.all([...new Set([...states.keys()].map(bareOf))].map((account) => deps.interest.changed(node, account)));
  for (const [jid, state] of states) {
    await deps.outbound.send(subscriptionChangedMessage(deps.domain, deps.randomId(), node, jid, state));
  }
}

/** An account's effective affiliation when the account is not the one that asks: its role is looked up. */
export async function affiliationOfOther(
  node: string,
  account: string,
  stored: Affiliation,
  deps: VerbDeps,
): Promise<Affiliation> {
  if (stored !== 'none') return stored;
  const role = await deps.policy.roleOf(account);
  return effectiveAffiliation(stored, role !== undefined && deps.policy.approves(role, node));
}

/** Most subscriptions changed in one atomic step; a step of this size takes a few ms. */
const MAX_PER_STEP = 1000;

/**
 * Judges all subscriptions of a topic again after its access model changed (§14.3): those that the model forbids end,
 * requests that need no approval any more are granted. Bounded steps; each is decided from what is stored then.
 */
export async function judgeSubscriptionsAgain(node: string, by: string, deps: VerbDeps): Promise<void> {
  for (;;) {
    const states = await untilFresh(async () => {
      const record = await deps.store.record(node);
      if (!record) return new Map<string, 'subscribed' | 'none'>();
      const affiliations = await deps.store.affiliations(node);
      const changes = new Map<string, 'subscribed' | 'none'>();
      for (const subscription of await deps.store.subscriptions(node)) {
        const account = bareOf(subscription.jid);
        const affiliation = await affiliationOfOther(node, account, affiliations.get(account) ?? 'none', deps);
        const next = judged(subscription, affiliation, record.config.accessModel);
        if (next !== subscription.state) changes.set(subscription.jid, next as 'subscribed' | 'none');
        if (changes.size >= MAX_PER_STEP) break;
      }
      if (changes.size === 0) return changes;
      const done = await deps.store.commit(node, guardOf(record), {
        kind: 'access',
        affiliations: new Map(),
        subscriptions: changes,
        publisher: by,
        stampMs: deps.now(),
      });
      return done === 'stale' ? 'stale' : done === 'gone' ? new Map<string, 'subscribed' | 'none'>() : changes;
    });
    await announceSubscriptions(node, states, deps);
    if (states.size < MAX_PER_STEP) return;
  }
}

function judged(
  subscription: Subscription,
  affiliation: Affiliation,
  model: Parameters<typeof decideSubscribe>[1],
): ShownSubscription {
  if (!maySubscriptionStand(affiliation, model)) return 'none';
  if (subscription.state === 'pending' && decideSubscribe(affiliation, model).verdict === 'allow') return 'subscribed';
  return subscription.state;
}
