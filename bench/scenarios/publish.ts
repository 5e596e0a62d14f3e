import { GRACE_MS, type Rig } from '../driver/rig.ts';
import { createTopic } from '../driver/topics.ts';
import { type BenchOptions, consumerFaults, costFigures, type Scenario, type ScenarioResult } from './scenario.ts';

/**
 * As many topics as publishers, one consumer each. Every publisher leaves `--window` publishes unanswered: with 1 it
 * waits for the Broker's confirmation, which leaves after the item is durable, before it sends the next.
 */
export const publishing: Scenario = {
  title: (options) => `publish-${options.publishers}${options.window > 1 ? `-window-${options.window}` : ''}`,
  needs: (options) => ({ accounts: options.publishers * 2, credential: 'password' }),
  run,
};

const WARM_UP_SECONDS = 3;

async function run(rig: Rig, options: BenchOptions): Promise<ScenarioResult> {
  const accounts = rig.server.accounts;
  const providers = accounts.slice(0, options.publishers);
  const nodes = providers.map((_, i) => `bench-publish-${i}`);
  for (const [i, account] of providers.entries()) {
    const owner = await rig.login(account, 'owner');
    await createTopic(owner, nodes[i]!, {});
    await owner.close();
  }
  // Publishers in one process, consumers in another: neither waits for the other's event loop.
  const [publisherSwarm, consumerSwarm] = [rig.swarms[0]!, rig.swarms.at(-1)!];
  rig.say('logging in');
  const login = { concurrency: 16, resource: 'bench' };
  await publisherSwarm.ask('open', { group: 'publishers', accounts: providers, ...login });
  const consumers = accounts.slice(options.publishers, options.publishers * 2);
  await consumerSwarm.ask('open', { group: 'consumers', accounts: consumers, ...login });
  await consumerSwarm.ask('subscribe', {
    group: 'consumers',
    nodes,
    concurrency: 16,
    streamManagement: options.streamManagement,
  });

  const ask = { group: 'publishers', nodes, window: options.window, reportBytes: options.reportBytes, seed: options.seed };
  const publishAndReceive = async (seconds: number) => {
    const published = await publisherSwarm.ask('publish', { ...ask, seconds }, seconds * 1000 + GRACE_MS);
    const events = published.published.reduce((sum, count) => sum + count, 0);
    const arrived = await consumerSwarm.ask('received', { group: 'consumers', events }, 60_000).then(
      () => undefined,
      (error: Error) => error.message,
    );
    return { ...published, events, arrived };
  };
  rig.say('warming up');
  await publishAndReceive(WARM_UP_SECONDS);
  await consumerSwarm.ask('reset', { group: 'consumers' });
  rig.say(`publishing for ${options.seconds} s`);
  const { result, cost } = await rig.measure(rig.server.pid, () => publishAndReceive(options.seconds));

  const report = await consumerSwarm.ask('report', { group: 'consumers' });
  const faults = consumerFaults([report], result.events);
  if (result.arrived !== undefined) faults.push(result.arrived);
  await publisherSwarm.ask('close', { group: 'publishers' });
  await consumerSwarm.ask('close', { group: 'consumers' });
  const isReference = options.publishers === 16;
  return {
    figures: [
      {
        name: 'publish rate',
        value: result.done / cost.wallSeconds,
        unit: 'per second',
        digits: 0,
        ...(isReference ? { bar: 'publish rate' } : {}),
      },
      {
        name: 'server CPU per 1,000 publishes',
        value: (cost.serverCpu / result.done) * 1000,
        unit: 'CPU-s per 1,000',
        digits: 3,
        ...(isReference ? { bar: 'publish cost' } : {}),
      },
      { name: 'publishes', value: result.done, unit: '', digits: 0 },
      { name: 'events received', value: report.measuredEvents, unit: '', digits: 0 },
      ...costFigures(cost),
    ],
    latencies: [
      { name: 'publish sent to confirmation received', counts: [result.latency] },
      { name: 'publish sent to event received', counts: [report.latency] },
    ],
    costs: { publish: cost },
    faults,
  };
}
