import type { Inboxes } from './inbox.ts';
import type { ResumeStates } from './resume-states.ts';
import type { SessionRegistry } from './session-registry.ts';

/** What the sessions of one instance share with those of all others: the embedded twins or Redis, the code is the same. */
export interface ClusterParts {
  readonly registry: SessionRegistry;
  readonly inboxes: Inboxes;
  readonly resumeStates: ResumeStates;
  /** This instance's id: another one after each fencing. */
  instanceId(): string;
  /**
   * False: handle no stanza and write to no socket (delivery.md §7.2 (c), (d)). Asked before each stanza and each write, so
   * it must not cost more than reading a clock.
   */
  mayServe(): boolean;
}
