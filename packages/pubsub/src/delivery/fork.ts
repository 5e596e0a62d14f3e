/** After a failover that dropped entries: back to where the log that was heard and the log that there is agree (delivery.md §1.3). */
import { BEFORE_FIRST, type EntryId } from '../log/entry.ts';
import type { LogReader } from '../store/log-reader.ts';
import type { PositionStore } from '../store/position-store.ts';
import type { TopicStore } from '../store/topic-store.ts';
import type { Subscriber } from './cursor.ts';
import type { Feed } from './feed.ts';

const PAGE_ENTRIES = 256;
const PAGE_BYTES = 262_144;
/** Positions read at a time. */
const POSITIONS_STEP = 100;

type Topics = TopicStore & LogReader & PositionStore;

/**
 * Sets the feed, which is held for `forked`, and its cursors back to the newest place that the log still has, and takes
 * from there what the log has after it, up to whatever rang meanwhile.
 */
export async function healFork(feed: Feed, topics: Topics): Promise<void> {
  const { node } = feed;
  // A deleted topic: what it was says how its last entries are told of.
  const record = (await topics.record(node)) ?? feed.record;
  const common = await commonPlace(feed, topics);
  if (common) {
    feed.goBack(common, record, () => common);
    await takeRest(feed, topics);
    return;
  }
  const head = (await topics.head(node)) ?? BEFORE_FIRST;
  const stored = await storedPlaces(feed, topics);
  // Who started meanwhile has been placed by the store already.
  feed.goBack(head, record, (subscriber) => (feed.startsAtHead ? head : (stored.get(subscriber) ?? head)));
  await takeRest(feed, topics);
}

async function takeRest(feed: Feed, reader: LogReader): Promise<void> {
  for (;;) {
    const page = await reader.readLog(feed.node, feed.head, PAGE_ENTRIES, PAGE_BYTES);
    if (page === 'gone' || page.entries.length === 0) return;
    feed.takeAgain(page.entries);
    if (feed.head.seq >= Math.max(page.head.seq, feed.rungSeq)) return;
  }
}

/**
 * The newest entry that was heard and that the log still has: of the feed's ring, else of the few places that it knows
 * besides. Undefined: none of them.
 */
async function commonPlace(feed: Feed, reader: LogReader): Promise<EntryId | undefined> {
  const heard = feed.ring.places();
  const [oldest] = heard;
  if (oldest) {
    const uids = await uidsOfLog(feed.node, Math.max(1, oldest.seq), heard.at(-1)!.seq, reader);
    const newest = heard.findLast(({ seq, uid }) => uid !== '' && uids.get(seq) === uid);
    if (newest) return newest;
    if (oldest.seq === 0) return BEFORE_FIRST;
  }
  const marks = [feed.head, feed.headOneAgo, feed.headTwoAgo, ...(feed.watermark ? [feed.watermark] : [])];
  for (const mark of marks.sort((a, b) => b.seq - a.seq)) {
    if (mark.seq === 0) return BEFORE_FIRST;
    if (mark.uid !== '' && (await reader.entry(feed.node, mark))) return mark;
  }
  return undefined;
}

/** Uids by number, as far as the log tells them. */
async function uidsOfLog(node: string, from: number, to: number, reader: LogReader): Promise<ReadonlyMap<number, string>> {
  const uids = new Map<number, string>();
  for (let after = from - 1; after < to; ) {
    const page = await reader.readLog(node, { seq: after, uid: '' }, PAGE_ENTRIES, PAGE_BYTES);
    if (page === 'gone') return uids;
    for (const { seq, uid } of page.entries) uids.set(seq, uid);
    const last = page.entries.at(-1);
    if (!last || last.seq >= page.head.seq) return uids;
    after = last.seq;
  }
  return uids;
}

/** Where each subscriber stands by the store, whose positions are never ahead of its log. */
async function storedPlaces(feed: Feed, topics: PositionStore): Promise<ReadonlyMap<Subscriber, EntryId>> {
  const subscribers = [...feed.subscribers.values()];
  const places = new Map<Subscriber, EntryId>();
  for (let from = 0; from < subscribers.length; from += POSITIONS_STEP) {
    const some = subscribers.slice(from, from + POSITIONS_STEP);
    const found = await Promise.all(some.map(({ jid }) => topics.position(feed.node, jid)));
    for (const [i, subscriber] of some.entries()) {
      const place = found[i];
      if (place) places.set(subscriber, place);
    }
  }
  return places;
}
