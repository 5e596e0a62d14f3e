import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { RedisSettings } from './settings.ts';

/**
 * Clients of Redis as this project wants them: none queues while Redis is away or sends a command twice, so that memory
 * stays bounded and a command whose answer was lost is told as unknown.
 */

export type RedisClient = Redis | Cluster;
/** Without what one server and a Cluster's node type differently. */
export type ServerOptions = Omit<RedisOptions, 'replyMapping' | 'himportFieldsets'>;

const CONNECT_TIMEOUT_MS = 5_000;
/** Longest pause between two attempts to connect. */
const MAX_PAUSE_MS = 1_000;

/** Whether a lost connection is opened again. Not at start: there each attempt is judged. */
export interface Retries {
  isWanted: boolean;
}

const pauseBefore =
  (retries: Retries) =>
  (times: number): number | null =>
    retries.isWanted ? Math.min(50 * times, MAX_PAUSE_MS) : null;

export interface ClientOptions {
  readonly retries: Retries;
  /** Undefined for one that blocks. */
  readonly timeoutMs: number | undefined;
  /** What it is for, shown by CLIENT LIST. */
  readonly purpose: string;
}

export function makeClient(settings: RedisSettings, wanted: ClientOptions): RedisClient {
  const { retries, timeoutMs } = wanted;
  const options = serverOptions(settings, wanted);
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

/** Of one connection to one server, but not where that is. */
export function serverOptions(settings: RedisSettings, { retries, timeoutMs, purpose }: ClientOptions): ServerOptions {
  const { username, password } = credentialsOf(settings);
  return {
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    // With it commands under way fail as soon as their connection does; otherwise they wait for the next one.
    maxRetriesPerRequest: 0,
    connectTimeout: CONNECT_TIMEOUT_MS,
    connectionName: `xmpp-grid-${purpose}`,
    retryStrategy: pauseBefore(retries),
    // A primary that became a replica: Sentinel names the new one.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
    // A server that says nothing at all is connected to anew: its link may be half open.
    ...(timeoutMs === undefined ? {} : { commandTimeout: timeoutMs, socketTimeout: timeoutMs }),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(settings.db === undefined ? {} : { db: settings.db }),
    ...(settings.tls === undefined ? {} : { tls: settings.tls }),
  };
}

/** Where the one primary is. */
export function whereOne(settings: RedisSettings, retries: Retries): ServerOptions {
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

export const userOf = (settings: RedisSettings): string | undefined => credentialsOf(settings).username;

/** For messages: never with credentials. */
export function placeOf({ servers }: RedisSettings): string {
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

export function addressOf(place: string): { host: string; port: number } {
  const colon = place.lastIndexOf(':');
  return { host: place.slice(0, colon), port: Number(place.slice(colon + 1)) };
}

/** ioredis hides why no node of a Cluster could be used in this property. */
export const lastNodeError = (error: Error): Error | undefined => (error as { lastNodeError?: Error }).lastNodeError;
