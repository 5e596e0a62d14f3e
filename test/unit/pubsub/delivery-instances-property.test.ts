import type { Delivery } from '@xmpp-grid/pubsub';
import type { EntryRef } from '@xmpp-grid/stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { join, type Mortal, mortal, startDelivery, until } from '../../support/delivery.ts';
import { failoverStore } from '../../support/failover-store.ts';
import { FakeSession } from '../../support/fake-session.ts';
import { create, publishMany, subscribe } from '../../support/topics.ts';

const NODE = 'grid/sightings';
const ACCOUNTS = ['a@grid.example', 'b@grid.example'];
const INSTANCES = 3;
const MAX_SESSIONS = 8;

type Step =
  | { readonly do: 'publish'; readonly count: number }
  | { readonly do: 'start'; readonly account: number; readonly at: number; readonly room: number }
  | { readonly do: 'end' | 'move'; readonly session: number; readonly at: number }
  | { readonly do: 'room'; readonly session: number; readonly room: number }
  | { readonly do: 'acknowledge'; readonly session: number; readonly count: number }
  | { readonly do: 'fence' | 'crash'; readonly at: number }
  | { readonly do: 'turn' | 'rounds' | 'copy' | 'fail over' };

const session = fc.nat(MAX_SESSIONS - 1);
const at = fc.nat(INSTANCES - 1);
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('publish'), count: fc.integer({ min: 1, max: 40 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('start'), account: fc.nat(ACCOUNTS.length - 1), at, room: fc.nat(60) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('end', 'move', 'move'), session, at }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('room'), session, room: fc.nat(60) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('acknowledge'), session, count: fc.nat(50) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('fence', 'crash'), at }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('turn', 'rounds', 'rounds', 'copy', 'fail over') }) },
) as fc.Arbitrary<Step>;

/** One session, on whichever instances it has been; `received`: the entries that its client has got, in order. */
interface Run {
  session: FakeSession;
  instance: number;
  readonly account: string;
  readonly received: EntryRef[];
  /** Whether the account had acknowledged an entry when the session started, by uid. */
  readonly acknowledgedBefore: ReadonlySet<string>;
  /** Nothing was repeated to it, nor had to be: no failover since it started. */
  isExact: boolean;
}

