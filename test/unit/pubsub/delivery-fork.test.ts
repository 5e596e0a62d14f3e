import type { Delivery } from '@xmpp-grid/pubsub';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { join, startDelivery, until } from '../../support/delivery.ts';
import { type FailoverStore, failoverStore } from '../../support/failover-store.ts';
import type { FakeSession } from '../../support/fake-session.ts';
import { commit, create, OWNER, publish, publishMany, subscribe, T0 } from '../../support/topics.ts';

const NODE = 'grid/sightings';
const ALICE = 'alice@grid.example';
const BOB = 'bob@grid.example';

let redundant: FailoverStore;
let delivery: Delivery;

beforeEach(async () => {
  redundant = failoverStore();
  const log = {
    debug: () => undefined,
    info: () => undefined,
    warn: () => undefined,
    error: (fields: object, message: string) => {
      throw new Error(message, { cause: fields });
    },
  };
  delivery = startDelivery(redundant.topics, 'instance', { log });
  await create(redundant.primary, NODE);
  for (const account of [ALICE, BOB]) await subscribe(redundant.primary, NODE, account);
});
afterEach(async () => {
  await delivery.close();
  await redundant.close();
});

const seqs = (session: FakeSession) => session.seqs(NODE);
const has = (session: FakeSession, seq: number) => until(() => seqs(session).includes(seq), `entry ${seq}`);
const settled = (session: FakeSession) => delivery.changed(NODE, session.jid.bare.toString());
const live = async (jid: string) => {
  const session = join(delivery, jid);
  await settled(session);
  return session;
};
/** What the log has, as a session should have got it: one of each, in order, whatever else it got. */
const missesNothing = async (session: FakeSession, from: number) => {
  const page = await redundant.primary.readLog(NODE, { seq: from - 1, uid: '' }, 1_000, 1 << 20);
  if (page === 'gone') throw new Error('gone');
  const uids = page.entries.map(({ uid }) => uid);
  const received = session.received.flatMap(({ ref }) => (ref ? [ref.uid] : []));
  expect([...new Set(received.filter((uid) => uids.includes(uid)))]).toEqual(uids);
};
/** `common` entries that both have, `lost` that only the old primary had. */
const failOver = async (common: number, lost: number) => {
  await publishMany(redundant.primary, NODE, common);
  await redundant.cutReplica();
  await publishMany(redundant.primary, NODE, lost, common);
};

