import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { Redis } from 'ioredis';
import { startRedis, type TestRedis } from '../../support/start-redis.ts';
import { until } from '../stream/support.ts';

/** A Redis Cluster of two primaries without replicas: enough for keys that must share a slot and for those that do not. */
export interface SmallCluster {
  readonly nodes: readonly { readonly host: string; readonly port: number }[];
  stop(): Promise<void>;
}

const SLOTS = [
  ['0', '8191'],
  ['8192', '16383'],
] as const;

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function on<T>(server: TestRedis, command: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis({ host: server.host, port: server.port, lazyConnect: true, retryStrategy: () => null });
  client.on('error', () => undefined); // the command under way tells
  try {
    await client.connect();
    return await command(client);
  } finally {
    client.disconnect();
  }
}

export async function startSmallCluster(): Promise<SmallCluster> {
  const servers: TestRedis[] = [];
  const stop = async () => {
    for (const server of servers) await server.stop();
  };
  try {
    const busPorts: string[] = [];
    for (const [i, [from, to]] of SLOTS.entries()) {
      const busPort = String(await freePort());
      busPorts.push(busPort);
      const server = await startRedis({ isOwn: true, args: ['--cluster-enabled', 'yes', '--cluster-port', busPort] });
      servers.push(server);
      await on(server, async (client) => {
        await client.call('CLUSTER', 'ADDSLOTSRANGE', from, to);
        await client.call('CLUSTER', 'SET-CONFIG-EPOCH', String(i + 1));
        const [first] = servers as [TestRedis];
        if (i > 0) await client.call('CLUSTER', 'MEET', first.host, String(first.port), busPorts[0] as string);
      });
    }
    await until('the Cluster is whole', async () => {
      const infos = await Promise.all(servers.map((server) => on(server, (client) => client.cluster('INFO'))));
      return infos.every((info) => info.includes('cluster_state:ok') && info.includes('cluster_known_nodes:2'));
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { nodes: servers.map(({ host, port }) => ({ host, port })), stop };
}
