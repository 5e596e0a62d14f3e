import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, Command, Redis } from 'ioredis';
import type { Logger } from '../../observe/log.ts';
import { StoreUnavailable } from '../store-unavailable.ts';
import { decideDurability, type PrimaryFacts, parseInfo, refusalOf } from './checks.ts';
import { addressOf, lastNodeError, makeClient, placeOf, type RedisClient, serverOptions, userOf, whereOne } from './clients.ts';
import { askedOf, DurableWrites, isElsewhere, isNoScript, type Order, storeError } from './durable-writes.ts';
import { type Holds, PrimaryWatch } from './primary-watch.ts';
import type { Script } from './scripts.ts';
import { type Durability, RedisRefused, type RedisSettings } from './settings.ts';
import { slotOf } from './slot.ts';

export type { RedisClient } from './clients.ts';
export type { Holds } from './primary-watch.ts';

/**
 * This instance's connections to Redis: one for commands, two per primary for durable writes, one per reader that blocks, and
 * those for bells. None of them queues while Redis is away or sends a command twice: memory stays bounded, and a command whose
 * answer was lost is told as unknown.
 */

export interface ConnectionsOptions {
  readonly log: Logger;
  /** Ends the wait for Redis. */
  readonly signal?: AbortSignal;
  /** Pause between two attempts at start, ms. Default 500. */
  readonly retryMs?: number;
}

/** How often it is said again that Redis is away, ms. */
const REMIND_MS = 10_000;
const COMMAND_TIMEOUT_MS = 5_000;
const REPLICA_TIMEOUT_MS = 2_000;
/** For how long a command follows its slot from server to server before it is given up as not done. */
const FOLLOW_MS = 2_000;
const FOLLOW_PAUSE_MS = 100;
/** A Cluster is not asked more often where its slots are. */
const REFRESH_PAUSE_MS = 50;
/** Commands under way that need not be durable; beyond it callers are told to try again. */
const MAX_PENDING = 20_000;

