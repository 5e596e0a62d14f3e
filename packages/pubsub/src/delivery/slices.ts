/** A slice holds the event loop no longer than this (design D4). */
const SLICE_MS = 5;

export interface Slice {
  /** Works until done or until `mayGoOn` says no; returns whether it is done. */
  run(mayGoOn: () => boolean): boolean;
}

/** Runs long work in turns and in slices; between two slices the event loop serves everyone else. */
export class Slices {
  #waiting: Slice[] = [];
  #isScheduled = false;
  readonly #onError: (error: unknown) => void;

  /** `onError`: a slice threw, which is a bug; the others go on. */
  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  /** Runs with the next slices. The caller adds no work that is waiting already. */
  add(work: Slice): void {
    this.#waiting.push(work);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#runSlice();
    });
  }

  #runSlice(): void {
    const mayGoOn = sliceClock();
    const turn = this.#waiting;
    this.#waiting = [];
    let taken = 0;
    while (taken < turn.length && mayGoOn()) {
      const work = turn[taken]!;
      taken += 1;
      try {
        if (!work.run(mayGoOn)) this.#waiting.push(work);
      } catch (error) {
        this.#onError(error);
      }
    }
    // Those that had no turn come before those that want another.
    if (taken < turn.length) this.#waiting = turn.slice(taken).concat(this.#waiting);
    if (this.#waiting.length > 0) this.#schedule();
  }
}

/** True until a slice that begins now has lasted long enough. */
export function sliceClock(): () => boolean {
  const end = performance.now() + SLICE_MS;
  return () => performance.now() < end;
}
