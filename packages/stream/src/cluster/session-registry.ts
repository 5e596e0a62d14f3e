import type { JID } from '../jid.ts';

/** Who holds a resource. Ids are random and never used again. */
export interface SessionClaim {
  readonly instanceId: string;
  readonly sessionId: string;
  /** When the resource was bound, ms since the epoch. */
  readonly sinceMs: number;
}

export interface BoundResource {
  readonly resource: string;
  readonly claim: SessionClaim;
}

export type BindOutcome =
  | {
      readonly kind: 'bound';
      /** The claim that this one took the place of: its instance must end that session with `conflict` (RFC 6120 §7.7.2.2). */
      readonly displaced: SessionClaim | undefined;
    }
  /** The account has its most resources (§7.6.2.1); `resources` is how many. */
  | { readonly kind: 'full'; readonly resources: number };

/**
 * Which session holds which resource of which account, for all instances. Owner of a claim is the instance that it names;
 * nobody else changes or drops it, except by a later bind of the same resource. When the owner dies its claims count for
 * nothing, and go with the account's next bind.
 *
 * Every method throws StoreUnavailable when the store cannot be asked.
 *
 * @see delivery.md §7.2
 */
export interface SessionRegistry {
  /** Claims a resource. `maxResources` bounds what the account holds at once; taking over a resource is always within it. */
  bind(account: JID, resource: string, claim: SessionClaim, maxResources: number): Promise<BindOutcome>;
  /** Gives a resource up, if the claim on it is still this session's. Returns whether it was. */
  drop(account: JID, resource: string, sessionId: string): Promise<boolean>;
  /**
   * Writes a claim again: under the new id of its instance after fencing, or after a failover that may have lost it; or in
   * place of the claim of session `formerId`, which goes on as this one (XEP-0198 §5). Returns false when another session
   * holds the resource by now: this one must end with `conflict`. Not bounded by `maxResources`: the resource was bound.
   */
  reclaim(account: JID, resource: string, claim: SessionClaim, formerId?: string): Promise<boolean>;
  /** The sessions of an account whose instances live. No more than were bound: bounded by `maxResources`. */
  sessionsOf(account: JID): Promise<readonly BoundResource[]>;
}

/** What the registry asks about instances. @see Instances */
export interface InstanceJudge {
  /** Instances that this one saw alive at its last heartbeat; its own id is among them. */
  live(): readonly string[];
  /** Which of these are dead or cleaned up behind, as the store says now. */
  goneOf(ids: readonly string[]): Promise<ReadonlySet<string>>;
}
