import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { freePorts } from './free-ports.ts';
import { redisBinary, startRedis, type TestRedis } from './start-redis.ts';
import { startTcpProxy, type TcpProxy } from './tcp-proxy.ts';
import { until } from './until.ts';

/**
 * Redis as it is deployed, from the local binary: one server; a primary with two replicas, promoted by hand behind an
 * address that moves; the same under three Sentinels; a Cluster of three primaries with a replica each.
 */

export type RedisKind = 'standalone' | 'replica' | 'sentinel' | 'cluster';
export type TestDurability = 'memory' | 'fsync' | 'replicas';

export interface RedisTopologyOptions {
  readonly kind: RedisKind;
  readonly durability: TestDurability;
  /** More arguments of every redis-server. */
  readonly args?: readonly string[];
}

export interface RedisTopology {
  readonly kind: RedisKind;
  /** Every server, dead ones too. */
  readonly servers: readonly TestRedis[];
  /** The setting `redis` of an instance. `port`: reached through this one instead (standalone and replica). */
  settings(port?: number): Record<string, unknown>;
  /** The address that follows the primary (standalone and replica). */
  readonly port: number;
  /** The proxy behind `port`. */
  readonly front: TcpProxy;
  /** Who is primary now; of a Cluster the first. */
  primary(): Promise<TestRedis>;
  /** No replica gets anything from the primary any more: it is told at once, as by a reset. */
  cutReplication(): Promise<void>;
  healReplication(): Promise<void>;
  /** Makes the replica that has most the primary, as Sentinel would; the address follows (replica). */
  promote(): Promise<TestRedis>;
  /** Starts a dead server again; it becomes a replica of the present primary. */
  rejoin(server: TestRedis): Promise<void>;
  /** Every replica holds what its primary holds; the Sentinels agree about all of them. */
  inStep(): Promise<void>;
  /** The Sentinels have another primary than this one, agree about it, and the other replica follows it (sentinel). */
  failedOver(from: TestRedis): Promise<TestRedis>;
  /** What the Sentinels said, newest last. */
  readonly output: readonly string[];
  stop(): Promise<void>;
}

const REPLICATOR = ['--user', 'replicator', 'on', '>replicator', '+psync', '+replconf', '+ping'];
const REPLICA_AUTH = ['--masteruser', 'replicator', '--masterauth', 'replicator'];
const MASTER_NAME = 'grid';
/** Of a Sentinel's log. */
const MAX_LINES = 60;

/** Runs one command on one server, on a connection of its own. */
export async function onServer<T>(server: { readonly port: number }, command: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis({ host: '127.0.0.1', port: server.port, lazyConnect: true, retryStrategy: () => null });
  client.on('error', () => undefined); // the command under way tells
  try {
    await client.connect();
    return await command(client);
  } finally {
    client.disconnect();
  }
}

const roleOf = async (server: TestRedis): Promise<string | undefined> => {
  try {
    return ((await onServer(server, (client) => client.call('ROLE'))) as string[])[0];
  } catch {
    return undefined; // dead or loading
  }
};

/** `name` of INFO replication. */
async function replication(server: TestRedis, name: string): Promise<string | undefined> {
  const info = await onServer(server, (client) => client.info('replication'));
  return new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(info)?.[1];
}

export async function startRedisTopology(options: RedisTopologyOptions): Promise<RedisTopology> {
  return options.kind === 'cluster' ? await startClusterOf(options) : await startReplicated(options);
}

function serverArgs({ durability, args = [] }: RedisTopologyOptions): string[] {
  return [
    ...(durability === 'fsync' ? ['--appendonly', 'yes', '--appendfsync', 'always'] : []),
    // A primary that no replica hears stops by itself.
    ...(durability === 'replicas' ? ['--min-replicas-to-write', '1', '--min-replicas-max-lag', '10'] : []),
    '--repl-ping-replica-period',
    '1',
    ...REPLICATOR,
    ...REPLICA_AUTH,
    ...args,
  ];
}

const durabilitySetting = (durability: TestDurability) =>
  durability === 'replicas' ? { durability, replicas: 1 } : { durability };

