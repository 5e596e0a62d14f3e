import type { Delivery, RedisTopicStore } from '@xmpp-grid/pubsub';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { join, startDelivery } from '../../support/delivery.ts';
import type { FakeSession } from '../../support/fake-session.ts';
import { nextPrefix, type OpenedStore, openStore, standalone } from '../../support/redis-store.ts';
import { hasRedis, startRedis, type TestRedis } from '../../support/start-redis.ts';
import { commit, create, OWNER, publish, subscribe, T0 } from '../../support/topics.ts';

const NODE = 'grid/sightings';
const ALICE = 'alice@grid.example';
const BOB = 'bob@grid.example';

const seqs = (session: FakeSession) => session.received.flatMap(({ ref }) => (ref ? [ref.seq] : []));
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);
const until = (condition: () => unknown) => vi.waitUntil(condition, { timeout: 10_000, interval: 10 });

describe.skipIf(!hasRedis())('delivery of two instances over one Redis', () => {
  let redis: TestRedis;
  let raw: Redis;
  let opened: OpenedStore[];
  let stores: [RedisTopicStore, RedisTopicStore];
  let deliveries: [Delivery, Delivery];
  let rounds = 0;
  let bell: string;
  beforeAll(async () => {
    redis = await startRedis();
    raw = new Redis(redis.url);
    raw.on('error', () => undefined);
  });
  afterAll(async () => {
    raw.disconnect();
    await redis.stop();
  });
  beforeEach(async () => {
    rounds += 1;
    const prefix = nextPrefix();
    bell = `${prefix}{t:${NODE}}:bell`;
    opened = [await openStore(standalone(redis), { prefix }), await openStore(standalone(redis), { prefix })];
    stores = [opened[0]!.store, opened[1]!.store];
    deliveries = [startDelivery(stores[0], `one ${rounds}`), startDelivery(stores[1], `two ${rounds}`)];
    await create(stores[0], NODE);
    for (const account of [ALICE, BOB]) await subscribe(stores[0], NODE, account);
  });
  afterEach(async () => {
    for (const delivery of deliveries) await delivery.close();
    for (const each of opened) await each.close();
  });

  it('every consumer gets every event once and in order, although the connections for bells break (G-010, G-035)', async () => {
    const sessions = [join(deliveries[0], `${ALICE}/a`), join(deliveries[1], `${ALICE}/b`), join(deliveries[1], `${BOB}/c`)];
    const EVENTS = 400;
    for (let sent = 0; sent < EVENTS; sent += 10) {
      await Promise.all(Array.from({ length: 10 }, (_, i) => publish(stores[i % 2]!, NODE, `item ${sent + i}`)));
      if (sent % 100 !== 0) continue;
      const clients = String(await raw.client('LIST')).split('\n');
      for (const line of clients.filter((each) => each.includes('name=xmpp-grid-bells'))) {
        await raw.client('KILL', 'ID', /id=(\d+)/.exec(line)![1]!);
      }
    }
    for (const session of sessions) {
      await until(() => seqs(session).length >= EVENTS);
      expect(seqs(session)).toEqual(upTo(EVENTS));
    }
  });

  it('a consumer that goes from one instance to the other goes on where it stood', async () => {
    const first = join(deliveries[0], `${ALICE}/a`);
    await publish(stores[1], NODE, 'a', 'b', 'c');
    await until(() => seqs(first).length === 3);
    first.acknowledge(2);
    deliveries[0].ended(first, 'closed');
    await until(async () => (await stores[1].position(NODE, ALICE))?.seq === 2);
    await publish(stores[0], NODE, 'd');
    const second = join(deliveries[1], `${ALICE}/a`);
    await until(() => seqs(second).length === 2);
    await publish(stores[0], NODE, 'e');
    await until(() => seqs(second).length === 3);
    expect(seqs(second)).toEqual([3, 4, 5]);
  });

  it('who catches up passes over what was withdrawn, which is no gap (delivery.md §1.4)', async () => {
    await publish(stores[0], NODE, 'a', 'b', 'c', 'd', 'e');
    const change = { publisher: OWNER, stampMs: T0, notify: true };
    await commit(stores[0], NODE, { kind: 'retract', itemIds: ['a', 'c', 'd'], ...change });
    const session = join(deliveries[1], `${ALICE}/a`);
    await publish(stores[0], NODE, 'f');
    await until(() => seqs(session).includes(9));
    expect(seqs(session)).toEqual([2, 5, 6, 7, 8, 9]);
    await commit(stores[0], NODE, { kind: 'purge', ...change });
    await publish(stores[0], NODE, 'g');
    await until(() => seqs(session).includes(11));
    const late = join(deliveries[0], `${BOB}/b`);
    await until(() => seqs(late).includes(11));
    expect(seqs(late)).toEqual([6, 7, 8, 10, 11]);
    for (const { received } of [session, late]) expect(received.some(({ text }) => text.includes('<gap'))).toBe(false);
  });

  it('hears a topic only while it has consumers of it', async () => {
    const listeners = async () => Number(((await raw.call('PUBSUB', 'SHARDNUMSUB', bell)) as unknown[])[1]);
    const sessions = [join(deliveries[0], `${ALICE}/a`), join(deliveries[1], `${BOB}/b`)];
    // Their cursors may not be open by then.
    await until(async () => (await listeners()) === 2);
    for (const [i, session] of sessions.entries()) deliveries[i]!.ended(session, 'closed');
    await until(async () => (await listeners()) === 0);
  });
});
