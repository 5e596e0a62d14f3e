import type { RootDatabase } from 'lmdb';
import { StoreFull } from '../store-error.ts';

interface Waiting {
  readonly step: () => unknown;
  readonly done: (result: unknown) => void;
  readonly failed: (error: unknown) => void;
}

type Outcome = { readonly result: unknown } | { readonly error: unknown };

/**
 * After a batch of at least so many the next one waits a moment for company: whoever published together tends to do so
 * again, and one commit for all costs less, as does one write to each subscriber (bench/ scenario `fanout --burst 10`).
 */
const GATHER_FROM = 3;
/** Less than the disk takes for one commit. */
const GATHER_MS = 1;
/** 2,000 steps commit in well under 100 ms here; more would only keep the event loop longer. */
const MAX_BATCH = 2_000;
/**
 * What lmdb reports when there is no room: its own two, ENOSPC, EFBIG, and EIO, which it makes of a write that the disk took
 * only in part ("filesystem full?", mdb_page_flush). A failing disk answers EIO as well; nothing was stored either way.
 */
const NO_ROOM = new Set<unknown>([-30792, -30788, 28, 27, 5]);

/**
 * Runs atomic steps one after another and commits many at once: what arrives while a commit is under way shares the next.
 * Each promise settles after its commit is on the disk (delivery.md §2.4).
 *
 * A step runs inside the write transaction and may run again, so it changes nothing outside the database: effects on
 * memory go into what it returns and are applied by whoever awaits it, or by `committed`. A step that refuses throws
 * `StoreFull` before its first write.
 */
export class WriteQueue {
  readonly #root: RootDatabase;
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #lastBatch = 0;
  #closed = false;

  constructor(root: RootDatabase) {
    this.#root = root;
  }

  /** Rejects with `StoreFull` when there is no room, with lmdb's error when the commit failed otherwise. */
  run<T>(step: () => T, committed?: (result: T) => void): Promise<T> {
    if (this.#closed) return Promise.reject(new Error('the store is closed'));
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({
        step,
        done: (result) => {
          committed?.(result as T);
          resolve(result as T);
        },
        failed: reject,
      });
      this.#running ??= this.#drain();
    });
  }

  /** Refuses new steps and resolves when the last one is on the disk. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #drain(): Promise<void> {
    // What the other stanzas of this turn ask for joins the batch.
    await (this.#lastBatch < GATHER_FROM
      ? new Promise<void>((resolve) => setImmediate(resolve))
      : new Promise<void>((resolve) => setTimeout(resolve, GATHER_MS)));
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.length > MAX_BATCH ? this.#waiting.splice(0, MAX_BATCH) : this.#waiting;
      if (batch === this.#waiting) this.#waiting = [];
      this.#lastBatch = batch.length;
      await this.#commit(batch);
    }
    this.#running = undefined;
  }

  async #commit(batch: readonly Waiting[]): Promise<void> {
    let outcomes: readonly Outcome[];
    try {
      outcomes = await this.#root.childTransaction(() => batch.map(({ step }) => attempt(step)));
      // The same moment in an environment with `ENVIRONMENT_OPTIONS`; in one with overlapping flushes, the later one.
      await this.#root.flushed;
    } catch (error) {
      if (batch.length > 1) {
        // One step's failure must not be the others': each gets a transaction of its own.
        for (const one of batch) await this.#commit([one]);
        return;
      }
      batch[0]!.failed(await explained(error));
      return;
    }
    for (const [i, { done, failed }] of batch.entries()) {
      const outcome = outcomes[i]!;
      if ('error' in outcome) failed(outcome.error);
      else done(outcome.result);
    }
  }
}

/** A refusal is the step's own outcome; anything else fails the transaction. */
function attempt(step: () => unknown): Outcome {
  try {
    return { result: step() };
  } catch (error) {
    if (error instanceof StoreFull) return { error };
    throw error;
  }
}

async function explained(error: unknown): Promise<unknown> {
  const cause = await commitError(error);
  const code = typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined;
  return NO_ROOM.has(code) ? new StoreFull('disk', 'the disk of the data directory is full or failing', { cause }) : cause;
}

/** lmdb rejects a failed commit with an error that carries the real one as a promise. */
async function commitError(error: unknown): Promise<unknown> {
  if (!(error instanceof Error) || !('commitError' in error) || !(error.commitError instanceof Promise)) return error;
  const real = error.commitError.catch((cause: unknown) => cause);
  // The real one follows within the same callback of lmdb; should it not, the outer error must do.
  return Promise.race([real, new Promise((resolve) => setTimeout(resolve, 1_000, error).unref())]);
}
