import type { Delivery, DeliveryCluster, DeliveryDeps, EmbeddedTopicStore, TopicPolicy } from '@xmpp-grid/pubsub';
import { StoreUnavailable } from '@xmpp-grid/stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { join, mortal, openPolicy, startDelivery, until } from '../../support/delivery.ts';
import { FakeSession } from '../../support/fake-session.ts';
import {
  commit,
  create,
  OWNER,
  publish,
  publishMany,
  type StoreUnderTest,
  subscribe,
  T0,
  temporaryStore,
} from '../../support/topics.ts';

const NODE = 'grid/sightings';
const ALICE = 'alice@grid.example';
const BOB = 'bob@grid.example';

let under: StoreUnderTest;
let store: EmbeddedTopicStore;
let opened: Delivery[];
beforeEach(async () => {
  under = temporaryStore();
  store = under.store;
  opened = [];
  await create(store, NODE);
  for (const account of [ALICE, BOB]) await subscribe(store, NODE, account);
});
afterEach(async () => {
  for (const delivery of opened) await delivery.close();
  await under.destroy();
});

/** One more instance over the same store. */
const start = (instanceId: DeliveryDeps['instanceId'], more: Partial<DeliveryDeps> = {}): Delivery => {
  const delivery = startDelivery(store, 'nobody', { instanceId, ...more });
  opened.push(delivery);
  return delivery;
};
const seqs = (session: FakeSession) => session.seqs(NODE);
const has = (session: FakeSession, seq: number) => until(() => seqs(session).includes(seq), `entry ${seq} for ${session.jid}`);
const live = async (delivery: Delivery, jid: string, prepare?: (session: FakeSession) => void) => {
  const session = join(delivery, jid, prepare);
  await delivery.changed(NODE, session.jid.bareString);
  return session;
};
const end = (delivery: Delivery, session: FakeSession, why = 'peer-closed') => {
  session.isAlive = false;
  delivery.ended(session, why);
};
/** Proves absence: comes after whatever should not have come. */
const marker = async (delivery: Delivery, session: FakeSession) => {
  const node = `marker for ${session.jid} ${session.received.length}`;
  await create(store, node);
  await subscribe(store, node, session.jid.bareString);
  await delivery.changed(node, session.jid.bareString);
  await publish(store, node, 'marker');
  await until(() => session.seqs(node).length === 1, 'the marker');
};
/** Rounds of the positions, as the clock makes them. */
const rounds = async (delivery: Delivery, count = 3) => {
  for (let round = 0; round < count; round += 1) await delivery.writePositions();
};

