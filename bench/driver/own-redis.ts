import type { RedisServers } from '@xmpp-grid/stream';
import type { Redis } from 'ioredis';
import { startRedis, type TestRedis } from '../../test/support/start-redis.ts';
import { asked, startRedisCluster } from '../../test/support/start-redis-cluster.ts';
import { addUses, parseCommandUses, parseDataMemory } from './redis-info.ts';
import type { RedisUnderTest } from './server.ts';

/** Where several instances keep what they share. */
export type RedisKind = 'redis' | 'redis-cluster';
/** When a change counts as durable: the setting `redis.durability`. */
export type RedisDurability = 'fsync' | 'replicas' | 'memory';

/** A Redis that the run started, to measure and to stop. */
export interface OwnRedis extends RedisUnderTest {
  /** The setting `redis` of an instance. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** For adapters that are used without an instance. */
  readonly servers: RedisServers;
  readonly version: string;
  stop(): Promise<void>;
}

const PRIMARIES = 3;
const REPLICA_DEADLINE_MS = 30_000;

/**
 * Starts Redis on free ports of 127.0.0.1, configured as the durability asks: each write flushed (`fsync`), one replica for
 * each primary (`replicas`), or neither. The append-only file is never rewritten: a rewrite is a moment, not a cost per unit.
 */
export async function startOwnRedis(kind: RedisKind, durability: RedisDurability): Promise<OwnRedis> {
  const args = ['--auto-aof-rewrite-percentage', '0'];
  if (durability === 'fsync') args.push('--appendonly', 'yes', '--appendfsync', 'always');
  if (durability === 'replicas') args.push('--min-replicas-to-write', '1', '--min-replicas-max-lag', '10');
  const { primaries, replicas, mode, stop } =
    kind === 'redis-cluster' ? await startCluster(durability, args) : await startOne(durability, args);
  const nodes = [...primaries, ...replicas];
  const each = <T>(ask: (client: Redis) => Promise<T>) => Promise.all(primaries.map((primary) => asked(primary, ask)));
  const info = await asked(primaries[0]!, (client) => client.info('server'));
  return {
    version: /^redis_version:(\S+)/m.exec(info)?.[1] ?? 'unknown',
    settings: {
      mode,
      nodes: primaries.map(({ host, port }) => `${host}:${port}`),
      durability,
      ...(durability === 'replicas' ? { replicas: 1 } : {}),
    },
    servers:
      mode === 'cluster'
        ? { kind: 'cluster', nodes: primaries.map(({ host, port }) => ({ host, port })) }
        : { kind: 'standalone', url: primaries[0]!.url },
    pids: nodes.map(({ pid }) => pid!),
    async commandUses() {
      return addUses((await each((client) => client.info('commandstats'))).map(parseCommandUses));
    },
    async usedMemory() {
      const bytes = (await each((client) => client.info('memory'))).map(parseDataMemory);
      return bytes.reduce((sum, one) => sum + one, 0);
    },
    async listeners(channelEnd) {
      const counts = await each(async (client) => {
        const channels = (await client.call('PUBSUB', 'SHARDCHANNELS', `*${channelEnd}`)) as string[];
        if (channels.length === 0) return 0;
        const pairs = (await client.call('PUBSUB', 'SHARDNUMSUB', ...channels)) as (string | number)[];
        return pairs.reduce<number>((sum, value, i) => (i % 2 === 1 ? sum + Number(value) : sum), 0);
      });
      return counts.reduce((sum, one) => sum + one, 0);
    },
    stop,
  };
}

interface Started {
  readonly primaries: readonly TestRedis[];
  readonly replicas: readonly TestRedis[];
  readonly mode: 'standalone' | 'cluster';
  stop(): Promise<void>;
}

async function startCluster(durability: RedisDurability, args: readonly string[]): Promise<Started> {
  const cluster = await startRedisCluster({ primaries: PRIMARIES, replicas: durability === 'replicas' ? 1 : 0, args });
  return { primaries: cluster.primaries, replicas: cluster.replicas, mode: 'cluster', stop: () => cluster.stop() };
}

async function startOne(durability: RedisDurability, args: readonly string[]): Promise<Started> {
  const primary = await startRedis({ isOwn: true, args });
  const servers = [primary];
  const stop = async () => {
    await Promise.all(servers.map((server) => server.stop()));
  };
  try {
    if (durability === 'replicas') {
      servers.push(await startRedis({ isOwn: true, args: [...args, '--replicaof', primary.host, String(primary.port)] }));
      await replicated(primary);
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { primaries: [primary], replicas: servers.slice(1), mode: 'standalone', stop };
}

async function replicated(primary: TestRedis): Promise<void> {
  const deadline = Date.now() + REPLICA_DEADLINE_MS;
  while (!/^slave0:.*state=online/m.test(await asked(primary, (client) => client.info('replication')))) {
    if (Date.now() > deadline) throw new Error(`the replica was not in step within ${REPLICA_DEADLINE_MS / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
