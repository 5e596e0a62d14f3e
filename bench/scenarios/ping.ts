import { GRACE_MS, type Rig } from '../driver/rig.ts';
import { type BenchOptions, costFigures, type Scenario, type ScenarioResult } from './scenario.ts';

/** XEP-0199 from every session to the server; each leaves `--window` pings unanswered. */
export const ping: Scenario = {
  title: (options) => `ping-${options.consumers}`,
  needs: (options) => ({ accounts: options.consumers, credential: 'password' }),
  run,
};

const WARM_UP_SECONDS = 3;

async function run(rig: Rig, options: BenchOptions): Promise<ScenarioResult> {
  await rig.openGroup('sessions', rig.server.accounts.slice(0, options.consumers));
  const pings = async (seconds: number) => {
    const reports = await Promise.all(
      rig.swarms.map((swarm) =>
        swarm.ask('ping', { group: 'sessions', seconds, window: options.window }, seconds * 1000 + GRACE_MS),
      ),
    );
    return { done: reports.reduce((sum, report) => sum + report.done, 0), latency: reports.map((report) => report.latency) };
  };
  rig.say('warming up');
  await pings(WARM_UP_SECONDS);
  rig.say(`pinging for ${options.seconds} s`);
  const { result, cost } = await rig.measure(() => pings(options.seconds));
  const reports = await rig.reports('sessions');
  await rig.closeGroup('sessions');
  return {
    figures: [
      {
        name: 'server CPU per million pings',
        value: (cost.serverCpu / result.done) * 1e6,
        unit: 'CPU-s per million',
        digits: 1,
        bar: 'ping',
      },
      { name: 'pings', value: result.done, unit: '', digits: 0 },
      { name: 'ping rate', value: result.done / cost.wallSeconds, unit: 'per second', digits: 0 },
      ...costFigures(cost),
    ],
    latencies: [{ name: 'ping sent to answer received', counts: result.latency }],
    costs: { ping: cost },
    faults: reports
      .filter((report) => report.lost > 0)
      .map((report) => `${report.lost} lost streams; first: ${report.firstFault}`),
  };
}
