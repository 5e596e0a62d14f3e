import { setTimeout as sleep } from 'node:timers/promises';
import { StoreUnavailable } from '@xmpp-grid/stream';
import type { Redis } from 'ioredis';
import type { EntryId, LogEntry } from '../../log/entry.ts';
import type { Appended, LogPage } from '../log-reader.ts';
import type { TopicRecord } from '../topic-store.ts';
import { within } from './connections.ts';
import type { RedisKeys } from './keys.ts';
import { type Bell, bellOf } from './records.ts';

/** Head checks of this instance in a second (delivery.md §3.3). */
const CHECKS_PER_S = 2_000;
const CHECK_EVERY_MS = 1_000;
/** Channels subscribed again in one command after a broken connection. */
const SUBSCRIBE_STEP = 500;
/** How long an own entry waits for the bells of those before it, which come on another connection. */
const BELLS_MS = 50;
const RETRY_MS = 1_000;
const SUBSCRIBE_PAUSE_MS = 20;
/** Entries that came before their turn; beyond it they are read from the log when it comes. */
const MAX_AHEAD = 1_000;
const MAX_AHEAD_BYTES = 4 << 20;
const PAGE_ENTRIES = 512;
const PAGE_BYTES = 1 << 20;

export interface FollowingDeps {
  readonly subscriber: Redis;
  readonly keys: RedisKeys;
  /** Least time between two head checks of a topic. */
  readonly headCheckMs: number;
  /** How long a subscription may take to be confirmed. */
  readonly timeoutMs: number;
  record(node: string): Promise<TopicRecord | undefined>;
  heads(nodes: readonly string[]): Promise<readonly (EntryId | undefined)[]>;
  readLog(node: string, after: EntryId, maxEntries: number, maxBytes: number): Promise<LogPage | 'gone'>;
  emit(appended: Appended): void;
  /** The log is not the one that was heard: a failover dropped entries after `head` (delivery.md §1.3). */
  forked(node: string, head: EntryId): void;
  failed(error: unknown): void;
}

interface Tail {
  readonly node: string;
  opened: Promise<TopicRecord | undefined>;
  /** Undefined until the head was read; then the newest that is known of the topic. */
  record: TopicRecord | undefined;
  /** The last entry that was handed on. */
  head: EntryId;
  readonly ahead: Map<number, LogEntry>;
  aheadBytes: number;
  isReading: boolean;
  mustReadAgain: boolean;
  timer: NodeJS.Timeout | undefined;
  checkedMs: number;
  /** Where the tail stood when the log was read last for what `ahead` holds. */
  readFor: number;
}

/**
 * Hears the bells of the topics that this instance follows and hands their entries on, each once and in the order of the log.
 * A bell is never believed on its own: an entry is taken only next to its predecessor, everything else is read from the log
 * (delivery.md §3). Owns the subscriptions of its connection; when that breaks, all are made anew and every head is compared.
 */
export class Following {
  readonly #deps: FollowingDeps;
  readonly #tails = new Map<string, Tail>();
  readonly #byChannel = new Map<string, Tail>();
  readonly #timer: NodeJS.Timeout;
  #checkFrom = 0;
  #isResubscribing = false;
  #mustResubscribe = false;
  #isClosed = false;

