import type { Delivery, EmbeddedTopicStore } from '@xmpp-grid/pubsub';
import { parse } from 'ltx';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BROKER, join, type Mortal, mortal, openPolicy, startDelivery, until } from '../../support/delivery.ts';
import type { FakeSession } from '../../support/fake-session.ts';
import {
  commit,
  config,
  create,
  OWNER,
  payload,
  publication,
  publish,
  publishMany,
  type StoreUnderTest,
  subscribe,
  T0,
  temporaryStore,
} from '../../support/topics.ts';

const ALICE = 'alice@grid.example';
const BOB = 'bob@grid.example';
const NODE = 'grid/sightings';

let under: StoreUnderTest;
let store: EmbeddedTopicStore;
let delivery: Delivery;
let life: Mortal;
let instances = 0;

const start = () => {
  store = under.store;
  life = mortal(store);
  instances += 1;
  delivery = startDelivery(life.topics, `instance ${instances}`);
};

beforeEach(() => {
  under = temporaryStore();
  start();
});
afterEach(async () => {
  await delivery.close();
  await under.destroy();
});

const end = (session: FakeSession, why = 'peer-closed') => {
  session.isAlive = false;
  delivery.ended(session, why);
};
const has = (session: FakeSession, topic: string, count: number) =>
  until(
    () => session.seqs(topic).length >= count,
    `${session.jid} has ${session.seqs(topic).length} of ${count} entries of ${topic}`,
  );
/** Resolves when the session has taken a first look at its subscriptions. */
const settled = (session: FakeSession) => delivery.changed(NODE, session.jid.bare.toString());
const texts = (session: FakeSession) => session.received.map(({ text }) => text);
/** Proves absence: a marker that comes after whatever should not have come. */
const marker = async (session: FakeSession) => {
  const node = `marker for ${session.jid}`;
  await create(store, node);
  await subscribe(store, node, session.jid.bare.toString());
  await delivery.changed(node, session.jid.bare.toString());
  await publish(store, node, 'marker');
  await has(session, node, 1);
};
/** As after the death of the process: nothing is written on the way out. */
const crash = async () => {
  life.die();
  await under.reopen();
  start();
};

