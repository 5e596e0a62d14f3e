import { once } from 'node:events';
import { type Durability, StoreUnavailable } from '@xmpp-grid/stream';
import { Redis, type RedisOptions } from 'ioredis';
import { StoreFull } from '../store-error.ts';
import type { Script } from './scripts.ts';

export type Value = string | Buffer;

const NO_ROOM = /^(?:OOM|MISCONF|NOREPLICAS)\b/;
const NOT_NOW = /^(?:READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|NOAUTH|NOPERM|BUSY)\b/;
/** What ioredis says of a command that it did not send. */
const NOT_SENT = /isn't writeable|enableOfflineQueue/;

/** What went wrong in Redis, in the store's words; anything else is a bug and stays as it is. */
export function storeError(error: unknown): Error {
  if (error instanceof StoreFull || error instanceof StoreUnavailable) return error;
  if (!(error instanceof Error)) return new Error(String(error));
  if (NO_ROOM.test(error.message)) return new StoreFull('memory', 'Redis takes no more writes', { cause: error });
  if (NOT_NOW.test(error.message) || NOT_SENT.test(error.message)) return new StoreUnavailable('not-done', error);
  return error.name === 'ReplyError' ? error : new StoreUnavailable('unknown', error);
}

export const isNoScript = (error: unknown): boolean => error instanceof Error && error.message.startsWith('NOSCRIPT');

/**
 * How to reach the primary: as ioredis takes it, or who makes one more connection of the kind that `connect` describes
 * (`RedisConnections.reader` of a server or of Sentinels).
 */
export type RedisSource = RedisOptions | (() => Redis);

/**
 * A connection that fails at once while Redis is away and never sends a command twice: ioredis would otherwise hold commands
 * without bound, and repeat a WAIT to another primary, which then answers for writes that it never saw (delivery.md §2.5).
 */
export function connect(source: RedisSource, name: string, onError: (error: Error) => void): Redis {
  const redis =
    typeof source === 'function'
      ? source()
      : new Redis({
          ...source,
          replyMapping: 'legacy',
          lazyConnect: true,
          enableOfflineQueue: false,
          autoResendUnfulfilledCommands: false,
          // With 0, commands under way fail as soon as their connection does; otherwise they wait for the next one.
          maxRetriesPerRequest: 0,
          connectionName: `xmpp-grid-${name}`,
          // A primary that became a replica: look again for the primary.
          reconnectOnError: (error) => error.message.startsWith('READONLY'),
          retryStrategy: (times) => Math.min(50 * times, 2_000),
        });
  // What is followed is subscribed to again by who follows, who must know when that is confirmed.
  redis.options.autoResubscribe = false;
  redis.options.connectionName = `xmpp-grid-${name}`;
  redis.on('error', onError);
  return redis;
}

/** Resolves when the connection can be used. */
export async function whenReady(redis: Redis, timeoutMs: number): Promise<void> {
  if (redis.status === 'wait') await redis.connect();
  else if (redis.status !== 'ready') await within(once(redis, 'ready'), timeoutMs, () => undefined);
}

/**
 * What the promise gives if it does so in time; `late` is called if it does not.
 *
 * @throws StoreUnavailable of unknown outcome after `timeoutMs`
 */
export async function within<T>(promise: Promise<T>, timeoutMs: number, late: () => void): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new StoreUnavailable('unknown', new Error('Redis did not answer in time')));
      late();
    }, timeoutMs);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

interface Queued {
  readonly command: string;
  readonly args: readonly (Value | number)[];
  /** Sent whole when Redis does not know it. */
  readonly script?: Script;
  readonly resolve: (reply: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Commands of one pipeline: some milliseconds of Redis at most. */
const MAX_BATCH = 256;
/** Commands that wait or are under way on one connection; beyond it callers are told to try again. */
const MAX_PENDING = 20_000;

/**
 * Commands over one connection, in the order asked, each resolved when what it changed is durable. Those that come together
 * share a pipeline and its WAIT. A reply that does not come is a `StoreUnavailable` of unknown outcome: the change may still
 * show.
 */
export class CommandQueue {
  readonly #redis: Redis;
  readonly #replicas: number;
  readonly #timeoutMs: number;
  #queue: Queued[] = [];
  #underWay = 0;
  #isFlushing = false;

  constructor(redis: Redis, durability: Durability, timeoutMs: number) {
    this.#redis = redis;
    this.#replicas = durability.kind === 'replicas' ? durability.count : 0;
    this.#timeoutMs = timeoutMs;
  }

  run(script: Script, keys: readonly string[], args: readonly (Value | number)[]): Promise<unknown> {
    return this.#enqueue('EVALSHA', [script.sha, keys.length, ...keys, ...args], script);
  }

  call(command: string, ...args: (Value | number)[]): Promise<unknown> {
    return this.#enqueue(command, args);
  }

  #enqueue(command: string, args: readonly (Value | number)[], script?: Script): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#queue.length + this.#underWay >= MAX_PENDING) {
        reject(new StoreUnavailable('not-done', new Error('too many commands are waiting for Redis')));
        return;
      }
      this.#queue.push({ command, args, resolve, reject, ...(script ? { script } : {}) });
      this.#flushSoon();
    });
  }

  #flushSoon(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    setImmediate(() => {
      this.#isFlushing = false;
      // While a WAIT is under way the next ones gather: Redis would hold them back behind it anyway.
      if (this.#replicas > 0 && this.#underWay > 0) return;
      const batch = this.#queue.splice(0, MAX_BATCH);
      if (batch.length === 0) return;
      void this.#send(batch);
      if (this.#queue.length > 0) this.#flushSoon();
    });
  }

  async #send(batch: readonly Queued[]): Promise<void> {
    this.#underWay += batch.length;
    try {
      const replies = await this.#exchange(batch);
      const confirmed = this.#replicas > 0 ? replies[batch.length] : undefined;
      const unconfirmed =
        confirmed && (confirmed[0] !== null || Number(confirmed[1]) < this.#replicas)
          ? new StoreUnavailable('unknown', confirmed[0] ?? new Error('too few replicas confirmed the change in time'))
          : undefined;
      const again: Queued[] = [];
      for (const [i, write] of batch.entries()) {
        const [error, reply] = replies[i]!;
        if (isNoScript(error) && write.script && write.command === 'EVALSHA') {
          again.push({ ...write, command: 'EVAL', args: [write.script.source, ...write.args.slice(1)] });
        } else if (error) write.reject(storeError(error));
        else if (unconfirmed) write.reject(unconfirmed);
        else write.resolve(reply);
      }
      this.#queue.unshift(...again);
    } catch (error) {
      for (const write of batch) write.reject(storeError(error));
    } finally {
      this.#underWay -= batch.length;
      if (this.#queue.length > 0) this.#flushSoon();
    }
  }

  async #exchange(batch: readonly Queued[]): Promise<readonly [Error | null, unknown][]> {
    const pipeline = this.#redis.pipeline();
    for (const { command, args } of batch) pipeline.callBuffer(command, ...args);
    if (this.#replicas > 0) pipeline.call('WAIT', this.#replicas, this.#timeoutMs);
    // WAIT itself answers after its time; this is for a Redis that says nothing at all.
    const replies = await within(pipeline.exec(), 2 * this.#timeoutMs, () => this.#redis.disconnect(true));
    if (!replies) throw new StoreUnavailable('unknown', new Error('the connection to Redis broke'));
    return replies;
  }
}
