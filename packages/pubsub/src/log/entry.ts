/**
 * Entries of a topic's log and what names them.
 *
 * @see delivery.md §1: in the repository, docs/design/001-the-topic-log.md
 */

/** (sequence, uid): a number alone is never an event. `seq` 0 with uid '' is the place before the first entry. */
export interface EntryId {
  readonly seq: number;
  /** 64 random bits, 16 lower-case hex digits. */
  readonly uid: string;
}

export const BEFORE_FIRST: EntryId = { seq: 0, uid: '' };

/** `SEQ-UID`, the form of stanza ids and archive ids. */
export const entryIdText = (id: EntryId): string => `${id.seq}-${id.uid}`;

export interface Payload {
  /** One self-contained element. Never a view into a socket's chunk. */
  readonly bytes: Buffer;
  /** xml:lang in force around the payload at the provider; goes on `<message/>`. */
  readonly lang?: string;
}

export type EntryKind =
  | 'published'
  | 'retracted'
  | 'purged'
  | 'deleted'
  | 'configured'
  /** Affiliations or other people's subscriptions changed; seen by instances, never by consumers. */
  | 'access';

export interface LogEntry extends EntryId {
  /** uid of the entry before this one, '' for the first. */
  readonly prevUid: string;
  readonly kind: EntryKind;
  /** ms since the epoch, never below that of the entry before. */
  readonly stampMs: number;
  /** The topic's access token after this entry. */
  readonly accessToken: string;
  /** For published and retracted. */
  readonly itemId?: string;
  /** Bare JID of who did it. */
  readonly publisher?: string;
  /** Only for published entries that were not withdrawn since; absent for an item without payload. */
  readonly payload?: Payload;
  /** True when a published entry's content was withdrawn (retract, purge, expiry): neither a gap nor sent. */
  readonly isWithdrawn: boolean;
  /**
   * True for a published entry whose payload was never stored (caching off, delivery.md §9.2): only the bell carried it,
   * whoever missed it is owed a `<gap/>`.
   */
  readonly isTransient?: boolean;
  /** True for a retraction that max_items made: the retained item went, the entries of the log stay (delivery.md §1.4). */
  readonly isEviction?: boolean;
  /** Whether consumers are told of this entry: always for published; by configuration or `notify` for the rest. */
  readonly notify: boolean;
  /** For deleted: where the topic went (XEP-0060 §8.4). */
  readonly redirect?: string;
}
