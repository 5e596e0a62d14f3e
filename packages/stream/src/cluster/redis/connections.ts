import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { Logger } from '../../observe/log.ts';
import { StoreUnavailable } from '../store-unavailable.ts';
import { decideDurability, type PrimaryFacts, parseInfo, refusalOf } from './checks.ts';
import { DurableWrites, isElsewhere, isNoScript, storeError } from './durable-writes.ts';
import type { Script } from './scripts.ts';
import { type Durability, RedisRefused, type RedisSettings } from './settings.ts';
import { slotOf } from './slot.ts';

/**
 * This instance's connections to Redis: one for commands, two per primary for durable writes, and one per reader that
 * blocks. None of them queues while Redis is away or sends a command twice: memory stays bounded, and a command whose
 * answer was lost is told as unknown.
 */

export interface ConnectionsOptions {
  readonly log: Logger;
  /** Ends the wait for Redis. */
  readonly signal?: AbortSignal;
  /** Pause between two attempts at start, ms. Default 500. */
  readonly retryMs?: number;
}

export type RedisClient = Redis | Cluster;
/** Without what one server and a Cluster's node type differently. */
type ServerOptions = Omit<RedisOptions, 'replyMapping' | 'himportFieldsets'>;

/** How often the wait for Redis is said again at start, ms. */
const REMIND_MS = 10_000;
const COMMAND_TIMEOUT_MS = 5_000;
const REPLICA_TIMEOUT_MS = 2_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** Times that a durable write follows a slot to another server before it is given up as not done. */
const MAX_MOVES = 3;
const MOVE_PAUSE_MS = 100;
/** Longest pause between two attempts to connect. */
const MAX_PAUSE_MS = 1_000;

export class RedisConnections {
  readonly settings: RedisSettings;
  /** What was settled at start; never `auto`. */
  readonly durability: Durability;
  /** For commands that need not be durable. Gathers what one tick sends into one pipeline. */
  readonly commands: RedisClient;
  readonly #log: Logger;
  /** By the primary's `host:port`; one entry named '' where there is one primary. */
  readonly #durable = new Map<string, DurableWrites>();
  readonly #readers = new Set<RedisClient>();
  #isClosed = false;

  private constructor(settings: RedisSettings, durability: Durability, commands: RedisClient, log: Logger) {
    this.settings = settings;
    this.durability = durability;
    this.commands = commands;
    this.#log = log;
    if (commands instanceof Redis)
      this.#writesAt(''); // connected before the first write
    else for (const node of commands.nodes('master')) this.#writesAt(`${node.options.host}:${node.options.port}`);
  }

  /**
   * Waits until Redis answers, saying so every 10 s, then checks that it can keep what is given to it.
   *
   * @throws RedisRefused when Redis answers and must not be used as it is; AbortError when the signal ends the wait
   */
  static async open(settings: RedisSettings, options: ConnectionsOptions): Promise<RedisConnections> {
    const { log, signal } = options;
    const at = placeOf(settings);
    let saidAtMs = Number.NEGATIVE_INFINITY;
    for (;;) {
      signal?.throwIfAborted();
      const retries = { isWanted: false };
      const client = makeClient(settings, { retries, timeoutMs: settings.commandTimeoutMs ?? COMMAND_TIMEOUT_MS });
      const failures: Error[] = [];
      client.on('error', (error: Error) => {
        if (retries.isWanted) log.warn({ redis: at, err: error.message }, 'the connection to Redis failed; connecting again');
        else failures.push(error);
      });
      try {
        await client.connect();
        const durability = await checkPrimaries(client, settings, log);
        retries.isWanted = true;
        log.info({ redis: at, durability }, 'Redis is there');
        return new RedisConnections(settings, durability, client, log);
      } catch (error) {
        client.disconnect();
        if (error instanceof RedisRefused) throw error;
        const causes = [error as Error, ...failures].flatMap((each) => [lastNodeError(each), each]);
        for (const cause of causes) {
          const refusal = cause === undefined ? undefined : refusalOf(cause, at, userOf(settings));
          if (refusal !== undefined) throw new RedisRefused(refusal, { cause });
        }
        if (performance.now() - saidAtMs >= REMIND_MS) {
          saidAtMs = performance.now();
          const why = failures[0] ?? error;
          log.warn({ redis: at, err: (why as Error).message }, 'Redis does not answer; waiting for it, not ready until it does');
        }
        await sleep(options.retryMs ?? 500, undefined, signal === undefined ? {} : { signal });
      }
    }
  }

  /**
   * Runs one script, which may not be durable when this resolves, and returns its reply.
   *
   * @throws StoreUnavailable; other errors are bugs
   */
  async run(script: Script, keys: readonly string[], args: readonly (string | Buffer)[]): Promise<unknown> {
    const all = [...keys, ...args];
    try {
      return await this.commands.evalsha(script.sha, script.keyCount, ...all);
    } catch (error) {
      // After SCRIPT FLUSH or a failover: EVAL sends the text, and the server knows it from then on.
      if (!isNoScript(error as Error)) throw storeError(error as Error);
    }
    return await this.ask((client) => client.eval(script.text, script.keyCount, ...all));
  }

