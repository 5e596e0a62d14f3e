/** The way every verb comes to a topic: is it there for this role, what is the affiliation, what does the role grant. */
import { PubsubError } from '../errors.ts';
import type { BrokerMetrics } from '../metrics.ts';
import { isNodeName } from '../node/node-name.ts';
import type { Requester } from '../request/verb.ts';
import type { Affiliation } from '../store/topic-config.ts';
import type { TopicRecord, TopicStore } from '../store/topic-store.ts';
import { type Decision, effectiveAffiliation } from './decide.ts';
import type { BrokerAudit, PolicyVerb, TopicPolicy } from './policy.ts';

export interface AccessDeps {
  readonly store: TopicStore;
  readonly policy: TopicPolicy;
  readonly audit: BrokerAudit;
  readonly metrics: BrokerMetrics;
}

export interface OpenTopic {
  readonly record: TopicRecord;
  /** With a role's approval counted in (D11). */
  readonly affiliation: Affiliation;
  /** As an owner set it. */
  readonly stored: Affiliation;
}

type Who = Pick<Requester, 'account' | 'role'>;

/**
 * Finds the topic and the asker's standing. The record is read before the affiliation, so that a change between the two
 * makes the record's tokens stale and never lets an old right through.
 *
 * @throws PubsubError `node-does-not-exist`, also for a topic that is hidden from the role: the two cannot be told apart
 */
export async function openTopic(node: string, who: Who, deps: AccessDeps): Promise<OpenTopic> {
  checkVisible(node, who, deps);
  const record = await deps.store.record(node);
  if (!record) throw new PubsubError('node-does-not-exist');
  const stored = await deps.store.affiliation(node, who.account);
  return { record, stored, affiliation: effectiveAffiliation(stored, deps.policy.approves(who.role, node)) };
}

/** @throws PubsubError `node-does-not-exist` when no topic can have the name or the role may not know of it */
export function checkVisible(node: string, who: Who, deps: AccessDeps): void {
  if (!isNodeName(node)) throw new PubsubError('node-does-not-exist');
  if (deps.policy.isHidden(who.role, node)) {
    deps.audit.denied({ ...accountAndRole(who), node, action: 'any', why: 'topic-hidden' });
    throw new PubsubError('node-does-not-exist');
  }
}

/** @throws PubsubError `insufficient-privileges` when the role does not grant the verb */
export function demandGrant(verb: PolicyVerb, node: string, who: Who, deps: AccessDeps, payloadType?: string): void {
  const decision = deps.policy.decide(who.role, verb, node, payloadType);
  deps.metrics.decided(verb, decision.verdict, 'role');
  if (decision.verdict === 'allow') return;
  deps.audit.denied({ ...accountAndRole(who), node, action: verb, why: decision.why });
  throw new PubsubError('insufficient-privileges');
}

/** Passes what is not a refusal on; a refusal is audited and thrown as the failure that it names. */
export function demand<D extends Decision>(
  decision: D,
  verb: PolicyVerb,
  node: string,
  who: Who,
  deps: AccessDeps,
): Exclude<D, { verdict: 'deny' }> {
  deps.metrics.decided(verb, decision.verdict === 'deny' ? 'deny' : 'allow', 'affiliation');
  if (decision.verdict === 'deny') {
    deps.audit.denied({ ...accountAndRole(who), node, action: verb, why: decision.why });
    throw new PubsubError(decision.why);
  }
  return decision as Exclude<D, { verdict: 'deny' }>;
}

/** Whether the account has a subscription that is not pending (XEP-0060 §6.5.9.3). */
export async function isSubscribed(node: string, account: string, store: TopicStore): Promise<boolean> {
  return (await store.subscriptionsOf(node, account)).some(({ state }) => state === 'subscribed');
}

const accountAndRole = ({ account, role }: Who) => ({ account, role });
