import type { Affiliation } from '../store/topic-config.ts';
import type { TopicRecord } from '../store/topic-store.ts';
import { effectiveAffiliation, maySubscriptionStand } from './decide.ts';
import type { TopicPolicy } from './policy.ts';

/** What roles are granted. */
export type RolePolicy = Pick<TopicPolicy, 'decide' | 'isHidden' | 'approves'>;

/** Whether a role is told of a topic at all, whatever the subscription says (design D11). */
export const mayRoleHear = (policy: RolePolicy, role: string, node: string): boolean =>
  !policy.isHidden(role, node) && policy.decide(role, 'subscribe', node).verdict === 'allow';

/** Whether a subscriber is told of a topic: its role's grant, and the account's standing there. `affiliation`: as stored. */
export const mayHear = (policy: RolePolicy, role: string, affiliation: Affiliation, { node, config }: TopicRecord): boolean =>
  mayRoleHear(policy, role, node) &&
  maySubscriptionStand(effectiveAffiliation(affiliation, policy.approves(role, node)), config.accessModel);