/** A value sent to Redis. */
export type RedisValue = string | Buffer | number;

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
  readonly #watch: PrimaryWatch;
  readonly #slotListeners = new Set<() => void>();
  #refreshing: Promise<void> | undefined;
  #refreshedAtMs = Number.NEGATIVE_INFINITY;
  #pending = 0;
  #isClosed = false;

  private constructor(settings: RedisSettings, durability: Durability, commands: RedisClient, log: Logger) {
    this.settings = settings;
    this.durability = durability;
    this.commands = commands;
    this.#log = log;
    this.#watch = new PrimaryWatch(commands, log);
    for (const place of this.places) this.#writesAt(place); // connected before the first write
    if (commands instanceof Cluster) commands.on('refresh', () => this.#slotsRefreshed());
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
      const timeoutMs = settings.commandTimeoutMs ?? COMMAND_TIMEOUT_MS;
      const client = makeClient(settings, { retries, timeoutMs, purpose: 'commands' });
      const failures: Error[] = [];
      let warnedAtMs = Number.NEGATIVE_INFINITY;
      client.on('error', (error: Error) => {
        if (!retries.isWanted) failures.push(error);
        else if (performance.now() - warnedAtMs >= REMIND_MS) {
          warnedAtMs = performance.now();
          log.warn({ redis: at, err: error.message }, 'the connection to Redis failed; connecting again');
        }
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
          log.warn(
            { redis: at, err: (why as Error).message },
            'Redis cannot be used yet; waiting for it, not ready until it can',
          );
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
    return await this.#runScript(script, [...keys, ...args], 'utf8');
  }

  /** As `run`, but the strings of the reply are bytes. For scripts that only read. */
  async read(script: Script, keys: readonly string[], args: readonly RedisValue[]): Promise<unknown> {
    return await this.#runScript(script, [...keys, ...args], null);
  }

  async #runScript(script: Script, all: readonly RedisValue[], encoding: 'utf8' | null): Promise<unknown> {
    try {
      return await this.#command('EVALSHA', [script.sha, script.keyCount, ...all], encoding);
    } catch (error) {
      // After SCRIPT FLUSH or a failover: EVAL sends the text, and the server knows it from then on.
      if (!isNoScript(error as Error)) throw error;
    }
    return await this.#command('EVAL', [script.text, script.keyCount, ...all], encoding);
  }

  /**
   * Sends one command with one key or more of one slot; the strings of its reply are bytes. What it changes may not be durable
   * when this resolves.
   *
   * @throws StoreUnavailable; other errors are bugs
   */
  async call(name: string, ...args: readonly RedisValue[]): Promise<unknown> {
    return await this.#command(name, args, null);
  }

  /** Gathered with what one tick sends; after a redirection sent alone, since a Cluster's pipeline follows it as a whole or not at all. */
  async #command(name: string, args: readonly RedisValue[], encoding: 'utf8' | null): Promise<unknown> {
    const { commands } = this;
    if (this.#pending >= MAX_PENDING) throw new StoreUnavailable('not-done', new Error('too many commands wait for Redis'));
    this.#pending++;
    try {
      return await methodOf(commands, name, encoding)(...args);
    } catch (error) {
      if (!(commands instanceof Cluster && isElsewhere(error as Error))) throw storeError(error as Error);
      const again = new Command(name, [...args], { replyEncoding: encoding });
      return await (commands.sendCommand(again) as Promise<unknown>).catch((second: Error) => {
        throw storeError(second);
      });
    } finally {
      this.#pending--;
    }
  }

  /**
   * Runs one script; resolves with its reply when what it did is durable as configured (delivery.md §2.4). What is run for one
   * slot is run and answered in the order asked.
   *
   * @throws StoreUnavailable; other errors are bugs
   */
  async runDurably(script: Script, keys: readonly string[], args: readonly RedisValue[]): Promise<unknown> {
    const all = [script.sha, String(script.keyCount), ...keys, ...args.map(sendable)];
    return await this.#durably({ key: keys[0] as string, name: 'EVALSHA', args: all, script });
  }

  /** As `runDurably`, for one plain command. */
  async callDurably(name: string, key: string, ...args: readonly RedisValue[]): Promise<unknown> {
    return await this.#durably({ key, name, args: [key, ...args.map(sendable)] });
  }

  /** A slot under way to another server refuses several keys until it is there: asked again for a while (TRYAGAIN). */
  async #durably(order: Order): Promise<unknown> {
    const { commands } = this;
    if (!(commands instanceof Cluster)) return await this.#writesAt('').write(order);
    const endMs = performance.now() + FOLLOW_MS;
    for (let asked: string | undefined; ; ) {
      const place = asked ?? this.placeOf(order.key);
      try {
        return await this.#writesAt(place).write(order, asked !== undefined);
      } catch (error) {
        if (!(error instanceof StoreUnavailable && error.outcome === 'not-done')) throw error;
        const cause = error.cause as Error;
        const isLate = performance.now() >= endMs;
        if (isLate || !isElsewhere(cause)) {
          void this.refreshSlots();
          throw error;
        }
        asked = asked === undefined ? askedOf(cause) : undefined;
        if (asked !== undefined) continue;
      }
      await sleep(FOLLOW_PAUSE_MS);
      await this.refreshSlots();
    }
  }

  /**
   * Sends one command of the caller's.
   *
   * @throws StoreUnavailable; other errors are bugs
   */
  async ask<T>(command: (client: RedisClient) => Promise<T>): Promise<T> {
    const endMs = performance.now() + FOLLOW_MS;
    for (;;) {
      try {
        return await command(this.commands);
      } catch (error) {
        const isFollowed = this.commands instanceof Cluster && isElsewhere(error as Error) && performance.now() < endMs;
        if (!isFollowed) throw storeError(error as Error);
      }
      await sleep(FOLLOW_PAUSE_MS);
      await this.refreshSlots();
    }
  }

  /** Opens one more connection, for a reader that blocks: its commands have no time-out. Closed with the others. */
  reader(): RedisClient {
    return this.#hold(makeClient(this.settings, { retries: { isWanted: true }, timeoutMs: undefined, purpose: 'reader' }));
  }

  /**
   * Opens one more plain connection to the primary at a place, for pub/sub. What it subscribes to is not subscribed to again
   * by itself: who listens must know when that is confirmed (delivery.md §3.1). Closed with the others.
   */
  subscriber(place: string): Redis {
    return this.#hold(this.#serverAt(place, 'bells', { autoResubscribe: false }));
  }

  #hold<C extends RedisClient>(client: C): C {
    client.on('error', (error: Error) => this.#log.debug({ err: error.message }, 'a connection to Redis failed'));
    this.#readers.add(client);
    // A failed first attempt is followed by others.
    client.connect().catch((error: Error) => this.#log.debug({ err: error.message }, 'a connection to Redis failed'));
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
    this.#watch.close();
    for (const writes of this.#durable.values()) writes.close();
    this.#durable.clear();
    for (const reader of [...this.#readers]) this.release(reader);
    this.commands.disconnect();
  }

  /** The place of a key's primary: `host:port`, or '' where there is one; '' too while no primary has the slot. */
  placeOf(key: string): string {
    return this.placeOfSlot(slotOf(key));
  }

  /** As `placeOf`, for the slot of a key. */
  placeOfSlot(slot: number): string {
    return this.commands instanceof Cluster ? (this.commands.slots[slot]?.[0] ?? '') : '';
  }

  /** The places of all primaries. */
  get places(): ReadonlySet<string> {
    if (!(this.commands instanceof Cluster)) return new Set(['']);
    return new Set(this.commands.nodes('master').map((node) => `${node.options.host}:${node.options.port}`));
  }

  /** Whether keys are spread over several primaries by their slots. */
  get isSharded(): boolean {
    return this.commands instanceof Cluster;
  }

  /** Asks a Cluster anew where its slots are; resolves when it knows, or could not learn it. */
  refreshSlots(): Promise<void> {
    const { commands } = this;
    if (!(commands instanceof Cluster) || this.#isClosed) return Promise.resolve();
    if (performance.now() - this.#refreshedAtMs < REFRESH_PAUSE_MS) return Promise.resolve();
    this.#refreshing ??= new Promise<void>((resolve) => {
      commands.refreshSlotsCache(() => {
        this.#refreshing = undefined;
        this.#refreshedAtMs = performance.now();
        resolve();
      });
    });
    return this.#refreshing;
  }

  /** Calls `refreshed` whenever a Cluster told where its slots are. Returns how to stop it. */
  onSlotsRefreshed(refreshed: () => void): () => void {
    this.#slotListeners.add(refreshed);
    return () => this.#slotListeners.delete(refreshed);
  }

  /**
   * Calls `changed` when primaries are others than before, by a failover or an empty restart: what this instance wrote there
   * last may be gone (delivery.md §3.4). `holds` tells which keys are theirs. Returns how to stop it.
   */
  onPrimaryChanged(changed: (holds: Holds) => void): () => void {
    return this.#watch.onChanged(changed);
  }

  #slotsRefreshed(): void {
    const { places } = this;
    for (const [place, writes] of this.#durable) {
      if (places.has(place)) continue;
      writes.close();
      this.#durable.delete(place);
    }
    for (const refreshed of this.#slotListeners) refreshed();
  }

  #writesAt(place: string): DurableWrites {
    const known = this.#durable.get(place);
    if (known !== undefined) return known;
    if (this.#isClosed) throw new StoreUnavailable('not-done', new Error('closed'));
    const { durability, settings } = this;
    const writes = new DurableWrites({
      connect: () => {
        const connection = this.#serverAt(place, 'writes', {});
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

  /** Not auto-pipelined: WAIT counts what its own connection wrote before it (delivery.md §2.5). */
  #serverAt(place: string, purpose: string, more: { autoResubscribe?: boolean }): Redis {
    const retries = { isWanted: true };
    const { settings, durability } = this;
    const waitsMs = durability.kind === 'replicas' ? (settings.replicaTimeoutMs ?? REPLICA_TIMEOUT_MS) : 0;
    // WAIT answers after its time; what takes longer says nothing at all.
    const timeoutMs = Math.max(settings.commandTimeoutMs ?? COMMAND_TIMEOUT_MS, 2 * waitsMs);
    const options = serverOptions(settings, { retries, timeoutMs, purpose });
    if (!(this.commands instanceof Cluster)) return new Redis({ ...options, ...whereOne(settings, retries), ...more });
    if (place === '') throw new StoreUnavailable('not-done', new Error('no primary has this slot'));
    return new Redis({ ...options, ...addressOf(place), db: 0, ...more });
  }
}

type Method = (...args: readonly RedisValue[]) => Promise<unknown>;

/** By its own method: ioredis gathers `callBuffer` into a pipeline without the command's name. */
function methodOf(client: RedisClient, name: string, encoding: 'utf8' | null): Method {
  const methods = client as unknown as Record<string, Method | undefined>;
  const method = methods[`${name.toLowerCase()}${encoding === null ? 'Buffer' : ''}`];
  if (method === undefined) throw new Error(`no command ${name}`);
  return method.bind(client);
}

const sendable = (value: RedisValue): string | Buffer => (typeof value === 'number' ? String(value) : value);

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
