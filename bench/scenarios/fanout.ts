import type { BarName } from '../bars.ts';
import { Calibrator } from '../driver/calibrator.ts';
import { BenchAuthority } from '../driver/certificates.ts';
import type { Client } from '../driver/client.ts';
import { makeReport } from '../driver/report-payload.ts';
import { type Cost, DELIVERY_DEADLINE_MS, type Rig } from '../driver/rig.ts';
import { SwarmDeadline } from '../driver/swarm-process.ts';
import { createTopic, publish } from '../driver/topics.ts';
import {
  type BenchOptions,
  consumerFaults,
  costFigures,
  type Figure,
  RATIO,
  type Scenario,
  type ScenarioResult,
} from './scenario.ts';

/**
 * One topic, many consumers. Closed loop: the next event (or burst) is published when every consumer has the last one,
 * so that each delivery of `--burst 1` is a write of its own, and with `--burst 10` ten are in flight for each consumer.
 * A burst is spread over `--publishers` sessions, since the stanzas of one stream are handled one after the other.
 *
 * Before it the floor: a bare TLS server writes stanzas of the same size to as many sockets.
 */
export const fanout: Scenario = {
  title: (options) =>
    `fanout-${options.consumers}${options.burst > 1 ? `-burst-${options.burst}` : ''}${options.streamManagement ? '-sm' : ''}`,
  needs: (options) => ({ accounts: options.consumers + 1, credential: 'password' }),
  run,
};

const NODE = 'bench-fanout';
/** Closed-loop rounds before measuring: compilers, caches and heaps settle. */
const WARM_UP_SECONDS = 3;
const WARM_UP_DELIVERIES = 50_000;
/** Fewer, and the 10 ms steps of CPU time and a single garbage collection would show. */
const MEASURED_DELIVERIES = 100_000;
/** What is around the report in the calibration's stanzas: as long as our own event's envelope. */
const ENVELOPE_HEAD = `<message xmlns='jabber:client' from='broker.localhost' to='platform-00001@localhost' type='normal' id='0123456789abcdef.123456-0123456789abcdef'><stanza-id xmlns='urn:xmpp:sid:0' by='broker.localhost' id='123456-0123456789abcdef'/><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='${NODE}'><item id='0-123456' publisher='platform-00001@localhost'>`;
const ENVELOPE_TAIL = '</item></items></event></message>';

async function run(rig: Rig, options: BenchOptions): Promise<ScenarioResult> {
  // Sessions of one account, the topic's owner: all may publish.
  const [owner, ...consumers] = rig.server.accounts;
  const publishers: Client[] = [];
  for (let i = 0; i < options.publishers; i++) publishers.push(await rig.login(owner!, `provider-${i}`));
  await createTopic(publishers[0]!, NODE, {});
  await rig.openGroup('consumers', consumers);
  await rig.subscribeGroup('consumers', NODE, options.streamManagement);

  const seqs = publishers.map(() => 0);
  const report = makeReport(options.reportBytes, options.seed);
  const publishBurst = () =>
    Promise.all(
      Array.from({ length: options.burst }, (_, i) => {
        const source = i % publishers.length;
        seqs[source]! += 1;
        return publish(publishers[source]!, NODE, report, source, seqs[source]!);
      }),
    );
  let rounds = 0;
  const loop = (seconds: number, deliveries: number) => {
    const target = rounds + Math.ceil(deliveries / (consumers.length * options.burst));
    return rig.repeat(
      seconds,
      () => rounds >= target,
      () => {
        rounds += 1;
        return Promise.all([publishBurst(), rig.received('consumers', consumers.length, rounds * options.burst)]);
      },
    );
  };

  let measured: { readonly result: number; readonly cost: Cost } | undefined;
  const faults: string[] = [];
  try {
    rig.say('warming up');
    await loop(WARM_UP_SECONDS, WARM_UP_DELIVERIES);
    await rig.resetGroup('consumers');
    rig.say(`publishing for ${options.seconds} s`);
    measured = await rig.measure(rig.server.pid, () => loop(options.seconds, MEASURED_DELIVERIES));
  } catch (error) {
    if (!(error instanceof SwarmDeadline)) throw error;
    faults.push(`not every consumer received an event within ${DELIVERY_DEADLINE_MS / 1000} s`);
  }
  const reports = await rig.reports('consumers');
  faults.push(...consumerFaults(reports, rounds * options.burst * consumers.length));
  await rig.closeGroup('consumers');
  await Promise.all(publishers.map((publisher) => publisher.close()));
  if (measured === undefined) return { figures: [], latencies: [], costs: {}, faults };

  const deliveries = reports.reduce((sum, one) => sum + one.measuredEvents, 0);
  const bytes = reports.reduce((sum, one) => sum + one.measuredBytes, 0);
  const floor = await measureFloor(rig, options, Math.round(bytes / deliveries));
  const perMillion = (measured.cost.serverCpu / deliveries) * 1e6;
  const bar = barOf(options);
  const figures: Figure[] = [
    {
      name: 'server CPU per million deliveries',
      value: perMillion,
      unit: 'CPU-s per million',
      digits: 2,
      ...(bar === undefined ? {} : { bar }),
    },
    { name: 'floor: bare TLS writes, same run', value: floor.perMillion, unit: 'CPU-s per million', digits: 2 },
    { name: RATIO, value: perMillion / floor.perMillion, unit: '×', digits: 2 },
    { name: 'deliveries', value: deliveries, unit: '', digits: 0 },
    { name: 'events published', value: measured.result * options.burst, unit: '', digits: 0 },
    { name: 'delivery rate', value: deliveries / measured.cost.wallSeconds, unit: 'per second', digits: 0 },
    { name: 'bytes per delivery', value: bytes / deliveries, unit: 'bytes', digits: 0 },
    ...costFigures(measured.cost),
  ];
  return {
    figures,
    latencies: [{ name: 'publish sent to event received', counts: reports.map((one) => one.latency) }],
    costs: { fanout: measured.cost, floor: floor.cost },
    faults,
  };
}

