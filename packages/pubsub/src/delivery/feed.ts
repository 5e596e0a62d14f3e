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
  /** The access token changed: calls `judged` once every session was judged again. */
  judge(feed: Feed): void;
  /** Something about the positions at this topic changed. */
  moved(feed: Feed): void;
  failed(error: unknown, feed: Feed): void;
}

type Advanced = 'live' | 'waiting' | 'behind';

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
  /** Access token of the newest entry; differs from what sessions were judged by while `isJudging`. */
  accessToken: string;
  isJudging = false;
  /** The newest deletion heard, 0 when none: who stands before it is told of it, though a topic of that name is there again. */
  deletedSeq = 0;
  /** Changes whenever something of the log was withdrawn or the topic was configured: pages read before are of no use. */
  generation = 0;
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
    if (record.head.seq > this.head.seq) this.record = record;
    for (const entry of entries) this.#take(entry);
    this.#context.moved(this);
    if (!this.isJudging) this.#startFanOut();
  }

  #take(entry: LogEntry): void {
    if (entry.seq <= this.head.seq) return; // heard already
    // A missed bell: what lies between is read from the log (delivery.md §3.2).
    if (entry.seq !== this.head.seq + 1) this.ring.clear();
    if (entry.kind === 'retracted' || entry.kind === 'purged' || entry.kind === 'deleted') {
      this.ring.withdraw(entry);
      this.generation += 1;
    } else if (entry.kind === 'configured') {
      this.generation += 1;
    }
    if (entry.kind === 'deleted') this.deletedSeq = entry.seq;
    this.ring.push(new Slot(entry, this.record, this.#context.encoder));
    this.#context.rings.pushed(this.ring);
    this.head = { seq: entry.seq, uid: entry.uid };
    if (entry.accessToken === this.accessToken) return;
    this.accessToken = entry.accessToken;
    this.#context.judge(this);
  }

  /** Everybody was judged by the current access token: goes on where it stopped. */
  judged(): void {
    this.isJudging = false;
    this.#startFanOut();
    for (const cursor of this.cursors) if (!cursor.isLive) this.#wake(cursor);
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
    while (!this.isJudging) {
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
    if (this.isJudging || cursor.isQueued || cursor.isClosed) return;
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
    if (cursor.isClosed || this.isJudging) {
      cursor.isQueued = false;
      return true;
    }
    const before = cursor.at.seq;
    if (page) this.#handPage(cursor, page);
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
      // A log that ends before what its bell announced: asked again later, never in a loop.
      this.#context.failed(new Error(`the log of ${this.node} has nothing after ${before}`), this);
      setTimeout(() => this.#read(cursor), RETRY_MS).unref();
      return true;
    }
    this.#read(cursor);
    return true;
  }

  #handPage(cursor: Cursor, page: SlotPage): void {
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