  /**
   * Runs one script; resolves with its reply when what it did is durable as configured (delivery.md §2.4).
   *
   * @throws StoreUnavailable; other errors are bugs
   */
  async runDurably(script: Script, keys: readonly string[], args: readonly (string | Buffer)[]): Promise<unknown> {
    for (let moves = 0; ; moves++) {
      const place = this.#placeOfKey(keys[0] as string);
      try {
        return await this.#writesAt(place).write(script, keys, args);
      } catch (error) {
        if (!(this.commands instanceof Cluster) || !(error instanceof StoreUnavailable)) throw error;
        if (!isElsewhere(error.cause as Error) || moves >= MAX_MOVES) throw error;
        await this.#refreshSlots(this.commands);
      }
    }
  }

  /**
   * Sends one command of the caller's.
   *
   * @throws StoreUnavailable; other errors are bugs
   */
  async ask<T>(command: (client: RedisClient) => Promise<T>): Promise<T> {
    try {
      return await command(this.commands);
    } catch (error) {
      throw storeError(error as Error);
    }
  }

  /** Opens one more connection, for a reader that blocks: its commands have no time-out. Closed with the others. */
  reader(): RedisClient {
    const client = makeClient(this.settings, { retries: { isWanted: true }, timeoutMs: undefined });
    client.on('error', (error: Error) => this.#log.debug({ err: error.message }, 'the connection of a reader failed'));
    this.#readers.add(client);
    // A failed first attempt is followed by others.
    client.connect().catch((error: Error) => this.#log.debug({ err: error.message }, 'the connection of a reader failed'));
    return client;
  }

  /** Closes one reader's connection. */
  release(reader: RedisClient): void {
    this.#readers.delete(reader);
    reader.disconnect();
  }

  /** Closes every connection; commands under way fail. */
  close(): void {
    this.#isClosed = true;
    for (const writes of this.#durable.values()) writes.close();
    this.#durable.clear();
    for (const reader of [...this.#readers]) this.release(reader);
    this.commands.disconnect();
  }

  #placeOfKey(key: string): string {
    if (this.commands instanceof Redis) return '';
    return this.commands.slots[slotOf(key)]?.[0] ?? '';
  }

  #writesAt(place: string): DurableWrites {
    const known = this.#durable.get(place);
    if (known !== undefined) return known;
    if (this.#isClosed) throw new StoreUnavailable('not-done', new Error('closed'));
    const isCluster = this.commands instanceof Cluster;
    if (isCluster && place === '') throw new StoreUnavailable('not-done', new Error('no primary has this slot'));
    const { durability, settings } = this;
    const writes = new DurableWrites({
      connect: () => {
        const retries: Retries = { isWanted: true };
        const options = serverOptions(settings, retries, settings.commandTimeoutMs ?? COMMAND_TIMEOUT_MS);
        // Not auto-pipelined: WAIT counts what its own connection wrote before it (delivery.md §2.5).
        const connection = new Redis(
          isCluster ? { ...options, ...addressOf(place), db: 0 } : { ...options, ...whereOne(settings, retries) },
        );
        connection.on('error', (error: Error) =>
          this.#log.debug({ err: error.message }, 'a connection for durable writes failed'),
        );
        return connection;
      },
      replicas: durability.kind === 'replicas' ? durability.count : 0,
      replicaTimeoutMs: settings.replicaTimeoutMs ?? REPLICA_TIMEOUT_MS,
      log: this.#log,
    });
    this.#durable.set(place, writes);
    return writes;
  }

  async #refreshSlots(cluster: Cluster): Promise<void> {
    await sleep(MOVE_PAUSE_MS);
    await new Promise<void>((resolve) => cluster.refreshSlotsCache(() => resolve())); // a failure shows as the next MOVED
    const places = new Set(cluster.nodes('master').map((node) => `${node.options.host}:${node.options.port}`));
    for (const [place, writes] of this.#durable) {
      if (places.has(place)) continue;
      writes.close();
      this.#durable.delete(place);
    }
  }
}

/** Whether a lost connection is opened again. Not at start: there each attempt is judged. */
interface Retries {
  isWanted: boolean;
}

const pauseBefore =
  (retries: Retries) =>
  (times: number): number | null =>
    retries.isWanted ? Math.min(50 * times, MAX_PAUSE_MS) : null;

interface ClientOptions {
  readonly retries: Retries;
  readonly timeoutMs: number | undefined;
}

function makeClient(settings: RedisSettings, { retries, timeoutMs }: ClientOptions): RedisClient {
  const options = serverOptions(settings, retries, timeoutMs);
  if (settings.servers.kind !== 'cluster')
    return new Redis({ ...options, ...whereOne(settings, retries), enableAutoPipelining: timeoutMs !== undefined });
  const { retryStrategy: clusterRetryStrategy, enableOfflineQueue: _, ...redisOptions } = options;
  return new Cluster([...settings.servers.nodes], {
    lazyConnect: true,
    enableOfflineQueue: false,
    enableAutoPipelining: timeoutMs !== undefined,
    clusterRetryStrategy: clusterRetryStrategy ?? null,
    slotsRefreshInterval: 5_000,
    retryDelayOnFailover: 0, // a command whose answer was lost is not sent again
    redisOptions,
  });
}

function serverOptions(settings: RedisSettings, retries: Retries, timeoutMs: number | undefined): ServerOptions {
  const { username, password } = credentialsOf(settings);
  return {
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    // With it commands under way fail as soon as their connection does; otherwise they wait for the next one.
    maxRetriesPerRequest: 0,
    connectTimeout: CONNECT_TIMEOUT_MS,
    retryStrategy: pauseBefore(retries),
    // A primary that became a replica: Sentinel names the new one.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
    ...(timeoutMs === undefined ? {} : { commandTimeout: timeoutMs }),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(settings.db === undefined ? {} : { db: settings.db }),
    ...(settings.tls === undefined ? {} : { tls: settings.tls }),
  };
}

/** Where the one primary is. */
function whereOne(settings: RedisSettings, retries: Retries): ServerOptions {
  const { servers } = settings;
  if (servers.kind === 'standalone') {
    const url = new URL(servers.url);
    const db = url.pathname.length > 1 ? Number(url.pathname.slice(1)) : undefined;
    return {
      host: url.hostname,
      port: Number(url.port || 6379),
      ...(settings.db === undefined && db !== undefined ? { db } : {}),
      ...(url.protocol === 'rediss:' ? { tls: settings.tls ?? {} } : {}),
    };
  }
  if (servers.kind !== 'sentinel') throw new Error('a Cluster has more than one primary');
  return {
    sentinels: [...servers.sentinels],
    name: servers.name,
    // While no Sentinel names a primary; without it the connection would end for good.
    sentinelRetryStrategy: pauseBefore(retries),
    ...(servers.username === undefined ? {} : { sentinelUsername: servers.username }),
    ...(servers.password === undefined ? {} : { sentinelPassword: servers.password }),
    ...(settings.tls === undefined ? {} : { enableTLSForSentinelMode: true, sentinelTLS: settings.tls }),
  };
}

function credentialsOf(settings: RedisSettings): { username: string | undefined; password: string | undefined } {
  const url = settings.servers.kind === 'standalone' ? new URL(settings.servers.url) : undefined;
  const fromUrl = (text: string | undefined) => (text === undefined || text === '' ? undefined : decodeURIComponent(text));
  return {
    username: settings.username ?? fromUrl(url?.username),
    password: settings.password ?? fromUrl(url?.password),
  };
}

const userOf = (settings: RedisSettings): string | undefined => credentialsOf(settings).username;

/** For messages: never with credentials. */
function placeOf({ servers }: RedisSettings): string {
  const list = (addresses: readonly { host: string; port: number }[]) =>
    addresses.map(({ host, port }) => `${host}:${port}`).join(', ');
  switch (servers.kind) {
    case 'standalone':
      return new URL(servers.url).host;
    case 'sentinel':
      return `${servers.name} of the Sentinels ${list(servers.sentinels)}`;
    case 'cluster':
      return `the Cluster of ${list(servers.nodes)}`;
  }
}

function addressOf(place: string): { host: string; port: number } {
  const colon = place.lastIndexOf(':');
  return { host: place.slice(0, colon), port: Number(place.slice(colon + 1)) };
}

/** ioredis hides why no node of a Cluster could be used in this property. */
const lastNodeError = (error: Error): Error | undefined => (error as { lastNodeError?: Error }).lastNodeError;

async function checkPrimaries(client: RedisClient, settings: RedisSettings, log: Logger): Promise<Durability> {
  const primaries = client instanceof Redis ? [client] : client.nodes('master');
  let durability = settings.durability;
  for (const primary of primaries) {
    const at = client instanceof Redis ? placeOf(settings) : `${primary.options.host}:${primary.options.port}`;
    durability = decideDurability(await factsOf(primary, at), durability, log);
  }
  if (durability === 'auto') throw new Error('no primary was found'); // asked again after a pause
  return durability;
}

async function factsOf(primary: Redis, at: string): Promise<PrimaryFacts> {
  const info = parseInfo(await primary.info());
  const fsync = await configOf(primary, 'appendfsync');
  const minReplicas = await configOf(primary, 'min-replicas-to-write');
  return {
    at,
    version: info.get('redis_version') ?? '',
    role: info.get('role') ?? '',
    maxmemoryPolicy: info.get('maxmemory_policy') ?? '',
    isAppendOnly: info.get('aof_enabled') === '1',
    connectedReplicas: Number(info.get('connected_slaves') ?? 0),
    appendFsync: fsync,
    minReplicasToWrite: minReplicas === undefined ? undefined : Number(minReplicas),
  };
}

/** Undefined where CONFIG is forbidden, as in managed services. */
async function configOf(primary: Redis, name: string): Promise<string | undefined> {
  try {
    const [, value] = (await primary.config('GET', name)) as string[];
    return value;
  } catch (error) {
    if (/NOPERM|unknown command/i.test((error as Error).message)) return undefined;
    throw error;
  }
}