  constructor(deps: FollowingDeps) {
    this.#deps = deps;
    deps.subscriber.on('smessageBuffer', (channel: Buffer, message: Buffer) => this.#ring(channel.toString(), message));
    deps.subscriber.on('ready', () => void this.#resubscribe());
    // A channel taken from us because its slot moved.
    deps.subscriber.on('moved', () => void this.#resubscribe());
    this.#timer = setInterval(() => void this.#checkHeads(), Math.min(CHECK_EVERY_MS, deps.headCheckMs));
    this.#timer.unref();
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    for (const tail of this.#tails.values()) clearTimeout(tail.timer);
    this.#tails.clear();
    this.#byChannel.clear();
  }

  get size(): number {
    return this.#tails.size;
  }

  follow(node: string): Promise<TopicRecord | undefined> {
    const known = this.#tails.get(node);
    if (known) return known.record ? Promise.resolve(known.record) : known.opened;
    const tail: Tail = {
      node,
      opened: Promise.resolve(undefined),
      record: undefined,
      head: { seq: 0, uid: '' },
      ahead: new Map(),
      aheadBytes: 0,
      isReading: false,
      mustReadAgain: false,
      timer: undefined,
      checkedMs: Date.now(),
      readFor: -1,
    };
    this.#tails.set(node, tail);
    this.#byChannel.set(this.#deps.keys.bell(node), tail);
    tail.opened = this.#open(tail);
    return tail.opened;
  }

  /** Subscription confirmed, then head read; what rings between waits in `ahead` (delivery.md §3.1). */
  async #open(tail: Tail): Promise<TopicRecord | undefined> {
    try {
      await this.#subscribe([this.#deps.keys.bell(tail.node)]);
      const record = await this.#deps.record(tail.node);
      if (!record) {
        await this.unfollow(tail.node, tail);
        return undefined;
      }
      tail.record = record;
      tail.head = record.head;
      this.#drain(tail);
      if (tail.ahead.size > 0) void this.#catchUp(tail);
      return record;
    } catch (error) {
      this.#drop(tail);
      throw error;
    }
  }

  async unfollow(node: string, only?: Tail): Promise<void> {
    const tail = this.#tails.get(node);
    if (!tail || (only && tail !== only)) return;
    this.#drop(tail);
    // A connection that is broken hears nothing, and subscribes to what is followed when it is back.
    if (this.#deps.subscriber.status !== 'ready') return;
    await this.#deps.subscriber.sunsubscribe(this.#deps.keys.bell(node)).catch((error: unknown) => this.#deps.failed(error));
  }

  #drop(tail: Tail): void {
    clearTimeout(tail.timer);
    if (this.#tails.get(tail.node) !== tail) return;
    this.#tails.delete(tail.node);
    this.#byChannel.delete(this.#deps.keys.bell(tail.node));
  }

  /** What this instance appended itself. False: the topic is not followed, so nobody else hands it on. */
  own(node: string, entries: readonly LogEntry[], record: TopicRecord): boolean {
    const tail = this.#tails.get(node);
    if (!tail) return false;
    for (const entry of entries) this.#keep(tail, entry);
    if (!tail.record) return true;
    if (record.head.seq > tail.record.head.seq) tail.record = record;
    this.#drain(tail);
    if (tail.ahead.size > 0) tail.timer ??= setTimeout(() => void this.#catchUp(tail), BELLS_MS).unref();
    return true;
  }

  #ring(channel: string, message: Buffer): void {
    const tail = this.#byChannel.get(channel);
    if (!tail) return;
    let bell: Bell;
    try {
      bell = bellOf(message);
    } catch (error) {
      // What is no bell of ours still may mean that something happened.
      this.#deps.failed(error);
      void this.#catchUp(tail);
      return;
    }
    for (const entry of bell.entries) this.#keep(tail, entry);
    const { record } = tail;
    if (!record) return;
    const isKnown = bell.configToken === record.configToken || bell.head.seq <= record.head.seq;
    if (isKnown) this.#drain(tail);
    if (tail.head.seq < bell.head.seq) void this.#catchUp(tail);
    else if (tail.head.seq === bell.head.seq && tail.head.uid !== bell.head.uid) void this.#catchUp(tail);
  }

  #keep(tail: Tail, entry: LogEntry): void {
    if (tail.record && entry.seq <= tail.head.seq) return;
    const known = tail.ahead.get(entry.seq);
    if (known?.uid === entry.uid) return;
    const bytes = entry.payload?.bytes.length ?? 0;
    if (tail.ahead.size >= MAX_AHEAD || tail.aheadBytes + bytes > MAX_AHEAD_BYTES) return;
    tail.ahead.set(entry.seq, entry);
    tail.aheadBytes += bytes - (known?.payload?.bytes.length ?? 0);
  }

  #take(tail: Tail, seq: number): LogEntry | undefined {
    const entry = tail.ahead.get(seq);
    if (!entry) return undefined;
    tail.ahead.delete(seq);
    tail.aheadBytes -= entry.payload?.bytes.length ?? 0;
    return entry;
  }

  /** Hands on what stands next to its predecessor. */
  #drain(tail: Tail): void {
    if (tail.isReading || !tail.record) return;
    const entries: LogEntry[] = [];
    for (let last = tail.head; ; ) {
      const next = tail.ahead.get(last.seq + 1);
      if (!next || next.prevUid !== last.uid) break;
      this.#take(tail, next.seq);
      entries.push(next);
      last = next;
    }
    this.#emit(tail, entries);
    for (const seq of tail.ahead.keys()) if (seq <= tail.head.seq) this.#take(tail, seq);
    if (tail.ahead.size > 0) return;
    clearTimeout(tail.timer);
    tail.timer = undefined;
  }

  #emit(tail: Tail, entries: readonly LogEntry[]): void {
    const last = entries.at(-1);
    if (!last || !tail.record) return;
    tail.head = { seq: last.seq, uid: last.uid };
    const record = { ...tail.record, accessToken: last.accessToken, head: tail.head };
    if (record.head.seq > tail.record.head.seq) tail.record = record;
    this.#deps.emit({ node: tail.node, entries, record });
  }