/** Real stores, real deliveries; the model is which entries each client got, and what each account acknowledged. */
async function interleave(steps: readonly Step[]): Promise<void> {
  const redundant = failoverStore();
  const { topics } = redundant;
  const isFenced = new Set<number>();
  const lives: Mortal[] = [];
  const deliveries: Delivery[] = [];
  let starts = 0;
  const begin = (i: number) => {
    starts += 1;
    const id = `instance ${i}, start ${starts}`;
    lives[i] = mortal(topics);
    const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: fail };
    deliveries[i] = startDelivery(lives[i]!.topics, id, { mayServe: () => !isFenced.has(i), log });
  };
  for (let i = 0; i < INSTANCES; i += 1) begin(i);
  await create(redundant.primary, NODE);
  for (const account of ACCOUNTS) await subscribe(redundant.primary, NODE, account);
  await redundant.cutReplica();

  const runs: Run[] = [];
  let alive: Run[] = [];
  const acknowledged = new Map(ACCOUNTS.map((account) => [account, new Set<string>()]));
  let published = 0;
  const pick = (index: number) => (alive.length === 0 ? undefined : alive[index % alive.length]);
  const collect = (run: Run) => {
    for (const { ref, text } of run.session.received.splice(0)) {
      if (ref) run.received.push(ref);
      else fail({ text }, 'a gap');
    }
  };
  const end = (run: Run, why = 'peer-closed') => {
    run.session.isAlive = false;
    deliveries[run.instance]!.ended(run.session, why);
    collect(run);
    alive = alive.filter((other) => other !== run);
  };
  const rounds = async () => {
    for (let i = 0; i < 3; i += 1) await Promise.all(deliveries.map((delivery) => delivery.writePositions()));
  };
  const settle = () => Promise.all(alive.map(({ account, instance }) => deliveries[instance]!.changed(NODE, account)));

  for (const one of steps) {
    switch (one.do) {
      case 'publish':
        await publishMany(redundant.primary, NODE, one.count, published);
        published += one.count;
        break;
      case 'start': {
        if (alive.length >= MAX_SESSIONS) break;
        const account = ACCOUNTS[one.account]!;
        const acknowledgedBefore = new Set(acknowledged.get(account));
        const fake = join(deliveries[one.at]!, `${account}/r${runs.length}`, (s) => {
          s.room = one.room;
        });
        const run: Run = { session: fake, instance: one.at, account, received: [], acknowledgedBefore, isExact: true };
        runs.push(run);
        alive.push(run);
        await deliveries[one.at]!.changed(NODE, account);
        break;
      }
      case 'end': {
        const run = pick(one.session);
        if (run) end(run);
        break;
      }
      case 'move': {
        const run = pick(one.session);
        if (!run || run.instance === one.at) break;
        const [from, to] = [deliveries[run.instance]!, deliveries[one.at]!];
        run.session.room = 0;
        const kept = from.leave(run.session);
        const pending = [...run.session.unacknowledged];
        end(run, 'resumed-elsewhere');
        const next = new FakeSession(run.session.jid.toString());
        next.room = 0;
        await to.arrive(next, kept);
        for (const ref of pending) {
          const again = await to.encodeAgain(next, ref);
          if (!again) continue; // a failover dropped it
          expect(run.received.some(({ uid }) => uid === ref.uid)).toBe(true);
          next.owes(to, ref);
        }
        Object.assign(run, { session: next, instance: one.at });
        alive.push(run);
        next.room = 30;
        to.resumed(next);
        break;
      }
      case 'room': {
        const run = pick(one.session);
        if (!run) break;
        run.session.room = one.room;
        if (one.room > 0) deliveries[run.instance]!.writable(run.session);
        break;
      }
      case 'acknowledge': {
        const run = pick(one.session);
        if (!run) break;
        for (const { uid } of run.session.unacknowledged.slice(0, one.count)) acknowledged.get(run.account)!.add(uid);
        run.session.acknowledge(one.count);
        break;
      }
      case 'fence': {
        isFenced.add(one.at);
        await new Promise((resolve) => setImmediate(resolve));
        deliveries[one.at]!.rejoined();
        isFenced.delete(one.at);
        break;
      }
      case 'crash': {
        lives[one.at]!.die();
        for (const run of alive.filter(({ instance }) => instance === one.at)) end(run);
        begin(one.at);
        break;
      }
      case 'turn':
        await new Promise((resolve) => setImmediate(resolve));
        break;
      case 'rounds':
        await rounds();
        break;
      case 'copy':
        await redundant.cutReplica();
        break;
      case 'fail over': {
        redundant.promote();
        for (const run of runs) run.isExact = false;
        if (published % 2 === 0) await redundant.tellFork(NODE);
        await redundant.cutReplica();
        break;
      }
    }
    for (const run of alive) collect(run);
  }

  // Everybody takes what there is, and one more that shows where the log stands.
  await settle();
  await publishMany(redundant.primary, NODE, 1, published);
  await settle();
  const page = await redundant.primary.readLog(NODE, { seq: 0, uid: '' }, 100_000, 1 << 30);
  if (page === 'gone') throw new Error('gone');
  const seqOf = new Map(page.entries.map(({ uid, seq }) => [uid, seq]));
  for (const { session: fake, instance } of alive) {
    fake.room = Number.POSITIVE_INFINITY;
    deliveries[instance]!.writable(fake);
  }
  for (const run of alive) {
    await until(() => {
      collect(run);
      return run.received.at(-1)?.uid === page.head.uid;
    }, `${run.session.jid} gets to the head`);
  }
  for (const run of runs) {
    const uids = run.received.map(({ uid }) => uid).filter((uid) => seqOf.has(uid));
    // Of what the log has: in order and without a hole; without a failover each once.
    const seqs = [...new Set(uids)].map((uid) => seqOf.get(uid)!);
    if (run.isExact) expect(uids).toHaveLength(seqs.length);
    const first = seqs[0];
    if (first === undefined) continue;
    expect(seqs).toEqual(seqs.map((_, i) => first + i));
    // Never past what the account had acknowledged.
    if (first > 1) expect(run.acknowledgedBefore.has(page.entries[first - 2]!.uid)).toBe(true);
  }
  for (const run of [...alive]) end(run);
  for (const delivery of deliveries) await delivery.close();
  for (const account of ACCOUNTS) {
    const position = (await redundant.primary.position(NODE, account))!;
    if (position.seq > 0) expect(acknowledged.get(account)!.has(position.uid)).toBe(true);
  }
  await redundant.close();
}

const fail = (fields: object, message: string): never => {
  throw new Error(message, { cause: fields });
};

describe('several instances over a store that fails over (M-01, M-02, delivery.md §1.3, §5, §6.2, §7.2)', () => {
  it('whatever the interleaving, every session gets what the log has, in order, from what its account acknowledged', {
    timeout: 120_000,
  }, async () => {
    await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), interleave), {
      numRuns: Number(process.env.FUZZ_RUNS ?? 15),
    });
  });
});
