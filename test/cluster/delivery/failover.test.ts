/** A failover that drops what the replica did not have, under two instances with consumers (delivery.md §1.3, §3.4). */
import type { Delivery, LogEntry, RedisTopicStore } from '@xmpp-grid/pubsub';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { join, startDelivery } from '../../support/delivery.ts';
import type { FakeSession } from '../../support/fake-session.ts';
import { nextPrefix, type OpenedStore, openStore, quiet } from '../../support/redis-store.ts';
import { type RedisTopology, startRedisTopology } from '../../support/redis-topology.ts';
import { hasRedis } from '../../support/start-redis.ts';
import { create, publish, publishMany, subscribe } from '../../support/topics.ts';
import { until } from '../../support/until.ts';

const NODES = ['grid/sightings', 'grid/quiet'] as const;
const [NODE] = NODES;
const ACCOUNTS = ['alice@grid.example', 'bob@grid.example', 'carol@grid.example'] as const;
const [ALICE, BOB, CAROL] = ACCOUNTS;

describe.skipIf(!hasRedis(true))('two instances over a primary that fails', () => {
  let redis: RedisTopology;
  let opened: OpenedStore[];
  let stores: RedisTopicStore[];
  let deliveries: Delivery[];
  beforeEach(async () => {
    redis = await startRedisTopology({ kind: 'replica', durability: 'memory' });
    const prefix = nextPrefix();
    const servers = { kind: 'standalone', url: `redis://127.0.0.1:${redis.port}` } as const;
    opened = [await openStore(servers, { prefix }), await openStore(servers, { prefix })];
    stores = opened.map(({ store }) => store);
    deliveries = stores.map((topics, i) => startDelivery(topics, `instance ${i}`, { log: quiet }));
    for (const node of NODES) {
      await create(stores[0]!, node);
      for (const account of ACCOUNTS) await subscribe(stores[0]!, node, account);
    }
  });
  afterEach(async () => {
    for (const delivery of deliveries) await delivery.close();
    for (const each of opened) await each.close();
    await redis.stop();
  });

  const live = async (at: number, jid: string, prepare?: (session: FakeSession) => void) => {
    const session = join(deliveries[at]!, jid, prepare);
    for (const node of NODES) await deliveries[at]!.changed(node, session.jid.bareString);
    return session;
  };
  const uids = (session: FakeSession, node: string) =>
    session.received.flatMap(({ ref }) => (ref?.topic === node ? [ref.uid] : []));
  const has = (session: FakeSession, node: string, entries: readonly LogEntry[]) => {
    const last = entries.at(-1)!;
    return until(`${session.jid} has entry ${last.seq} of ${node}`, () => uids(session, node).includes(last.uid));
  };
  const logOf = async (node: string) => {
    const page = await stores[0]!.readLog(node, { seq: 0, uid: '' }, 10_000, 1 << 24);
    if (page === 'gone') throw new Error('gone');
    return page.entries;
  };
  /** The replica hears nothing more, `tail` is published and delivered, then the primary dies and the replica takes over. */
  const failOver = async (tail: () => Promise<void>) => {
    await redis.inStep();
    const old = await redis.primary();
    await redis.cutReplication();
    await tail();
    await old.kill();
    await redis.promote();
  };
  const publishWhenPossible = async (node: string, itemId: string): Promise<readonly LogEntry[]> => {
    let entries: readonly LogEntry[] = [];
    await until(`${itemId} is published`, async () => {
      entries = await publish(stores[1]!, node, itemId).catch(() => []);
      return entries.length > 0;
    });
    return entries;
  };

  it('every consumer gets everything that the log has, in order, and what it has twice is recognisable (G-012, M-02)', async () => {
    const sessions = [await live(0, `${ALICE}/a`), await live(1, `${ALICE}/b`), await live(1, `${BOB}/c`)];
    const slow = await live(0, `${CAROL}/slow`, (session) => {
      session.room = 12;
    });
    await publishMany(stores[0]!, NODE, 20);
    const common = await logOf(NODE);
    for (const session of sessions) await has(session, NODE, common);
    await failOver(async () => {
      await publishMany(stores[1]!, NODE, 15, 20);
      const all = await logOf(NODE);
      for (const session of sessions) await has(session, NODE, all);
    });
    // Fewer than were lost, so that their numbers were all heard before.
    for (let i = 0; i < 6; i += 1) await publishWhenPossible(NODE, `anew ${i}`);
    const log = await logOf(NODE);
    for (const session of sessions) await has(session, NODE, log);
    slow.room = 1_000;
    deliveries[0]!.writable(slow);
    expect(log.slice(0, 20).map(({ uid }) => uid)).toEqual(common.map(({ uid }) => uid));
    expect(log.length).toBeGreaterThanOrEqual(26);
    for (const session of [...sessions, slow]) {
      await has(session, NODE, log);
      const known = new Set(log.map(({ uid }) => uid));
      // Of the log each once and in order: the ring told both instances where the logs part.
      expect(uids(session, NODE).filter((uid) => known.has(uid))).toEqual([...known]);
      expect(session.received.some(({ text }) => text.includes('<gap'))).toBe(false);
    }
    // What the slow one was not handed while the old log counted it never gets.
    expect(uids(slow, NODE)).toEqual(log.map(({ uid }) => uid));
  });

  it('a topic where nothing is published afterwards is healed by its head, and positions are written again', async () => {
    const [here, there] = [await live(0, `${ALICE}/a`), await live(1, `${BOB}/b`)];
    const [first] = await publish(stores[0]!, NODES[1], 'kept');
    for (const session of [here, there]) await has(session, NODES[1], [first!]);
    await failOver(async () => {
      // Acknowledged, and written, where the replica does not hear it.
      for (const session of [here, there]) session.acknowledge();
      for (let round = 0; round < 3; round += 1) for (const delivery of deliveries) await delivery.writePositions();
      expect(await stores[0]!.position(NODES[1], ALICE)).toMatchObject({ seq: 1 });
      await has(there, NODES[1], await publish(stores[0]!, NODES[1], 'lost'));
      for (const session of [here, there]) session.acknowledge();
      for (const delivery of deliveries) await delivery.writePositions();
    });
    for (const account of [ALICE, BOB]) {
      await until(`the position of ${account} is there again`, async () => {
        const position = await stores[0]!.position(NODES[1], account).catch(() => undefined);
        return position?.seq === 1 && position.uid === first!.uid;
      });
    }
    const next = await publishWhenPossible(NODES[1], 'next');
    for (const session of [here, there]) {
      await has(session, NODES[1], next);
      session.acknowledge();
    }
    for (const [i, session] of [here, there].entries()) deliveries[i]!.ended(session, 'closed');
    await until('the last positions are written', async () => {
      const head = await stores[0]!.head(NODES[1]);
      const positions = await Promise.all([ALICE, BOB].map((account) => stores[0]!.position(NODES[1], account)));
      return positions.every((position) => position?.uid === head?.uid);
    });
  });
});
