import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import type { Durability, RedisAddress, RedisServers, RedisSettings } from '@xmpp-grid/stream';
import type { Config } from './config.ts';
import { ConfigError } from './config-load.ts';
import { parseRedisNode } from './redis-node.ts';

/**
 * What the connections to Redis need, with the files read that the configuration names.
 *
 * @throws ConfigError when a file cannot be read
 */
export function redisSettings(config: Config): RedisSettings {
  const { redis } = config;
  const password = secretOf('redis.passwordFile', redis.passwordFile);
  return {
    servers: serversOf(config),
    ...(redis.username === undefined ? {} : { username: redis.username }),
    ...(password === undefined ? {} : { password }),
    db: redis.database,
    ...(redis.tls.enabled ? { tls: tlsOf(redis.tls) } : {}),
    keyPrefix: redis.keyPrefix,
    durability: durabilityOf(redis),
    commandTimeoutMs: redis.commandTimeoutMs,
    replicaTimeoutMs: redis.replicaTimeoutMs,
  };
}

function serversOf({ redis }: Config): RedisServers {
  const nodes = redis.nodes.map((node) => parseRedisNode(node) as RedisAddress); // checked with the configuration
  switch (redis.mode) {
    case 'standalone': {
      const [node] = redis.nodes as readonly [string];
      return { kind: 'standalone', url: `${redis.tls.enabled ? 'rediss' : 'redis'}://${node}` };
    }
    case 'sentinel': {
      const password = secretOf('redis.sentinelPasswordFile', redis.sentinelPasswordFile);
      return {
        kind: 'sentinel',
        name: redis.sentinelName,
        sentinels: nodes,
        ...(redis.sentinelUsername === undefined ? {} : { username: redis.sentinelUsername }),
        ...(password === undefined ? {} : { password }),
      };
    }
    case 'cluster':
      return { kind: 'cluster', nodes };
  }
}

function durabilityOf({ durability, replicas }: Config['redis']): Durability | 'auto' {
  switch (durability) {
    case 'auto':
      return 'auto';
    case 'replicas':
      return { kind: 'replicas', count: replicas };
    default:
      return { kind: durability };
  }
}

function tlsOf({ ca, certificate, key }: Config['redis']['tls']): ConnectionOptions {
  return {
    ...(ca === undefined ? {} : { ca: fileOf('redis.tls.ca', ca) }),
    ...(certificate === undefined ? {} : { cert: fileOf('redis.tls.certificate', certificate) }),
    ...(key === undefined ? {} : { key: fileOf('redis.tls.key', key) }),
  };
}

/** Editors end a file with a line break, which is no part of a password. */
function secretOf(setting: string, path: string | undefined): string | undefined {
  return path === undefined ? undefined : fileOf(setting, path).replace(/\r?\n$/, '');
}

function fileOf(setting: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError([`${setting}: ${path} cannot be read: ${(error as Error).message}`]);
  }
}
