import { type EntryId, type LogEntry, openRedisTopicStore, type RedisTopicStore } from '@xmpp-grid/pubsub';
import { StoreUnavailable, slotOf } from '@xmpp-grid/stream';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { nextPrefix, type OpenedStore, openStore, quiet, type StoreOptions, standalone } from '../../support/redis-store.ts';
import { hasRedis, startRedis, type TestRedis } from '../../support/start-redis.ts';
import { describeTopicStore } from '../../support/store-conformance.ts';
import {
  commit,
  config,
  create,
  OWNER,
  payload,
  publication,
  publish,
  publishMany,
  subscribe,
  T0,
} from '../../support/topics.ts';

const NODE = 'grid/sightings';
const ALICE = 'alice@grid.example';
const BOB = 'bob@grid.example';

/** Entries that the store hands on, in their order. */
function heardBy(store: RedisTopicStore, node = NODE): LogEntry[] {
  const heard: LogEntry[] = [];
  store.onEntries((appended) => {
    if (appended.node === node) heard.push(...appended.entries);
  });
  return heard;
}

const seqs = (entries: readonly LogEntry[]) => entries.map(({ seq }) => seq);
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);
const until = (condition: () => unknown) => vi.waitUntil(condition, { timeout: 10_000, interval: 10 });