describe('a failover that dropped entries, delivery.md §1.3', () => {
  it.each(['told by the store', 'found at the next entry', 'found by the head'])(
    'consumers get what the log has instead: %s (M-02)',
    async (how) => {
      const sessions = [await live(`${ALICE}/a`), await live(`${BOB}/b`)];
      await failOver(3, 2);
      for (const session of sessions) await has(session, 5);
      redundant.promote();
      if (how === 'told by the store') await redundant.tellFork(NODE);
      if (how === 'found by the head') await settled(sessions[0]!);
      await publish(redundant.primary, NODE, 'four anew');
      await publish(redundant.primary, NODE, 'five anew', 'six');
      for (const session of sessions) {
        await has(session, 6);
        expect(seqs(session)).toEqual([1, 2, 3, 4, 5, 4, 5, 6]);
        await missesNothing(session, 1);
      }
    },
  );

  it('what was published to the new log before anybody noticed is delivered as well', async () => {
    const session = await live(`${ALICE}/a`);
    await failOver(3, 1);
    await has(session, 4);
    redundant.promote();
    await publishMany(redundant.primary, NODE, 5, 100);
    await has(session, 8);
    await missesNothing(session, 1);
  });

  it('a repeat is recognisable: the same message id, and none where the ring tells the place (delivery.md §1.2)', async () => {
    const session = await live(`${ALICE}/a`);
    await failOver(10, 20);
    await has(session, 30);
    redundant.promote();
    await redundant.tellFork(NODE);
    await publishMany(redundant.primary, NODE, 3, 200);
    await until(() => session.received.length === 33, 'the new entries');
    const ids = session.received.map(({ text }) => / id='([^']+)'/.exec(text)![1]!);
    expect(new Set(ids).size).toBe(33);
    await missesNothing(session, 1);
  });

  it('beyond the ring it goes back to what the store knows of each consumer', async () => {
    const [quick, late] = [await live(`${ALICE}/a`), await live(`${BOB}/b`)];
    await publishMany(redundant.primary, NODE, 4);
    for (const session of [quick, late]) await has(session, 4);
    quick.acknowledge();
    late.acknowledge(2);
    for (let round = 0; round < 4; round += 1) await delivery.writePositions();
    await redundant.cutReplica();
    await publishMany(redundant.primary, NODE, 400, 100);
    for (const session of [quick, late]) {
      await has(session, 404);
      session.acknowledge();
    }
    for (let round = 0; round < 4; round += 1) await delivery.writePositions();
    redundant.promote();
    await publish(redundant.primary, NODE, 'five anew', 'six anew');
    await redundant.tellFork(NODE);
    for (const session of [quick, late]) {
      await until(() => session.received.at(-1)?.ref?.seq === 6, 'the new entries');
      await missesNothing(session, 1);
    }
    expect(seqs(quick).slice(404)).toEqual([5, 6]);
    expect(seqs(late).slice(404)).toEqual([3, 4, 5, 6]);
  });

  it('an acknowledgement of a dropped entry does not count for another of the same number', async () => {
    const session = await live(`${ALICE}/a`);
    await failOver(3, 3);
    await has(session, 6);
    session.acknowledge(3);
    redundant.promote();
    await redundant.tellFork(NODE);
    await publishMany(redundant.primary, NODE, 4, 50);
    await has(session, 7);
    // 4, 5 and 6 of the old log; nothing of the new one.
    session.acknowledge(3);
    delivery.ended(session, 'peer-closed');
    await delivery.close();
    expect(await redundant.primary.position(NODE, ALICE)).toMatchObject({ seq: 3 });
    delivery = startDelivery(redundant.topics, 'another');
    const again = await live(`${ALICE}/a`);
    await has(again, 7);
    expect(seqs(again)).toEqual([4, 5, 6, 7]);
  });

  it('and one of an entry of the new log does', async () => {
    const session = await live(`${ALICE}/a`);
    await failOver(3, 3);
    await has(session, 6);
    redundant.promote();
    await redundant.tellFork(NODE);
    await publishMany(redundant.primary, NODE, 4, 50);
    await has(session, 7);
    session.acknowledge(8);
    await delivery.writePositions();
    delivery.ended(session, 'peer-closed');
    await delivery.close();
    expect(await redundant.primary.position(NODE, ALICE)).toMatchObject({ seq: 5 });
    delivery = startDelivery(redundant.topics, 'another');
  });

  it('a slow consumer in the middle of the log goes on in the new one', async () => {
    const session = join(delivery, `${ALICE}/slow`, (slow) => {
      slow.room = 5;
    });
    await settled(session);
    await failOver(3, 30);
    await has(session, 5);
    redundant.promote();
    await publishMany(redundant.primary, NODE, 10, 300);
    await settled(session);
    session.room = 100;
    delivery.writable(session);
    await has(session, 13);
    await missesNothing(session, 1);
    expect(seqs(session).slice(0, 5)).toEqual([1, 2, 3, 4, 5]);
  });

  it('rights that the failover took back count no more', async () => {
    const carol = 'carol@grid.example';
    await redundant.cutReplica();
    await subscribe(redundant.primary, NODE, carol);
    const [session, witness] = [await live(`${carol}/a`), await live(`${ALICE}/a`)];
    await publish(redundant.primary, NODE, 'lost');
    for (const one of [session, witness]) await has(one, 1);
    redundant.promote();
    await publish(redundant.primary, NODE, 'one anew', 'two');
    await redundant.tellFork(NODE);
    await has(witness, 2);
    expect(seqs(witness)).toEqual([1, 1, 2]);
    expect(seqs(session)).toEqual([1]);
  });

  it('a retraction that never was does not hide what it retracted', async () => {
    const [session, late] = [await live(`${ALICE}/a`), `${BOB}/late`];
    await publish(redundant.primary, NODE, 'one', 'two');
    await redundant.cutReplica();
    await commit(redundant.primary, NODE, { kind: 'retract', itemIds: ['one'], publisher: OWNER, stampMs: T0, notify: true });
    await has(session, 3);
    redundant.promote();
    await redundant.tellFork(NODE);
    const bob = await live(late);
    await publish(redundant.primary, NODE, 'three');
    await has(bob, 3);
    expect(seqs(bob)).toEqual([1, 2, 3]);
  });
});

describe('after a failover, delivery.md §3.4', () => {
  it('this instance writes its delegations again', async () => {
    const session = await live(`${ALICE}/a`);
    await publish(redundant.primary, NODE, 'one');
    await has(session, 1);
    await redundant.cutReplica();
    session.acknowledge();
    for (let round = 0; round < 3; round += 1) await delivery.writePositions();
    expect(await redundant.primary.position(NODE, ALICE)).toMatchObject({ seq: 1 });
    redundant.promote();
    expect(await redundant.primary.position(NODE, ALICE)).toMatchObject({ seq: 0 });
    redundant.tellPrimaryChanged([NODE]);
    await delivery.writePositions();
    expect(await redundant.primary.position(NODE, ALICE)).toMatchObject({ seq: 1 });
    // Delegated again: the watermark alone moves the position.
    await publish(redundant.primary, NODE, 'two');
    await has(session, 2);
    session.acknowledge();
    await delivery.writePositions();
    expect(await redundant.primary.position(NODE, ALICE)).toMatchObject({ seq: 2 });
  });
});
