import type { LogEntry, RedisTopicStore } from '@xmpp-grid/pubsub';
import { StoreUnavailable, slotOf } from '@xmpp-grid/stream';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { nextPrefix, type OpenedStore, openStore, type StoreOptions } from '../../support/redis-store.ts';
import { hasRedis } from '../../support/start-redis.ts';
import { startRedisCluster, type TestCluster } from '../../support/start-redis-cluster.ts';
import { describeTopicStore } from '../../support/store-conformance.ts';
import { create, OWNER, publish, subscribe } from '../../support/topics.ts';

const ALICE = 'alice@grid.example';

const until = (condition: () => unknown) => vi.waitUntil(condition, { timeout: 20_000, interval: 10 });
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

function heardBy(store: RedisTopicStore): Map<string, LogEntry[]> {
  const heard = new Map<string, LogEntry[]>();
  store.onEntries(({ node, entries }) => {
    const before = heard.get(node);
    if (before) before.push(...entries);
    else heard.set(node, [...entries]);
  });
  return heard;
}

/** Publishes until it is acknowledged; says how often it was told that nothing is known. */
async function publishAtLast(store: RedisTopicStore, node: string, itemId: string): Promise<LogEntry> {
  for (;;) {
    try {
      return (await publish(store, node, itemId))[0]!;
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

describe.skipIf(!hasRedis(true))('over a Redis Cluster', () => {
  let cluster: TestCluster;
  const open: OpenedStore[] = [];
  beforeAll(async () => {
    cluster = await startRedisCluster({ replicas: 1, args: ['--min-replicas-to-write', '1'] });
  });
  afterEach(async () => {
    for (const each of open.splice(0)) await each.close();
  });
  afterAll(() => cluster.stop());

  const pair = async (options: StoreOptions = {}) => {
    const prefix = nextPrefix();
    const opened = await Promise.all([0, 1].map(() => openStore(cluster.servers, { prefix, ...options })));
    open.push(...opened);
    const [one, two] = opened.map(({ store }) => store) as [RedisTopicStore, RedisTopicStore];
    return { prefix, one, two, slot: (node: string) => slotOf(`${prefix}{t:${node}}:topic`) };
  };

  describeTopicStore('redis cluster', async (retention) => {
    const prefix = nextPrefix();
    const openOne = () => openStore(cluster.servers, { prefix, ...(retention ? { retention } : {}) });
    let opened = await openOne();
    return {
      store: opened.store,
      async reopen() {
        await opened.close();
        opened = await openOne();
        return opened.store;
      },
      destroy: () => opened.close(),
    };
  });

  it('topics on all primaries are written and heard by two instances, each entry once and in order (G-010, M-15)', async () => {
    const { one, two, slot } = await pair({ headCheckMs: 600_000 });
    const nodes = upTo(30).map((i) => `grid/topic ${i}`);
    const owners = new Set(await Promise.all(nodes.map(async (node) => (await cluster.ownerOf(slot(node))).port)));
    expect(owners.size).toBe(3);
    await Promise.all(nodes.map((node) => create(one, node)));
    const heard = [heardBy(one), heardBy(two)];
    await Promise.all(nodes.flatMap((node) => [one.follow(node), two.follow(node)]));
    await Promise.all(nodes.map((node) => subscribe(two, node, ALICE)));
    expect(new Set(await one.topicsOf(ALICE))).toEqual(new Set(nodes));
    const ROUNDS = 10;
    await Promise.all(
      nodes.flatMap((node) => upTo(ROUNDS).flatMap((i) => [publish(one, node, `1 ${i}`), publish(two, node, `2 ${i}`)])),
    );
    for (const each of heard) {
      for (const node of nodes) {
        await until(() => (each.get(node)?.length ?? 0) >= 2 * ROUNDS);
        expect(each.get(node)!.map(({ seq }) => seq)).toEqual(upTo(2 * ROUNDS));
      }
    }
  });

  it('a slot that moves with its keys: writers and listeners follow it, nothing is lost or doubled (M-15)', async () => {
    const { one, two, slot } = await pair({ headCheckMs: 600_000 });
    const NODE = 'grid/moving';
    await create(one, NODE);
    const heard = heardBy(two);
    await two.follow(NODE);
    let isMoved = false;
    const acknowledged: LogEntry[] = [];
    const publishing = (async () => {
      for (let i = 0; !isMoved || i < 200; i += 1) acknowledged.push(await publishAtLast(one, NODE, `item ${i}`));
    })();
    await until(() => acknowledged.length > 20);
    const from = await cluster.ownerOf(slot(NODE));
    const to = cluster.primaries.find((primary) => primary !== from)!;
    await cluster.moveSlot(slot(NODE), to, async () => {
      expect((await two.head(NODE))!.seq).toBeGreaterThan(0);
      expect(await two.affiliation(NODE, OWNER)).toBe('owner');
    });
    isMoved = true;
    expect(await cluster.ownerOf(slot(NODE))).toBe(to);
    await publishing;
    const last = await publishAtLast(one, NODE, 'last');
    await until(() => heard.get(NODE)?.at(-1)?.seq === last.seq);
    expect(heard.get(NODE)!.map(({ seq }) => seq)).toEqual(upTo(last.seq));
    const uids = new Map(heard.get(NODE)!.map(({ seq, uid }) => [seq, uid]));
    expect(acknowledged.filter(({ seq, uid }) => uids.get(seq) !== uid)).toEqual([]);
    expect(acknowledged.length + 1).toBe(last.seq);
  });

  it('a primary that dies: its replica goes on, what was acknowledged is there, its topics alone are told of (delivery.md §3.4, G-035)', async () => {
    const { one, two, slot } = await pair({ durability: { kind: 'replicas', count: 1 } });
    const nodes = upTo(12).map((i) => `grid/failing ${i}`);
    await Promise.all(nodes.map((node) => create(one, node)));
    const heard = heardBy(two);
    await Promise.all(nodes.map((node) => two.follow(node)));
    const changed = new Set<string>();
    two.onPrimaryChanged((some) => {
      for (const node of some) changed.add(node);
    });
    const owners = new Map(await Promise.all(nodes.map(async (node) => [node, await cluster.ownerOf(slot(node))] as const)));
    const dying = owners.get(nodes[0]!)!;
    let isOver = false;
    const acknowledged = new Map<string, LogEntry[]>(nodes.map((node) => [node, []]));
    const publishing = nodes.map(async (node) => {
      for (let i = 0; !isOver; i += 1) acknowledged.get(node)!.push(await publishAtLast(one, node, `item ${i}`));
    });
    await until(() => [...acknowledged.values()].every((each) => each.length > 10));
    await dying.kill();
    await until(async () => (await cluster.ownerOf(slot(nodes[0]!))) !== dying);
    await dying.restart(); // as a replica: without one the new primary may not write
    const affected = nodes.filter((node) => owners.get(node) === dying);
    const before = new Map(affected.map((node) => [node, acknowledged.get(node)!.length]));
    await until(() => affected.every((node) => acknowledged.get(node)!.length > before.get(node)! + 10));
    isOver = true;
    await Promise.all(publishing);
    for (const node of nodes) {
      const own = acknowledged.get(node)!;
      const last = own.at(-1)!;
      await until(() => heard.get(node)?.some(({ seq, uid }) => seq === last.seq && uid === last.uid));
      const stored = await two.readLog(node, { seq: 0, uid: '' }, 1_000_000, 1 << 30);
      if (stored === 'gone') throw new Error('the topic is gone');
      const uids = new Map(stored.entries.map(({ seq, uid }) => [seq, uid]));
      expect(own.filter(({ seq, uid }) => uids.get(seq) !== uid)).toEqual([]);
      const order = heard.get(node)!.map(({ seq }) => seq);
      if (owners.get(node) !== dying) expect(order).toEqual(upTo(last.seq));
    }
    await until(() => changed.size > 0);
    expect([...changed].sort()).toEqual([...affected].sort());
  });
});
