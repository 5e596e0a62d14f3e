import { type PlatformAccount, RedisAccountStore, redisClusterSecret } from '@xmpp-grid/auth';
import { JID, RedisConnections, StoreUnavailable } from '@xmpp-grid/stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { onServer, type RedisTopology, startRedisTopology } from '../../support/redis-topology.ts';
import { hasRedis } from '../../support/start-redis.ts';
import { until } from '../../support/until.ts';
import { recordedLog } from '../stream/support.ts';

/** Accounts through the loss of a primary, with durability `replicas: 1` (M-15; delivery.md §2.4, §2.5). */

const account = (name: string, change: Partial<PlatformAccount> = {}): PlatformAccount => ({
  jid: JID.parse(`${name}@grid.example`),
  role: 'platform',
  state: 'enabled',
  scram: {},
  certificateFingerprints: [],
  createdAtMs: 1,
  ...change,
});

describe.skipIf(!hasRedis(true))('accounts through a failover', () => {
  let topology: RedisTopology;
  let redis: RedisConnections;
  beforeAll(async () => {
    topology = await startRedisTopology({ kind: 'replica', durability: 'replicas' });
    redis = await RedisConnections.open(
      {
        servers: { kind: 'standalone', url: `redis://127.0.0.1:${topology.port}` },
        keyPrefix: 'xg:',
        durability: { kind: 'replicas', count: 1 },
        replicaTimeoutMs: 2_000, // on a busy machine replicas are slow to answer
      },
      { log: recordedLog(), retryMs: 20 },
    );
  });
  afterAll(async () => {
    redis.close();
    await topology.stop();
  });

  it('what was acknowledged is there afterwards, what was not is told as unknown', async () => {
    const store = new RedisAccountStore(redis);
    const secret = await redisClusterSecret(redis);
    const kept = Array.from({ length: 20 }, (_, i) => `kept-${String(i).padStart(2, '0')}`);
    const versions = await Promise.all(kept.map((name) => store.put(account(name), undefined)));
    const [first, second] = versions as [{ version: string }, { version: string }];
    expect(await store.put(account('kept-00', { state: 'disabled' }), first.version)).not.toBe('stale');

    // No replica hears of these any more. A primary that may not write alone refuses them; one that may takes them with it.
    await topology.cutReplication();
    await expect(store.put(account('lost'), undefined)).rejects.toMatchObject({ outcome: 'not-done' });
    await onServer(await topology.primary(), (client) => client.config('SET', 'min-replicas-to-write', '0'));
    const outcomes = await Promise.allSettled([
      store.put(account('lost'), undefined),
      store.put(account('kept-01', { state: 'disabled' }), second.version),
      store.remove(account('kept-02').jid, (versions[2] as { version: string }).version),
    ]);
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { outcome: 'unknown' } });
      expect((outcome as PromiseRejectedResult).reason).toBeInstanceOf(StoreUnavailable);
    }

    await (await topology.primary()).kill();
    await topology.healReplication();
    await topology.promote();
    await until('the new primary answers', () =>
      store.get(account('kept-00').jid).then(
        (found) => found !== undefined,
        () => false,
      ),
    );
    const found = await store.list(undefined, 100);
    expect(found.map((each) => each.account.jid.local)).toEqual(kept);
    expect(found.map((each) => each.account.state)).toEqual(['disabled', ...kept.slice(1).map(() => 'enabled')]);
    expect(await redisClusterSecret(redis)).toEqual(secret);

    // Asked again, as an administrator would: the version that was read is still the one.
    expect(await store.put(account('kept-01', { state: 'disabled' }), second.version)).not.toBe('stale');
    expect((await store.get(account('kept-01').jid))?.account.state).toBe('disabled');
  });
});