describe('who receives, delivery.md §4.1', () => {
  it('every session of the account gets every event of its bare JID, in order (G-010, G-012, G-034)', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    const sessions = ['a', 'b'].map((resource) => join(delivery, `${ALICE}/${resource}`));
    const stranger = join(delivery, `${BOB}/a`);
    await Promise.all(sessions.map(settled));
    for (let i = 0; i < 20; i += 1) await publish(store, NODE, `item ${i}`);
    for (const session of sessions) {
      await has(session, NODE, 20);
      expect(session.seqs(NODE)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
      for (const text of texts(session)) expect(parse(text).attrs.to).toBe(ALICE);
    }
    await marker(stranger);
    expect(stranger.seqs(NODE)).toEqual([]);
  });

  it('a full JID is served on its resource alone, and nothing is kept for it', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, `${ALICE}/a`);
    const a = join(delivery, `${ALICE}/a`);
    const b = join(delivery, `${ALICE}/b`);
    await Promise.all([settled(a), settled(b)]);
    await publish(store, NODE, 'one');
    const key = `${NODE}\u0000${ALICE}/a`;
    await has(a, key, 1);
    expect(parse(texts(a)[0]!).attrs.to).toBe(`${ALICE}/a`);
    await marker(b);
    expect(b.received.filter(({ ref }) => ref?.topic === key)).toEqual([]);
    end(a);
    await publish(store, NODE, 'two');
    const again = join(delivery, `${ALICE}/a`);
    await settled(again);
    await publish(store, NODE, 'three');
    await has(again, key, 1);
    expect(again.seqs(key)).toEqual([3]);
  });

  it('bare and full JID are two subscriptions, told apart in acknowledgements', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    await subscribe(store, NODE, `${ALICE}/a`);
    const session = join(delivery, `${ALICE}/a`);
    await settled(session);
    await publish(store, NODE, 'one');
    const key = `${NODE}\u0000${ALICE}/a`;
    await until(() => session.received.length === 2, 'both');
    expect([session.seqs(NODE), session.seqs(key)]).toEqual([[1], [1]]);
    expect(await session.again()).toHaveLength(2);
  });

  it('nothing for the bare JID while unavailable or of negative priority, and no gap after it', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    const session = join(delivery, `${ALICE}/a`);
    await settled(session);
    delivery.availabilityChanged(session, { receivesBare: false });
    await publish(store, NODE, 'one', 'two');
    await new Promise((resolve) => setImmediate(resolve));
    expect(session.received).toEqual([]);
    delivery.availabilityChanged(session, { receivesBare: true });
    await publish(store, NODE, 'three');
    await has(session, NODE, 3);
    expect(session.seqs(NODE)).toEqual([1, 2, 3]);
  });

  it('a pending subscription receives nothing until it is approved, then what follows', async () => {
    await create(store, NODE);
    await commit(store, NODE, { kind: 'own-subscription', jid: ALICE, state: 'pending', stampMs: T0 });
    const session = join(delivery, `${ALICE}/a`);
    await settled(session);
    await publish(store, NODE, 'before');
    await commit(store, NODE, {
      kind: 'access',
      affiliations: new Map(),
      subscriptions: new Map([[ALICE, 'subscribed']]),
      publisher: OWNER,
      stampMs: T0,
    });
    await delivery.changed(NODE, ALICE);
    await publish(store, NODE, 'after');
    await has(session, NODE, 1);
    expect(session.seqs(NODE)).toEqual([3]);
  });

  it('a session that unsubscribed gets no more', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    const session = join(delivery, `${ALICE}/a`);
    await settled(session);
    await publish(store, NODE, 'one');
    await has(session, NODE, 1);
    await commit(store, NODE, { kind: 'own-subscription', jid: ALICE, state: 'none', stampMs: T0 });
    await delivery.changed(NODE, ALICE);
    await publish(store, NODE, 'two');
    await marker(session);
    expect(session.seqs(NODE)).toEqual([1]);
  });
});

