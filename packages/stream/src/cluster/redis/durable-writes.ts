import type { Redis } from 'ioredis';
import type { Logger } from '../../observe/log.ts';
import { StoreUnavailable } from '../store-unavailable.ts';
import type { Script } from './scripts.ts';
import { slotOf } from './slot.ts';

/**
 * Writes to one primary whose success means that they are durable (delivery.md §2.5). Two connections share them by slot,
 * because a command behind a WAIT waits for it; what is written meanwhile gathers and shares the next WAIT. Writes of one
 * slot are made and answered in their order.
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

/** One command, a script or a plain one. */
export interface Order {
  /** One of its keys; all are in one slot. */
  readonly key: string;
  readonly name: string;
  readonly args: readonly (string | Buffer)[];
  /** Sent whole when the server does not know it. */
  readonly script?: Script;
}

/** Enough for a second of writes; beyond it the store is slower than its callers. */
const MAX_QUEUED = 10_000;
/** Of what these send, while a server takes connections and says nothing. */
const MAX_QUEUED_BYTES = 64 << 20;
const MAX_BATCH = 256;
/** Answers that say that the command changed nothing and may succeed later, or elsewhere. */
const NOT_DONE =
  /^(?:MOVED|ASK|READONLY|NOREPLICAS|OOM|TRYAGAIN|CLUSTERDOWN|LOADING|MASTERDOWN|BUSY|MISCONF)\b|isn't writeable|enableOfflineQueue/;
/** Of these, the ones that mean that another server is in charge now, or soon. */
const ELSEWHERE = /^(?:MOVED|ASK|READONLY|TRYAGAIN|CLUSTERDOWN|MASTERDOWN)\b/;
const ASK = /^ASK \d+ (\S+)/;

interface Write {
  readonly order: Order;
  readonly bytes: number;
  /** To the server that takes a slot over, before the slot is its own. */
  readonly isAsking: boolean;
  /** The server had forgotten the script: the text goes with it. */
  needsText: boolean;
  readonly resolve: (reply: unknown) => void;
  readonly reject: (error: Error) => void;
}

interface Lane {
  readonly connection: Redis;
  queue: Write[];
  /** A batch is under way, or its first connection is. */
  isBusy: boolean;
}

/** Whether an error means that nothing was changed. */
export const isNotDone = (error: Error): boolean => NOT_DONE.test(error.message);
/** Whether an error means that the key lives on another server now, or is on its way there. */
export const isElsewhere = (error: Error): boolean => ELSEWHERE.test(error.message);
/** The server, `host:port`, that is to be asked once although the slot is not its own yet. */
export const askedOf = (error: Error): string | undefined => ASK.exec(error.message)?.[1];
/** Whether the server has forgotten the script (SCRIPT FLUSH, failover): nothing ran. */
export const isNoScript = (error: Error): boolean => error.message.startsWith('NOSCRIPT');
/** An error that Redis itself answered, as opposed to one of the connection. */
export const isReply = (error: Error): boolean => error.name === 'ReplyError';

/**
 * Tells what became of a command that failed: a StoreUnavailable, or the error itself where Redis refuses the command as
 * such, which is a bug.
 */
export function storeError(error: Error): Error {
  if (error instanceof StoreUnavailable) return error;
  if (isNotDone(error)) return new StoreUnavailable('not-done', error);
  return isReply(error) ? error : new StoreUnavailable('unknown', error);
}

export class DurableWrites {
  readonly #options: DurableWritesOptions;
  readonly #lanes: readonly Lane[];
  #queued = 0;
  #queuedBytes = 0;
  #isScheduled = false;
  #isClosed = false;

  constructor(options: DurableWritesOptions) {
    this.#options = options;
    this.#lanes = [0, 1].map(() => this.#openLane());
  }

