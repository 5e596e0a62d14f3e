/** How much of a topic's log is kept (delivery.md §9.1). */
export interface LogRetention {
  /** Also how long a tombstone lasts. */
  readonly maxAgeMs: number;
  readonly maxEntries: number;
  /** Payload bytes of one topic, and 256 for each entry. */
  readonly maxBytes: number;
  /** Younger entries are never trimmed. */
  readonly minAgeMs: number;
}

export const DEFAULT_RETENTION: LogRetention = {
  maxAgeMs: 7 * 24 * 3600_000,
  maxEntries: 100_000,
  maxBytes: 256 << 20,
  minAgeMs: 600_000,
};
