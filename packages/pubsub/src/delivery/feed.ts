import type { Redeliverable } from '@xmpp-grid/stream';
import type { EntryId, LogEntry } from '../log/entry.ts';
import type { TopicRecord } from '../store/topic-store.ts';
import type { Cursor, SlotPage, Subscriber } from './cursor.ts';
import type { EventEncoder } from './event.ts';
import type { PageCache } from './page-cache.ts';
import { Ring, type RingBudget, Slot } from './ring.ts';
import { type Slice, type Slices, sliceClock } from './slices.ts';

/** A look at the clock costs as much as a hand-over: it is taken once for this many cursors. */
const CLOCK_EVERY = 32;
/** How long a failed read of the log rests. */
const RETRY_MS = 1_000;

/** What a feed needs from `Delivery`. */
export interface FeedContext {
  readonly owner: Redeliverable;
  readonly encoder: EventEncoder;
  readonly slices: Slices;
  readonly pages: PageCache;
  readonly rings: RingBudget;
  /** The consumer will not get these entries; it was told. */
  gap(cursor: Cursor, from: number, to: number): void;
  /** The topic was deleted, and the cursor has come to that entry. */
  ended(cursor: Cursor): void;
  /** The access token changed: holds the feed for `judging` until every session was judged again. */
  judge(feed: Feed): void;
  /** What was heard is not what the log has: holds the feed for `forked` until it has gone back (delivery.md §1.3). */
  forked(feed: Feed): void;
  /** False: nothing may be handed out (delivery.md §7.2); `goOn` is called when it may be again. */
  mayServe(): boolean;
  /** Something about the positions at this topic changed. */
  moved(feed: Feed): void;
  failed(error: unknown, feed: Feed): void;
}

type Advanced = 'live' | 'waiting' | 'behind';

/** Why a feed hands nothing out for now. */
export type Hold = 'judging' | 'forked';

let generations = 0;
/** Never twice, for pages outlive the feed that read them. */
const nextGeneration = (): number => {
  generations += 1;
  return generations;
};

/**
 * One topic that this instance follows: hears its bells, keeps its last entries, and moves the cursors of its sessions
 * (delivery.md §3, §4). Live cursors get an entry from the fan-out; the others read the log at the pace of their socket
 * and join from the ring, in one synchronous step, so that nothing falls between.
 */
export class Feed {
  readonly node: string;
  readonly subscribers = new Map<string, Subscriber>();
  readonly cursors = new Set<Cursor>();
  readonly ring = new Ring();
  record: TopicRecord;
  /** The newest entry heard. */
  head: EntryId;
  /** Heads at the last two rounds of the positions: who stands below the elder is a laggard (delivery.md §5.3). */
  headOneAgo: EntryId;
  headTwoAgo: EntryId;
  /** What the store has as this instance's watermark here, as far as this instance wrote it. */
  watermark: EntryId | undefined;
  /** Subscribers that are about to leave: the next step gives them their own numbers. */
  readonly parting = new Set<string>();
  /** Changes when what is known of the store's positions here does not hold any more: a step under way proves nothing. */
  epoch = 0;
  /** Access token of the newest entry; differs from what sessions were judged by while held for `judging`. */
  accessToken: string;
  /** Hands nothing out. Entries are heard meanwhile, but for a feed that is `forked`: it reads them from the log. */
  isHeld = false;
  /** The newest entry that rang while the feed was `forked`. */
  rungSeq = 0;
  /** The newest deletion heard, 0 when none: who stands before it is told of it, though a topic of that name is there again. */
  deletedSeq = 0;
  /** Changes whenever something of the log was withdrawn or the topic was configured: pages read before are of no use. */
  generation = nextGeneration();
  readonly #holds = new Set<Hold>();
  readonly #context: FeedContext;
  readonly #live: Cursor[] = [];
  #fanOutAt = 0;
  #fanOutHead = 0;
  #isFanningOut = false;
  readonly #fanOut: Slice = { run: (mayGoOn) => this.#runFanOut(mayGoOn) };

  constructor(record: TopicRecord, head: EntryId, context: FeedContext) {
    this.node = record.node;
    this.record = record;
    this.head = head;
    this.headOneAgo = head;
    this.headTwoAgo = head;
    this.accessToken = record.accessToken;
    this.#context = context;
  }

  /** Nothing is kept for consumers that are away or start anew (delivery.md §9.2). */
  get startsAtHead(): boolean {
    return this.record.config.notificationType === 'headline';
  }

  get liveCount(): number {
    return this.#live.length;
  }

