import type { EntryId, EntryKind, LogEntry, Payload } from '../../log/entry.ts';
import type { TopicConfig } from '../topic-config.ts';
import type { TopicRecord } from '../topic-store.ts';

/** The records of the embedded store, format 1. Compact JSON; payloads are raw bytes in a database of their own. */
export const FORMAT = 1;

/** What outlives a deletion: the name's numbers go on. */
export interface StoredNumbers {
  /** Number of the topic in keys. */
  readonly id: number;
  seq: number;
  uid: string;
  /** Stamp of the newest entry. */
  stampMs: number;
  /** Oldest entry that the log holds; seq + 1 when it holds none. */
  firstSeq: number;
  /** Its stamp; meaningless when the log holds none. */
  firstMs: number;
  /** Bytes of the log: payloads not withdrawn, and ENTRY_BYTES for each entry. */
  logBytes: number;
  /** Entries up to here were withdrawn together (purge, delete). */
  withdrawnSeq: number;
}

export interface StoredTopic extends StoredNumbers {
  config: TopicConfig;
  readonly creator: string;
  readonly createdMs: number;
  configToken: string;
  accessToken: string;
  itemCount: number;
  /** In state subscribed. */
  subscriptionCount: number;
}

export interface StoredTombstone extends StoredNumbers {
  readonly deletedMs: number;
  readonly redirect?: string;
}

export interface StoredEntry {
  /** uid, uid of the predecessor, kind, stamp, access token. */
  readonly u: string;
  readonly q: string;
  readonly k: EntryKind;
  readonly s: number;
  readonly a: string;
  readonly i?: string;
  readonly p?: string;
  readonly r?: string;
  /** 1: consumers are told. */
  readonly n: 0 | 1;
  /** Bytes of payload; absent without one. */
  readonly b?: number;
  readonly l?: string;
  /** 1: withdrawn by retract. */
  readonly w?: 1;
  /** 1: had a payload that was never stored. */
  readonly t?: 1;
  /** 1: a retraction that max_items made. */
  readonly e?: 1;
  /** Digest of the request key. */
  readonly h?: string;
  /** Number of the entry that the same item had before, while both are retained in the log. */
  readonly v?: number;
}

export interface StoredItem {
  readonly i: string;
  readonly p: string;
  readonly s: number;
  readonly q: number;
  readonly u: string;
  /** 1: there is a payload, with this language. */
  readonly b?: 1;
  readonly l?: string;
}

export interface StoredSubscription {
  readonly j: string;
  readonly s: 'subscribed' | 'pending';
  readonly q: number;
  readonly u: string;
  readonly t: number;
}

export interface StoredPosition {
  readonly q: number;
  readonly u: string;
  /** Instances it is delegated to. */
  readonly d?: readonly string[];
}

/** What an entry is counted with beside its payload. */
export const ENTRY_BYTES = 256;

export const headOf = (topic: StoredNumbers): EntryId => ({ seq: topic.seq, uid: topic.uid });

export const recordOf = (node: string, topic: StoredTopic): TopicRecord => ({
  node,
  config: topic.config,
  creator: topic.creator,
  createdMs: topic.createdMs,
  configToken: topic.configToken,
  accessToken: topic.accessToken,
  head: headOf(topic),
});

export const isWithdrawn = (topic: StoredNumbers, seq: number, entry: StoredEntry): boolean =>
  entry.k === 'published' && (entry.w === 1 || seq <= topic.withdrawnSeq);

export function payloadOf(bytes: Buffer, lang: string | undefined): Payload {
  return lang === undefined ? { bytes } : { bytes, lang };
}

/** `payload`: what was read for it, undefined when the entry has none or it was withdrawn. */
export function entryOf(topic: StoredNumbers, seq: number, stored: StoredEntry, payload: Buffer | undefined): LogEntry {
  return {
    seq,
    uid: stored.u,
    prevUid: stored.q,
    kind: stored.k,
    stampMs: stored.s,
    accessToken: stored.a,
    ...(stored.i === undefined ? {} : { itemId: stored.i }),
    ...(stored.p === undefined ? {} : { publisher: stored.p }),
    ...(payload ? { payload: payloadOf(payload, stored.l) } : {}),
    isWithdrawn: isWithdrawn(topic, seq, stored),
    ...(stored.t ? { isTransient: true } : {}),
    ...(stored.e ? { isEviction: true } : {}),
    notify: stored.n === 1,
    ...(stored.r === undefined ? {} : { redirect: stored.r }),
  };
}
