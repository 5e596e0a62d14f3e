import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../observe/log.ts';
import type { RedisClient, RedisConnections } from './connections.ts';

/** Pause after a failed read: an immediate retry of a call that fails at once starves the event loop, timers included. */
const RETRY_MS = 100;
/** A read that takes this much longer than it may block hangs on a dead connection. */
const GRACE_MS = 2_000;

/** A Redis stream entry: id, and its fields by name. */
export interface RedisEntry {
  readonly id: string;
  readonly fields: ReadonlyMap<string, string>;
}

export interface ReaderOptions {
  readonly redis: RedisConnections;
  /** For how long one read blocks, ms. */
  readonly blockMs: number;
  readonly log: Logger;
  /** What is read, for the log. */
  readonly what: string;
  /** One round: reads, and handles what it read. Its reads block for `blockMs` at most. */
  round(client: RedisClient, read: <T>(command: Promise<T>) => Promise<T>): Promise<void>;
}

/** Runs rounds on a connection of its own until closed; a failed round is followed by another one after a pause. */
export class BlockingReader {
  readonly #options: ReaderOptions;
  readonly #client: RedisClient;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#client = options.redis.reader();
    this.#running = this.#run();
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Ends the read under way and waits for the round to end. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#options.redis.release(this.#client);
    await this.#running;
  }

  async #run(): Promise<void> {
    let hasFailed = false;
    while (!this.isClosed) {
      try {
        await this.#options.round(this.#client, (command) => this.#withDeadline(command));
        hasFailed = false;
      } catch (error) {
        if (this.isClosed) return;
        // Said once per outage: the wait for a connection fails ten times a second.
        if (!hasFailed && this.#client.status === 'ready') {
          hasFailed = true;
          this.#options.log.warn({ err: error }, `${this.#options.what} cannot be read; trying again`);
        }
        await sleep(RETRY_MS);
      }
    }
  }

  async #withDeadline<T>(command: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        for (const connection of 'nodes' in this.#client ? this.#client.nodes() : [this.#client]) connection.disconnect(true);
        reject(new Error('no answer; the connection was given up'));
      }, this.#options.blockMs + GRACE_MS);
    });
    try {
      return await Promise.race([command, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The entries of one stream, from a reply of XRANGE or XREVRANGE. */
export function parseEntries(reply: readonly [id: string, fields: string[]][]): RedisEntry[] {
  return reply.map(([id, flat]) => {
    const fields = new Map<string, string>();
    for (let i = 0; i + 1 < flat.length; i += 2) fields.set(flat[i] as string, flat[i + 1] as string);
    return { id, fields };
  });
}

/** The entries behind `after`, waiting up to `blockMs` for the first. */
export async function readBehind(
  client: RedisClient,
  key: string,
  after: string,
  count: number,
  blockMs: number,
): Promise<RedisEntry[]> {
  const reply = await client.xread('COUNT', count, 'BLOCK', blockMs, 'STREAMS', key, after);
  return parseEntries((reply?.[0]?.[1] ?? []) as [string, string[]][]);
}

/** Orders stream ids, `<ms>-<n>`. */
export function compareIds(a: string, b: string): number {
  const [aMs = 0, aN = 0] = a.split('-').map(Number);
  const [bMs = 0, bN = 0] = b.split('-').map(Number);
  return aMs - bMs || aN - bN;
}
