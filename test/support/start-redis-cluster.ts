import type { RedisServers } from '@xmpp-grid/stream';
import { Redis } from 'ioredis';
import { freePort } from './free-ports.ts';
import { startRedis, type TestRedis } from './start-redis.ts';
import { until } from './until.ts';

/** A Redis Cluster of processes on loopback, made by the test and gone with it. */
export interface TestCluster {
  readonly primaries: readonly TestRedis[];
  /** Those of the first primary, then those of the second, and so on. */
  readonly replicas: readonly TestRedis[];
  /** All of them. */
  readonly nodes: readonly TestRedis[];
  /** For `RedisSettings`. */
  readonly servers: RedisServers;
  /** The primary that a slot belongs to now, as the nodes that answer say. */
  ownerOf(slot: number): Promise<TestRedis>;
  /** Moves a slot with its keys, as a reshard does. `halfway` runs when its keys are at both ends. */
  moveSlot(slot: number, to: TestRedis, halfway?: () => Promise<void>): Promise<void>;
  stop(): Promise<void>;
}

export interface ClusterOptions {
  /** 3 if absent. */
  readonly primaries?: number;
  /** For each primary; 0 if absent. */
  readonly replicas?: number;
  readonly args?: readonly string[];
}

const SLOTS = 16_384;
const DEADLINE_MS = 30_000;

/** Ready when every node knows every other and takes writes: some 3 s. */
export async function startRedisCluster(options: ClusterOptions = {}): Promise<TestCluster> {
  const { primaries: count = 3, replicas: each = 0, args = [] } = options;
  const busPorts: number[] = [];
  const nodes = await Promise.all(
    Array.from({ length: count * (1 + each) }, async (_, i) => {
      const busPort = await freePort();
      busPorts[i] = busPort;
      const own = ['--cluster-enabled', 'yes', '--cluster-port', String(busPort), '--cluster-node-timeout', '1000'];
      return await startRedis({ isOwn: true, args: [...own, ...args] });
    }),
  );
  const stop = async () => {
    await Promise.all(nodes.map((node) => node.stop()));
  };
  try {
    const primaries = nodes.slice(0, count);
    const replicas = nodes.slice(count);
    const [first] = nodes as [TestRedis];
    for (const [i, node] of nodes.entries()) {
      await asked(node, async (client) => {
        const from = Math.round((SLOTS * i) / count);
        const to = Math.round((SLOTS * (i + 1)) / count) - 1;
        if (i < count) await client.call('CLUSTER', 'ADDSLOTSRANGE', String(from), String(to));
        await client.call('CLUSTER', 'SET-CONFIG-EPOCH', String(i + 1));
        if (i > 0) await client.call('CLUSTER', 'MEET', first.host, String(first.port), String(busPorts[0]));
      });
    }
    await until(
      'every node knows every other',
      async () => (await Promise.all(nodes.map(knownTo))).every((known) => known === nodes.length),
      DEADLINE_MS,
    );
    for (const [i, replica] of replicas.entries()) {
      const primaryId = await idOf(primaries[Math.floor(i / each)] as TestRedis);
      await asked(replica, (client) => client.call('CLUSTER', 'REPLICATE', primaryId));
    }
    await until(
      'the Cluster is whole',
      async () => (await Promise.all(nodes.map((node) => isReady(node, replicas.includes(node))))).every(Boolean),
      DEADLINE_MS,
    );
    const ownerOf = async (slot: number) => {
      for (const node of nodes) {
        const owner = await ownerSeenBy(node, slot).catch(() => undefined);
        const found = nodes.find(({ port }) => port === owner);
        if (found !== undefined) return found;
      }
      throw new Error(`slot ${slot} has no owner`);
    };
    return {
      primaries,
      replicas,
      nodes,
      servers: { kind: 'cluster', nodes: primaries.map(({ host, port }) => ({ host, port })) },
      ownerOf,
      moveSlot: async (slot, to, halfway) => move(slot, await ownerOf(slot), to, primaries, halfway),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** By hand what `redis-cli --cluster reshard` does for one slot. */
async function move(slot: number, from: TestRedis, to: TestRedis, all: readonly TestRedis[], halfway?: () => Promise<void>) {
  const [fromId, toId] = [await idOf(from), await idOf(to)];
  const at = (node: TestRedis, ...args: string[]) =>
    asked(node, (client) => client.call('CLUSTER', 'SETSLOT', String(slot), ...args));
  await at(to, 'IMPORTING', fromId);
  await at(from, 'MIGRATING', toId);
  let isHalfway = halfway === undefined;
  for (;;) {
    const keys = (await asked(from, (client) => client.call('CLUSTER', 'GETKEYSINSLOT', String(slot), '1'))) as string[];
    const [key] = keys;
    if (key === undefined) break;
    await asked(from, (client) => client.call('MIGRATE', to.host, String(to.port), key, '0', '5000'));
    if (isHalfway) continue;
    isHalfway = true;
    await halfway?.();
  }
  for (const node of [to, from, ...all]) await at(node, 'NODE', toId);
}

/** One command or some over a connection of its own. */
export async function asked<T>(server: { host: string; port: number }, ask: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis({ host: server.host, port: server.port, lazyConnect: true, retryStrategy: () => null });
  client.on('error', () => undefined); // what was asked tells
  try {
    await client.connect();
    return await ask(client);
  } finally {
    client.disconnect();
  }
}

const idOf = (node: TestRedis): Promise<string> => asked(node, async (client) => String(await client.call('CLUSTER', 'MYID')));

const knownTo = (node: TestRedis): Promise<number> =>
  asked(node, async (client) => {
    const nodes = String(await client.cluster('NODES'))
      .trim()
      .split('\n');
    return nodes.filter((line) => !/handshake|noaddr/.test(line)).length;
  });

const isReady = (node: TestRedis, isReplica: boolean): Promise<boolean> =>
  asked(node, async (client) => {
    const info = String(await client.cluster('INFO'));
    if (!info.includes('cluster_state:ok') || !info.includes(`cluster_slots_ok:${SLOTS}`)) return false;
    return !isReplica || (await client.info('replication')).includes('master_link_status:up');
  });

async function ownerSeenBy(node: TestRedis, slot: number): Promise<number | undefined> {
  const ranges = (await asked(node, (client) => client.call('CLUSTER', 'SLOTS'))) as [number, number, [string, number]][];
  return ranges.find(([from, to]) => from <= slot && slot <= to)?.[2][1];
}