describe('offline delivery, RFC 8600 §6 and delivery.md §4', () => {
  it('brings what was published while away, in order, stamped, then goes on live without a gap (G-019, G-035)', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    await publishMany(store, NODE, 300);
    const publishing = (async () => {
      for (let i = 300; i < 600; i += 5) await publishMany(store, NODE, 5, i);
    })();
    const session = join(delivery, `${ALICE}/a`);
    await publishing;
    await has(session, NODE, 600);
    expect(session.seqs(NODE)).toEqual(Array.from({ length: 600 }, (_, i) => i + 1));
    const delay = parse(texts(session)[0]!).getChild('delay', 'urn:xmpp:delay');
    expect(delay?.attrs).toMatchObject({ from: BROKER, stamp: new Date(T0).toISOString() });
    await publish(store, NODE, 'live');
    await has(session, NODE, 601);
    expect(parse(texts(session).at(-1)!).getChild('delay')).toBeUndefined();
  });

  it('does not repeat what another session of the account acknowledged, after an orderly end (design §6)', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    const first = join(delivery, `${ALICE}/a`);
    await settled(first);
    await publish(store, NODE, 'one', 'two', 'three');
    await has(first, NODE, 3);
    first.acknowledge(2);
    end(first);
    const second = join(delivery, `${ALICE}/b`);
    await has(second, NODE, 1);
    expect(second.seqs(NODE)).toEqual([3]);
    end(second);
    await delivery.close();
    await crash();
    const third = join(delivery, `${ALICE}/c`);
    await has(third, NODE, 1);
    expect(third.seqs(NODE)).toEqual([3]);
  });

  it('repeats after a crash at most what was unacknowledged at the last rounds, under the same ids (delivery.md §5.4)', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    await subscribe(store, NODE, BOB);
    const quick = join(delivery, `${ALICE}/a`);
    const slow = join(delivery, `${BOB}/a`);
    await Promise.all([settled(quick), settled(slow)]);
    await publishMany(store, NODE, 10);
    await Promise.all([has(quick, NODE, 10), has(slow, NODE, 10)]);
    quick.acknowledge(9);
    slow.acknowledge(4);
    for (let round = 0; round < 4; round += 1) await delivery.writePositions();
    quick.acknowledge(1);
    const sent = texts(slow);
    await crash();
    const [quickAgain, slowAgain] = [join(delivery, `${ALICE}/a`), join(delivery, `${BOB}/a`)];
    await Promise.all([has(quickAgain, NODE, 1), has(slowAgain, NODE, 6)]);
    expect(quickAgain.seqs(NODE)).toEqual([10]);
    expect(slowAgain.seqs(NODE)).toEqual([5, 6, 7, 8, 9, 10]);
    const id = (text: string) => [parse(text).attrs.id, parse(text).getChild('stanza-id')?.attrs.id];
    expect(texts(slowAgain).map(id)).toEqual(sent.slice(4).map(id));
  });

  it('a consumer that keeps up is delegated: one watermark serves all of them after a crash (delivery.md §5.3)', async () => {
    await create(store, NODE);
    const accounts = Array.from({ length: 5 }, (_, i) => `platform${i}@grid.example`);
    for (const account of accounts) await subscribe(store, NODE, account);
    const sessions = accounts.map((account) => join(delivery, `${account}/r`));
    await Promise.all(sessions.map(settled));
    for (let i = 0; i < 5; i += 1) {
      await publish(store, NODE, `item ${i}`);
      for (const session of sessions) {
        await has(session, NODE, i + 1);
        session.acknowledge();
      }
      await delivery.writePositions();
    }
    await crash();
    for (const account of accounts) expect((await store.position(NODE, account))?.seq).toBe(5);
  });

  it('entries that consumers are not told of count as acknowledged (delivery.md §5.2)', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    const session = join(delivery, `${ALICE}/a`);
    await settled(session);
    await commit(store, NODE, {
      kind: 'configure',
      config: config({ title: 'B' }),
      publisher: OWNER,
      stampMs: T0,
      notify: false,
    });
    end(session);
    await delivery.close();
    await crash();
    expect((await store.position(NODE, ALICE))?.seq).toBe(1);
  });

  it('sends nothing of what was withdrawn meanwhile (delivery.md §1.4)', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    await publish(store, NODE, 'secret', 'kept');
    await commit(store, NODE, { kind: 'retract', itemIds: ['secret'], publisher: OWNER, stampMs: T0, notify: true });
    const session = join(delivery, `${ALICE}/a`);
    await has(session, NODE, 2);
    expect(session.seqs(NODE)).toEqual([2, 3]);
    expect(texts(session).join()).not.toContain('secret</r>');
  });

  it('withdraws from what waits for a slow session too', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    const session = join(delivery, `${ALICE}/a`, (s) => {
      s.room = 1;
    });
    await settled(session);
    await publish(store, NODE, 'one', 'two', 'three');
    await commit(store, NODE, { kind: 'purge', publisher: OWNER, stampMs: T0, notify: true });
    session.room = 99;
    delivery.writable(session);
    await has(session, NODE, 2);
    expect(session.seqs(NODE)).toEqual([1, 4]);
  });

  it('max_items takes nothing from those who catch up: what it displaced still comes (delivery.md §1.4)', async () => {
    await create(store, NODE, { maxItems: 1, notifyRetract: true });
    await subscribe(store, NODE, ALICE);
    const slow = join(delivery, `${ALICE}/slow`, (s) => {
      s.room = 1;
    });
    await settled(slow);
    for (const id of ['first', 'second', 'third']) await publish(store, NODE, id); // each displaces the one before
    const late = join(delivery, `${ALICE}/late`);
    slow.room = 99;
    delivery.writable(slow);
    for (const session of [slow, late]) {
      await has(session, NODE, 5);
      expect(session.seqs(NODE)).toEqual([1, 2, 3, 4, 5]);
    }
  });

  it('tells of a gap when retention has passed the position, once (delivery.md §9.1)', async () => {
    await delivery.close();
    await under.destroy();
    under = temporaryStore({ retention: { maxEntries: 3, minAgeMs: 0 } });
    start();
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    await publishMany(store, NODE, 8);
    const session = join(delivery, `${ALICE}/a`);
    await has(session, NODE, 3);
    expect(session.seqs(NODE)).toEqual([6, 7, 8]);
    const gap = parse(texts(session)[0]!);
    expect(gap.attrs).toMatchObject({ from: BROKER, to: ALICE });
    expect(gap.getChild('gap', 'urn:xmpp-grid:0')?.attrs).toMatchObject({ node: NODE, from: '1', to: '5' });
    expect(delivery.stats().gaps).toBe(1);
  });

  it('caching off: live sessions get the payload, one that was away is told of the gap (G-020, delivery.md §9.2)', async () => {
    await create(store, NODE, { persistItems: false });
    await subscribe(store, NODE, ALICE);
    await subscribe(store, NODE, BOB);
    const live = join(delivery, `${ALICE}/a`);
    await settled(live);
    await publish(store, NODE, 'fleeting');
    await has(live, NODE, 1);
    expect(texts(live)[0]).toContain(payload('fleeting').bytes.toString());
    await delivery.close();
    await crash();
    const late = join(delivery, `${BOB}/a`);
    await until(() => late.received.length === 1, 'the gap');
    expect(parse(texts(late)[0]!).getChild('gap')?.attrs).toMatchObject({ from: '1', to: '1' });
  });

  it('headline: nothing for those who were away (XEP-0160 §3, delivery.md §9.2)', async () => {
    await create(store, NODE, { notificationType: 'headline' });
    await subscribe(store, NODE, ALICE);
    await publish(store, NODE, 'missed');
    const session = join(delivery, `${ALICE}/a`);
    await settled(session);
    await publish(store, NODE, 'seen');
    await has(session, NODE, 1);
    expect(session.seqs(NODE)).toEqual([2]);
    expect(parse(texts(session)[0]!).attrs.type).toBe('headline');
    delivery.availabilityChanged(session, { receivesBare: false });
    await publish(store, NODE, 'missed too');
    delivery.availabilityChanged(session, { receivesBare: true });
    await publish(store, NODE, 'seen too');
    await has(session, NODE, 2);
    expect(session.seqs(NODE)).toEqual([2, 4]);
  });
});

