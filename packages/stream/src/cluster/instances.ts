import type { Logger } from '../observe/log.ts';
import { randomText } from '../random.ts';
import type { InstanceJudge } from './session-registry.ts';

/**
 * Which of our processes live (delivery.md §7). Each has a random id per start and beats a counter in the store. One whose
 * counter stood still for a whole lease, while the judge's own beats succeeded without a break, is declared dead once, and
 * cleaned up behind. One that could not beat for a lease is fenced: it serves nothing until it has a new id.
 */

/** How an instance stands in the store. */
export type InstanceState =
  | { readonly kind: 'live'; readonly counter: number }
  | { readonly kind: 'dead' }
  | { readonly kind: 'cleaning'; readonly by: string };

/** The table of instances. Each method is one atomic step and throws StoreUnavailable when the store cannot be asked. */
export interface InstanceTable {
  /** Enters or refreshes an instance; answers how all stand, or `fenced`: this id was declared dead, or is not known. */
  beat(id: string, counter: number, how: 'join' | 'beat'): Promise<ReadonlyMap<string, InstanceState> | 'fenced'>;
  /** Declares one dead whose counter still is `counter` (undefined: whatever it is). Returns whether this call did it. */
  markDead(id: string, counter: number | undefined): Promise<boolean>;
  /** Takes on the cleaning behind a dead one, or holds on to it, for `forMs`. `theirs`: somebody else has it. */
  claimCleaning(id: string, by: string, forMs: number): Promise<'yours' | 'theirs' | 'gone'>;
  /** Forgets a dead one that `by` has cleaned up behind. Returns false when `by` no longer held the cleaning. */
  finishCleaning(id: string, by: string): Promise<boolean>;
  /** Which of these are not live. */
  goneOf(ids: readonly string[]): Promise<ReadonlySet<string>>;
}

/** Told by an instance about itself and the others. */
export interface InstanceObserver {
  /** This instance is past its lease: no stanza is handled and no socket written until `rejoined`. */
  fenced?(id: string): void;
  /**
   * This instance lives again under a new id. Claims its sessions again and ends those that were taken; until it resolves
   * the instance stays fenced. When it rejects the instance is fenced once more.
   */
  rejoined?(id: string, formerId: string): Promise<void>;
  /** This instance declared another one dead. */
  declaredDead?(id: string): void;
}

/**
 * Cleans up behind a dead instance: routes what its inbox holds, for example. Must be idempotent: when the cleaner dies, or
 * it rejects, it is done again, perhaps by another instance. `signal` aborts when the cleaning was lost to another one.
 */
export type Cleaner = (deadId: string, signal: AbortSignal) => Promise<void>;

export interface InstancesOptions {
  readonly table: InstanceTable;
  /** How long an instance may go without a heartbeat, ms. */
  readonly leaseMs: number;
  /** How often it beats, ms; well under a third of the lease. Default a fifth of it. */
  readonly beatMs?: number;
  readonly log: Logger;
  /** Monotonic ms: the wall clock may be set. Default `performance.now`. */
  readonly now?: () => number;
}

/** Others' clocks may run slower than the judge's by this share. */
const JUDGE_MARGIN = 1.1;
/** 72 random bits: no two starts ever share one. */
const ID_BYTES = 9;

interface Sighting {
  readonly counter: number;
  /** When this counter was first seen in the present unbroken row of heartbeats. */
  readonly sinceMs: number;
}

export class Instances implements InstanceJudge {
  readonly #table: InstanceTable;
  readonly #leaseMs: number;
  readonly #beatMs: number;
  readonly #log: Logger;
  readonly #now: () => number;
  readonly #observers: InstanceObserver[] = [];
  readonly #cleaners: Cleaner[] = [];
  readonly #cleaning = new Set<string>();
  #id = randomText(ID_BYTES);
  #counter = 0;
  /** When the last successful heartbeat was sent. */
  #confirmedMs = Number.NEGATIVE_INFINITY;
  #hasJoined = false;
  /** Fenced, told, and not yet rejoined. */
  #isOut = false;
  /** The observers claim again what was theirs; heartbeats go on meanwhile. */
  #claiming: Promise<void> | undefined;
  #live: readonly string[] = [];
  #seen = new Map<string, Sighting>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #beating: Promise<void> | undefined;