  /** Reads the log from where the tail stands to its head. */
  async #catchUp(tail: Tail): Promise<void> {
    tail.mustReadAgain = true;
    clearTimeout(tail.timer);
    tail.timer = undefined;
    if (tail.isReading) return;
    tail.isReading = true;
    let isLate = false;
    try {
      while (tail.mustReadAgain && this.#tails.get(tail.node) === tail) {
        tail.mustReadAgain = false;
        await this.#readPages(tail);
      }
    } catch (error) {
      this.#deps.failed(error);
      isLate = true;
    } finally {
      tail.isReading = false;
    }
    if (this.#tails.get(tail.node) !== tail) return;
    this.#drain(tail);
    if (!isLate && tail.ahead.size > 0 && tail.readFor === tail.head.seq) {
      // Read twice in vain: the log does not lead there.
      tail.ahead.clear();
      tail.aheadBytes = 0;
    }
    tail.readFor = tail.head.seq;
    if (isLate || tail.ahead.size > 0) {
      tail.timer ??= setTimeout(() => void this.#catchUp(tail), isLate ? RETRY_MS : BELLS_MS).unref();
    }
  }

  async #readPages(tail: Tail): Promise<void> {
    const { node } = tail;
    const record = await this.#deps.record(node);
    // A deleted topic: what it was says how its last entries are told of.
    if (record) tail.record = record;
    for (;;) {
      const page = await this.#deps.readLog(node, tail.head, PAGE_ENTRIES, PAGE_BYTES);
      if (page === 'gone' || this.#tails.get(node) !== tail) return;
      const [first] = page.entries;
      if (isFork(tail.head, page.head, first)) {
        tail.head = page.head;
        tail.ahead.clear();
        tail.aheadBytes = 0;
        this.#deps.forked(node, page.head);
        return;
      }
      // A transient payload is nowhere but in the bell (delivery.md §9.2).
      const entries = page.entries.map((entry) => {
        const rung = this.#take(tail, entry.seq);
        return entry.isTransient && rung?.uid === entry.uid ? rung : entry;
      });
      this.#emit(tail, entries);
      if (entries.length === 0 || tail.head.seq >= page.head.seq) return;
    }
  }

  /** Tried again while the connection comes back: its break is no reason to refuse a session. */
  async #subscribe(channels: readonly string[]): Promise<void> {
    const { subscriber, timeoutMs } = this.#deps;
    const endMs = performance.now() + timeoutMs;
    for (;;) {
      try {
        await within(subscriber.ssubscribe(...channels), timeoutMs, () => subscriber.disconnect(true));
        return;
      } catch (cause) {
        const isRefused = cause instanceof Error && cause.name === 'ReplyError';
        if (isRefused || this.#isClosed || performance.now() >= endMs) throw new StoreUnavailable('not-done', cause);
      }
      await sleep(SUBSCRIBE_PAUSE_MS);
    }
  }

  async #resubscribe(): Promise<void> {
    this.#mustResubscribe = true;
    if (this.#isResubscribing) return;
    this.#isResubscribing = true;
    try {
      while (this.#mustResubscribe && !this.#isClosed) {
        this.#mustResubscribe = false;
        const tails = [...this.#tails.values()];
        for (let from = 0; from < tails.length; from += SUBSCRIBE_STEP) {
          const some = tails.slice(from, from + SUBSCRIBE_STEP).filter((tail) => this.#tails.get(tail.node) === tail);
          if (some.length === 0) continue;
          await this.#subscribe(some.map(({ node }) => this.#deps.keys.bell(node)));
          await this.#compare(some);
        }
      }
    } catch (error) {
      // The next `ready` starts over; heads are checked at their interval meanwhile.
      this.#deps.failed(error);
    } finally {
      this.#isResubscribing = false;
    }
  }

  /** A share of all followed topics at each call, so that each has its turn once in the interval. */
  async #checkHeads(): Promise<void> {
    const tails = [...this.#tails.values()];
    const rounds = Math.max(1, this.#deps.headCheckMs / CHECK_EVERY_MS);
    const most = Math.min(CHECKS_PER_S, Math.ceil(tails.length / rounds));
    const some: Tail[] = [];
    for (let i = 0; i < tails.length && some.length < most; i += 1) {
      this.#checkFrom = (this.#checkFrom + 1) % tails.length;
      const tail = tails[this.#checkFrom]!;
      if (tail.record && tail.checkedMs <= Date.now() - this.#deps.headCheckMs) some.push(tail);
    }
    try {
      await this.#compare(some);
    } catch (error) {
      this.#deps.failed(error);
    }
  }

  async #compare(tails: readonly Tail[]): Promise<void> {
    if (tails.length === 0) return;
    const heads = await this.#deps.heads(tails.map(({ node }) => node));
    for (const [i, tail] of tails.entries()) {
      tail.checkedMs = Date.now();
      const head = heads[i];
      if (!head || !tail.record || this.#tails.get(tail.node) !== tail) continue;
      // Read before a bell came that has been taken since: not behind us, merely older.
      if (head.seq === tail.head.seq && head.uid === tail.head.uid) continue;
      void this.#catchUp(tail);
    }
  }
}

/** Whether `ours` is no entry of the log whose head is `head` and whose entry after ours is `next`. */
function isFork(ours: EntryId, head: EntryId, next: LogEntry | undefined): boolean {
  if (head.seq < ours.seq) return true;
  if (head.seq === ours.seq) return head.uid !== ours.uid && ours.uid !== '';
  return next?.seq === ours.seq + 1 && next.prevUid !== '' && ours.uid !== '' && next.prevUid !== ours.uid;
}
