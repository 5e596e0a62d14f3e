import type { Redis } from 'ioredis';
import type { Logger } from '../../observe/log.ts';
import { StoreUnavailable } from '../store-unavailable.ts';
import type { Script } from './scripts.ts';

/**
 * Writes to one primary whose success means that they are durable (delivery.md §2.5). Two connections take turns, because a
 * command behind a WAIT waits for it; what is written meanwhile gathers and shares the next WAIT.
 */

export interface DurableWritesOptions {
  /** Makes a client, not yet connected, that neither queues while offline nor sends anything twice. */
  connect(): Redis;
  /** Replicas that must hold a write; 0 where the primary's own answer is enough. */
  readonly replicas: number;
  /** ms that WAIT may take. */
  readonly replicaTimeoutMs: number;
  readonly log: Logger;
}

/** Enough for a second of writes; beyond it the store is slower than its callers. */
const MAX_QUEUED = 10_000;
const MAX_BATCH = 256;
/** Answers that say that the command changed nothing and may succeed later, or elsewhere. */
const NOT_DONE =
  /^(?:MOVED|ASK|READONLY|NOREPLICAS|OOM|TRYAGAIN|CLUSTERDOWN|LOADING|MASTERDOWN|BUSY|MISCONF)\b|isn't writeable|enableOfflineQueue/;
/** Of these, the ones that mean that another server is in charge now. */
const ELSEWHERE = /^(?:MOVED|ASK|READONLY|CLUSTERDOWN|MASTERDOWN)\b/;

interface Write {
  readonly script: Script;
  readonly args: readonly (string | Buffer)[];
  /** The server had forgotten the script: the text goes with it. */
  needsText: boolean;
  readonly resolve: (reply: unknown) => void;
  readonly reject: (error: Error) => void;
}

interface Lane {
  readonly connection: Redis;
  /** A batch is under way, or its first connection is. */
  isBusy: boolean;
}

/** Whether an error means that nothing was changed. */
export const isNotDone = (error: Error): boolean => NOT_DONE.test(error.message);
/** Whether an error means that the key lives on another server now. */
export const isElsewhere = (error: Error): boolean => ELSEWHERE.test(error.message);
/** Whether the server has forgotten the script (SCRIPT FLUSH, failover): nothing ran. */
export const isNoScript = (error: Error): boolean => error.message.startsWith('NOSCRIPT');
/** An error that Redis itself answered, as opposed to one of the connection. */
export const isReply = (error: Error): boolean => error.name === 'ReplyError';

/**
 * Tells what became of a command that failed: a StoreUnavailable, or the error itself where Redis refuses the command as
 * such, which is a bug.
 */
export function storeError(error: Error): Error {
  if (isNotDone(error)) return new StoreUnavailable('not-done', error);
  return isReply(error) ? error : new StoreUnavailable('unknown', error);
}

export class DurableWrites {
  readonly #options: DurableWritesOptions;
  readonly #lanes: readonly Lane[];
  #queue: Write[] = [];
  #isScheduled = false;
  #isClosed = false;

  constructor(options: DurableWritesOptions) {
    this.#options = options;
    this.#lanes = [0, 1].map(() => this.#openLane());
  }

  #openLane(): Lane {
    const lane: Lane = { connection: this.#options.connect(), isBusy: true };
    lane.connection
      .connect()
      .catch((error: Error) => this.#options.log.debug({ err: error.message }, 'a connection for durable writes failed'))
      .finally(() => {
        lane.isBusy = false;
        this.#schedule();
      });
    return lane;
  }

  /**
   * Runs one script; resolves with its reply when that is durable.
   *
   * @throws StoreUnavailable; other errors are bugs
   */
  write(script: Script, keys: readonly string[], args: readonly (string | Buffer)[]): Promise<unknown> {
    if (this.#isClosed || this.#queue.length >= MAX_QUEUED) {
      return Promise.reject(new StoreUnavailable('not-done', new Error(this.#isClosed ? 'closed' : 'too many writes wait')));
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ script, args: [...keys, ...args], needsText: false, resolve, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    // Once per turn of the loop, so that what one tick writes shares a WAIT.
    setImmediate(() => {
      this.#isScheduled = false;
      this.#fill();
    });
  }

  #fill(): void {
    for (const lane of this.#lanes) {
      if (this.#queue.length === 0) return;
      if (lane.isBusy || lane.connection.status !== 'ready') continue;
      const batch = this.#queue.splice(0, MAX_BATCH);
      lane.isBusy = true;
      this.#send(lane.connection, batch).finally(() => {
        lane.isBusy = false;
        if (this.#queue.length > 0) this.#schedule();
      });
    }
    if (this.#lanes.some(({ isBusy }) => isBusy)) return; // it takes what waits when it is done
    for (const write of this.#queue.splice(0))
      write.reject(new StoreUnavailable('not-done', new Error('Redis is not connected')));
  }

  /** Never rejects: every write of the batch is told its outcome. */
  async #send(connection: Redis, batch: readonly Write[]): Promise<void> {
    const { replicas, replicaTimeoutMs } = this.#options;
    const pipeline = connection.pipeline();
    for (const { script, args, needsText } of batch) {
      if (needsText) pipeline.eval(script.text, script.keyCount, ...args);
      else pipeline.evalsha(script.sha, script.keyCount, ...args);
    }
    if (replicas > 0) pipeline.wait(replicas, replicaTimeoutMs);
    let results: readonly [Error | null, unknown][];
    try {
      results = (await pipeline.exec()) ?? [];
    } catch (error) {
      for (const write of batch) write.reject(storeError(error as Error));
      return;
    }
    const shortfall = replicas > 0 ? shortOf(results[batch.length], replicas) : undefined;
    for (const [i, write] of batch.entries()) {
      const [error, reply] = results[i] ?? [new Error('no reply'), undefined];
      if (error === null) {
        if (shortfall === undefined) write.resolve(reply);
        else write.reject(new StoreUnavailable('unknown', shortfall));
      } else if (isNoScript(error) && !write.needsText && !this.#isClosed) {
        write.needsText = true;
        this.#queue.unshift(write);
        this.#schedule();
      } else {
        write.reject(storeError(error));
      }
    }
    if (shortfall !== undefined) this.#options.log.warn({ err: shortfall }, 'writes are not on enough replicas; told as unknown');
  }

  /** What waits is rejected as not done. */
  close(): void {
    this.#isClosed = true;
    for (const write of this.#queue.splice(0)) write.reject(new StoreUnavailable('not-done', new Error('closed')));
    for (const { connection } of this.#lanes) connection.disconnect();
  }
}

function shortOf(result: readonly [Error | null, unknown] | undefined, wanted: number): Error | undefined {
  if (result === undefined) return new Error('WAIT was not answered');
  const [error, count] = result;
  if (error !== null) return error;
  return Number(count) >= wanted ? undefined : new Error(`${String(count)} of ${wanted} replicas hold it`);
}
