import type { Rig } from '../driver/rig.ts';
import { PublishLoad } from './publish-load.ts';
import { type BenchOptions, costFigures, type Scenario, type ScenarioResult, unitFigures } from './scenario.ts';

/**
 * How long an event takes from one instance to the others while there is room: publishers on the first instance, on each
 * other one a consumer of every topic (with a single instance: there). An open loop at `--rate`; `half` is half of what as
 * many publishers reach in a closed loop of `--window` just before, with the same consumers.
 */
export const latency: Scenario = {
  title: (options) => `latency-${options.rate === 'half' ? 'half' : `${options.rate}-per-second`}`,
  // The most that can be needed: one consumer of each topic on each other instance.
  needs: (options) => ({ accounts: options.publishers * Math.max(2, options.instances), credential: 'password' }),
  run,
};

async function run(rig: Rig, options: BenchOptions): Promise<ScenarioResult> {
  const others = rig.server.instances.map((_, i) => i).slice(1);
  const homes = others.length === 0 ? [0] : others;
  // Consumer c follows topic c modulo the topics: one after the other the instances get a consumer of every topic.
  const consumers = homes.flatMap((home) => Array.from({ length: options.publishers }, () => home));
  const load = await PublishLoad.open(rig, options, { publishers: [0], consumers }, homes.length);
  let rate = options.rate;
  let most: number | undefined;
  if (rate === 'half') {
    const { published, cost } = await load.run({ window: options.window });
    most = published.done / cost.wallSeconds;
    rate = most / 2;
  }
  const stretch = await load.run({ perSecond: rate });
  const redisFigures = await load.redisFigures(stretch);
  await load.close();

  const { published, cost, consumers: received, redisCommands } = stretch;
  return {
    figures: [
      ...(most === undefined ? [] : [{ name: 'publish rate, closed loop', value: most, unit: 'per second', digits: 0 }]),
      { name: 'publish rate', value: published.done / cost.wallSeconds, unit: 'per second', digits: 0 },
      ...unitFigures(cost, published.done, { words: '1,000 publishes', scale: 1000, unit: 'CPU-s per 1,000', digits: 3 }),
      { name: 'publishes', value: published.done, unit: '', digits: 0 },
      { name: 'events received', value: received.measuredEvents, unit: '', digits: 0 },
      ...redisFigures,
      ...costFigures(cost),
    ],
    latencies: [
      { name: 'publish due to confirmation received', counts: [published.latency] },
      { name: 'publish due to event received on another instance', counts: [received.latency] },
    ],
    costs: { latency: cost },
    ...(redisCommands === undefined ? {} : { redisCommands }),
    faults: load.faults,
  };
}
