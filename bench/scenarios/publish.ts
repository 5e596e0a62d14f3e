import type { Rig } from '../driver/rig.ts';
import { PublishLoad } from './publish-load.ts';
import { type BenchOptions, costFigures, type Scenario, type ScenarioResult, unitFigures } from './scenario.ts';

/**
 * As many topics as publishers, one consumer each. Every publisher leaves `--window` publishes unanswered: with 1 it
 * waits for the Broker's confirmation, which leaves after the item is durable, before it sends the next.
 * With several instances publisher i is on instance i, and its consumer on the next one.
 */
export const publishing: Scenario = {
  title: (options) => `publish-${options.publishers}${options.window > 1 ? `-window-${options.window}` : ''}`,
  needs: (options) => ({ accounts: options.publishers * 2, credential: 'password' }),
  run,
};

async function run(rig: Rig, options: BenchOptions): Promise<ScenarioResult> {
  const instances = rig.server.instances.map((_, i) => i);
  const load = await PublishLoad.open(rig, options, {
    publishers: instances,
    consumers: instances.map((i) => (i + 1) % instances.length),
  });
  const stretch = await load.run({ window: options.window });
  const redisFigures = await load.redisFigures(stretch);
  await load.close();

  const { published, cost, consumers, redisCommands } = stretch;
  const isReference = options.publishers === 16;
  const hasRedis = rig.server.redis !== undefined;
  return {
    figures: [
      {
        name: 'publish rate',
        value: published.done / cost.wallSeconds,
        unit: 'per second',
        digits: 0,
        ...(isReference ? { bar: hasRedis ? 'publish rate, Redis' : 'publish rate' } : {}),
      },
      ...unitFigures(cost, published.done, {
        words: '1,000 publishes',
        scale: 1000,
        unit: 'CPU-s per 1,000',
        digits: 3,
        bar: isReference ? (hasRedis ? 'publish cost, Redis' : 'publish cost') : undefined,
      }),
      { name: 'publishes', value: published.done, unit: '', digits: 0 },
      { name: 'events received', value: consumers.measuredEvents, unit: '', digits: 0 },
      ...redisFigures,
      ...costFigures(cost),
    ],
    latencies: [
      { name: 'publish sent to confirmation received', counts: [published.latency] },
      { name: 'publish sent to event received', counts: [consumers.latency] },
    ],
    costs: { publish: cost },
    ...(redisCommands === undefined ? {} : { redisCommands }),
    faults: load.faults,
  };
}
