import { describe, expect, it } from 'vitest';
import { onServer, type RedisTopology, startRedisTopology } from '../support/redis-topology.ts';
import { hasRedis } from '../support/start-redis.ts';
import { until } from '../support/until.ts';

/** What the fault suite stands on: failovers happen, and the faults do what their names say. */

const ENTRIES = 500;

/** Appends until the primary is killed, while its replicas hear nothing; returns how many of the acknowledged are left. */
async function appendThroughFailover(redis: RedisTopology, wait: boolean): Promise<{ acknowledged: number; left: number }> {
  const primary = await redis.primary();
  await redis.cutReplication();
  let acknowledged = 0;
  await onServer(primary, async (client) => {
    for (let i = 0; i < ENTRIES; i++) {
      try {
        const pipeline = client.multi({ pipeline: true }).xadd('log', '*', 'n', String(i)).exec();
        await pipeline;
        if (!wait || Number(await client.wait(1, 20)) >= 1) acknowledged++;
        if (wait && i >= 5) break; // each waits its whole time
      } catch {
        break; // refused: NOREPLICAS
      }
    }
  });
  await primary.kill();
  const next = await redis.promote();
  return { acknowledged, left: await onServer(next, (client) => client.xlen('log')) };
}

describe.skipIf(!hasRedis(true))('topologies of the fault suite', () => {
  it('F4: without WAIT a failover loses what was acknowledged, the front address follows, the old primary rejoins', async () => {
    const redis = await startRedisTopology({ kind: 'replica', durability: 'memory' });
    try {
      const old = await redis.primary();
      const { acknowledged, left } = await appendThroughFailover(redis, false);
      expect(acknowledged).toBe(ENTRIES);
      expect(left).toBe(0);
      expect(await onServer(redis, (client) => client.set('through', 'front'))).toBe('OK');
      await redis.rejoin(old);
      await redis.healReplication();
      await redis.inStep();
      expect(await onServer(old, (client) => client.get('through'))).toBe('front');
    } finally {
      await redis.stop();
    }
  });

  it('F4: with WAIT nothing is acknowledged that no replica has', async () => {
    const redis = await startRedisTopology({ kind: 'replica', durability: 'replicas' });
    try {
      expect((await appendThroughFailover(redis, true)).acknowledged).toBe(0);
    } finally {
      await redis.stop();
    }
  });

  it('F5 and F6: a partition holds bytes back, and passes them once healed; delay keeps order', async () => {
    const redis = await startRedisTopology({ kind: 'standalone', durability: 'memory' });
    try {
      redis.front.delayMs = () => Math.random() * 10;
      await onServer(redis, async (client) => {
        const all = Array.from({ length: 20 }, async () => {
          await new Promise((resolve) => setTimeout(resolve, Math.random() * 20));
          return await client.incr('n');
        });
        expect((await Promise.all(all)).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
        redis.front.partition('to-client');
        const answer = client.incr('n');
        await until('the command arrived', async () => (await onServer(redis.servers[0]!, (direct) => direct.get('n'))) === '21');
        expect(await Promise.race([answer, Promise.resolve('nothing yet')])).toBe('nothing yet');
        redis.front.heal();
        expect(await answer).toBe(21);
        expect(redis.front.cut()).toBe(1);
      });
    } finally {
      await redis.stop();
    }
  });

  it('F4: the Sentinels promote a replica when the primary dies', async () => {
    const redis = await startRedisTopology({ kind: 'sentinel', durability: 'replicas' });
    try {
      const old = await redis.primary();
      await old.kill();
      await until('another primary', async () => (await redis.primary()) !== old);
      const next = await redis.primary();
      await until('it accepts writes', () =>
        onServer(next, (client) => client.set('k', 'v')).then(
          () => true,
          () => false,
        ),
      );
      await redis.rejoin(old);
      await redis.inStep();
    } finally {
      await redis.stop();
    }
  });

  it('F8: a replica of the Cluster takes over for its primary', async () => {
    const redis = await startRedisTopology({ kind: 'cluster', durability: 'replicas' });
    try {
      const [first, , , itsReplica] = redis.servers;
      await first!.kill();
      await until('the replica is primary', async () => {
        const role = (await onServer(itsReplica!, (client) => client.call('ROLE'))) as string[];
        return role[0] === 'master';
      });
      await redis.rejoin(first!);
      await redis.inStep();
    } finally {
      await redis.stop();
    }
  });
});
