import type { EntryId, LogEntry } from '../../log/entry.ts';
import type { Appended, LogPage } from '../log-reader.ts';
import type { TopicRecord } from '../topic-store.ts';
import type { Bells } from './bells.ts';
import { type Checked, HeadChecks } from './head-checks.ts';
import type { RedisKeys } from './keys.ts';
import { type Bell, bellOf } from './records.ts';

/** How long an own entry waits for the bells of those before it, which come on another connection. */
const BELLS_MS = 50;
const RETRY_MS = 1_000;
/** Entries that came before their turn; beyond it they are read from the log when it comes. */
const MAX_AHEAD = 1_000;
const MAX_AHEAD_BYTES = 4 << 20;
const PAGE_ENTRIES = 512;
const PAGE_BYTES = 1 << 20;

export interface FollowingDeps {
  readonly bells: Bells;
  readonly keys: RedisKeys;
  /** Least time between two head checks of a topic. */
  readonly headCheckMs: number;
  record(node: string): Promise<TopicRecord | undefined>;
  heads(nodes: readonly string[]): Promise<readonly (EntryId | undefined)[]>;
  readLog(node: string, after: EntryId, maxEntries: number, maxBytes: number): Promise<LogPage | 'gone'>;
  emit(appended: Appended): void;
  /** The log is not the one that was heard: a failover dropped entries after `head` (delivery.md §1.3). */
  forked(node: string, head: EntryId): void;
  failed(error: unknown): void;
}

interface Tail extends Checked {
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
  /** Where the tail stood when the log was read last for what `ahead` holds. */
  readFor: number;
  /** Bells may have been missed before the head was known. */
  isDoubtful: boolean;
}

/**
 * Takes the bells of the topics that this instance follows and hands their entries on, each once and in the order of the log.
 * A bell is never believed on its own: an entry is taken only next to its predecessor, everything else is read from the log
 * (delivery.md §3).
 */
export class Following {
  readonly #deps: FollowingDeps;
  readonly #tails = new Map<string, Tail>();
  readonly #byChannel = new Map<string, Tail>();
  readonly #checks: HeadChecks<Tail>;

  constructor(deps: FollowingDeps) {
    this.#deps = deps;
    const tails = this.#tails;
    this.#checks = new HeadChecks({
      intervalMs: deps.headCheckMs,
      all: () => ({ size: tails.size, [Symbol.iterator]: () => tails.values() }),
      compare: (some) => this.#compare(some),
    });
  }

  close(): void {
    this.#checks.close();
    for (const tail of this.#tails.values()) clearTimeout(tail.timer);
    this.#tails.clear();
    this.#byChannel.clear();
  }

  get nodes(): Iterable<string> {
    return this.#tails.keys();
  }

  /** Bells of these channels may have been missed. */
  missed(channels: Iterable<string>): void {
    const tails: Tail[] = [];
    for (const channel of channels) {
      const tail = this.#byChannel.get(channel);
      if (tail?.record) tails.push(tail);
      else if (tail) tail.isDoubtful = true;
    }
    this.#checks.due(tails);
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
      checkedAtMs: performance.now(),
      activeAtMs: Number.NEGATIVE_INFINITY,
      readFor: -1,
      isDoubtful: false,
    };
    this.#tails.set(node, tail);
    this.#byChannel.set(this.#deps.keys.bell(node), tail);
    tail.opened = this.#open(tail);
    return tail.opened;
  }

  /** Subscription confirmed, then head read; what rings between waits in `ahead` (delivery.md §3.1). */
  async #open(tail: Tail): Promise<TopicRecord | undefined> {
    try {
      await this.#deps.bells.subscribe(this.#deps.keys.bell(tail.node));
      const record = await this.#deps.record(tail.node);
      if (!record) {
        await this.unfollow(tail.node, tail);
        return undefined;
      }
      tail.record = record;
      tail.head = record.head;
      this.#drain(tail);
      if (tail.ahead.size > 0 || tail.isDoubtful) void this.#catchUp(tail);
      return record;
    } catch (error) {
      await this.unfollow(tail.node, tail);
      throw error;
    }
  }

  async unfollow(node: string, only?: Tail): Promise<void> {
    const tail = this.#tails.get(node);
    if (!tail || (only && tail !== only)) return;
    this.#drop(tail);
    await this.#deps.bells.unsubscribe(this.#deps.keys.bell(node));
  }

  #drop(tail: Tail): void {
    clearTimeout(tail.timer);
    this.#checks.drop(tail);
    if (this.#tails.get(tail.node) !== tail) return;
    this.#tails.delete(tail.node);
    this.#byChannel.delete(this.#deps.keys.bell(tail.node));
  }

  /** What this instance appended itself. False: the topic is not followed, so nobody else hands it on. */
  own(node: string, entries: readonly LogEntry[], record: TopicRecord): boolean {
    const tail = this.#tails.get(node);
    if (!tail) return false;
    tail.activeAtMs = performance.now();
    for (const entry of entries) this.#keep(tail, entry);
    if (!tail.record) return true;
    if (record.head.seq > tail.record.head.seq) tail.record = record;
    this.#drain(tail);
    if (tail.ahead.size > 0) tail.timer ??= setTimeout(() => void this.#catchUp(tail), BELLS_MS).unref();
    return true;
  }

  /** A bell rang. */
  ring(channel: string, message: Buffer): void {
    const tail = this.#byChannel.get(channel);
    if (!tail) return;
    tail.activeAtMs = performance.now();
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
    for (;;) {
      const page = await this.#deps.readLog(node, tail.head, PAGE_ENTRIES, PAGE_BYTES);
      if (page === 'gone' || this.#tails.get(node) !== tail) return;
      // After the page, or its entries could be handed on with a configuration that they ended. Of a deleted topic there is
      // none any more: what it was says how its last entries are told of.
      const record = page.entries.length === 0 ? undefined : await this.#deps.record(node);
      if (this.#tails.get(node) !== tail) return;
      if (record) tail.record = record;
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

  async #compare(tails: readonly Tail[]): Promise<void> {
    let heads: readonly (EntryId | undefined)[];
    try {
      heads = await this.#deps.heads(tails.map(({ node }) => node));
    } catch (error) {
      this.#deps.failed(error);
      return;
    }
    for (const [i, tail] of tails.entries()) {
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