describe('slow consumers, design D9', () => {
  it('a full session falls back to the log and returns, the others unaffected', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    await subscribe(store, NODE, BOB);
    const slow = join(delivery, `${ALICE}/a`, (s) => {
      s.room = 5;
    });
    const quick = join(delivery, `${BOB}/a`);
    await Promise.all([settled(slow), settled(quick)]);
    for (let i = 0; i < 700; i += 50) await publishMany(store, NODE, 50, i);
    await has(quick, NODE, 700);
    expect(slow.seqs(NODE)).toEqual([1, 2, 3, 4, 5]);
    expect(delivery.stats()).toMatchObject({ cursors: 2, liveCursors: 1 });
    while (slow.seqs(NODE).length < 700) {
      const before = slow.seqs(NODE).length;
      slow.room = 90;
      delivery.writable(slow);
      await has(slow, NODE, Math.min(700, before + 90));
    }
    expect(slow.seqs(NODE)).toEqual(quick.seqs(NODE));
    slow.room = 9;
    delivery.writable(slow);
    await publish(store, NODE, 'live again');
    await has(slow, NODE, 701);
    expect(delivery.stats()).toMatchObject({ liveCursors: 2 });
  });

  it('an entry over the limit that the peer announced is set aside with a gap, and the next one comes (XEP-0478, delivery.md §4.5)', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    const session = join(delivery, `${ALICE}/a`, (s) => {
      s.peerMaxStanzaBytes = 1_000;
    });
    await settled(session);
    await commit(store, NODE, publication([], { items: [{ itemId: 'big', payload: payload('x'.repeat(2_000)) }] }));
    await publish(store, NODE, 'small');
    await has(session, NODE, 1);
    expect(session.seqs(NODE)).toEqual([2]);
    expect(parse(texts(session)[0]!).getChild('gap')?.attrs).toMatchObject({ from: '1', to: '1' });
  });

  it.each([
    ['connection-lost', [2, 3]],
    ['peer-closed', [1, 2, 3]],
  ])(
    'an entry first in line at three ends of the stream in a row is set aside, when they were no orderly ends: %s (delivery.md §4.5)',
    async (why, seqs) => {
      await create(store, NODE);
      await subscribe(store, NODE, ALICE);
      await publish(store, NODE, 'poison', 'two', 'three');
      for (let i = 0; i < 3; i += 1) {
        const session = join(delivery, `${ALICE}/a`);
        await has(session, NODE, 3);
        end(session, why);
      }
      const session = join(delivery, `${ALICE}/a`);
      await has(session, NODE, seqs.length);
      expect(session.seqs(NODE)).toEqual(seqs);
      const gaps = texts(session).flatMap((text) => parse(text).getChild('gap') ?? []);
      expect(gaps.map(({ attrs }) => [attrs.from, attrs.to])).toEqual(seqs.length === 3 ? [] : [['1', '1']]);
    },
  );

  it('a fan-out over several slices keeps order and leaves nobody out', { timeout: 20_000 }, async () => {
    await create(store, NODE);
    const accounts = Array.from({ length: 1_000 }, (_, i) => `p${i}@grid.example`);
    await Promise.all(accounts.map((account) => subscribe(store, NODE, account)));
    const sessions = accounts.map((account) => join(delivery, `${account}/r`));
    await until(() => delivery.stats().liveCursors === 1_000, 'all live');
    const publishing = Array.from({ length: 40 }, (_, i) => publish(store, NODE, `item ${i}`));
    for (const leaving of sessions.splice(0, 100)) end(leaving);
    await Promise.all(publishing);
    const expected = Array.from({ length: 40 }, (_, i) => i + 1);
    for (const session of sessions) {
      await has(session, NODE, 40);
      expect(session.seqs(NODE)).toEqual(expected);
    }
  });
});

