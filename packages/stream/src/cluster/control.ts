/**
 * Changes that every instance must hear of: accounts, roles, certificates, deny-list, policy (delivery.md §8.2).
 * The kinds and bodies are the writer's and the follower's business.
 */
export interface ControlEvent {
  readonly kind: string;
  readonly body: string;
}

export interface ControlFollower {
  /** One event, in the order of the log; the next one when this has resolved. */
  event(event: ControlEvent): void | Promise<void>;
  /** Events were missed (trimmed, or lost in a failover): judge every session again. */
  judgeAll(): void | Promise<void>;
}

/**
 * The log of such changes. Anybody appends, every instance follows; nobody owns it, and it is capped, for whoever misses an
 * event is told to judge all again.
 */
export interface ControlLog {
  /**
   * Resolves when the event is durable; every instance hears of it after that, this one too.
   *
   * @throws StoreUnavailable
   */
  append(event: ControlEvent): Promise<void>;
  /**
   * Follows from the present head on; resolves once that is known. What was changed before is in the records that the
   * caller reads from now on. A follower that rejects is called again with `judgeAll` until it resolves, and the head is
   * not confirmed meanwhile.
   *
   * @throws StoreUnavailable
   */
  follow(follower: ControlFollower): Promise<ControlFollow>;
}

export interface ControlFollow {
  /**
   * Ms since this instance last knew that it had handled everything in the log. Over 1,000 it delivers, acknowledges and
   * admits nothing (delivery.md §7.2 (d)).
   */
  readonly headAgeMs: number;
  close(): Promise<void>;
}

/** Most entries that stay: an instance that is behind by more is told to judge all again. */
export const CONTROL_MAX_ENTRIES = 10_000;
