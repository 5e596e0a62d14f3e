/** What a head check needs to know of a topic. */
export interface Checked {
  /** When the last check of it ended, performance clock, ms. */
  checkedAtMs: number;
  /** When something was last heard of it, performance clock, ms. */
  activeAtMs: number;
}

export interface HeadChecksDeps<T extends Checked> {
  /** Least time between two checks of a topic. */
  readonly intervalMs: number;
  all(): Iterable<T> & { readonly size: number };
  /** Compares the heads of some topics. Never rejects. */
  compare(some: readonly T[]): Promise<void>;
}

/** Head checks of this instance in a second (delivery.md §3.3). */
const CHECKS_PER_S = 2_000;
const STEP = 200;
const STEP_MS = (1_000 * STEP) / CHECKS_PER_S;
/** What was heard of within this time counts as active. */
const ACTIVE_MS = 60_000;

/**
 * Compares heads at a budget, those of recently active topics first: every topic once in max(interval, topics ÷ 2,000 s), and
 * at once those of which bells may have been missed.
 */
export class HeadChecks<T extends Checked> {
  readonly #deps: HeadChecksDeps<T>;
  readonly #timer: NodeJS.Timeout;
  /** Waiting for their turn; sets keep the order in which they came. */
  readonly #active = new Set<T>();
  readonly #quiet = new Set<T>();
  #isRunning = false;
  #isClosed = false;

  constructor(deps: HeadChecksDeps<T>) {
    this.#deps = deps;
    this.#timer = setInterval(() => this.#round(), Math.min(1_000, deps.intervalMs)).unref();
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    this.#active.clear();
    this.#quiet.clear();
  }

  /** Waits with the others no longer. */
  drop(topic: T): void {
    this.#active.delete(topic);
    this.#quiet.delete(topic);
  }

  /** To be checked as soon as the budget allows it. */
  due(topics: Iterable<T>): void {
    const activeSinceMs = performance.now() - ACTIVE_MS;
    const active: T[] = [];
    for (const topic of topics) {
      if (topic.activeAtMs > activeSinceMs) active.push(topic);
      else if (!this.#active.has(topic)) this.#quiet.add(topic);
    }
    for (const topic of active.sort((a, b) => b.activeAtMs - a.activeAtMs)) {
      this.#quiet.delete(topic);
      this.#active.add(topic);
    }
    void this.#run();
  }

  #round(): void {
    const all = this.#deps.all();
    const intervalMs = Math.max(this.#deps.intervalMs, (1_000 * all.size) / CHECKS_PER_S);
    const beforeMs = performance.now() - intervalMs;
    const due: T[] = [];
    for (const topic of all) if (topic.checkedAtMs <= beforeMs) due.push(topic);
    this.due(due);
  }

  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      while (!this.#isClosed) {
        const some = this.#next();
        if (some.length === 0) return;
        const startMs = performance.now();
        await this.#deps.compare(some);
        const nowMs = performance.now();
        for (const topic of some) topic.checkedAtMs = nowMs;
        const restMs = (STEP_MS * some.length) / STEP - (nowMs - startMs);
        if (restMs >= 1) await new Promise((resolve) => setTimeout(resolve, restMs).unref());
      }
    } finally {
      this.#isRunning = false;
    }
  }

  #next(): readonly T[] {
    const some: T[] = [];
    for (const queue of [this.#active, this.#quiet]) {
      for (const topic of queue) {
        if (some.length >= STEP) return some;
        queue.delete(topic);
        some.push(topic);
      }
    }
    return some;
  }
}
