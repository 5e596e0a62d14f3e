import { Calibrator } from '../driver/calibrator.ts';
import { BenchAuthority } from '../driver/certificates.ts';
import type { LatencyCounts } from '../driver/latency.ts';
import { GRACE_MS, type Rig } from '../driver/rig.ts';
import { type BenchOptions, costFigures, RATIO, type Scenario, type ScenarioResult, unitFigures } from './scenario.ts';

/**
 * Logs in and out: TCP, TLS 1.3 with a full handshake, SASL, bind, closing tags; 8 at a time.
 * After it the floor: a bare TLS server takes as many connections and closes them.
 */
export const login: Scenario = {
  title: (options) => `login-${options.mechanism}`,
  needs: (options) => ({ accounts: ACCOUNTS, credential: options.mechanism === 'external' ? 'certificate' : 'password' }),
  run,
};

const ACCOUNTS = 200;
const CONCURRENCY = 8;
/** Far slower than any machine: a run that takes longer hangs. */
const SLOWEST_LOGIN_MS = 200;
/** Every path of a login must have been compiled: after 300 a tenth of the server's time was still the compiler's. */
const WARM_UP_LOGINS = 1500;

async function run(rig: Rig, options: BenchOptions): Promise<ScenarioResult> {
  const logins = async (total: number) => {
    const share = Math.ceil(total / rig.swarms.length);
    const reports = await Promise.all(
      rig.swarms.map((swarm, index) =>
        swarm.ask(
          'login',
          {
            accounts: rig.server.accounts.filter((_, i) => i % rig.swarms.length === index),
            total: share,
            concurrency: Math.max(1, Math.round(CONCURRENCY / rig.swarms.length)),
          },
          share * SLOWEST_LOGIN_MS + GRACE_MS,
        ),
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
  const { result, cost, redisCommands } = await rig.measure(() => logins(options.logins));
  const floor = await measureFloor(rig, options);
  const perThousand = (cost.serverCpu / result.done) * 1000;
  return {
    figures: [
      ...unitFigures(cost, result.done, {
        words: '1,000 logins',
        scale: 1000,
        unit: 'CPU-s per 1,000',
        digits: 2,
        bar: options.mechanism === 'external' ? 'login EXTERNAL' : 'login SCRAM',
      }),
      { name: 'floor: bare TLS handshakes, same run', value: floor.perThousand, unit: 'CPU-s per 1,000', digits: 2 },
      { name: RATIO, value: perThousand / floor.perThousand, unit: '×', digits: 2 },
      { name: 'logins', value: result.done, unit: '', digits: 0 },
      { name: 'login rate', value: result.done / cost.wallSeconds, unit: 'per second', digits: 0 },
      ...costFigures(cost),
    ],
    latencies: [{ name: 'connect to bound', counts: result.latency }],
    costs: { login: cost, floor: floor.cost },
    ...(redisCommands === undefined ? {} : { redisCommands }),
    faults: [],
  };
}

/** What as many full TLS 1.3 handshakes cost a bare server here and now, with client certificates where the logins had them. */
async function measureFloor(rig: Rig, options: BenchOptions) {
  rig.say('measuring the floor');
  const authority = await BenchAuthority.create();
  const isMutual = options.mechanism === 'external';
  const certificate = isMutual ? await authority.platform('platform@localhost') : undefined;
  const calibrator = new Calibrator();
  try {
    const port = await calibrator.listen(await authority.server('localhost'), isMutual ? authority.cert : undefined);
    const handshakes = async (total: number) => {
      const ask = {
        total: Math.ceil(total / rig.swarms.length),
        concurrency: Math.max(1, Math.round(CONCURRENCY / rig.swarms.length)),
        port,
        ca: authority.cert,
        ...(certificate === undefined ? {} : { certificate }),
      };
      const done = await Promise.all(rig.swarms.map((swarm) => swarm.ask('handshakes', ask)));
      return done.reduce((sum, count) => sum + count, 0);
    };
    await handshakes(WARM_UP_LOGINS);
    const { result, cost } = await rig.measure(() => handshakes(options.logins), { pids: [calibrator.pid] });
    return { perThousand: (cost.serverCpu / result) * 1000, cost };
  } finally {
    calibrator.stop();
  }
}