describe('rights that change, delivery.md §8.1', () => {
  const access = (more: { affiliations?: [string, 'outcast' | 'none'][]; subscriptions?: [string, 'none'][] }) =>
    commit(store, NODE, {
      kind: 'access',
      affiliations: new Map(more.affiliations),
      subscriptions: new Map(more.subscriptions),
      publisher: OWNER,
      stampMs: T0,
    });

  it.each([
    ['its subscription was removed', { subscriptions: [[ALICE, 'none']] as [string, 'none'][] }],
    ['it became an outcast', { affiliations: [[ALICE, 'outcast']] as [string, 'outcast'][] }],
  ])('nothing after the change, even when published in the same moment: %s (G-038)', async (_, change) => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    await subscribe(store, NODE, BOB);
    const removed = join(delivery, `${ALICE}/a`);
    const other = join(delivery, `${BOB}/a`);
    await Promise.all([settled(removed), settled(other)]);
    await Promise.all([publish(store, NODE, 'before'), access(change), publish(store, NODE, 'after')]);
    await has(other, NODE, 2);
    await marker(removed);
    expect(removed.seqs(NODE).filter((seq) => seq > 2)).toEqual([]);
    expect(other.seqs(NODE)).toEqual([1, 3]);
  });

  it('a session that was away and lost its right gets nothing of what it missed (delivery.md §8.3)', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    await publish(store, NODE, 'missed');
    await access({ affiliations: [[ALICE, 'outcast']] });
    const session = join(delivery, `${ALICE}/a`);
    await settled(session);
    await marker(session);
    expect(session.seqs(NODE)).toEqual([]);
  });

  it('a role without the grant receives nothing, whatever the subscription says (D11)', async () => {
    await delivery.close();
    delivery = startDelivery(store, 'strict', {
      policy: {
        ...openPolicy,
        decide: (_role, _verb, node) => (node === NODE ? { verdict: 'deny', why: 'test' } : { verdict: 'allow' }),
      },
    });
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    const session = join(delivery, `${ALICE}/a`);
    await settled(session);
    await publish(store, NODE, 'one');
    await marker(session);
    expect(session.seqs(NODE)).toEqual([]);
  });
});

