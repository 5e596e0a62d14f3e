import { EmbeddedInstanceTable, type InstanceState, Instances, type InstanceTable, StoreUnavailable } from '@xmpp-grid/stream';
import { describe, expect, it } from 'vitest';

/** Leases, the judgement of the dead, fencing and cleaning on a clock of the test's own (delivery.md §7.1, §7.2; M-15). */

const LEASE_MS = 1_000;
const BEAT_MS = 200;

/** A table whose calls fail while the store is away. */
class Reachable implements InstanceTable {
  isAway = false;
  readonly #table: InstanceTable;

  constructor(table: InstanceTable) {
    this.#table = table;
  }

  async #ask<T>(call: (table: InstanceTable) => Promise<T>): Promise<T> {
    if (this.isAway) throw new StoreUnavailable('unknown', new Error('away'));
    return call(this.#table);
  }

  beat = (id: string, counter: number, how: 'join' | 'beat') => this.#ask((table) => table.beat(id, counter, how));
  markDead = (id: string, counter: number | undefined) => this.#ask((table) => table.markDead(id, counter));
  claimCleaning = (id: string, by: string, forMs: number) => this.#ask((table) => table.claimCleaning(id, by, forMs));
  finishCleaning = (id: string, by: string) => this.#ask((table) => table.finishCleaning(id, by));
  goneOf = (ids: readonly string[]) => this.#ask((table) => table.goneOf(ids));
}

function world() {
  let nowMs = 1_000_000;
  const table = new EmbeddedInstanceTable(() => nowMs);
  const quiet = () => undefined;
  const start = async () => {
    const reach = new Reachable(table);
    const events: string[] = [];
    const instances = new Instances({
      table: reach,
      leaseMs: LEASE_MS,
      beatMs: BEAT_MS,
      log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
      now: () => nowMs,
    });
    instances.observe({
      fenced: (id) => events.push(`fenced ${id}`),
      rejoined: async (id, formerId) => void events.push(`rejoined ${id} was ${formerId}`),
      declaredDead: (id) => events.push(`dead ${id}`),
    });
    instances.addCleaner(async (id) => void events.push(`cleaned ${id}`));
    await instances.start();
    return { instances, reach, events };
  };
  type Member = Awaited<ReturnType<typeof start>>;
  /** Lets time pass in heartbeats of those that are named; the others are silent. */
  const pass = async (ms: number, ...beating: readonly Member[]) => {
    for (let passed = 0; passed < ms; passed += BEAT_MS) {
      nowMs += BEAT_MS;
      for (const { instances } of beating) await instances.beat();
      await new Promise((resolve) => setImmediate(resolve)); // cleaning and re-claiming run beside the heartbeats
    }
  };
  return { table, start, pass, jump: (ms: number) => (nowMs += ms) };
}