  constructor(options: InstancesOptions) {
    this.#table = options.table;
    this.#leaseMs = options.leaseMs;
    this.#beatMs = options.beatMs ?? options.leaseMs / 5;
    this.#log = options.log;
    this.#now = options.now ?? (() => performance.now());
  }

  /** This instance's id: another one after each fencing. */
  get id(): string {
    return this.#id;
  }

  /**
   * True: handle no stanza, write to no socket, and let nothing through until it is false (delivery.md §7.2). Asks the clock,
   * so that a process that was stopped finds out before it does anything else.
   */
  get isFenced(): boolean {
    return this.#isOut || this.#isPastLease;
  }

  get #isPastLease(): boolean {
    return this.#now() - this.#confirmedMs > this.#leaseMs;
  }

  /** Ms since the last heartbeat that succeeded was sent. */
  get leaseAgeMs(): number {
    return this.#now() - this.#confirmedMs;
  }

  live(): readonly string[] {
    return this.#live;
  }

  goneOf(ids: readonly string[]): Promise<ReadonlySet<string>> {
    return this.#table.goneOf(ids);
  }

  observe(observer: InstanceObserver): void {
    this.#observers.push(observer);
  }

  /** Adds a step of cleaning up; they run in the order in which they were added. Before `start`. */
  addCleaner(cleaner: Cleaner): void {
    this.#cleaners.push(cleaner);
  }

  /**
   * Enters the table and begins to beat.
   *
   * @throws StoreUnavailable when the table cannot be reached
   */
  async start(): Promise<void> {
    await this.#join();
    this.#schedule();
  }

  /**
   * One heartbeat: what the timer does. Never rejects; a failure is logged and shows in `isFenced`.
   * Overlapping calls share one.
   */
  beat(): Promise<void> {
    this.#beating ??= this.#beatOnce().finally(() => {
      this.#beating = undefined;
    });
    return this.#beating;
  }

  /**
   * Leaves: from now on this instance counts as dead, and somebody cleans up behind it. Its sessions must be gone before.
   *
   * @throws StoreUnavailable; the lease runs out then
   */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#beating;
    this.#isOut = true;
    if (this.#hasJoined) await this.#table.markDead(this.#id, undefined);
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.beat().finally(() => this.#schedule());
    }, this.#beatMs);
    this.#timer.unref();
  }

  async #join(): Promise<void> {
    this.#counter = 1;
    const sentMs = this.#now();
    const states = await this.#table.beat(this.#id, this.#counter, 'join');
    if (states === 'fenced') throw new Error(`instance id ${this.#id} was used before`); // 72 random bits: a bug
    this.#hasJoined = true;
    this.#confirmedMs = sentMs;
    this.#seen.clear(); // nothing was watched without a break until now
    this.#take(states);
  }

  async #beatOnce(): Promise<void> {
    try {
      if (this.#isPastLease || (this.#isOut && this.#claiming === undefined)) {
        await this.#rejoin();
        return;
      }
      const before = this.#confirmedMs;
      const sentMs = this.#now();
      const states = await this.#table.beat(this.#id, ++this.#counter, 'beat');
      if (states === 'fenced') {
        this.#log.error({ instanceId: this.#id }, 'this instance was declared dead; it serves nothing until it has a new id');
        await this.#rejoin();
        return;
      }
      // The clock decides, not the answer: a process that was stopped while it waited is past its lease all the same.
      if (this.#isPastLease) {
        await this.#rejoin();
        return;
      }
      this.#confirmedMs = sentMs;
      // A gap in our own beats may have been a gap in everybody's: what stood still in it proves nothing (§7.1).
      if (this.#now() - before > 3 * this.#beatMs) this.#seen.clear();
      this.#take(states);
      await this.#judge(states);
    } catch (error) {
      this.#seen.clear();
      this.#log.warn({ err: error, instanceId: this.#id, leaseAgeMs: Math.round(this.leaseAgeMs) }, 'heartbeat failed');
      if (this.isFenced) this.#goOut();
    }
  }

  #goOut(): void {
    if (this.#isOut) return;
    this.#isOut = true;
    this.#log.error({ instanceId: this.#id }, 'past the lease: this instance serves nothing until the store answers again');
    for (const observer of this.#observers) observer.fenced?.(this.#id);
  }

  async #rejoin(): Promise<void> {
    this.#goOut();
    await this.#claiming; // one at a time; it never rejects
    if (this.#isClosed) return;
    const formerId = this.#id;
    // Who still routes to the former id is sent on by whoever cleans up behind it.
    await this.#table.markDead(formerId, undefined);
    this.#id = randomText(ID_BYTES);
    await this.#join();
    this.#claiming = this.#claimAgain(this.#id, formerId).finally(() => {
      this.#claiming = undefined;
    });
  }

  /** Never rejects: after a failure the next heartbeat begins again. */
  async #claimAgain(id: string, formerId: string): Promise<void> {
    try {
      for (const observer of this.#observers) await observer.rejoined?.(id, formerId);
      if (this.#isPastLease || this.#isClosed) return;
      this.#isOut = false;
      this.#log.info({ instanceId: id, formerId }, 'this instance serves again, under a new id');
    } catch (error) {
      this.#log.warn({ err: error, instanceId: id }, 'sessions could not be claimed again; trying once more');
    }
  }

  #take(states: ReadonlyMap<string, InstanceState>): void {
    this.#live = [...states].filter(([, state]) => state.kind === 'live').map(([id]) => id);
    const now = this.#now();
    const seen = new Map<string, Sighting>();
    for (const [id, state] of states) {
      if (state.kind !== 'live' || id === this.#id) continue;
      const before = this.#seen.get(id);
      seen.set(id, before?.counter === state.counter ? before : { counter: state.counter, sinceMs: now });
    }
    this.#seen = seen;
  }

  async #judge(states: ReadonlyMap<string, InstanceState>): Promise<void> {
    const now = this.#now();
    for (const [id, { counter, sinceMs }] of this.#seen) {
      if (now - sinceMs <= this.#leaseMs * JUDGE_MARGIN) continue;
      if (!(await this.#table.markDead(id, counter))) continue;
      this.#live = this.#live.filter((each) => each !== id);
      this.#log.warn({ dead: id, silentMs: Math.round(now - sinceMs) }, 'an instance is dead; its sessions are gone');
      for (const observer of this.#observers) observer.declaredDead?.(id);
    }
    for (const [id, state] of states) {
      if (state.kind === 'live' || this.#cleaning.has(id)) continue;
      this.#clean(id).catch((error: unknown) =>
        this.#log.warn({ err: error, dead: id }, 'cleaning up behind an instance was interrupted; it is done again'),
      );
    }
  }

  /** Cleans up behind one dead instance unless another instance does. @see delivery.md §7.1 */
  async #clean(deadId: string): Promise<void> {
    this.#cleaning.add(deadId);
    const lost = new AbortController();
    const by = this.#id;
    let hold: NodeJS.Timeout | undefined;
    try {
      if ((await this.#table.claimCleaning(deadId, by, this.#leaseMs)) !== 'yours') return;
      hold = setInterval(() => {
        this.#table.claimCleaning(deadId, by, this.#leaseMs).then(
          (whose) => {
            if (whose !== 'yours' || by !== this.#id) lost.abort(new Error('the cleaning is another instance’s by now'));
          },
          (error: unknown) => lost.abort(error),
        );
      }, this.#leaseMs / 3);
      hold.unref();
      for (const cleaner of this.#cleaners) {
        await cleaner(deadId, lost.signal);
        lost.signal.throwIfAborted();
      }
      if (await this.#table.finishCleaning(deadId, by)) this.#log.info({ dead: deadId }, 'cleaned up behind a dead instance');
    } finally {
      clearInterval(hold);
      this.#cleaning.delete(deadId);
    }
  }
}