describe('deletion, delivery.md §1.5', () => {
  const remove = (redirect?: string) =>
    commit(store, NODE, { kind: 'delete', publisher: OWNER, stampMs: T0, notify: true, ...(redirect ? { redirect } : {}) });

  it('live sessions get the notification in order, and the account is not told again (XEP-0060 §8.4.2)', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    const session = join(delivery, `${ALICE}/a`);
    await settled(session);
    await publish(store, NODE, 'last');
    await remove('xmpp:new@broker?;node=n');
    await has(session, NODE, 2);
    const deleted = parse(texts(session)[1]!).getChild('event')?.getChild('delete');
    expect(deleted?.attrs.node).toBe(NODE);
    expect(deleted?.getChild('redirect')?.attrs.uri).toBe('xmpp:new@broker?;node=n');
    expect(await session.again()).toHaveLength(1); // the payload is withdrawn, the deletion is not
    session.acknowledge();
    await until(() => delivery.stats().followedTopics === 0, 'the topic is followed no more');
    while ((await store.topicsOf(ALICE)).length > 0) await new Promise((resolve) => setImmediate(resolve));
  });

  it('an account that was away is told at its next login, once', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    await publish(store, NODE, 'missed');
    await remove('xmpp:elsewhere');
    const session = join(delivery, `${ALICE}/a`);
    await until(() => session.received.length === 1, 'the deletion');
    const message = parse(texts(session)[0]!);
    expect(message.attrs).toMatchObject({ from: BROKER, to: ALICE });
    expect(message.getChild('event')?.getChild('delete')?.getChild('redirect')?.attrs.uri).toBe('xmpp:elsewhere');
    while ((await store.topicsOf(ALICE)).length > 0) await new Promise((resolve) => setImmediate(resolve));
    const next = join(delivery, `${ALICE}/a`);
    await marker(next);
    expect(next.received).toHaveLength(1);
  });

  it('nobody is told at a login that a topic hidden from their role was deleted (D11)', async () => {
    await delivery.close();
    delivery = startDelivery(store, 'strict', { policy: { ...openPolicy, isHidden: (_role, node) => node === NODE } });
    await create(store, NODE);
    await subscribe(store, NODE, ALICE); // an owner may have made it
    await remove('xmpp:elsewhere');
    const session = join(delivery, `${ALICE}/a`);
    await marker(session);
    expect(session.received).toHaveLength(1);
    expect(await store.topicsOf(ALICE)).not.toContain(NODE);
  });

  it('a topic that was created anew starts with new subscriptions', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    const session = join(delivery, `${ALICE}/a`);
    await settled(session);
    await remove();
    await create(store, NODE);
    await publish(store, NODE, 'for others');
    await subscribe(store, NODE, ALICE);
    await delivery.changed(NODE, ALICE);
    await publish(store, NODE, 'for alice');
    await has(session, NODE, 2);
    expect(session.seqs(NODE)).toEqual([1, 3]);
  });
});

describe('sending again, XEP-0198 §5', () => {
  it('reads entries again with a stamp and the same id, from the ring or the log, and skips the withdrawn', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    const session = join(delivery, `${ALICE}/a`);
    await settled(session);
    await publishMany(store, NODE, 300);
    await has(session, NODE, 300);
    await commit(store, NODE, { kind: 'retract', itemIds: ['item 299'], publisher: OWNER, stampMs: T0, notify: false });
    const again = await session.again();
    expect(again).toHaveLength(299);
    for (const i of [0, 298]) {
      const [first, second] = [parse(texts(session)[i]!), parse(again[i]!)];
      expect(second.attrs.id).toBe(first.attrs.id);
      expect(second.getChild('delay')?.attrs.stamp).toBe(new Date(T0).toISOString());
      expect(second.getChild('event')?.toString()).toBe(first.getChild('event')?.toString());
    }
  });

  it('sends nothing again to a session that lost its right', async () => {
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    const session = join(delivery, `${ALICE}/a`);
    await settled(session);
    await publish(store, NODE, 'one');
    await has(session, NODE, 1);
    await commit(store, NODE, { kind: 'own-subscription', jid: ALICE, state: 'none', stampMs: T0 });
    await delivery.changed(NODE, ALICE);
    expect(await session.again()).toEqual([]);
  });
});
