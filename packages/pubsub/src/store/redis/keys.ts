import { hashTag } from '@xmpp-grid/stream';
import { RECENT_MS } from '../embedded/recent-requests.ts';

/**
 * Every Redis key of this package. The part in braces picks the Cluster slot. "append" stands for all scripts that change a topic: publish, retract, purge, configure,
 * delete-topic, change-access, set-subscription. No key expires unless it says so.
 */
export function redisKeys(prefix: string) {
  const topic = (node: string) => `${prefix}{t:${hashTag(node)}}:`;
  return {
    /**
     * hash. ct, at: configuration and access token; seq, uid, stamp: head and its time; first, fstamp: oldest entry of the
     * log and its time; bytes: of the log; wd, we: entries up to here are withdrawn, and erased; subs: count in state subscribed; rw: newest window of `recent`;
     * config (JSON), creator, created; am, max, nr, persist, off: access model, max_items, notify_retract, persist_items,
     * caching off, for the scripts. A tombstone has no ct, but dead (ms) and perhaps redirect, and expires with the
     * retention's age. Written by create-topic, append, sweep-topic, erase-withdrawn.
     */
    topic: (node: string) => `${topic(node)}topic`,
    /**
     * redisStream, id SEQ-0. u, q: uid and that of the predecessor; k kind, s stamp, a access token, p publisher, n 1 = consumers
     * are told; i item id, r redirect, b payload, l language, z payload bytes, v number of the item's entry before, t 1 = payload
     * never stored, e 1 = a retraction that max_items made. Withdrawn entries are deleted. Expires with a tombstone. Written by append, sweep-topic, erase-withdrawn.
     */
    log: (node: string) => `${topic(node)}log`,
    /** hash: item id → netstrings (seq, uid, stamp, publisher, language, 1 with payload) and the payload. Written by append. */
    items: (node: string) => `${topic(node)}items`,
    /** zset: item id by the number of the entry that published it. Written by append. */
    order: (node: string) => `${topic(node)}order`,
    /**
     * hash: digest of a request → netstrings (stamp, then seq, uid and item id of each entry), for the requests of one window
     * of 2 minutes. Expires 6 minutes after its last write. Written by publish.
     */
    recent: (node: string, stampMs: number, shift: number) => `${topic(node)}recent:${Math.floor(stampMs / RECENT_MS) + shift}`,
    /** hash: bare JID → affiliation. Written by create-topic, change-access, delete-topic. */
    affiliations: (node: string) => `${topic(node)}affiliations`,
    /** hash: bare JID → JSON [[resource part with slash or '', 's' | 'p', start seq, start uid, since ms] …]. Written by append. */
    subscriptions: (node: string) => `${topic(node)}subscriptions`,
    /** hash: JID → "SEQ UID @INSTANCE …". Written by update-positions, append. */
    positions: (node: string) => `${topic(node)}positions`,
    /** hash: instance → "SEQ UID", its watermark (delivery.md §5.3). Written by update-positions, sweep-topic. */
    marks: (node: string) => `${topic(node)}marks`,
    /** Sharded channel: what was appended (includes/topic.lua, `ring`). Rung by append. */
    bell: (node: string) => `${topic(node)}bell`,
    /** zset, all scores 0: node names. Create adds first, delete removes last. Written by name-topic. */
    topics: `${prefix}topics`,
    /** string: token that changes with `topics`; its tag is the other's whole name, so both are in one slot. Written by name-topic. */
    topicsVersion: `{${prefix}topics}:version`,
    /** hash: node → token, a superset of the account's topics (delivery.md §2.7). Written by the store, forget-topic. */
    accountTopics: (account: string) => `${prefix}{u:${hashTag(account)}}:topics`,
  } as const;
}

export type RedisKeys = ReturnType<typeof redisKeys>;