async function startReplicated(options: RedisTopologyOptions): Promise<RedisTopology> {
  const { kind, durability } = options;
  const servers: TestRedis[] = [];
  const sentinels: Sentinel[] = [];
  let front: TcpProxy | undefined;
  const stop = async () => {
    await Promise.all(sentinels.map((sentinel) => sentinel.stop()));
    await front?.close();
    await Promise.all(servers.map((server) => server.stop()));
  };
  try {
    const first = await startRedis({ isOwn: true, args: serverArgs(options) });
    servers.push(first);
    for (let i = 0; i < (kind === 'standalone' ? 0 : 2); i++) {
      servers.push(
        await startRedis({ isOwn: true, args: [...serverArgs(options), '--replicaof', '127.0.0.1', String(first.port)] }),
      );
    }
    const proxy = await startTcpProxy(first.port, { records: false });
    front = proxy;
    let scripted = first;
    const primary = async (): Promise<TestRedis> => {
      if (sentinels.length === 0) return scripted; // none yet, or never any
      for (const sentinel of sentinels) {
        try {
          const at = await onServer(sentinel, (client) => client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', MASTER_NAME));
          const found = servers.find((server) => server.port === Number((at as string[])[1]));
          if (found !== undefined) return found;
        } catch {
          // ask another one
        }
      }
      throw new Error('no Sentinel answers');
    };
    const agreed = async (): Promise<TestRedis | undefined> => {
      const found = await Promise.all(
        sentinels.map((sentinel) =>
          onServer(sentinel, (client) => client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', MASTER_NAME)),
        ),
      );
      const ports = new Set(found.map((at) => Number((at as string[])[1])));
      return ports.size === 1 ? servers.find((server) => ports.has(server.port)) : undefined;
    };
    const inStep = async () => {
      if (sentinels.length > 0) await until('the Sentinels agree', async () => (await agreed()) !== undefined);
      await until('every replica is in step', async () => {
        const from = await primary();
        if ((await roleOf(from)) !== 'master') return false;
        const offset = Number(await replication(from, 'master_repl_offset'));
        for (const server of servers) {
          if (server === from || !server.isRunning) continue;
          if ((await roleOf(server)) !== 'slave') return false;
          if ((await replication(server, 'master_link_status')) !== 'up') return false;
          if (Number(await replication(server, 'master_port')) !== from.port) return false;
          if (Number(await replication(server, 'slave_repl_offset')) < offset) return false;
        }
        return true;
      });
    };
    await inStep();
    if (kind === 'sentinel') {
      for (let i = 0; i < 3; i++) sentinels.push(await startSentinel(first.port));
      await until('the Sentinels know each other and the replicas', async () => {
        for (const sentinel of sentinels) {
          const [replicas, others] = await onServer(sentinel, async (client) => [
            (await client.call('SENTINEL', 'REPLICAS', MASTER_NAME)) as unknown[],
            (await client.call('SENTINEL', 'SENTINELS', MASTER_NAME)) as unknown[],
          ]);
          if (replicas?.length !== 2 || others?.length !== 2) return false;
        }
        return true;
      });
    }
    return {
      kind,
      servers,
      port: proxy.port,
      front: proxy,
      settings: (port = proxy.port) => ({
        ...(kind === 'sentinel'
          ? { mode: 'sentinel', sentinelName: MASTER_NAME, nodes: sentinels.map((sentinel) => `127.0.0.1:${sentinel.port}`) }
          : { mode: 'standalone', nodes: [`127.0.0.1:${port}`] }),
        ...durabilitySetting(durability),
      }),
      primary,
      async cutReplication() {
        await onServer(await primary(), async (client) => {
          await client.call('ACL', 'SETUSER', 'replicator', 'off');
          await client.call('CLIENT', 'KILL', 'TYPE', 'replica');
        });
      },
      async healReplication() {
        for (const server of servers) {
          if (server.isRunning) await onServer(server, (client) => client.call('ACL', 'SETUSER', 'replicator', 'on'));
        }
      },
      async promote() {
        if (kind !== 'replica') throw new Error('only a scripted failover is done by hand');
        const old = scripted;
        const candidates = servers.filter((server) => server !== old && server.isRunning);
        const offsets = await Promise.all(candidates.map(async (each) => Number(await replication(each, 'slave_repl_offset'))));
        const best = candidates[offsets.indexOf(Math.max(...offsets))];
        if (best === undefined) throw new Error('no replica is left');
        await onServer(best, (client) => client.call('REPLICAOF', 'NO', 'ONE'));
        for (const other of candidates) {
          if (other !== best) await onServer(other, (client) => client.call('REPLICAOF', '127.0.0.1', String(best.port)));
        }
        scripted = best;
        proxy.targetPort = best.port;
        return best;
      },
      async rejoin(server) {
        // As somebody who knows what he does: a replica before anybody can write to it.
        await server.restart(['--replicaof', '127.0.0.1', String((await primary()).port)]);
      },
      inStep,
      async failedOver(from) {
        let next = from;
        const isDone = async () => {
          next = (await agreed()) ?? from;
          return next !== from && Number(await replication(next, 'connected_slaves')) > 0;
        };
        await until('the Sentinels made another primary', () => isDone().catch(() => false), 30_000);
        return next;
      },
      get output() {
        return sentinels.flatMap((sentinel, i) => sentinel.output.map((line) => `sentinel ${i + 1}: ${line}`));
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Sentinel {
  readonly port: number;
  readonly output: readonly string[];
  stop(): Promise<void>;
}

/**
 * A primary that is only slow must not be replaced, on a busy test machine neither: of two that live, the one that loses takes
 * with it what one replica had confirmed (WAIT is no consensus).
 */
const DOWN_AFTER_MS = 4_000;

async function startSentinel(primaryPort: number): Promise<Sentinel> {
  const folder = mkdtempSync(join(tmpdir(), 'sentinel-'));
  const file = join(folder, 'sentinel.conf');
  writeFileSync(
    file,
    `sentinel monitor ${MASTER_NAME} 127.0.0.1 ${primaryPort} 2\nsentinel down-after-milliseconds ${MASTER_NAME} ${DOWN_AFTER_MS}\n` +
      `sentinel failover-timeout ${MASTER_NAME} 5000\nsentinel parallel-syncs ${MASTER_NAME} 2\n`,
  );
  const [port] = (await freePorts(1)) as [number];
  const child = spawn(redisBinary(), [file, '--sentinel', '--port', String(port), '--bind', '127.0.0.1'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const output: string[] = [];
  child.stdout.on('data', (chunk: Buffer) => {
    output.push(...chunk.toString().trimEnd().split('\n'));
    output.splice(0, Math.max(0, output.length - MAX_LINES));
  });
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    }
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await until('Sentinel answers', () =>
      onServer({ port }, (client) => client.ping()).then(
        () => true,
        () => false,
      ),
    );
  } catch (error) {
    await stop();
    throw error;
  }
  return { port, output, stop };
}

const CLUSTER_PRIMARIES = 3;
const SLOTS = 16_384;

async function startClusterOf(options: RedisTopologyOptions): Promise<RedisTopology> {
  const servers: TestRedis[] = [];
  const stop = async () => {
    await Promise.all(servers.map((server) => server.stop()));
  };
  try {
    const busPorts = await freePorts(2 * CLUSTER_PRIMARIES);
    for (const busPort of busPorts) {
      servers.push(
        await startRedis({
          isOwn: true,
          args: [
            ...['--cluster-enabled', 'yes', '--cluster-port', String(busPort), '--cluster-node-timeout', '2000'],
            ...['--cluster-replica-validity-factor', '0', ...serverArgs(options)],
          ],
        }),
      );
    }
    const primaries = servers.slice(0, CLUSTER_PRIMARIES);
    const ids = await Promise.all(
      servers.map((server) => onServer(server, (client) => client.call('CLUSTER', 'MYID') as Promise<string>)),
    );
    for (const [i, server] of servers.entries()) {
      await onServer(server, async (client) => {
        if (i < CLUSTER_PRIMARIES) {
          const [from, to] = [Math.floor((SLOTS / CLUSTER_PRIMARIES) * i), Math.floor((SLOTS / CLUSTER_PRIMARIES) * (i + 1)) - 1];
          await client.call('CLUSTER', 'ADDSLOTSRANGE', String(from), String(i === CLUSTER_PRIMARIES - 1 ? SLOTS - 1 : to));
        }
        await client.call('CLUSTER', 'SET-CONFIG-EPOCH', String(i + 1));
        if (i > 0) await client.call('CLUSTER', 'MEET', '127.0.0.1', String(servers[0]?.port), String(busPorts[0]));
      });
    }
    await until('the Cluster is whole', async () => {
      const infos = await Promise.all(servers.map((server) => onServer(server, (client) => client.cluster('INFO'))));
      return infos.every((info) => info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${servers.length}`));
    });
    for (let i = 0; i < CLUSTER_PRIMARIES; i++) {
      const replica = servers[CLUSTER_PRIMARIES + i] as TestRedis;
      // It may not have heard of its primary yet.
      await until('the replica knows its primary', () =>
        onServer(replica, (client) => client.call('CLUSTER', 'REPLICATE', ids[i] as string)).then(
          () => true,
          () => false,
        ),
      );
    }
    const inStep = () =>
      until('every primary of the Cluster has its replica', async () => {
        for (const server of servers) {
          if (!server.isRunning) continue;
          const role = await roleOf(server);
          if (role === 'master' && (await replication(server, 'connected_slaves')) === '0') return false;
          if (role === 'slave' && (await replication(server, 'master_link_status')) !== 'up') return false;
        }
        return true;
      });
    await inStep();
    return {
      kind: 'cluster',
      servers,
      get port(): number {
        throw new Error('a Cluster has no single address');
      },
      get front(): TcpProxy {
        throw new Error('a Cluster has no single address');
      },
      settings: () => ({
        mode: 'cluster',
        nodes: primaries.map((server) => `127.0.0.1:${server.port}`),
        ...durabilitySetting(options.durability),
      }),
      async primary() {
        for (const server of servers) if ((await roleOf(server)) === 'master') return server;
        throw new Error('no primary');
      },
      cutReplication: () => Promise.reject(new Error('not for a Cluster')),
      healReplication: () => Promise.reject(new Error('not for a Cluster')),
      promote: () => Promise.reject(new Error('a Cluster promotes by itself')),
      rejoin: (server) => server.restart(),
      inStep,
      failedOver: () => Promise.reject(new Error('a Cluster has no Sentinels')),
      output: [],
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
