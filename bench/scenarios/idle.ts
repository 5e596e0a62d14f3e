import { setTimeout as delay } from 'node:timers/promises';
import { memoryUse } from '../driver/proc.ts';
import { makeReport } from '../driver/report-payload.ts';
import type { Rig } from '../driver/rig.ts';
import type { HeapUse } from '../driver/server.ts';
import { createTopic, publish } from '../driver/topics.ts';
import { type BenchOptions, consumerFaults, costFigures, type Figure, type Scenario, type ScenarioResult } from './scenario.ts';

/**
 * Sessions that are bound, subscribed and idle, after each has received one event. Memory is read when it has settled,
 * after a garbage collection, before the sessions and with them; the difference by session is the figure.
 */
export const idle: Scenario = {
  title: (options) =>
    `idle-${options.consumers}${options.mechanism === 'external' ? '-external' : ''}${options.tls === 'direct' ? '-direct' : ''}`,
  needs: (options) => ({
    accounts: options.consumers + WARM_UP_SESSIONS,
    credential: options.mechanism === 'external' ? 'certificate' : 'password',
  }),
  run,
};

/** Sessions that come and go before the first reading: code and caches that exist once are no session's memory. */
const WARM_UP_SESSIONS = 50;
const NODE = 'bench-idle';
const SETTLE_STEP_MS = 2_000;
const MAX_SETTLE_STEPS = 15;

interface Reading {
  readonly rss: number;
  readonly heap: HeapUse | undefined;
}

async function run(rig: Rig, options: BenchOptions): Promise<ScenarioResult> {
  const accounts = rig.server.accounts;
  const owner = await rig.login(accounts[0]!, 'owner');
  await createTopic(owner, NODE, {});
  await rig.openGroup('warm-up', accounts.slice(0, WARM_UP_SESSIONS));
  await rig.closeGroup('warm-up');
  const before = await settled(rig);

  const members = accounts.slice(WARM_UP_SESSIONS, WARM_UP_SESSIONS + options.consumers);
  const { cost } = await rig.measure(async () => {
    await rig.openGroup('sessions', members);
    await rig.subscribeGroup('sessions', NODE, options.streamManagement);
    await publish(owner, NODE, makeReport(options.reportBytes, options.seed), 0, 1);
    await rig.received('sessions', members.length, 1);
  });
  const uncollected = residentBytes(rig);
  const after = await settled(rig);
  const faults = consumerFaults(await rig.reports('sessions'), members.length);
  const idleCost = await rig.measure(() => delay(10_000));
  await rig.closeGroup('sessions');
  await owner.close();

  const kib = (bytes: number) => bytes / 1024 / members.length;
  const figures: Figure[] = [
    {
      name: 'resident memory per session, settled',
      value: kib(after.rss - before.rss),
      unit: 'KiB per session',
      digits: 1,
      bar: options.mechanism === 'external' ? 'idle EXTERNAL' : 'idle SCRAM',
    },
    {
      name: 'resident memory per session, before collection',
      value: kib(uncollected - before.rss),
      unit: 'KiB per session',
      digits: 1,
    },
  ];
  if (after.heap !== undefined && before.heap !== undefined) {
    figures.push(
      {
        name: 'of it JavaScript heap',
        value: kib(after.heap.heapUsed - before.heap.heapUsed),
        unit: 'KiB per session',
        digits: 1,
      },
      { name: 'of it buffers', value: kib(after.heap.external - before.heap.external), unit: 'KiB per session', digits: 1 },
    );
  }
  figures.push(
    { name: 'sessions', value: members.length, unit: '', digits: 0 },
    { name: 'resident memory without sessions', value: before.rss / 1024 ** 2, unit: 'MiB', digits: 1 },
    { name: 'resident memory with them', value: after.rss / 1024 ** 2, unit: 'MiB', digits: 1 },
    {
      name: 'CPU of the server while idle',
      value: (idleCost.cost.serverCpu / idleCost.cost.wallSeconds) * 100,
      unit: '% of a core',
      digits: 1,
    },
    ...costFigures(cost),
  );
  return { figures, latencies: [], costs: { logins: cost, idle: idleCost.cost }, faults };
}

/** Collects garbage and reads until resident memory has stopped falling (within 1 %). */
async function settled(rig: Rig): Promise<Reading> {
  rig.say('waiting until memory has settled');
  let last = Number.POSITIVE_INFINITY;
  for (let step = 1; ; step++) {
    const heaps = await Promise.all(rig.server.instances.map((instance) => instance.collectGarbage?.()));
    await delay(SETTLE_STEP_MS);
    const rss = residentBytes(rig);
    if (rss > last * 0.99 || step === MAX_SETTLE_STEPS) return { rss, heap: sumHeaps(heaps) };
    last = rss;
  }
}

/** Of all instances together. */
function residentBytes(rig: Rig): number {
  return rig.server.pids.reduce((sum, pid) => sum + memoryUse(pid).rss, 0);
}

function sumHeaps(heaps: readonly (HeapUse | undefined)[]): HeapUse | undefined {
  const known = heaps.filter((heap) => heap !== undefined);
  if (known.length < heaps.length) return undefined;
  return {
    heapUsed: known.reduce((sum, heap) => sum + heap.heapUsed, 0),
    external: known.reduce((sum, heap) => sum + heap.external, 0),
    arrayBuffers: known.reduce((sum, heap) => sum + heap.arrayBuffers, 0),
  };
}