describe.skipIf(!hasRedis())('over one Redis', () => {
  let redis: TestRedis;
  let raw: Redis;
  const open: OpenedStore[] = [];
  beforeAll(async () => {
    redis = await startRedis();
    raw = new Redis(redis.url);
    raw.on('error', () => undefined);
  });
  afterEach(async () => {
    for (const each of open.splice(0)) await each.close();
  });
  afterAll(async () => {
    raw.disconnect();
    await redis.stop();
  });

  const stores = async (count: number, options: StoreOptions = {}) => {
    const prefix = nextPrefix();
    const opened = await Promise.all(Array.from({ length: count }, () => openStore(standalone(redis), { prefix, ...options })));
    open.push(...opened);
    return { prefix, made: opened.map(({ store }) => store) };
  };
  /** Two instances and the key of the topic that the first has made. */
  const pair = async (more: StoreOptions = {}, changed: Parameters<typeof config>[0] = {}) => {
    const { prefix, made } = await stores(2, more);
    const [one, two] = made as [RedisTopicStore, RedisTopicStore];
    await create(one, NODE, changed);
    return { prefix, one, two, key: (noun: string) => `${prefix}{t:${NODE}}:${noun}` };
  };

  describeTopicStore('redis', async (retention) => {
    const prefix = nextPrefix();
    const openOne = () => openStore(standalone(redis), { prefix, ...(retention ? { retention } : {}) });
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

  describe('several instances, delivery.md §1 to §3', () => {
    it('number without holes when they publish at once, and each hears every entry once, in order (G-010, S-28)', async () => {
      const { one, two } = await pair();
      const heard = [heardBy(one), heardBy(two)];
      await Promise.all([one.follow(NODE), two.follow(NODE)]);
      await Promise.all([publishMany(one, NODE, 300), publishMany(two, NODE, 300, 300), publishMany(one, NODE, 300, 600)]);
      for (const each of heard) {
        await until(() => each.length >= 900);
        expect(seqs(each)).toEqual(upTo(900));
        for (const [i, entry] of each.entries()) expect(entry.prevUid).toBe(i === 0 ? '' : each[i - 1]!.uid);
        expect(each.map(({ payload: carried }) => carried?.bytes.toString())).toEqual(
          each.map(({ itemId }) => payload(itemId!).bytes.toString()),
        );
      }
      expect(heard[0]).toEqual(heard[1]);
    });

    it('a follower starts after the head that it was given, however busy the topic is (delivery.md §3.1)', async () => {
      const { one, two } = await pair();
      const heard = heardBy(two);
      const busy = publishMany(one, NODE, 500);
      await until(async () => (await one.head(NODE))!.seq > 0);
      const record = (await two.follow(NODE))!;
      await busy;
      await until(() => heard.at(-1)?.seq === 500 || record.head.seq === 500);
      expect(seqs(heard)).toEqual(upTo(500).slice(record.head.seq));
    });

    it('hears nothing after unfollow, and all again after the next follow', async () => {
      const { one, two } = await pair();
      const heard = heardBy(two);
      await two.follow(NODE);
      await publish(one, NODE, 'a');
      await until(() => heard.length === 1);
      await two.unfollow(NODE);
      await publish(one, NODE, 'b');
      await Promise.all([two.unfollow(NODE), two.follow(NODE)]);
      await publish(one, NODE, 'c');
      await until(() => heard.length === 2);
      expect(seqs(heard)).toEqual([1, 3]);
      expect(await two.follow('none')).toBeUndefined();
    });

    it('a payload over 16 KiB is not carried by the bell but read from the log (delivery.md §2.2)', async () => {
      const { one, two, key } = await pair();
      const heard = heardBy(two);
      const messages: Buffer[] = [];
      const listener = raw.duplicate();
      listener.on('error', () => undefined);
      listener.on('smessageBuffer', (_channel: Buffer, message: Buffer) => messages.push(message));
      await listener.ssubscribe(key('bell'));
      await two.follow(NODE);
      const big = { bytes: Buffer.alloc(20_000, 'x'), lang: 'de' };
      await commit(one, NODE, publication([], { items: [{ itemId: 'big', payload: big }] }));
      await publish(one, NODE, 'small');
      await until(() => heard.length === 2 && messages.length === 2);
      expect(heard[0]!.payload).toEqual(big);
      expect(messages[0]!.length).toBeLessThan(1_000);
      expect(messages[1]!.toString()).toContain(payload('small').bytes.toString());
      listener.disconnect();
    });

    it('caching off: others hear the payload by the bell, Redis holds it nowhere; a big one is a gap (delivery.md §9.2)', async () => {
      const { prefix, one, two } = await pair({}, { persistItems: false });
      const heard = heardBy(two);
      await two.follow(NODE);
      await publish(one, NODE, 'secret');
      const big = { bytes: Buffer.alloc(20_000, 'x') };
      await commit(one, NODE, publication([], { items: [{ itemId: 'big', payload: big }] }));
      await until(() => heard.length === 2);
      expect(heard[0]).toMatchObject({ payload: payload('secret'), isTransient: true });
      expect(heard[1]).toMatchObject({ isTransient: true });
      expect(heard[1]!.payload).toBeUndefined();
      for (const name of await raw.keys(`${prefix}*`)) {
        const dump = await raw.dumpBuffer(name);
        expect(dump!.includes('<r xmlns')).toBe(false);
        expect(dump!.includes('x'.repeat(50))).toBe(false);
      }
    });

    it('a follower learns a new configuration, a deletion and the topic that follows it', async () => {
      const { one, two } = await pair();
      const records: (readonly [string, number, string])[] = [];
      two.onEntries(({ record, entries }) => records.push([record.config.title, record.head.seq, entries.at(-1)!.kind]));
      await two.follow(NODE);
      const change = { publisher: OWNER, stampMs: T0, notify: true };
      await commit(one, NODE, { kind: 'configure', config: config({ title: 'Second' }), ...change });
      await until(() => records.length === 1);
      await commit(one, NODE, { kind: 'delete', ...change });
      await until(() => records.length === 2);
      await create(one, NODE, { title: 'Third' });
      await publish(one, NODE, 'a');
      await until(() => records.length === 3);
      expect(records).toEqual([
        ['Second', 1, 'configured'],
        ['Second', 2, 'deleted'],
        ['Third', 3, 'published'],
      ]);
    });

    it('bells lost with the connection are made good by comparing heads (delivery.md §3.1)', async () => {
      const { one, two } = await pair({ headCheckMs: 600_000 });
      const heard = heardBy(two);
      await two.follow(NODE);
      await publish(one, NODE, 'a');
      await until(() => heard.length === 1);
      const clients = String(await raw.client('LIST'));
      const bells = clients.split('\n').filter((line) => line.includes('name=xmpp-grid-bells'));
      expect(bells.length).toBeGreaterThanOrEqual(1);
      for (const line of bells) await raw.client('KILL', 'ID', /id=(\d+)/.exec(line)![1]!);
      await publish(one, NODE, 'b', 'c');
      await until(() => heard.length === 3);
      await publish(one, NODE, 'd');
      await until(() => heard.length === 4);
      expect(seqs(heard)).toEqual([1, 2, 3, 4]);
    });

    it('bells that never come are made good by the head check, doubled and damaged ones do nothing (delivery.md §3.3)', async () => {
      const { one, two, key } = await pair({ headCheckMs: 50 });
      const heard = heardBy(two);
      await two.follow(NODE);
      // Entries without a bell: what another instance appended while this one was deaf.
      const before = (await one.record(NODE))!;
      const uid = 'f'.repeat(16);
      const entry = [
        'u',
        uid,
        'q',
        '',
        'k',
        'published',
        's',
        String(T0),
        'a',
        before.accessToken,
        'p',
        OWNER,
        'n',
        '1',
        'i',
        'silent',
      ];
      await raw
        .multi()
        .xadd(key('log'), '1-0', ...entry)
        .hset(key('topic'), 'seq', '1', 'uid', uid)
        .exec();
      await until(() => heard.length === 1);
      const messages: Buffer[] = [];
      const listener = raw.duplicate();
      listener.on('error', () => undefined);
      listener.on('smessageBuffer', (_channel: Buffer, message: Buffer) => messages.push(message));
      await listener.ssubscribe(key('bell'));
      await publish(one, NODE, 'b');
      await until(() => messages.length === 1);
      for (const message of [messages[0]!, 'no bell', '3:abc', messages[0]!]) await raw.spublish(key('bell'), message);
      await publish(one, NODE, 'c');
      await until(() => heard.length === 3);
      expect(heard.map(({ seq, itemId }) => [seq, itemId])).toEqual([
        [1, 'silent'],
        [2, 'b'],
        [3, 'c'],
      ]);
      listener.disconnect();
    });

    it('tells of a fork: the log has another entry under a number that was heard (delivery.md §1.3)', async () => {
      const forks: [string, EntryId][] = [];
      const { one, two, key } = await pair();
      two.onFork((node, head) => forks.push([node, head]));
      const heard = heardBy(two);
      await two.follow(NODE);
      const [first] = await publish(one, NODE, 'a', 'b');
      await until(() => heard.length === 2);
      // What a failover to a replica that lags leaves.
      await raw.xdel(key('log'), '2-0');
      await raw.call('XSETID', key('log'), '1-0');
      await raw.hset(key('topic'), 'seq', '1', 'uid', first!.uid);
      const [other] = await publish(one, NODE, 'c');
      await until(() => forks.length === 1);
      expect(forks[0]).toEqual([NODE, { seq: 2, uid: other!.uid }]);
      await publish(one, NODE, 'd');
      await until(() => heard.length === 3);
      expect(heard[2]).toMatchObject({ seq: 3, itemId: 'd' });
    });

    it('a repeated request is recognised by another instance (delivery.md §2.3)', async () => {
      const { one, two } = await pair();
      const first = await commit(one, NODE, publication(['a'], { requestKey: 'one' }));
      expect(await two.commit(NODE, {}, publication(['a'], { requestKey: 'one', stampMs: T0 + 119_999 }))).toEqual({
        kind: 'repeated',
        itemIds: ['a'],
        entries: first.entries.map(({ seq, uid }) => ({ seq, uid })),
      });
    });

    it('the index of an account misses nothing when two instances subscribe and unsubscribe it at once (delivery.md §2.7)', async () => {
      const { one, two } = await pair();
      for (let round = 0; round < 30; round += 1) {
        const set = (store: RedisTopicStore, jid: string, state: 'subscribed' | 'none') =>
          commit(store, NODE, { kind: 'own-subscription', jid, state, stampMs: T0 });
        await Promise.all([
          set(one, `${ALICE}/a`, 'subscribed'),
          set(two, `${ALICE}/b`, 'none'),
          set(two, `${ALICE}/b`, round % 2 === 0 ? 'subscribed' : 'none'),
          set(one, `${ALICE}/a`, 'none'),
        ]);
        const left = await one.subscriptionsOf(NODE, ALICE);
        if (left.length > 0) expect(await one.topicsOf(ALICE)).toEqual([NODE]);
        for (const resource of ['a', 'b']) await set(one, `${ALICE}/${resource}`, 'none');
        expect(await two.topicsOf(ALICE)).toEqual([]);
      }
    });

    it('see each other’s topics in lists', async () => {
      const { one, two } = await pair();
      const names = async (store: RedisTopicStore) => (await store.topics({ max: 10 }, () => true)).entries;
      expect(await names(two)).toEqual([NODE]);
      await create(one, 'a');
      await create(two, 'b');
      expect(await names(one)).toEqual(['a', 'b', NODE]);
      expect(await names(two)).toEqual(['a', 'b', NODE]);
      await commit(two, 'a', { kind: 'delete', publisher: OWNER, stampMs: T0, notify: false });
      expect(await names(one)).toEqual(['b', NODE]);
    });
  });

  describe('what Redis does, and what becomes of it', () => {
    it('goes on after SCRIPT FLUSH, reading and writing', async () => {
      const { one, two } = await pair();
      await publish(one, NODE, 'a');
      await raw.script('FLUSH');
      await Promise.all([publish(one, NODE, 'b'), publish(two, NODE, 'c'), one.position(NODE, ALICE)]);
      await raw.script('FLUSH');
      expect(await one.items(NODE, { max: 9 })).toMatchObject({ count: 3 });
      expect((await one.head(NODE))!.seq).toBe(3);
    });

    it('uses the connections that an instance makes for it, as an ACL user (design §8)', async () => {
      const own = await startRedis({ isOwn: true });
      const admin = new Redis(own.url);
      admin.on('error', () => undefined);
      await admin.call('ACL', 'SETUSER', 'grid', 'on', '>secret', '~g:*', '~{g:*', '&g:*', '+@all', '-@dangerous', '+info');
      const servers = { kind: 'standalone', url: `redis://grid:secret@${own.host}:${own.port}` } as const;
      const opened = await openStore(servers, { prefix: 'g:' });
      const { store } = opened;
      await create(store, NODE);
      const heard = heardBy(store);
      await store.follow(NODE);
      await publish(store, NODE, 'a');
      await until(() => heard.length === 1);
      expect(await store.topicsOf(OWNER)).toEqual([NODE]);
      expect((await store.topics({ max: 9 }, () => true)).entries).toEqual([NODE]);
      await opened.close();
      admin.disconnect();
      await own.stop();
    });

    it('keeps all keys of a topic in one Cluster slot, whatever its name holds (design §5)', async () => {
      const { prefix, made } = await stores(1);
      const store = made[0]!;
      for (const node of ['a{b}c', '}{', '{}', '%7B']) {
        await create(store, node);
        await subscribe(store, node, '{x}@grid.example');
        const published = await commit(store, node, publication(['a'], { requestKey: 'one' }));
        const place = published.entries[0]!;
        await store.update(node, { instance: 'i', settle: new Map([['{x}@grid.example', place]]), delegate: new Map() });
      }
      const names = await raw.keys(`${prefix}{t:*`);
      expect(names).toHaveLength(4 * 8);
      const tags = new Set(names.map((name) => name.slice(0, name.indexOf('}:'))));
      expect(tags.size).toBe(4);
      for (const tag of tags) expect(new Set(names.filter((name) => name.startsWith(`${tag}}`)).map(slotOf)).size).toBe(1);
      expect(slotOf(`{${prefix}topics}:version`)).toBe(slotOf(`${prefix}topics`));
      expect(await store.topicsOf('{x}@grid.example')).toHaveLength(4);
    });

    it('a purge leaves no payload in Redis', async () => {
      const { one, key } = await pair();
      await publishMany(one, NODE, 30);
      await commit(one, NODE, { kind: 'purge', publisher: OWNER, stampMs: T0, notify: false });
      await until(async () => (await raw.xlen(key('log'))) === 1);
      expect(await raw.exists(key('items'), key('order'))).toBe(0);
      const page = await one.readLog(NODE, { seq: 0, uid: '' }, 100, 1 << 20);
      expect(page !== 'gone' && seqs(page.entries)).toEqual(upTo(31));
    });

    it('housekeeping trims by age, forgets watermarks of the dead and broken names; tombstones expire (delivery.md §5.3, §9.1)', async () => {
      const HOUR = 3_600_000;
      const { prefix, one, key } = await pair({ retention: { maxAgeMs: HOUR } });
      await subscribe(one, NODE, ALICE);
      const made = await publish(one, NODE, 'a', 'b', 'c');
      const at = { seq: made[0]!.seq, uid: made[0]!.uid };
      for (const instance of ['dead', 'live']) {
        await one.update(NODE, { instance, settle: new Map(), delegate: new Map([[ALICE, at]]), watermark: at });
      }
      const share = { owns: (node: string) => node !== 'of another', isLive: (instance: string) => instance === 'live' };
      await raw.zadd(`${prefix}topics`, '0', 'half made', '0', 'of another');
      await one.sweep(T0 + HOUR - 1, 10, share);
      expect(await one.readLog(NODE, { seq: 0, uid: '' }, 9, 1 << 20)).toMatchObject({ firstSeq: 1 });
      expect(await raw.hkeys(key('marks'))).toHaveLength(2);
      await one.sweep(T0 + HOUR + 60_000, 10, share);
      expect(await one.readLog(NODE, { seq: 0, uid: '' }, 9, 1 << 20)).toMatchObject({ firstSeq: 4, entries: [] });
      expect(await raw.hkeys(key('marks'))).toEqual(['live']);
      expect(await raw.zrange(`${prefix}topics`, '0', '-1')).toEqual([NODE, 'of another']);
      await commit(one, NODE, { kind: 'delete', publisher: OWNER, stampMs: T0, notify: false });
      for (const noun of ['topic', 'log']) expect(await raw.pttl(key(noun))).toBeGreaterThan(HOUR - 60_000);
      expect(await raw.exists(key('marks'), key('positions'), key('subscriptions'))).toBe(0);
      await create(one, NODE);
      for (const noun of ['topic', 'log']) expect(await raw.pttl(key(noun))).toBe(-1);
    });

    it('a publish that trimmed the log leaves the watermarks of the dead to housekeeping all the same', async () => {
      const { one, key } = await pair({ retention: { maxEntries: 2, minAgeMs: 0 } });
      await subscribe(one, NODE, ALICE);
      const [first] = await publish(one, NODE, 'a');
      await one.update(NODE, { instance: 'dead', settle: new Map(), delegate: new Map([[ALICE, first!]]), watermark: first! });
      for (const itemId of ['b', 'c', 'd']) await publish(one, NODE, itemId);
      expect(await raw.hkeys(key('marks'))).toEqual(['dead']);
      await one.sweep(T0, 10, { owns: () => true, isLive: () => false });
      expect(await raw.exists(key('marks'))).toBe(0);
    });

    it('housekeeping adds again what an index misses, a budget at a time, and nothing for those that left (delivery.md §2.7)', async () => {
      const { prefix, one } = await pair();
      await create(one, 'other');
      await subscribe(one, 'other', ALICE);
      const COUNT = 700;
      const accounts = Array.from({ length: COUNT }, (_, i) => `platform-${i}@grid.example`);
      await Promise.all(accounts.map((account) => subscribe(one, NODE, account)));
      const indexOf = (account: string) => `${prefix}{u:${account}}:topics`;
      await raw.del(indexOf(ALICE), indexOf(OWNER), ...accounts.map(indexOf));
      const missing = async () => {
        const known = await Promise.all([...accounts, ALICE, OWNER].map((account) => one.topicsOf(account)));
        return known.filter((topics) => topics.length === 0).length;
      };
      expect(await missing()).toBe(COUNT + 2);
      await one.sweep(T0, 10);
      expect(await missing()).toBeGreaterThan(0);
      for (let i = 0; i < 5; i += 1) await one.sweep(T0, 10);
      expect(await missing()).toBe(0);
      expect(await one.topicsOf(OWNER)).toHaveLength(2);
      expect(await one.topicsOf(ALICE)).toEqual(['other']);
      expect(await one.topicsOf(BOB)).toEqual([]);
    });

    it('costs one script a publish and one message to each instance that follows, and nothing else (design §11)', async () => {
      const own = await startRedis({ isOwn: true });
      const prefix = nextPrefix();
      const opened = await Promise.all([0, 1, 2, 3].map(() => openStore(standalone(own), { prefix, headCheckMs: 600_000 })));
      const [publisher, ...others] = opened.map(({ store }) => store) as [RedisTopicStore, ...RedisTopicStore[]];
      const interested = [others[0]!, others[1]!];
      const admin = new Redis(own.url);
      admin.on('error', () => undefined);
      await create(publisher, NODE);
      const heard = interested.map((store) => heardBy(store));
      await Promise.all(interested.map((store) => store.follow(NODE)));
      await publish(publisher, NODE, 'warm');
      await until(() => heard.every((each) => each.length === 1));
      await admin.config('RESETSTAT');
      const PUBLISHES = 500;
      await publishMany(publisher, NODE, PUBLISHES);
      await until(() => heard.every((each) => each.length === 1 + PUBLISHES));
      const calls = new Map(
        [...(await admin.info('commandstats')).matchAll(/cmdstat_([^:]+):calls=(\d+)/g)].map(([, name, count]) => [
          name,
          Number(count),
        ]),
      );
      expect(calls.get('evalsha')).toBe(PUBLISHES);
      expect(calls.get('spublish')).toBe(PUBLISHES);
      // The one that is not interested is not among those that the message goes to.
      const [, receivers] = (await admin.call('PUBSUB', 'SHARDNUMSUB', `${prefix}{t:${NODE}}:bell`)) as [string, number];
      expect(receivers).toBe(interested.length);
      const inside = ['hmget', 'zscore', 'xadd', 'hset', 'zadd', 'zcard', 'spublish'];
      const apart = ['evalsha', 'info', 'ping', 'config|resetstat'];
      expect([...calls.keys()].filter((name) => ![...apart, ...inside].includes(name!))).toEqual([]);
      const figures = [...calls]
        .filter(([name]) => inside.includes(name!))
        .map(([name, count]) => `${name} ${count! / PUBLISHES}`);
      console.log(`commands a publish: evalsha 1; inside it ${figures.join(', ')}; messages ${receivers}`);
      for (const each of opened) await each.close();
      admin.disconnect();
      await own.stop();
    });

    it('prints what a subscription, a retained item and a log entry weigh (design §5)', async () => {
      const { one, key } = await pair({}, { maxItems: 10_000 });
      const COUNT = 3_000;
      const usage = async (noun: string) => Number(await raw.call('MEMORY', 'USAGE', key(noun), 'SAMPLES', '0'));
      const bytes = Buffer.alloc(1_400, 'x');
      for (let i = 0; i < COUNT; i += 500) {
        await Promise.all(
          Array.from({ length: 500 }, (_, j) =>
            commit(one, NODE, publication([], { items: [{ itemId: `item-${i + j}-of-some-length`, payload: { bytes } }] })),
          ),
        );
        await Promise.all(Array.from({ length: 500 }, (_, j) => subscribe(one, NODE, `platform-${i + j}@grid.example`)));
      }
      const [subscriptions, items, order, log] = await Promise.all(['subscriptions', 'items', 'order', 'log'].map(usage));
      const index = Number(await raw.memory('USAGE', `${key('').split('{')[0]}{u:platform-1@grid.example}:topics`));
      const each = {
        subscription: Math.round(subscriptions! / COUNT),
        'index entry': index,
        'retained item of 1,400 bytes': Math.round((items! + order!) / COUNT),
        'log entry of 1,400 bytes': Math.round(log! / COUNT),
      };
      console.log(`bytes of Redis: ${JSON.stringify(each)}`);
      expect(each.subscription).toBeLessThan(300);
      expect(each['retained item of 1,400 bytes']).toBeLessThan(2_048);
      expect(each['log entry of 1,400 bytes']).toBeLessThan(2_048);
    });
  });
});

describe.skipIf(!hasRedis(true))('a Redis that fails', () => {
  it('killed while publishes are under way: unknown ones fail as such, acknowledged ones are there after it (G-035)', async () => {
    const redis = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    const opened = await openStore(standalone(redis), { durability: { kind: 'fsync' }, settings: { commandTimeoutMs: 500 } });
    const { store } = opened;
    await create(store, NODE);
    const acknowledged: LogEntry[] = [];
    const failures: unknown[] = [];
    const publishing = Array.from({ length: 8 }, async (_, worker) => {
      for (let i = 0; failures.length < 50; i += 1) {
        try {
          acknowledged.push(...(await publish(store, NODE, `${worker} ${i}`)));
        } catch (error) {
          failures.push(error);
          await new Promise(setImmediate);
        }
      }
    });
    await until(() => acknowledged.length > 100);
    await redis.kill();
    await Promise.all(publishing);
    for (const failure of failures) expect(failure).toBeInstanceOf(StoreUnavailable);
    await expect(store.record(NODE)).rejects.toThrow(StoreUnavailable);
    await expect(store.follow(NODE)).rejects.toThrow(StoreUnavailable);
    await redis.restart();
    await until(() => store.head(NODE).catch(() => undefined));
    const page = await store.readLog(NODE, { seq: 0, uid: '' }, 1_000_000, 1 << 30);
    if (page === 'gone') throw new Error('the topic is gone');
    const stored = new Map(page.entries.map(({ seq, uid }) => [seq, uid]));
    expect(acknowledged.filter(({ seq, uid }) => stored.get(seq) !== uid)).toEqual([]);
    expect(seqs(page.entries)).toEqual(upTo(page.entries.length));
    // The connections for writes come back in their own time; none of these was sent.
    let next: LogEntry | undefined;
    await until(async () => {
      next = (await publish(store, NODE, 'after').catch(() => []))[0];
      return next;
    });
    expect(next!.seq).toBe(page.entries.length + 1);
    await opened.close();
    await redis.stop();
  });

  it('replicas: acknowledged when a replica has it, unknown when none confirms (delivery.md §2.5)', async () => {
    const primary = await startRedis({ isOwn: true });
    const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(primary.port)] });
    const admin = new Redis(primary.url);
    admin.on('error', () => undefined);
    await until(async () => /slave0:.*state=online/.test(await admin.info('replication')));
    await admin.config('SET', 'min-replicas-to-write', '1');
    await admin.set('warm', 'up');
    expect(await admin.wait(1, 10_000)).toBe(1);
    const opened = await openStore(standalone(primary), {
      durability: { kind: 'replicas', count: 1 },
      settings: { replicaTimeoutMs: 1_000 },
    });
    const { store } = opened;
    await create(store, NODE);
    const made = (await Promise.all(Array.from({ length: 100 }, (_, i) => publish(store, NODE, `item ${i}`)))).flat();
    expect(new Set(seqs(made)).size).toBe(100);
    // Its link stands, and it confirms nothing.
    process.kill(replica.pid!, 'SIGSTOP');
    await expect(publish(store, NODE, 'alone')).rejects.toMatchObject({ name: 'StoreUnavailable', outcome: 'unknown' });
    await expect(subscribe(store, NODE, BOB)).rejects.toMatchObject({ name: 'StoreUnavailable', outcome: 'unknown' });
    process.kill(replica.pid!, 'SIGCONT');
    await opened.close();
    admin.disconnect();
    await replica.stop();
    await primary.stop();
  });

  it('refuses what Redis has no room or too few replicas for, and nothing was changed', async () => {
    const redis = await startRedis({ isOwn: true });
    const admin = new Redis(redis.url);
    admin.on('error', () => undefined);
    const opened = await openStore(standalone(redis));
    const { store } = opened;
    await create(store, NODE);
    const [first] = await publish(store, NODE, 'a');
    for (const [name, bad, good, error] of [
      ['maxmemory', '1mb', '0', { name: 'StoreFull', what: 'memory' }],
      ['min-replicas-to-write', '1', '0', { name: 'StoreUnavailable', outcome: 'not-done' }],
    ] as const) {
      await admin.config('SET', name, bad);
      const refused = publish(store, NODE, 'b');
      await expect(refused).rejects.toMatchObject(error);
      expect(await store.head(NODE)).toEqual({ seq: first!.seq, uid: first!.uid });
      expect(await store.items(NODE, { max: 9 })).toMatchObject({ count: 1 });
      await admin.config('SET', name, good);
    }
    expect((await publish(store, NODE, 'b'))[0]!.seq).toBe(2);
    await opened.close();
    admin.disconnect();
    await redis.stop();
  });

  it('a Redis that says nothing at all is unavailable in bounded time', async () => {
    const redis = await startRedis({ isOwn: true });
    const opened = await openStore(standalone(redis), { settings: { commandTimeoutMs: 100, replicaTimeoutMs: 100 } });
    const { store } = opened;
    await create(store, NODE);
    process.kill(redis.pid!, 'SIGSTOP');
    await expect(publish(store, NODE, 'a')).rejects.toThrow(StoreUnavailable);
    await expect(store.record(NODE)).rejects.toThrow(StoreUnavailable);
    process.kill(redis.pid!, 'SIGCONT');
    await until(() => publish(store, NODE, 'b').catch(() => undefined));
    await opened.close();
    await redis.stop();
  });

  it('holds no more than 64 MiB of writes and a batch on each connection for a Redis that says nothing', async () => {
    const redis = await startRedis({ isOwn: true });
    const opened = await openStore(standalone(redis), { settings: { commandTimeoutMs: 1_000 } });
    const { store } = opened;
    await create(store, NODE);
    process.kill(redis.pid!, 'SIGSTOP');
    const big = { bytes: Buffer.alloc(64 << 10, 'x') };
    const outcomes = await Promise.allSettled(
      Array.from({ length: 3_000 }, (_, i) =>
        commit(store, NODE, publication([], { items: [{ itemId: `item ${i}`, payload: big }] })),
      ),
    );
    process.kill(redis.pid!, 'SIGCONT');
    const reasons = outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason : undefined));
    for (const reason of reasons) expect(reason).toBeInstanceOf(StoreUnavailable);
    const refused = reasons.filter(({ outcome, cause }) => outcome === 'not-done' && cause.message === 'too many writes wait');
    expect(3_000 - refused.length).toBeLessThanOrEqual(1_024 + 2 * 256);
    expect(3_000 - refused.length).toBeGreaterThan(500);
    await until(() => publish(store, NODE, 'after').catch(() => undefined));
    await opened.close();
    await redis.stop();
  });

  it('does not open when Redis is gone', async () => {
    const redis = await startRedis({ isOwn: true });
    const { connections, close } = await openStore(standalone(redis));
    await redis.stop();
    await expect(openRedisTopicStore({ connections, log: quiet })).rejects.toThrow(StoreUnavailable);
    await close();
  });
});