  #openLane(): Lane {
    const lane: Lane = { connection: this.#options.connect(), queue: [], isBusy: true };
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
   * Sends one command; resolves with its reply when what it did is durable.
   *
   * @throws StoreUnavailable; other errors are bugs
   */
  write(order: Order, isAsking = false): Promise<unknown> {
    const isFull = this.#queued >= MAX_QUEUED || this.#queuedBytes >= MAX_QUEUED_BYTES;
    if (this.#isClosed || isFull) {
      return Promise.reject(new StoreUnavailable('not-done', new Error(this.#isClosed ? 'closed' : 'too many writes wait')));
    }
    return new Promise((resolve, reject) => {
      const lane = this.#lanes[slotOf(order.key) % this.#lanes.length] as Lane;
      const bytes = order.args.reduce((sum, { length }) => sum + length, 0);
      const write: Write = { order, bytes, isAsking, needsText: false, resolve, reject };
      lane.queue.push(write);
      this.#count([write], 1);
      this.#schedule();
    });
  }

  #count(writes: readonly Write[], sign: 1 | -1): void {
    this.#queued += sign * writes.length;
    for (const { bytes } of writes) this.#queuedBytes += sign * bytes;
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    // Once per turn of the loop, so that what one tick writes shares a WAIT.
    setImmediate(() => {
      this.#isScheduled = false;
      for (const lane of this.#lanes) this.#fill(lane);
    });
  }

  #fill(lane: Lane): void {
    if (lane.isBusy || lane.queue.length === 0) return; // one that is busy takes what waits when it is done
    if (lane.connection.status !== 'ready') {
      this.#rejectAll(lane, 'Redis is not connected');
      return;
    }
    const batch = lane.queue.splice(0, MAX_BATCH);
    this.#count(batch, -1);
    lane.isBusy = true;
    this.#send(lane, batch).finally(() => {
      lane.isBusy = false;
      if (lane.queue.length > 0) this.#schedule();
    });
  }

  #rejectAll(lane: Lane, why: string): void {
    const waiting = lane.queue.splice(0);
    this.#count(waiting, -1);
    for (const write of waiting) write.reject(new StoreUnavailable('not-done', new Error(why)));
  }

  /** Never rejects: every write of the batch is told its outcome. */
  async #send(lane: Lane, batch: readonly Write[]): Promise<void> {
    const { replicas, replicaTimeoutMs, log } = this.#options;
    const pipeline = lane.connection.pipeline();
    /** Where in the pipeline's results each write's reply stands. */
    const places: number[] = [];
    let length = 0;
    for (const { order, isAsking, needsText } of batch) {
      if (isAsking) {
        pipeline.asking();
        length++;
      }
      if (needsText && order.script) pipeline.call('EVAL', order.script.text, ...order.args.slice(1));
      else pipeline.call(order.name, ...order.args);
      places.push(length++);
    }
    if (replicas > 0) pipeline.wait(replicas, replicaTimeoutMs);
    let results: readonly [Error | null, unknown][];
    try {
      results = (await pipeline.exec()) ?? [];
    } catch (error) {
      for (const write of batch) write.reject(storeError(error as Error));
      return;
    }
    const shortfall = replicas > 0 ? shortOf(results[length], replicas) : undefined;
    const again: Write[] = [];
    for (const [i, write] of batch.entries()) {
      const [error, reply] = results[places[i] as number] ?? [new Error('no reply'), undefined];
      if (error === null) {
        if (shortfall === undefined) write.resolve(reply);
        else write.reject(new StoreUnavailable('unknown', shortfall));
      } else if (isNoScript(error) && write.order.script && !write.needsText && !this.#isClosed) {
        write.needsText = true;
        again.push(write);
      } else {
        write.reject(storeError(error));
      }
    }
    lane.queue.unshift(...again);
    this.#count(again, 1);
    if (shortfall !== undefined) log.warn({ err: shortfall }, 'writes are not on enough replicas; told as unknown');
  }

  /** What waits is rejected as not done. */
  close(): void {
    this.#isClosed = true;
    for (const lane of this.#lanes) {
      this.#rejectAll(lane, 'closed');
      lane.connection.disconnect();
    }
  }
}

function shortOf(result: readonly [Error | null, unknown] | undefined, wanted: number): Error | undefined {
  if (result === undefined) return new Error('WAIT was not answered');
  const [error, count] = result;
  if (error !== null) return error;
  return Number(count) >= wanted ? undefined : new Error(`${String(count)} of ${wanted} replicas hold it`);
}
