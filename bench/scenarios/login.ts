import type { LatencyCounts } from '../driver/latency.ts';
import type { Rig } from '../driver/rig.ts';
import { type BenchOptions, costFigures, type Scenario, type ScenarioResult } from './scenario.ts';

/** Logs in and out: TCP, TLS 1.3 with a full handshake, SASL, bind, closing tags. Some 8 at a time. */
export const login: Scenario = {
  title: (options) => `login-${options.mechanism}`,
  needs: (options) => ({ accounts: ACCOUNTS, credential: options.mechanism === 'external' ? 'certificate' : 'password' }),
  run,
};

const ACCOUNTS = 200;
const CONCURRENCY = 8;
const WARM_UP_LOGINS = 300;

async function run(rig: Rig, options: BenchOptions): Promise<ScenarioResult> {
  const logins = async (total: number) => {
    const share = Math.ceil(total / rig.swarms.length);
    const reports = await Promise.all(
      rig.swarms.map((swarm, index) =>
        swarm.ask('login', {
          accounts: rig.server.accounts.filter((_, i) => i % rig.swarms.length === index),
          total: share,
          concurrency: Math.max(1, Math.round(CONCURRENCY / rig.swarms.length)),
        }),
      ),
    );
    return {
      done: reports.reduce((sum, report) => sum + report.done, 0),
      latency: reports.map((report): LatencyCounts => report.latency),
    };
  };
  rig.say('warming up');
  await logins(WARM_UP_LOGINS);
  rig.say(`${options.logins} logins`);
  const { result, cost } = await rig.measure(rig.server.pid, () => logins(options.logins));
  return {
    figures: [
      {
        name: 'server CPU per 1,000 logins',
        value: (cost.serverCpu / result.done) * 1000,
        unit: 'CPU-s per 1,000',
        digits: 2,
        bar: options.mechanism === 'external' ? 'login EXTERNAL' : 'login SCRAM',
      },
      { name: 'logins', value: result.done, unit: '', digits: 0 },
      { name: 'login rate', value: result.done / cost.wallSeconds, unit: 'per second', digits: 0 },
      ...costFigures(cost),
    ],
    latencies: [{ name: 'connect to bound', counts: result.latency }],
    costs: { login: cost },
    faults: [],
  };
}
