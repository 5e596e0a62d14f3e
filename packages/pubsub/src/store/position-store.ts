import type { EntryId } from '../log/entry.ts';

/**
 * What consumers have acknowledged (delivery.md §5). A position belongs to one subscribed JID at one topic. It is the
 * greatest of its own number, the start of the subscription, and the watermark of each instance that it is delegated to.
 */

/** One atomic step of one instance for one topic: all of it or nothing. */
export interface PositionUpdate {
  /** Random per process start, never reused. */
  readonly instance: string;
  /** Subscribed JIDs that get their own number; their delegation to `instance` ends. */
  readonly settle: ReadonlyMap<string, EntryId>;
  /**
   * Subscribed JIDs delegated to `instance` from now on, with what each acknowledged. One that stands below the
   * watermark is settled instead: the watermark would claim more than it acknowledged.
   */
  readonly delegate: ReadonlyMap<string, EntryId>;
  /** The lowest acknowledged place of all that stay delegated. Merged by maximum. */
  readonly watermark?: EntryId;
}

export interface PositionStore {
  /** Where the JID's subscription stands. Undefined without a subscription. */
  position(node: string, jid: string): Promise<EntryId | undefined>;
  /**
   * Writes positions; durable once resolved. Numbers merge by maximum. Refused, and told by JID (`''` for the watermark):
   * a uid that is not the log's at that number, a number past the head, a JID without a subscription. A refused
   * watermark refuses the whole step.
   */
  update(node: string, update: PositionUpdate): Promise<{ readonly refused: readonly string[] } | 'gone'>;
  /**
   * The account was told that its subscription is over: drops the topic from `topicsOf(account)` unless the account has a
   * subscription or an affiliation there again (delivery.md §1.5).
   */
  forgetTopic(account: string, node: string): Promise<void>;
}
