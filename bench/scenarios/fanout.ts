import type { BarName } from '../bars.ts';
import type { Client } from '../driver/client.ts';
import type { ConsumerReport } from '../driver/consumer.ts';
import { makeReport } from '../driver/report-payload.ts';
import { type Cost, DELIVERY_DEADLINE_MS, type Rig, sumCosts } from '../driver/rig.ts';
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
  unitFigures,
} from './scenario.ts';
import { WriteFloor } from './write-floor.ts';

/**
 * One topic, many consumers. Closed loop: the next event (or burst) is published when every consumer has the last one,
 * so that each delivery of `--burst 1` is a write of its own, and with `--burst 10` ten are in flight for each consumer.
 * A burst is spread over `--publishers` sessions, since the stanzas of one stream are handled one after the other.
 *
 * In turns with it the floor: a bare TLS server writes stanzas of the same size to as many sockets.
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
/** The server and its floor take turns, so that both meet the machine in the same moods. */
const TURNS = 5;

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
  const round = () => {
    rounds += 1;
    return Promise.all([publishBurst(), rig.received('consumers', consumers.length, rounds * options.burst)]);
  };
  const roundsFor = (deliveries: number) => Math.ceil(deliveries / (consumers.length * options.burst));

  const faults: string[] = [];
  const costs: Cost[] = [];
  const floorCosts: Cost[] = [];
  let floorRounds = 0;
  let floor: WriteFloor | undefined;
  try {
    rig.say('warming up');
    await rig.repeat(WARM_UP_SECONDS, roundsFor(WARM_UP_DELIVERIES), round);
    await rig.resetGroup('consumers');
    await round();
    const stanzaBytes = bytesPerDelivery(await rig.reports('consumers'));
    floor = await WriteFloor.open(rig, consumers.length, options.burst, stanzaBytes, options.seed);
    const writeFloor = floor;
    await rig.repeat(WARM_UP_SECONDS, roundsFor(WARM_UP_DELIVERIES), () => writeFloor.round());

    await rig.resetGroup('consumers');
    rig.say(`publishing for ${options.seconds} s, in turns with the floor`);
    const enough = roundsFor(MEASURED_DELIVERIES / TURNS);
    for (let turn = 0; turn < TURNS; turn++) {
      const ours = await rig.measure(() => rig.repeat(options.seconds / TURNS, enough, round));
      costs.push(ours.cost);
      const bare = await rig.measure(() => rig.repeat(options.seconds / TURNS / 2, enough, () => writeFloor.round()), floor);
      floorCosts.push(bare.cost);
      floorRounds += bare.result;
    }
  } catch (error) {
    if (!(error instanceof SwarmDeadline)) throw error;
    faults.push(`not every consumer received an event within ${DELIVERY_DEADLINE_MS / 1000} s`);
  } finally {
    await floor?.close();
  }
  const reports = await rig.reports('consumers');
  faults.push(...consumerFaults(reports, rounds * options.burst * consumers.length));
  await rig.closeGroup('consumers');
  await Promise.all(publishers.map((publisher) => publisher.close()));
  if (costs.length < TURNS) return { figures: [], latencies: [], costs: {}, faults };

  const cost = sumCosts(costs);
  const floorCost = sumCosts(floorCosts);
  const deliveries = reports.reduce((sum, one) => sum + one.measuredEvents, 0);
  const perMillion = (cost.serverCpu / deliveries) * 1e6;
  const floorPerMillion = (floorCost.serverCpu / (floorRounds * options.burst * consumers.length)) * 1e6;
  const million = { words: 'million deliveries', scale: 1e6, unit: 'CPU-s per million', digits: 2, bar: barOf(options) };
  const figures: Figure[] = [
    ...unitFigures(cost, deliveries, million),
    { name: 'floor: bare TLS writes, same run', value: floorPerMillion, unit: 'CPU-s per million', digits: 2 },
    { name: RATIO, value: perMillion / floorPerMillion, unit: '×', digits: 2 },
    { name: 'deliveries', value: deliveries, unit: '', digits: 0 },
    { name: 'events published', value: deliveries / consumers.length, unit: '', digits: 0 },
    { name: 'delivery rate', value: deliveries / cost.wallSeconds, unit: 'per second', digits: 0 },
    { name: 'bytes per delivery', value: bytesPerDelivery(reports), unit: 'bytes', digits: 0 },
    ...costFigures(cost),
  ];
  return {
    figures,
    latencies: [{ name: 'publish sent to event received', counts: reports.map((one) => one.latency) }],
    costs: { fanout: cost, floor: floorCost },
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

function bytesPerDelivery(reports: readonly ConsumerReport[]): number {
  const total = (pick: (report: ConsumerReport) => number) => reports.reduce((sum, report) => sum + pick(report), 0);
  return Math.round(total((report) => report.measuredBytes) / total((report) => report.measuredEvents));
}