/** The bar of design for these options; none where they differ from what it was set for. */
function barOf({ consumers, burst, streamManagement }: BenchOptions): BarName | undefined {
  if (burst === 10 && !streamManagement && consumers === 1000) return 'fan-out bursts';
  if (burst !== 1) return undefined;
  if (consumers === 5000) return streamManagement ? undefined : 'fan-out singles, 5,000 consumers';
  if (consumers !== 1000) return undefined;
  return streamManagement ? 'fan-out singles, acknowledged' : 'fan-out singles';
}

/** What bare TLS writes of `stanzaBytes` to as many sockets cost here and now; a burst is one write. */
async function measureFloor(rig: Rig, options: BenchOptions, stanzaBytes: number) {
  rig.say('measuring the floor');
  const authority = await BenchAuthority.create();
  const calibrator = new Calibrator();
  try {
    const port = await calibrator.listen(await authority.server('localhost'));
    await Promise.all(
      rig.swarms.map((swarm, index) =>
        swarm.ask('openBare', {
          group: 'floor',
          count: Math.floor((options.consumers - index - 1) / rig.swarms.length) + 1,
          concurrency: 64,
          port,
          ca: authority.cert,
        }),
      ),
    );
    await calibrator.gather(options.consumers);
    const reportBytes = Math.max(700, stanzaBytes - ENVELOPE_HEAD.length - ENVELOPE_TAIL.length);
    const report = makeReport(reportBytes, options.seed);
    let rounds = 0;
    const loop = async (seconds: number, deliveries: number) => {
      const target = rounds + Math.ceil(deliveries / (options.consumers * options.burst));
      const done = await rig.repeat(
        seconds,
        () => rounds >= target,
        async () => {
          rounds += 1;
          const reached = await calibrator.broadcast(ENVELOPE_HEAD + report.before, report.after + ENVELOPE_TAIL, options.burst);
          if (reached !== options.consumers)
            throw new Error(`the calibration reached ${reached} of ${options.consumers} sockets`);
          await rig.received('floor', options.consumers, rounds * options.burst);
        },
      );
      return done * options.burst * options.consumers;
    };
    await loop(2, WARM_UP_DELIVERIES);
    const { result, cost } = await rig.measure(calibrator.pid, () => loop(Math.max(2, options.seconds / 2), MEASURED_DELIVERIES));
    await rig.closeGroup('floor');
    return { perMillion: (cost.serverCpu / result) * 1e6, cost };
  } finally {
    calibrator.stop();
  }
}