  /** Takes entries that became durable. */
  take(entries: readonly LogEntry[], record: TopicRecord): void {
    if (this.isHeldFor('forked')) {
      this.rungSeq = Math.max(this.rungSeq, entries.at(-1)?.seq ?? 0);
      return;
    }
    if (record.head.seq > this.head.seq) this.record = record;
    for (const entry of entries) {
      if (this.#isOfAnotherLog(entry)) {
        this.#context.forked(this);
        this.rungSeq = Math.max(this.rungSeq, entries.at(-1)?.seq ?? 0);
        return;
      }
      this.#take(entry);
    }
    this.#context.moved(this);
    if (!this.isHeld) this.#startFanOut();
  }

  /** delivery.md §1.3: a known number with another uid, or a neighbour whose predecessor is not ours. */
  #isOfAnotherLog(entry: LogEntry): boolean {
    const { seq, uid } = this.head;
    if (entry.seq === seq + 1) return isAnotherUid(entry.prevUid, uid);
    if (entry.seq > seq) return false;
    return isAnotherUid(entry.uid, entry.seq === seq ? uid : (this.ring.get(entry.seq)?.entry.uid ?? ''));
  }

  #take(entry: LogEntry): void {
    if (entry.seq <= this.head.seq) return; // heard already
    // A missed bell: what lies between is read from the log (delivery.md §3.2).
    if (entry.seq !== this.head.seq + 1) this.ring.clear();
    if (entry.kind === 'retracted' || entry.kind === 'purged' || entry.kind === 'deleted') {
      this.ring.withdraw(entry);
      this.generation = nextGeneration();
    } else if (entry.kind === 'configured') {
      this.generation = nextGeneration();
    }
    if (entry.kind === 'deleted') this.deletedSeq = entry.seq;
    this.ring.push(new Slot(entry, this.record, this.#context.encoder));
    this.#context.rings.pushed(this.ring);
    this.head = { seq: entry.seq, uid: entry.uid };
    if (entry.accessToken === this.accessToken) return;
    this.accessToken = entry.accessToken;
    this.#context.judge(this);
  }

  // Holding, going back

  isHeldFor(why: Hold): boolean {
    return this.#holds.has(why);
  }

  hold(why: Hold): void {
    this.#holds.add(why);
    this.isHeld = true;
    if (why === 'forked') this.rungSeq = 0;
  }

  release(why: Hold): void {
    this.#holds.delete(why);
    this.isHeld = this.#holds.size > 0;
    this.goOn();
  }

  /** Goes on where it stopped, if it may. */
  goOn(): void {
    if (this.isHeld) return;
    this.#startFanOut();
    for (const cursor of this.cursors) if (!cursor.isLive) this.#wake(cursor);
  }

  /**
   * The log has other entries than were heard after `head`: goes back to it, and with it everybody who stands beyond the
   * place that `placeOf` knows for them. What came after is taken anew (delivery.md §1.3).
   */
  goBack(head: EntryId, record: TopicRecord, placeOf: (subscriber: Subscriber) => EntryId): void {
    this.record = record;
    this.head = head;
    this.headOneAgo = earlier(this.headOneAgo, head);
    this.headTwoAgo = earlier(this.headTwoAgo, head);
    if (this.deletedSeq > head.seq) this.deletedSeq = 0;
    // All of it: an entry may have been withdrawn by one that never was.
    this.ring.clear();
    this.#context.rings.pushed(this.ring);
    this.generation = nextGeneration();
    this.forgetStored();
    for (const subscriber of this.subscribers.values()) {
      const place = placeOf(subscriber);
      subscriber.acknowledged = earlier(subscriber.acknowledged, place);
      for (const cursor of subscriber.cursors) {
        cursor.page = undefined;
        if (cursor.at.seq <= place.seq) continue;
        this.#removeLive(cursor);
        cursor.receiver.waiting.add(cursor);
        cursor.goBack(place);
      }
    }
  }

  /** Takes entries of the log while the feed is `forked`. */
  takeAgain(entries: readonly LogEntry[]): void {
    for (const entry of entries) this.#take(entry);
  }

  /** What this instance wrote of positions may be gone, or counts for nothing any more: all of it is written again. */
  forgetStored(): void {
    this.epoch += 1;
    this.watermark = undefined;
    for (const subscriber of this.subscribers.values()) {
      subscriber.isDelegated = false;
      subscriber.storedSeq = 0;
    }
    this.#context.moved(this);
  }

  // Fan-out

  #startFanOut(): void {
    if (this.#isFanningOut) return;
    this.#isFanningOut = true;
    this.#fanOutAt = 0;
    this.#fanOutHead = this.head.seq;
    // The first slice at once: most topics are served within it.
    if (!this.#runFanOut(sliceClock())) this.#context.slices.add(this.#fanOut);
  }

  #runFanOut(mayGoOn: () => boolean): boolean {
    const live = this.#live;
    let untilClock = CLOCK_EVERY;
    while (!this.isHeld && (untilClock < CLOCK_EVERY || this.#context.mayServe())) {
      if (this.#fanOutAt >= live.length) {
        // Entries heard during this round did not reach the cursors that had had their turn.
        if (this.#fanOutHead === this.head.seq) break;
        this.#fanOutAt = 0;
        this.#fanOutHead = this.head.seq;
        continue;
      }
      const cursor = live[this.#fanOutAt]!;
      const advanced = this.#advance(cursor);
      if (advanced === 'live') this.#fanOutAt += 1;
      else this.#leaveLive(cursor, advanced);
      untilClock -= 1;
      if (untilClock === 0) {
        if (!mayGoOn()) return false;
        untilClock = CLOCK_EVERY;
      }
    }
    this.#isFanningOut = false;
    return true;
  }

  #joinLive(cursor: Cursor): void {
    cursor.isLive = true;
    if (cursor.liveIndex !== -1) return;
    cursor.liveIndex = this.#live.length;
    this.#live.push(cursor);
    cursor.receiver.waiting.delete(cursor);
  }

  #leaveLive(cursor: Cursor, why: 'waiting' | 'behind'): void {
    this.#removeLive(cursor);
    if (cursor.isClosed) return;
    cursor.receiver.waiting.add(cursor);
    if (why === 'behind') this.#queue(cursor);
  }

  #removeLive(cursor: Cursor): void {
    cursor.isLive = false;
    const index = cursor.liveIndex;
    if (index === -1) return;
    cursor.liveIndex = -1;
    const last = this.#live.pop()!;
    if (last === cursor) return;
    this.#live[index] = last;
    last.liveIndex = index;
    // The fan-out has passed this place, perhaps not the one that moved there.
    if (index < this.#fanOutAt) this.#fanOutAt = index;
  }

  // Cursors

  add(cursor: Cursor): void {
    this.cursors.add(cursor);
    cursor.subscriber.cursors.add(cursor);
    cursor.receiver.waiting.add(cursor);
    this.#wake(cursor);
  }

  close(cursor: Cursor): void {
    if (cursor.isClosed) return;
    cursor.isClosed = true;
    cursor.page = undefined;
    this.#removeLive(cursor);
    this.cursors.delete(cursor);
    cursor.subscriber.cursors.delete(cursor);
    cursor.receiver.waiting.delete(cursor);
    this.#context.moved(this);
  }

  /** The session may be able to take more, or wants to again. */
  wake(cursor: Cursor): void {
    if (!cursor.isLive) this.#wake(cursor);
  }

  /** The session wants nothing for this subscription for now. */
  suspend(cursor: Cursor): void {
    this.#removeLive(cursor);
    cursor.receiver.waiting.add(cursor);
  }

  #wake(cursor: Cursor): void {
    if (this.isHeld || cursor.isQueued || cursor.isClosed || !this.#context.mayServe()) return;
    const advanced = this.#advance(cursor);
    if (advanced === 'live') this.#joinLive(cursor);
    else if (advanced === 'behind') this.#queue(cursor);
  }

  /** Hands over what the ring has after the cursor's place, as far as the session takes it. */
  #advance(cursor: Cursor): Advanced {
    while (cursor.at.seq < this.head.seq) {
      const slot = this.ring.get(cursor.at.seq + 1);
      if (slot === undefined || slot.entry.prevUid !== cursor.at.uid) return 'behind';
      if (!this.#hand(cursor, slot)) return 'waiting';
    }
    return cursor.isSuspended ? 'waiting' : 'live';
  }

  /** False: the session cannot take it now, or never will. */
  #hand(cursor: Cursor, slot: Slot): boolean {
    if (cursor.isClosed || cursor.isSuspended) return false;
    if (!slot.isSkipped) {
      const { port } = cursor.receiver;
      if (!port.isWritable) return false;
      const body = slot.isLost || cursor.setsAside ? undefined : cursor.isLive ? slot.live : slot.delayed;
      if (body === undefined || cursor.prefix.length + body.length > port.peerMaxStanzaBytes) {
        // Set aside (delivery.md §4.5, §9.2): the consumer is told, and nothing waits behind it.
        cursor.setsAside = false;
        this.#context.gap(cursor, slot.entry.seq, slot.entry.seq);
      } else {
        // Before the hand-over: a session may answer from within it.
        cursor.sentSeq = slot.entry.seq;
        const ref = cursor.key === this.node ? slot.ref : { ...slot.ref, topic: cursor.key };
        port.sendEntry(cursor.prefix, body, this.#context.owner, ref);
      }
    }
    cursor.at = slot.ref;
    if (slot.entry.kind === 'deleted') {
      this.#context.ended(cursor);
      return false;
    }
    return true;
  }

  // Catching up

  #queue(cursor: Cursor): void {
    if (cursor.isQueued) return;
    cursor.isQueued = true;
    this.#context.slices.add({ run: () => this.#catchUp(cursor) });
  }

  /** Hands over one page, then sees whether the ring has the rest. Always done: what is left is queued anew. */
  #catchUp(cursor: Cursor): boolean {
    const { page } = cursor;
    cursor.page = undefined;
    if (cursor.isClosed || this.isHeld || !this.#context.mayServe()) {
      cursor.isQueued = false;
      return true;
    }
    const before = cursor.at.seq;
    if (page) this.#handPage(cursor, page);
    if (this.isHeld) {
      cursor.isQueued = false;
      return true;
    }
    const advanced = this.#advance(cursor);
    if (advanced !== 'behind') {
      cursor.isQueued = false;
      if (advanced === 'live') this.#joinLive(cursor);
      return true;
    }
    if (!cursor.receiver.port.isWritable || cursor.isSuspended) {
      cursor.isQueued = false;
      return true;
    }
    if (page && cursor.at.seq === before) {
      this.#stuck(cursor);
      return true;
    }
    this.#read(cursor);
    return true;
  }

  /** A log that ends before what its bell announced is another one; should that not help, it is asked later, never in a loop. */
  #stuck(cursor: Cursor): void {
    const goBack = () => {
      cursor.isQueued = false;
      this.#context.forked(this);
    };
    if (cursor.stuckSeq === cursor.at.seq) {
      this.#context.failed(new Error(`the log of ${this.node} has nothing after ${cursor.at.seq}`), this);
      setTimeout(goBack, RETRY_MS).unref();
      return;
    }
    cursor.stuckSeq = cursor.at.seq;
    goBack();
  }

  #handPage(cursor: Cursor, page: SlotPage): void {
    const [first] = page.slots;
    const isAnother = first?.entry.seq === cursor.at.seq + 1 && isAnotherUid(first.entry.prevUid, cursor.at.uid);
    if (isAnother || page.head.seq < cursor.at.seq) {
      // A place that the log does not have; whoever is not set back from it goes on by number alone.
      cursor.at = { seq: cursor.at.seq, uid: '' };
      this.#context.forked(this);
      return;
    }
    const next = cursor.at.seq + 1;
    if (page.firstSeq > next && page.firstSeq - 1 <= this.head.seq) {
      // Retention has passed the position (delivery.md §9.1).
      if (!cursor.receiver.port.isWritable || cursor.isSuspended) return;
      this.#context.gap(cursor, next, page.firstSeq - 1);
      const uid = page.slots[0]?.entry.prevUid ?? page.head.uid;
      cursor.at = { seq: page.firstSeq - 1, uid };
    }
    for (const slot of page.slots) {
      // Not before the bell: an access entry that it announces comes first.
      if (slot.entry.seq > this.head.seq) return;
      if (slot.entry.seq === cursor.at.seq + 1 && !this.#hand(cursor, slot)) return;
    }
  }

  #read(cursor: Cursor): void {
    const { generation } = this;
    const goOn = () => this.#context.slices.add({ run: () => this.#catchUp(cursor) });
    this.#context.pages.read(this.record, generation, cursor.at).then(
      (page) => {
        if (page === 'gone') {
          // The tombstone is gone too: nothing can be delivered any more.
          cursor.isQueued = false;
          this.#context.ended(cursor);
          return;
        }
        if (generation === this.generation) cursor.page = page;
        goOn();
      },
      (error: unknown) => {
        this.#context.failed(error, this);
        setTimeout(goOn, RETRY_MS).unref();
      },
    );
  }
}

/** `b` where both have one number: it is known to be the log's. */
const earlier = (a: EntryId, b: EntryId): EntryId => (b.seq <= a.seq ? b : a);

/** Whether two uids of one number name different entries; one is '' where it is not known. */
export const isAnotherUid = (a: string, b: string): boolean => a !== '' && b !== '' && a !== b;
