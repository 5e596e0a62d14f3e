import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  RedisConnections,
  RedisControlLog,
  RedisInboxes,
  RedisInstanceTable,
  RedisResumeStates,
  RedisSessionRegistry,
  slotOf,
} from '@xmpp-grid/stream';
import { afterAll, describe, expect, it } from 'vitest';
import { freePort } from '../../support/free-ports.ts';
import { hasRedis, redisBinary, startRedis, type TestRedis } from '../../support/start-redis.ts';
import { asked, startRedisCluster } from '../../support/start-redis-cluster.ts';
import { until } from '../../support/until.ts';
import { account, recordedLog } from './support.ts';

/** The same adapters over a Redis Cluster, and over Sentinel through a failover (G-012, M-15; delivery.md §2.5). */

const state = { sessionId: 's', resource: 'r', boundAtMs: 1, handled: 0, acknowledged: 0, unacknowledged: [], extra: {} };

/** Everything once, so that each adapter's keys meet the topology. */
async function exerciseAll(redis: RedisConnections): Promise<void> {
  const log = recordedLog();
  const resume = new RedisResumeStates(redis);
  const names = Array.from({ length: 40 }, (_, i) => `platform-${i}`);
  const stored = await Promise.all(names.map((name) => resume.put(account(name), 'sm', state, 60_000)));
  expect(new Set(stored)).toEqual(new Set(['stored']));
  const taken = await Promise.all(names.map((name) => resume.take(account(name), 'sm')));
  expect(taken).toEqual(names.map(() => state));

  const table = new RedisInstanceTable(redis);
  expect(await table.beat('i', 1, 'join')).not.toBe('fenced');
  const registry = new RedisSessionRegistry(redis, { live: () => ['i'], goneOf: (ids) => table.goneOf(ids) });
  const claim = { instanceId: 'i', sessionId: 's', sinceMs: 1 };
  await Promise.all(names.map((name) => registry.bind(account(name), 'r', claim, 1)));
  for (const name of names) expect(await registry.sessionsOf(account(name))).toEqual([{ resource: 'r', claim }]);

  const got: string[] = [];
  const inboxes = new RedisInboxes(redis, log);
  const box = await inboxes.open(
    'i',
    ({ body }) => void got.push(body),
    () => true,
  );
  const control = new RedisControlLog(redis, log);
  const follow = await control.follow({ event: ({ body }) => void got.push(body), judgeAll: () => void got.push('judge all') });
  await inboxes.send('i', { kind: 'k', body: 'by inbox' });
  await control.append({ kind: 'k', body: 'by control' });
  await until('both came', () => got.length === 2);
  expect(got.sort()).toEqual(['by control', 'by inbox']);
  await box.close();
  await follow.close();
}

describe('slotOf, Redis Cluster specification', () => {
  it.each([
    ['123456789', 12_739], // the specification's own example, 0x31C3
    ['foo{hash_tag}', 2_515],
    ['{hash_tag}x', 2_515],
    ['foo{}{bar}', 8_363],
  ])('%s -> %d', (key, slot) => {
    expect(slotOf(key)).toBe(slot);
  });
});

describe.skipIf(!hasRedis(true))('topologies', () => {
  const stopping: (() => Promise<void>)[] = [];
  afterAll(async () => {
    for (const stop of stopping.splice(0).reverse()) await stop();
  });

  it('a Cluster of three primaries, and a slot that moves', async () => {
    const cluster = await startRedisCluster();
    stopping.push(() => cluster.stop());
    const [, second] = cluster.primaries as [TestRedis, TestRedis, TestRedis];
    const redis = await RedisConnections.open(
      {
        servers: { kind: 'cluster', nodes: [{ host: second.host, port: second.port }] },
        keyPrefix: 'xg:',
        durability: { kind: 'memory' },
      },
      { log: recordedLog(), retryMs: 20 },
    );
    stopping.push(async () => redis.close());
    await exerciseAll(redis);

    // The slot of an account moves with what is in it: the write follows it.
    const slot = slotOf('xg:{u:platform-0@grid.example}:resume');
    const owner = await cluster.ownerOf(slot);
    await cluster.moveSlot(slot, cluster.primaries.find((primary) => primary !== owner) as TestRedis);
    const resume = new RedisResumeStates(redis);
    expect(await resume.put(account('platform-0'), 'sm', state, 60_000)).toBe('stored');
    expect(await resume.take(account('platform-0'), 'sm')).toEqual(state);
  });

  it('Sentinel: after a failover, durable writes and readers go on with the new primary', async () => {
    const primary = await startRedis({ isOwn: true });
    stopping.push(() => primary.stop());
    const second = await startRedis({ isOwn: true, args: ['--replicaof', primary.host, String(primary.port)] });
    stopping.push(() => second.stop());
    const folder = mkdtempSync(join(tmpdir(), 'sentinel-'));
    const file = join(folder, 'sentinel.conf');
    writeFileSync(
      file,
      `sentinel monitor grid 127.0.0.1 ${primary.port} 1\nsentinel down-after-milliseconds grid 300\nsentinel failover-timeout grid 2000\n`,
    );
    const sentinel = await startSentinel(file);
    stopping.push(async () => {
      await sentinel.stop();
      rmSync(folder, { recursive: true, force: true });
    });
    await until('the replica is in step, and Sentinel knows it', async () => {
      const info = await asked(second, (client) => client.info('replication'));
      const known = (await asked(sentinel, (client) => client.call('SENTINEL', 'REPLICAS', 'grid'))) as unknown[];
      return info.includes('master_link_status:up') && known.length === 1;
    });
    const redis = await RedisConnections.open(
      {
        servers: { kind: 'sentinel', name: 'grid', sentinels: [{ host: '127.0.0.1', port: sentinel.port }] },
        keyPrefix: 'xg:',
        durability: { kind: 'memory' },
      },
      { log: recordedLog(), retryMs: 20 },
    );
    stopping.push(async () => redis.close());
    await exerciseAll(redis);
    const resume = new RedisResumeStates(redis);
    const got: string[] = [];
    const inboxes = new RedisInboxes(redis, recordedLog());
    const box = await inboxes.open(
      'j',
      ({ body }) => void got.push(body),
      () => true,
    );
    await primary.kill();
    await until('writes succeed on the new primary', () =>
      resume.put(account('after'), 'sm', state, 60_000).then(
        () => true,
        () => false,
      ),
    );
    await until('the inbox takes and hands over', async () => {
      if (got.length === 0) await inboxes.send('j', { kind: 'k', body: 'after' }).catch(() => undefined);
      return got.length > 0;
    });
    expect(await resume.take(account('after'), 'sm')).toEqual(state);
    await box.close();
  });
});

async function startSentinel(file: string): Promise<{ host: string; port: number; stop(): Promise<void> }> {
  const port = await freePort();
  const child = spawn(redisBinary(), [file, '--sentinel', '--port', String(port), '--bind', '127.0.0.1'], { stdio: 'ignore' });
  await until('Sentinel answers', () =>
    asked({ host: '127.0.0.1', port }, (client) => client.ping()).then(
      () => true,
      () => false,
    ),
  );
  return {
    host: '127.0.0.1',
    port,
    stop: async () => {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
}
