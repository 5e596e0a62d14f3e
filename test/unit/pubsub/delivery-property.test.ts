import type { Delivery } from '@xmpp-grid/pubsub';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { join, type Mortal, mortal, startDelivery, until } from '../../support/delivery.ts';
import type { FakeSession } from '../../support/fake-session.ts';
import { create, publishMany, subscribe, temporaryStore } from '../../support/topics.ts';

const NODE = 'grid/sightings';
const ACCOUNTS = ['a@grid.example', 'b@grid.example', 'c@grid.example'];

type Step =
  | { readonly do: 'publish'; readonly count: number; readonly isAwaited: boolean }
  | { readonly do: 'start'; readonly account: number; readonly room: number }
  | { readonly do: 'end'; readonly session: number }
  | { readonly do: 'room'; readonly session: number; readonly room: number }
  | { readonly do: 'acknowledge'; readonly session: number; readonly count: number }
  | { readonly do: 'turn' | 'round' | 'drain' | 'crash' };

const session = fc.nat(7);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('publish'), count: fc.integer({ min: 1, max: 40 }), isAwaited: fc.boolean() }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('start'), account: fc.nat(ACCOUNTS.length - 1), room: fc.nat(30) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('end'), session }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('room'), session, room: fc.nat(60) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('acknowledge'), session, count: fc.nat(50) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('turn', 'round') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('drain', 'crash') }) },
) as fc.Arbitrary<Step>;

interface Run {
  readonly session: FakeSession;
  readonly account: string;
  /** The newest entry that any session of the account had acknowledged when this one started. */
  readonly acknowledgedBefore: number;
  /** Whether the positions of all earlier sessions were kept: nothing may be repeated then. */
  readonly isExact: boolean;
}

/** Real store, real delivery; the model is the list of numbers and what each account acknowledged. */
async function interleave(steps: readonly Step[]): Promise<void> {
  const under = temporaryStore();
  let instances = 0;
  let life: Mortal;
  let delivery: Delivery;
  const begin = () => {
    life = mortal(under.store);
    instances += 1;
    delivery = startDelivery(life.topics, `instance ${instances}`);
  };
  begin();
  await create(under.store, NODE);
  for (const account of ACCOUNTS) await subscribe(under.store, NODE, account);

  const runs: Run[] = [];
  let alive: Run[] = [];
  const acknowledged = new Map(ACCOUNTS.map((account) => [account, 0]));
  let isExact = true;
  let published = 0;
  let publishing: Promise<unknown> = Promise.resolve();
  const settle = async () => {
    await publishing;
    await Promise.all(alive.map(({ account }) => delivery.changed(NODE, account)));
  };
  const end = (run: Run) => {
    run.session.isAlive = false;
    delivery.ended(run.session, 'peer-closed');
    alive = alive.filter((other) => other !== run);
  };
  const pick = (index: number) => (alive.length === 0 ? undefined : alive[index % alive.length]);

  for (const one of steps) {
    switch (one.do) {
      case 'publish': {
        const publication = publishMany(under.store, NODE, one.count, published);
        published += one.count;
        publishing = Promise.all([publishing, publication]);
        if (one.isAwaited) await publishing;
        break;
      }
      case 'start': {
        if (alive.length >= 8) break;
        const account = ACCOUNTS[one.account]!;
        const fake = join(delivery!, `${account}/r${runs.length}`, (s) => {
          s.room = one.room;
        });
        const run = { session: fake, account, acknowledgedBefore: acknowledged.get(account)!, isExact };
        runs.push(run);
        alive.push(run);
        // What it acknowledged is compared with what others start from, so it starts before anything else happens.
        await delivery!.changed(NODE, account);
        break;
      }
      case 'end': {
        const run = pick(one.session);
        if (run) end(run);
        break;
      }
      case 'room': {
        const run = pick(one.session);
        if (!run) break;
        run.session.room = one.room;
        if (one.room > 0) delivery!.writable(run.session);
        break;
      }
      case 'acknowledge': {
        const run = pick(one.session);
        if (!run) break;
        const taken = run.session.unacknowledged.slice(0, one.count);
        run.session.acknowledge(one.count);
        const newest = taken.at(-1)?.seq ?? 0;
        acknowledged.set(run.account, Math.max(acknowledged.get(run.account)!, newest));
        break;
      }
      case 'turn':
        await new Promise((resolve) => setImmediate(resolve));
        break;
      case 'round':
        await delivery!.writePositions();
        break;
      case 'drain':
        await settle();
        for (const run of [...alive]) end(run);
        await delivery!.close();
        await under.reopen();
        begin();
        break;
      case 'crash':
        await settle();
        life!.die();
        for (const run of [...alive]) end(run);
        alive = [];
        isExact = false;
        await under.reopen();
        begin();
        break;
    }
  }

  await settle();
  for (const { session: fake } of alive) {
    fake.room = Number.POSITIVE_INFINITY;
    delivery!.writable(fake);
  }
  for (const { session: fake, acknowledgedBefore } of alive) {
    if (acknowledgedBefore < published) await until(() => fake.seqs(NODE).at(-1) === published, `${fake.jid} gets to the head`);
  }
  for (const run of runs) {
    const seqs = run.session.seqs(NODE);
    const first = seqs[0];
    expect(run.session.received).toHaveLength(seqs.length); // no gap was told
    if (first === undefined) continue;
    // Every entry, in order, exactly once.
    expect(seqs).toEqual(seqs.map((_, i) => first + i));
    if (run.isExact) expect(first).toBe(run.acknowledgedBefore + 1);
    else expect(first).toBeLessThanOrEqual(run.acknowledgedBefore + 1);
  }
  await delivery!.close();
  await under.destroy();
}

describe('delivery, whatever the interleaving (G-012, design D8 and D9)', () => {
  it('every session sees every entry in order exactly once, from what its account acknowledged', {
    timeout: 120_000,
  }, async () => {
    await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), interleave), {
      numRuns: Number(process.env.FUZZ_RUNS ?? 15),
    });
  });
});
