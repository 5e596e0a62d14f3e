import type { EntryId, LogEntry } from '../log/entry.ts';
import type { TopicRecord } from './topic-store.ts';

/** Some entries of one topic, in order, without holes. */
export interface LogPage {
  readonly entries: readonly LogEntry[];
  /** Number of the oldest entry that the log still holds; one past the head when it holds none. */
  readonly firstSeq: number;
  readonly head: EntryId;
}

/** What was appended in one atomic step. */
export interface Appended {
  readonly node: string;
  /** In order. The only place where the payload of a topic with caching off is ever seen. */
  readonly entries: readonly LogEntry[];
  /** The topic after the step; after a deletion, what it was. */
  readonly record: TopicRecord;
}

/**
 * Reads topics' logs. Only durable entries are ever seen here, so that nothing is delivered that a crash takes back; the
 * adapter over Redis says what it can promise of that.
 * A deleted topic keeps its log while its tombstone lasts.
 */
export interface LogReader {
  head(node: string): Promise<EntryId | undefined>;
  /**
   * The entries after `after`, at most `maxEntries` and, beyond the first, at most `maxBytes` of payload. When the log
   * was trimmed past `after`, the page starts at `firstSeq`.
   */
  readLog(node: string, after: EntryId, maxEntries: number, maxBytes: number): Promise<LogPage | 'gone'>;
  /** One entry. Undefined when the log does not hold it, or holds another under this number. */
  entry(node: string, id: EntryId): Promise<LogEntry | undefined>;
  /**
   * Calls `bell` after entries became durable, in the order of each topic's log: entries of followed topics, each once, and
   * those that were committed through this object. Returns how to stop it.
   */
  onEntries(bell: (appended: Appended) => void): () => void;
  /**
   * From now on `onEntries` tells of every entry of the topic after the head of the record that this resolves with, whoever
   * appends it (delivery.md §3.1). Undefined, and nothing is followed, when there is no such topic. Following twice is
   * following once; a topic that is deleted stays followed.
   */
  follow(node: string): Promise<TopicRecord | undefined>;
  /** Ends `follow`. */
  unfollow(node: string): Promise<void>;
  /**
   * Calls `forked` for a followed topic whose log is not the one that was told of: a failover dropped entries, and others may
   * stand under their numbers by now (delivery.md §1.3). `onEntries` goes on after `head`, the log's newest; who stands
   * beyond what the log still has must go back and read. Returns how to stop it.
   */
  onFork(forked: (node: string, head: EntryId) => void): () => void;
  /**
   * Calls `changed` with the followed topics whose primary is another than it was: what this instance wrote there last may be
   * gone, so it writes its delegations again (delivery.md §3.4). Returns how to stop it.
   */
  onPrimaryChanged(changed: (nodes: readonly string[]) => void): () => void;
}