describe('an instance that may not serve, delivery.md §7.2', () => {
  it('hands nothing out until it may again, then everything, in order (S-18)', async () => {
    let mayServe = true;
    const delivery = start('one', { mayServe: () => mayServe });
    const session = await live(delivery, `${ALICE}/a`);
    const catchingUp = await live(delivery, `${ALICE}/b`, (b) => {
      b.room = 0;
    });
    mayServe = false;
    await publishMany(store, NODE, 3);
    catchingUp.room = 100;
    delivery.writable(catchingUp);
    const late = await live(delivery, `${BOB}/c`);
    expect([seqs(session), seqs(catchingUp), seqs(late)]).toEqual([[], [], []]);
    mayServe = true;
    for (const one of [session, catchingUp, late]) {
      await has(one, 3);
      expect(seqs(one)).toEqual([1, 2, 3]);
    }
  });

  it('writes no positions meanwhile, and all of them under its new id', async () => {
    let mayServe = true;
    let id = 'one';
    const written: string[] = [];
    const topics = new Proxy(store, {
      get(target, name) {
        if (name === 'update') {
          return (node: string, update: Parameters<typeof store.update>[1]) => {
            written.push(`${update.instance}: ${[...update.settle.keys(), ...update.delegate.keys()]}`);
            return store.update(node, update);
          };
        }
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const delivery = start(() => id, { mayServe: () => mayServe, topics });
    const session = await live(delivery, `${ALICE}/a`);
    await publish(store, NODE, 'one');
    await has(session, 1);
    session.acknowledge();
    await rounds(delivery);
    expect(await store.position(NODE, ALICE)).toMatchObject({ seq: 1 });
    await publish(store, NODE, 'two');
    await has(session, 2);
    mayServe = false;
    written.length = 0;
    session.acknowledge();
    await rounds(delivery);
    expect(written).toEqual([]);
    expect(await store.position(NODE, ALICE)).toMatchObject({ seq: 1 });
    id = 'two';
    delivery.rejoined();
    mayServe = true;
    await rounds(delivery);
    expect(written).toEqual([`two: ${ALICE}`]);
    expect(await store.position(NODE, ALICE)).toMatchObject({ seq: 2 });
  });

  it('looks at its sessions again when it is back: what others told its former id is lost', async () => {
    const carol = 'carol@grid.example';
    const delivery = start('one');
    const [session, leaver] = [await live(delivery, `${carol}/a`), await live(delivery, `${BOB}/b`)];
    await subscribe(store, NODE, carol);
    await commit(store, NODE, { kind: 'own-subscription', jid: BOB, state: 'none', stampMs: T0 });
    await publish(store, NODE, 'one');
    delivery.rejoined();
    await has(session, 1);
    await until(() => delivery.stats().cursors === 1, 'the other cursor to end');
    await publish(store, NODE, 'two');
    await has(session, 2);
    expect(seqs(leaver)).not.toContain(2);
  });

  it('who left meanwhile gets its number written afterwards', async () => {
    let mayServe = true;
    const delivery = start('one', { mayServe: () => mayServe });
    const session = await live(delivery, `${ALICE}/a`);
    await publish(store, NODE, 'one');
    await has(session, 1);
    mayServe = false;
    session.acknowledge();
    end(delivery, session);
    await rounds(delivery, 1);
    expect(await store.position(NODE, ALICE)).toMatchObject({ seq: 0 });
    mayServe = true;
    await rounds(delivery);
    expect(await store.position(NODE, ALICE)).toMatchObject({ seq: 1 });
    expect(delivery.stats().followedTopics).toBe(0);
  });
});

describe('following, delivery.md §3.1', () => {
  it('a topic that its session left before it was followed is not followed any more', async () => {
    let goOn: (() => void) | undefined;
    const follow = store.follow.bind(store);
    vi.spyOn(store, 'follow').mockImplementation(async (node) => {
      await new Promise<void>((resolve) => {
        goOn = resolve;
      });
      return await follow(node);
    });
    const unfollow = vi.spyOn(store, 'unfollow');
    const delivery = start('one');
    const session = join(delivery, `${ALICE}/a`);
    await until(() => goOn !== undefined, 'the topic to be followed');
    end(delivery, session);
    goOn!();
    await until(() => unfollow.mock.calls.length === 1, 'the end of it');
    expect(delivery.stats().followedTopics).toBe(0);
  });
});

describe('a session that goes on at another instance, delivery.md §6.2', () => {
  const move = async (from: Delivery, to: Delivery, session: FakeSession, acknowledged = 0) => {
    const kept = from.leave(session);
    end(from, session, 'resumed-elsewhere');
    const next = new FakeSession(session.jid.toString());
    next.room = 0;
    await to.arrive(next, kept);
    const pending = [...session.unacknowledged];
    if (acknowledged > 0) to.acknowledged(next, pending.splice(0, acknowledged).slice(-1));
    const again: string[] = [];
    for (const ref of pending) {
      const encoded = await to.encodeAgain(next, ref);
      if (encoded) again.push(encoded.prefix.toString() + encoded.body.toString());
      next.owes(to, ref);
    }
    next.room = Number.POSITIVE_INFINITY;
    to.resumed(next);
    return { next, again };
  };

  it('gets what it was not sent, and again what it had not acknowledged: everything exactly once (M-01)', async () => {
    const [one, two] = [start('one'), start('two')];
    const session = await live(one, `${ALICE}/a`, (a) => {
      a.room = 6;
    });
    await publishMany(store, NODE, 10);
    await has(session, 6);
    session.acknowledge(2);
    const before = session.received.map(({ text }) => text);
    const { next, again } = await move(one, two, session, 1);
    // 1 to 3 are acknowledged; 4 to 6 are sent again with their ids, 7 to 10 come for the first time.
    expect(again.map((text) => / id='([^']+)'/.exec(text)![1])).toEqual(
      before.slice(3).map((text) => / id='([^']+)'/.exec(text)![1]),
    );
    await publish(store, NODE, 'eleven');
    await has(next, 11);
    expect(seqs(next)).toEqual([7, 8, 9, 10, 11]);
    next.acknowledge();
    end(two, next);
    await rounds(two);
    expect(await store.position(NODE, ALICE)).toMatchObject({ seq: 11 });
  });

  it('its position does not run ahead of what it acknowledged', async () => {
    const [one, two] = [start('one'), start('two')];
    const session = await live(one, `${ALICE}/a`);
    await publishMany(store, NODE, 5);
    await has(session, 5);
    session.acknowledge(2);
    const { next } = await move(one, two, session);
    await rounds(two);
    await rounds(one);
    expect(await store.position(NODE, ALICE)).toMatchObject({ seq: 2 });
    next.acknowledge(1);
    end(two, next);
    await rounds(two);
    expect(await store.position(NODE, ALICE)).toMatchObject({ seq: 3 });
  });

  it('it misses nothing that another session of its account acknowledged meanwhile (G-034)', async () => {
    const [one, two] = [start('one'), start('two')];
    const [moving, other] = [await live(one, `${ALICE}/a`), await live(two, `${ALICE}/b`)];
    await publish(store, NODE, 'one');
    for (const session of [moving, other]) {
      await has(session, 1);
      session.acknowledge();
    }
    await rounds(one);
    const kept = one.leave(moving);
    end(one, moving, 'drain');
    await publish(store, NODE, 'two', 'three');
    await has(other, 3);
    other.acknowledge();
    await rounds(two, 4);
    expect(await store.position(NODE, ALICE)).toMatchObject({ seq: 3 });
    const next = new FakeSession(`${ALICE}/a`);
    await two.arrive(next, kept);
    await has(next, 3);
    expect(seqs(next)).toEqual([2, 3]);
  });

  it('a subscription of the full JID goes with it', async () => {
    const [one, two] = [start('one'), start('two')];
    const full = `${ALICE}/a`;
    await subscribe(store, NODE, full);
    const session = await live(one, full);
    await publish(store, NODE, 'one');
    await until(() => session.received.length === 2, 'both');
    const kept = one.leave(session);
    end(one, session, 'drain');
    await publish(store, NODE, 'two');
    const next = new FakeSession(full);
    await two.arrive(next, kept);
    await until(() => next.received.length === 2, 'both of the second');
    expect(next.received.map(({ ref }) => ref!.seq)).toEqual([2, 2]);
    expect(new Set(next.received.map(({ ref }) => ref!.topic)).size).toBe(2);
  });

  it('is told once of a topic that was deleted, also when it had not acknowledged that (XEP-0060 §8.4.2)', async () => {
    const [one, two] = [start('one'), start('two')];
    const session = await live(one, `${ALICE}/a`);
    await commit(store, NODE, { kind: 'delete', publisher: OWNER, stampMs: T0, notify: true });
    await has(session, 1);
    const { next, again } = await move(one, two, session);
    expect(again).toHaveLength(1);
    expect(again[0]).toContain(`<delete node='${NODE}'/>`);
    await marker(two, next);
    expect(next.received.filter(({ text }) => text.includes('<delete'))).toEqual([]);
    next.acknowledge();
    await vi.waitUntil(async () => !(await store.topicsOf(ALICE)).includes(NODE));
  });

  const deleteTopic = async () =>
    (await commit(store, NODE, { kind: 'delete', publisher: OWNER, stampMs: T0, notify: true })).entries;
  /** Lets its connection break before the topic is deleted, and another session hear of that and acknowledge it. */
  const deletedMeanwhile = async (one: Delivery, moving: FakeSession) => {
    const other = await live(one, `${ALICE}/other`);
    moving.room = 0;
    const [entry] = await deleteTopic();
    await has(other, entry!.seq);
    other.acknowledge();
    await vi.waitUntil(async () => !(await store.topicsOf(ALICE)).includes(NODE));
    return entry!;
  };
  const deletions = ({ received }: FakeSession) => received.flatMap(({ text }) => (text.includes('<delete') ? [text] : []));
  const openOf = (delivery: Delivery) => delivery.stats().cursors;

  it('is told of a deletion that another session of its account has acknowledged (XEP-0060 §8.4.2)', async () => {
    const [one, two] = [start('one'), start('two')];
    const full = `${ALICE}/a`;
    await subscribe(store, NODE, full);
    const session = await live(one, full);
    await publish(store, NODE, 'one');
    await until(() => session.received.length === 2, 'both');
    session.acknowledge();
    const { seq, uid } = await deletedMeanwhile(one, session);
    const { next } = await move(one, two, session);
    await until(() => deletions(next).length === 2, 'both deletions');
    for (const jid of [ALICE, full]) expect(deletions(next).some((text) => text.includes(`to='${jid}'`))).toBe(true);
    for (const text of deletions(next)) expect(text).toMatch(new RegExp(` id='[^'.]+\\.${seq}-${uid}'`));
    await until(() => openOf(two) === 0, 'the cursors to end');
    next.acknowledge();
    const { next: third, again } = await move(two, one, next);
    await marker(one, third);
    expect([again, deletions(third)]).toEqual([[], []]);
  });

  it('is told of it when there is a topic of that name again, and then gets what belongs to its new subscription', async () => {
    const [one, two] = [start('one'), start('two')];
    const session = await live(one, `${ALICE}/a`);
    await publish(store, NODE, 'one');
    await has(session, 1);
    session.acknowledge();
    const { seq } = await deletedMeanwhile(one, session);
    await create(store, NODE);
    await subscribe(store, NODE, ALICE);
    await publish(store, NODE, 'of another topic');
    const { next } = await move(one, two, session);
    await has(next, seq + 1);
    expect(seqs(next)).toEqual([seq, seq + 1]);
    expect(deletions(next)).toHaveLength(1);
  });

  it('is told of a deletion of which the instance that it comes from did not know', async () => {
    const [one, two] = [start('one'), start('two')];
    const session = await live(one, `${ALICE}/a`);
    const kept = one.leave(session);
    end(one, session, 'drain');
    await deleteTopic();
    await store.forgetTopic(ALICE, NODE);
    const next = new FakeSession(`${ALICE}/a`);
    await two.arrive(next, kept);
    await until(() => deletions(next).length === 1, 'the deletion');
  });

  it('is told of no deletion when its right may have ended before (delivery.md §8.3)', async () => {
    const [one, two] = [start('one'), start('two')];
    const session = await live(one, `${BOB}/b`);
    const kept = one.leave(session);
    end(one, session, 'drain');
    await commit(store, NODE, {
      kind: 'access',
      affiliations: new Map([[BOB, 'outcast']]),
      subscriptions: new Map([[BOB, 'none']]),
      publisher: OWNER,
      stampMs: T0,
    });
    await deleteTopic();
    const next = new FakeSession(`${BOB}/b`);
    await two.arrive(next, kept);
    await marker(two, next);
    expect(deletions(next)).toEqual([]);
  });

  it('a deletion that the index alone tells of has the id of its entry, so that a client can drop the repeat (§1.2)', async () => {
    const [entry] = await deleteTopic();
    const session = join(start('one'), `${ALICE}/a`);
    await until(() => session.received.length === 1, 'the deletion');
    expect(deletions(session)[0]).toMatch(new RegExp(` id='[^'.]+\\.${entry!.seq}-${entry!.uid}'`));
  });

  it('an index that names a topic without a subscription does not make it a deleted one (§1.5)', async () => {
    await deleteTopic();
    await create(store, NODE);
    expect(await store.topicsOf(ALICE)).toContain(NODE);
    const session = join(start('one'), `${ALICE}/a`);
    await until(() => session.received.length === 1, 'the end of the subscription');
    expect(session.received[0]!.text).toContain(`<subscription node='${NODE}' jid='${ALICE}' subscription='none'/>`);
    await vi.waitUntil(async () => !(await store.topicsOf(ALICE)).includes(NODE));
  });

  it('one session of an account is told of a deletion that the index tells of, while the index forgets it', async () => {
    await deleteTopic();
    let forget: (() => void) | undefined;
    vi.spyOn(store, 'forgetTopic').mockImplementationOnce(
      () =>
        new Promise((resolve) => {
          forget = resolve;
        }),
    );
    const delivery = start('one');
    const [first, second] = [join(delivery, `${ALICE}/a`), join(delivery, `${ALICE}/b`)];
    await until(() => forget !== undefined, 'the deletion to be told');
    await marker(delivery, first);
    await marker(delivery, second);
    expect(deletions(first).length + deletions(second).length).toBe(1);
    forget!();
  });

  it('gets nothing again to which it lost the right, and a gap for what retention passed', async () => {
    const [one, two] = [start('one'), start('two', { policy: { ...openPolicy, approves: () => false } })];
    const session = await live(one, `${ALICE}/a`);
    await publish(store, NODE, 'one');
    await has(session, 1);
    const { again } = await move(one, two, session);
    expect(again).toEqual([]);

    const trimmed = await live(one, `${BOB}/b`);
    await publish(store, NODE, 'two');
    await has(trimmed, 2);
    await store.sweep(T0 + 365 * 24 * 3600_000, 100);
    const three = start('three');
    const { again: gaps } = await move(one, three, trimmed);
    expect(gaps).toHaveLength(2);
    expect(gaps[1]).toContain(`<gap xmlns='urn:xmpp-grid:0' node='${NODE}' from='2' to='2'/>`);
  });

  it('what is no text of ours is refused', async () => {
    const delivery = start('one');
    await expect(delivery.arrive(new FakeSession(`${ALICE}/a`), 'nonsense')).rejects.toThrow(SyntaxError);
    await expect(delivery.arrive(new FakeSession(`${ALICE}/a`), '{"v":2}')).rejects.toThrow(TypeError);
  });

  it('one of which the other instance knew nothing starts as a login does', async () => {
    const delivery = start('one');
    await publish(store, NODE, 'one');
    const session = new FakeSession(`${ALICE}/a`);
    await delivery.arrive(session, delivery.leave(session));
    await has(session, 1);
  });

  it('an orderly stop leaves own numbers of all, so that nothing is repeated elsewhere', async () => {
    const [one, two] = [start('one'), start('two')];
    const [quick, slow] = [await live(one, `${ALICE}/a`), await live(one, `${BOB}/b`)];
    await publish(store, NODE, 'one', 'two', 'three');
    for (const session of [quick, slow]) await has(session, 3);
    quick.acknowledge();
    slow.acknowledge(1);
    await Promise.all([quick, slow].map((session) => one.settle(session)));
    expect(await store.position(NODE, ALICE)).toMatchObject({ seq: 3 });
    expect(await store.position(NODE, BOB)).toMatchObject({ seq: 1 });
    const next = await live(two, `${BOB}/c`);
    await has(next, 3);
    expect(seqs(next)).toEqual([2, 3]);
  });
});

describe('subscriptions that another instance changes, delivery.md §2.6', () => {
  /** Instances by id, with an inbox each that can fail. */
  class FakeCluster {
    readonly deliveries = new Map<string, Delivery>();
    readonly sessions = new Map<string, string[]>();
    readonly sent: string[] = [];
    fails = 0;
    isFull = false;

    of(own: string): DeliveryCluster {
      return {
        instancesOf: async (account) => (this.sessions.get(account) ?? []).filter((id) => id !== own),
        send: async (id, message) => {
          if (this.fails > 0) {
            this.fails -= 1;
            throw new StoreUnavailable('unknown', new Error('no Redis'));
          }
          if (this.isFull) return 'full';
          const delivery = this.deliveries.get(id);
          if (!delivery) return 'no-such-instance';
          this.sent.push(`${message.kind} ${id}`);
          delivery.interestHeard(message.body);
          return 'sent';
        },
      };
    }

    start(id: string, more: Partial<DeliveryDeps> = {}): Delivery {
      const delivery = start(id, { cluster: this.of(id), ...more });
      this.deliveries.set(id, delivery);
      return delivery;
    }
  }
  let cluster: FakeCluster;
  let one: Delivery;
  let two: Delivery;
  const CAROL = 'carol@grid.example';
  beforeEach(() => {
    cluster = new FakeCluster();
    one = cluster.start('one');
    two = cluster.start('two');
    cluster.sessions.set(CAROL, ['two']);
  });

  it('delivery starts where the account has its session, and ends there (G-010)', async () => {
    const session = await live(two, `${CAROL}/a`);
    await subscribe(store, NODE, CAROL);
    await one.changed(NODE, CAROL);
    await publish(store, NODE, 'one');
    await has(session, 1);
    await commit(store, NODE, { kind: 'own-subscription', jid: CAROL, state: 'none', stampMs: T0 });
    await one.changed(NODE, CAROL);
    await until(() => two.stats().cursors === 0, 'the cursor to end');
    await publish(store, NODE, 'two');
    await marker(two, session);
    expect(seqs(session)).toEqual([1]);
    expect(cluster.sent).toEqual(['interest two', 'interest two']);
  });

  it('an account without sessions elsewhere costs one look at the registry and no message', async () => {
    await subscribe(store, NODE, CAROL);
    cluster.sessions.set(CAROL, ['one']);
    await one.changed(NODE, CAROL);
    expect(cluster.sent).toEqual([]);
  });

  it('an instance that is gone is looked for again', async () => {
    const session = await live(two, `${CAROL}/a`);
    let looks = 0;
    const moving = cluster.start('three', {
      cluster: {
        ...cluster.of('three'),
        instancesOf: async () => {
          looks += 1;
          return looks === 1 ? ['dead'] : ['two'];
        },
      },
    });
    await subscribe(store, NODE, CAROL);
    await moving.changed(NODE, CAROL);
    expect(looks).toBe(2);
    await publish(store, NODE, 'one');
    await has(session, 1);
  });

  it('who could not be told is told later, and the asker is asked to come again', async () => {
    const session = await live(two, `${CAROL}/a`);
    await subscribe(store, NODE, CAROL);
    cluster.fails = 1;
    await expect(one.changed(NODE, CAROL)).rejects.toThrow(StoreUnavailable);
    await publish(store, NODE, 'one');
    await has(session, 1);
  });

  it('an inbox that is full makes the asker wait (RFC 6120 §8.3.3.18)', async () => {
    cluster.isFull = true;
    await expect(one.changed(NODE, CAROL)).rejects.toMatchObject({ condition: 'resource-constraint', type: 'wait' });
  });

  it('a message that is none of ours is refused', () => {
    for (const body of ['', '{}', '["a"]', '[1, 2]']) expect(() => one.interestHeard(body)).toThrow();
  });
});

describe('two sessions of an account at two instances (G-034)', () => {
  it('each gets every event; the position is the greater of both, also after one instance died', async () => {
    const life = mortal(store);
    const one = start('one', { topics: life.topics });
    const two = start('two');
    const [a, b] = [await live(one, `${ALICE}/a`), await live(two, `${ALICE}/b`)];
    await publishMany(store, NODE, 6);
    for (const session of [a, b]) {
      await has(session, 6);
      expect(seqs(session)).toEqual([1, 2, 3, 4, 5, 6]);
    }
    a.acknowledge(5);
    b.acknowledge(2);
    await rounds(one, 4);
    await rounds(two, 4);
    life.die();
    opened = [two];
    expect(await store.position(NODE, ALICE)).toMatchObject({ seq: 5 });
    b.acknowledge();
    end(two, b);
    await rounds(two);
    expect(await store.position(NODE, ALICE)).toMatchObject({ seq: 6 });
  });

  it('rights that one instance changes are judged by the other before it delivers (delivery.md §8.1, G-027)', async () => {
    const closed = 'grid/closed';
    await create(store, closed);
    const policy: TopicPolicy = { ...openPolicy, approves: () => false };
    const affiliate = (affiliation: 'member' | 'outcast', state: 'subscribed' | 'none') =>
      commit(store, closed, {
        kind: 'access',
        affiliations: new Map([[ALICE, affiliation]]),
        subscriptions: new Map([[ALICE, state]]),
        publisher: OWNER,
        stampMs: T0,
      });
    await affiliate('member', 'subscribed');
    const [one, two] = [start('one', { policy }), start('two', { policy })];
    const sessions = [await live(one, `${ALICE}/a`), await live(two, `${ALICE}/b`)];
    await publish(store, closed, 'allowed');
    for (const session of sessions) await until(() => session.seqs(closed).length === 1, 'the first entry');
    await Promise.all([affiliate('outcast', 'none'), publishMany(store, closed, 3)]);
    await until(() => one.stats().cursors + two.stats().cursors === 0, 'the cursors to end');
    for (const session of sessions) {
      expect(session.seqs(closed).length).toBe(1);
      expect(session.withdrawn).toEqual([closed]);
    }
  });
});

describe('rights of accounts that change, delivery.md §8.2, §8.3', () => {
  const policy: TopicPolicy = {
    ...openPolicy,
    decide: (role) => (role === 'guest' ? { verdict: 'deny', why: 'guests do not' } : { verdict: 'allow' }),
  };

  it('a session whose role may not hear the topic any more gets nothing from then on (G-038)', async () => {
    const delivery = start('one', { policy });
    const [session, witness] = [await live(delivery, `${ALICE}/a`), await live(delivery, `${BOB}/b`)];
    await publish(store, NODE, 'one');
    await has(session, 1);
    session.role = 'guest';
    const judged = delivery.rejudgeAccount(ALICE);
    await publish(store, NODE, 'two');
    await judged;
    await publish(store, NODE, 'three');
    await has(witness, 3);
    expect(seqs(session)).toEqual([1]);
    expect(session.withdrawn).toEqual([NODE]);
    expect((await store.subscriptionsOf(NODE, ALICE)).map(({ state }) => state)).toEqual(['subscribed']);
  });

  it('a session that may stay misses nothing while it is judged', async () => {
    const delivery = start('one', { policy });
    const session = await live(delivery, `${ALICE}/a`);
    const publishing = publishMany(store, NODE, 50);
    for (let i = 0; i < 5; i += 1) {
      session.role = `role ${i}`;
      const judged = delivery.rejudgeAccount(ALICE);
      session.role = `role ${i} again`;
      await Promise.all([judged, delivery.rejudgeAccount(ALICE)]);
    }
    await publishing;
    await has(session, 50);
    expect(seqs(session)).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
  });

  it('a session that is resumed with another role is judged before it gets more (delivery.md §6.2)', async () => {
    const delivery = start('one', { policy });
    const [session, witness] = [await live(delivery, `${ALICE}/a`), await live(delivery, `${BOB}/b`)];
    session.room = 0;
    await publish(store, NODE, 'one');
    await has(witness, 1);
    session.role = 'guest';
    session.room = 100;
    delivery.resumed(session);
    await until(() => delivery.stats().cursors === 1, 'the cursor to end');
    expect(seqs(session)).toEqual([]);
  });

  it('a subscription that nobody told of begins, and ends, when the account is read again', async () => {
    const carol = 'carol@grid.example';
    const delivery = start('one');
    const session = await live(delivery, `${carol}/a`);
    await subscribe(store, NODE, carol);
    await publish(store, NODE, 'one');
    await delivery.rejudgeAccount(carol);
    await has(session, 1);
    await commit(store, NODE, { kind: 'own-subscription', jid: carol, state: 'none', stampMs: T0 });
    await delivery.rejudgeAccount(carol);
    expect(delivery.stats().cursors).toBe(0);
  });

  it('who logs in without the right never gets what was published until then (G-038)', async () => {
    const delivery = start('one', { policy });
    await publish(store, NODE, 'forbidden');
    const session = await live(delivery, `${ALICE}/a`, (guest) => {
      guest.role = 'guest';
    });
    end(delivery, session);
    await publish(store, NODE, 'allowed');
    const again = await live(delivery, `${ALICE}/a`);
    await has(again, 2);
    expect(seqs(again)).toEqual([2]);
  });
});
