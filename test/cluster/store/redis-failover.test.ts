import type { EntryId, LogEntry } from '@xmpp-grid/pubsub';
import { Redis } from 'ioredis';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { openStore, type StoreOptions, standalone } from '../../support/redis-store.ts';
import { hasRedis, startRedis, type TestRedis } from '../../support/start-redis.ts';
import { startTcpProxy } from '../../support/tcp-proxy.ts';
import { create, publish } from '../../support/topics.ts';

/** What a store tells when the primary behind its address is another one (delivery.md §1.3, §3.4). */

const NODE = 'grid/sightings';

const seqs = (entries: readonly LogEntry[]) => entries.map(({ seq }) => seq);
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);
const until = (condition: () => unknown) => vi.waitUntil(condition, { timeout: 10_000, interval: 10 });

function adminOf(redis: TestRedis): Redis {
  const admin = new Redis(redis.url);
  admin.on('error', () => undefined);
  onTestFinished(() => admin.disconnect());
  return admin;
}

async function started(args: readonly string[] = []): Promise<TestRedis> {
  const redis = await startRedis({ isOwn: true, args });
  onTestFinished(() => redis.stop());
  return redis;
}

async function follower(url: string, options: StoreOptions = {}) {
  const opened = await openStore({ kind: 'standalone', url }, options);
  onTestFinished(() => opened.close());
  const { store } = opened;
  const heard: LogEntry[] = [];
  const forks: [string, EntryId][] = [];
  const changed: (readonly string[])[] = [];
  store.onEntries(({ entries }) => heard.push(...entries));
  store.onFork((node, head) => forks.push([node, head]));
  store.onPrimaryChanged((nodes) => changed.push(nodes));
  return { ...opened, heard, forks, changed };
}

describe.skipIf(!hasRedis(true))('another primary at the same address', () => {
  it('that lags: the fork is told with the head that there is, and the log goes on from it (delivery.md §1.3)', async () => {
    const first = await started();
    const second = await started(['--replicaof', first.host, String(first.port)]);
    const proxy = await startTcpProxy(first.port, { records: false });
    onTestFinished(() => proxy.close());
    const { store, prefix, heard, forks, changed } = await follower(`redis://127.0.0.1:${proxy.port}`);
    await create(store, NODE);
    await store.follow(NODE);
    await publish(store, NODE, ...upTo(10).map(String));
    const replica = adminOf(second);
    await until(async () => Number(await replica.hget(`${prefix}{t:${NODE}}:topic`, 'seq')) === 10);
    await replica.replicaof('NO', 'ONE');
    // Acknowledged in durability memory, and lost with the primary that alone has them.
    await publish(store, NODE, ...upTo(5).map((i) => `lost ${i}`));
    await until(() => heard.length === 15);
    proxy.targetPort = second.port;
    proxy.cut();
    await until(() => forks.length > 0 && changed.length > 0);
    const head = await store.head(NODE);
    expect(head).toEqual({ seq: 10, uid: heard[9]!.uid });
    expect(forks).toEqual([[NODE, head]]);
    expect(changed).toEqual([[NODE]]);
    await until(() => publish(store, NODE, 'after').catch(() => undefined));
    await until(() => heard.length === 16);
    expect(heard[15]).toMatchObject({ seq: 11, itemId: 'after', prevUid: heard[9]!.uid });
    expect(forks).toHaveLength(1);
  });

  it('that has all of it: topics are told of, there is no fork, and bells are heard there (delivery.md §3.4)', async () => {
    const first = await started();
    const second = await started(['--replicaof', first.host, String(first.port)]);
    const proxy = await startTcpProxy(first.port, { records: false });
    onTestFinished(() => proxy.close());
    const { store, prefix, heard, forks, changed } = await follower(`redis://127.0.0.1:${proxy.port}`, { headCheckMs: 600_000 });
    await create(store, NODE);
    await create(store, 'not followed');
    await store.follow(NODE);
    await publish(store, NODE, 'a');
    const admin = adminOf(first);
    await admin.set('last', '1');
    expect(await admin.wait(1, 10_000)).toBe(1);
    await adminOf(second).replicaof('NO', 'ONE');
    proxy.targetPort = second.port;
    proxy.cut();
    await until(() => changed.length > 0);
    const other = await openStore(standalone(second), { prefix: prefix });
    onTestFinished(() => other.close());
    await publish(other.store, NODE, 'b', 'c');
    await until(() => heard.length === 3);
    expect(seqs(heard)).toEqual([1, 2, 3]);
    expect(changed).toEqual([[NODE]]);
    expect(forks).toEqual([]);
  });

  it('the same primary over a new connection: nothing is told, and what was missed is heard', async () => {
    const first = await started();
    const proxy = await startTcpProxy(first.port, { records: false });
    onTestFinished(() => proxy.close());
    const { store, prefix, heard, forks, changed } = await follower(`redis://127.0.0.1:${proxy.port}`, { headCheckMs: 600_000 });
    await create(store, NODE);
    await store.follow(NODE);
    const other = await openStore(standalone(first), { prefix: prefix });
    onTestFinished(() => other.close());
    await publish(store, NODE, 'a');
    for (let i = 0; i < 3; i += 1) {
      proxy.cut();
      await publish(other.store, NODE, `missed ${i}`);
    }
    await until(() => heard.length === 4);
    expect(seqs(heard)).toEqual(upTo(4));
    expect(changed).toEqual([]);
    expect(forks).toEqual([]);
  });

  it('a link for bells that is half open is noticed, and what was missed is heard (delivery.md §3.1)', async () => {
    const first = await started();
    const proxy = await startTcpProxy(first.port, { records: false });
    onTestFinished(() => proxy.close());
    const bellLinks = new Set<number>();
    let isMute = false;
    proxy.change = (chunk, direction, connection) => {
      if (direction === 'to-server' && chunk.includes('ssubscribe')) bellLinks.add(connection);
      return isMute && direction === 'to-client' && bellLinks.has(connection) ? Buffer.alloc(0) : chunk;
    };
    const { store, prefix, heard } = await follower(`redis://127.0.0.1:${proxy.port}`, {
      headCheckMs: 600_000,
      settings: { commandTimeoutMs: 1_000 },
    });
    await create(store, NODE);
    await store.follow(NODE);
    const other = await openStore(standalone(first), { prefix });
    onTestFinished(() => other.close());
    await publish(other.store, NODE, 'a');
    await until(() => heard.length === 1);
    expect(bellLinks.size).toBe(1);
    const [muted] = bellLinks;
    isMute = true;
    await publish(other.store, NODE, 'missed');
    // The next link is a healthy one.
    await until(() => {
      if (bellLinks.size > 1) bellLinks.delete([...bellLinks].find((link) => link !== muted)!);
      return heard.length === 2;
    });
    expect(seqs(heard)).toEqual([1, 2]);
  });
});