describe('instances', () => {
  it('§7.1 one whose counter stood still for a whole lease is declared dead once, then cleaned up behind', async () => {
    const { start, pass, table } = world();
    const [a, b, c] = [await start(), await start(), await start()];
    await pass(2 * BEAT_MS, a, b, c);
    const dead = c.instances.id;
    await pass(LEASE_MS - BEAT_MS, a, b);
    expect([...a.events, ...b.events]).toEqual([]);
    await pass(LEASE_MS, a, b);
    expect([...a.events, ...b.events].sort()).toEqual([`cleaned ${dead}`, `dead ${dead}`]);
    expect(a.instances.live()).not.toContain(dead);
    expect(await table.goneOf([dead])).toEqual(new Set([dead]));
    expect(await table.claimCleaning(dead, 'x', 1)).toBe('gone');
  });

  it('§7.2 is fenced by the clock before anybody can declare it dead', async () => {
    const { start, pass } = world();
    const [a, b] = [await start(), await start()];
    await pass(BEAT_MS, a, b);
    await pass(LEASE_MS, a);
    expect(b.instances.isFenced).toBe(false); // exactly its lease
    expect(a.events).toEqual([]);
    await pass(BEAT_MS, a);
    expect(b.instances.isFenced).toBe(true);
  });

  it('§7.2 comes back under a new id, and stays fenced until its sessions are claimed again', async () => {
    const { start, pass, jump } = world();
    const [a, b] = [await start(), await start()];
    const formerId = b.instances.id;
    let claimed: (() => void) | undefined;
    b.instances.observe({ rejoined: () => new Promise<void>((resolve) => (claimed = resolve)) });
    await pass(BEAT_MS, a, b);
    jump(LEASE_MS + 1);
    expect(b.instances.isFenced).toBe(true);
    await pass(BEAT_MS, b);
    expect(b.instances.id).not.toBe(formerId);
    expect(b.instances.isFenced).toBe(true);
    await pass(2 * LEASE_MS, a, b); // heartbeats go on meanwhile: claiming may take longer than a lease
    expect(b.instances.isFenced).toBe(true);
    claimed?.();
    await pass(BEAT_MS, a, b);
    expect(b.instances.isFenced).toBe(false);
    expect(b.events.slice(0, 2)).toEqual([`fenced ${formerId}`, `rejoined ${b.instances.id} was ${formerId}`]);
    expect(a.events.concat(b.events).filter((each) => each === `cleaned ${formerId}`)).toHaveLength(1);
  });

  it('§7.2 begins again when its sessions could not be claimed', async () => {
    const { start, pass, jump } = world();
    const a = await start();
    let attempts = 0;
    a.instances.observe({
      rejoined: async () => {
        attempts++;
        if (attempts === 1) throw new StoreUnavailable('unknown', new Error('away again'));
      },
    });
    jump(LEASE_MS + 1);
    await pass(BEAT_MS, a);
    expect(a.instances.isFenced).toBe(true);
    await pass(2 * BEAT_MS, a);
    expect(attempts).toBe(2);
    expect(a.instances.isFenced).toBe(false);
  });

  it('§7.1 an outage of the store, however long, declares nobody dead', async () => {
    const { start, pass } = world();
    const all = [await start(), await start(), await start()];
    await pass(2 * BEAT_MS, ...all);
    for (const { reach } of all) reach.isAway = true;
    await pass(10 * LEASE_MS, ...all);
    expect(all.map(({ instances }) => instances.isFenced)).toEqual([true, true, true]);
    for (const [i, { reach }] of all.entries()) {
      reach.isAway = false; // one after another, within a lease
      await pass(2 * BEAT_MS, ...all.slice(0, i + 1));
    }
    await pass(2 * LEASE_MS, ...all);
    expect(all.map(({ instances }) => instances.isFenced)).toEqual([false, false, false]);
    const events = all.flatMap((each) => each.events);
    expect(events.filter((each) => each.startsWith('dead'))).toEqual([]);
    expect(events.filter((each) => each.startsWith('rejoined'))).toHaveLength(3);
    expect(all.every(({ instances }) => instances.live().length === 3)).toBe(true);
  });

  it('§7.1 a judge whose own heartbeats broke off begins to count anew', async () => {
    const { start, pass } = world();
    const [judge, other] = [await start(), await start()];
    await pass(BEAT_MS, judge, other);
    await pass(LEASE_MS - 2 * BEAT_MS, judge); // the other one is silent, nearly for a lease
    judge.reach.isAway = true;
    await pass(BEAT_MS, judge);
    judge.reach.isAway = false;
    await pass(LEASE_MS - BEAT_MS, judge);
    expect(judge.events).toEqual([]);
    await pass(2 * BEAT_MS + LEASE_MS, judge);
    expect(judge.events[0]).toBe(`dead ${other.instances.id}`);
  });

  it('§7.1 cleaning that fails is done again, by its cleaner or another one', async () => {
    const { start, pass, table } = world();
    const [a, b] = [await start(), await start()];
    await table.beat('dead', 1, 'join');
    await table.markDead('dead', undefined);
    let attempts = 0;
    a.instances.addCleaner(async () => {
      attempts++;
      throw new Error('the router cannot take it');
    });
    await pass(BEAT_MS, a);
    expect(attempts).toBe(1);
    expect(b.events).toEqual([]);
    await pass(2 * LEASE_MS, b);
    expect(b.events).toContain('cleaned dead');
    expect(await table.claimCleaning('dead', 'x', 1)).toBe('gone');
  });

  it('leaves at the end: the others clean up behind it without waiting for its lease', async () => {
    const { start, pass } = world();
    const [a, b] = [await start(), await start()];
    const { id } = b.instances;
    await b.instances.close();
    expect(b.instances.isFenced).toBe(true);
    await pass(BEAT_MS, a);
    expect(a.events).toEqual([`cleaned ${id}`]);
  });

  it('is fenced when the table has forgotten it: somebody has cleaned up behind it', async () => {
    const { start, pass, table } = world();
    const a = await start();
    const formerId = a.instances.id;
    await table.markDead(formerId, undefined);
    await table.claimCleaning(formerId, 'x', 1);
    await table.finishCleaning(formerId, 'x');
    await pass(BEAT_MS, a);
    expect(a.instances.id).not.toBe(formerId);
    const states = (await table.beat(a.instances.id, 99, 'beat')) as ReadonlyMap<string, InstanceState>;
    expect([...states.keys()]).toEqual([a.instances.id]);
  });
});
