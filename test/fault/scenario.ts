import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from '../../bench/driver/report-payload.ts';
import { type ClusterOptions, startCluster, type TestCluster } from '../support/start-cluster.ts';
import { until } from '../support/until.ts';
import type { CheckReport } from './checker.ts';
import { DEFAULT_LOAD, Load, type LoadOptions } from './load/load.ts';
import { Timeline } from './timeline.ts';

/** One fault: what is started, what is broken, and what the product promises all the same. */
export interface Scenario {
  readonly id: string;
  readonly title: string;
  readonly cluster: ClusterOptions;
  readonly load?: Partial<LoadOptions>;
  /** Breaks something while events flow, and repairs it; everything must run again when it resolves. */
  inject(run: FaultRun): Promise<void>;
  readonly expects: Expectations;
}

export interface Expectations {
  /** What a consumer may get twice: nothing, or what it got at most so long before its session broke, ms (delivery.md §5.4). */
  readonly repeatsWithinMs?: number;
  /** Whether every consumer that was cut off goes on with its session, on whichever instance (delivery.md §6.2, §6.3). */
  readonly resumes?: boolean;
  /** The negative control: acknowledged events must be lost, else the suite is blind. */
  readonly mustLose?: boolean;
  /** A failover may take back what was never acknowledged, though consumers saw it (delivery.md §1.3). */
  readonly mayTakeBack?: boolean;
  /** From the end of the fault until everybody is served again, ms. */
  readonly recoversWithinMs: number;
}

/** What a scenario works with. */
export class FaultRun {
  readonly cluster: TestCluster;
  readonly load: Load;
  readonly seed: number;
  readonly random: () => number;
  readonly timeline: Timeline;
  /** When the fault was over, on the timeline; recovery is measured from here. */
  repairedMs = 0;
  /** What the scenario found wrong by itself. */
  readonly wrong: string[] = [];

  constructor(cluster: TestCluster, load: Load, seed: number, timeline: Timeline) {
    this.cluster = cluster;
    this.load = load;
    this.seed = seed;
    this.random = seededRandom(seed);
    this.timeline = timeline;
  }

  note(text: string): void {
    this.timeline.note(text);
  }

  /** Something breaks now. */
  breaks(text: string): void {
    this.load.checker.faultBegins(this.timeline.now());
    this.note(text);
  }

  /** From now on everything should come back. */
  repaired(text: string): void {
    this.repairedMs = this.timeline.now();
    this.note(`repaired: ${text}`);
  }

  /** A whole number, at least `from`, below `to`. */
  between(from: number, to: number): number {
    return from + Math.floor(this.random() * (to - from));
  }

  pick<T>(all: readonly T[]): T {
    const picked = all[Math.floor(this.random() * all.length)];
    if (picked === undefined) throw new Error('nothing to pick from');
    return picked;
  }

  pause(ms: number): Promise<void> {
    return sleep(ms);
  }
}

export interface RunSize {
  readonly acknowledged: number;
  readonly deliveries: number;
}

/** At least so much while the fault lasts. */
export const FULL: RunSize = { acknowledged: 1_000, deliveries: 10_000 };
export const SHORT: RunSize = { acknowledged: 200, deliveries: 2_000 };

export interface SeedResult {
  readonly seed: number;
  readonly report: CheckReport;
  readonly recoveredMs: number | undefined;
  readonly refused: number;
  readonly askedAgain: number;
  readonly resumed: number;
  readonly bound: number;
  /** Empty: as promised. */
  readonly wrong: readonly string[];
  /** The timeline, the faults and the last words of the instances, for a run that went wrong. */
  readonly story: string;
}

/** Runs a scenario with each seed over one cluster. `tell` hears of each seed's end. */
export async function runScenario(
  scenario: Scenario,
  seeds: readonly number[],
  size: RunSize,
  tell: (result: SeedResult) => void = () => undefined,
  follow?: (line: string) => void,
): Promise<readonly SeedResult[]> {
  const cluster = await startCluster(scenario.cluster);
  try {
    const results: SeedResult[] = [];
    for (const seed of seeds) {
      const result = await runSeed(scenario, cluster, seed, size, new Timeline(follow));
      results.push(result);
      tell(result);
      // A cluster that went wrong would spoil what follows.
      if (result.wrong.length > 0) break;
    }
    return results;
  } finally {
    await cluster.stop();
  }
}

async function runSeed(
  scenario: Scenario,
  cluster: TestCluster,
  seed: number,
  size: RunSize,
  timeline: Timeline,
): Promise<SeedResult> {
  const load = await Load.prepare(cluster, seed, { ...DEFAULT_LOAD, ...scenario.load }, timeline);
  const run = new FaultRun(cluster, load, seed, timeline);
  let report: CheckReport | undefined;
  let recoveredMs: number | undefined;
  try {
    load.start();
    await load.flow(50);
    const enough = load.flow(size.acknowledged, size.deliveries, 150_000);
    // A failure is asked about below.
    enough.then(() => load.ease()).catch(() => undefined);
    await scenario.inject(run);
    await enough;
    // Events go on until everybody is served again, or too long.
    await until('everybody is served again', () => load.recoveredMs(run.repairedMs) !== undefined, SERVED_MS).catch(() =>
      run.note('somebody is still not served'),
    );
    report = await load.finish();
    recoveredMs = load.recoveredMs(run.repairedMs);
    run.wrong.push(...judge(scenario.expects, report, recoveredMs));
    const anew = load.consumers.filter(({ platform }) => platform.incarnation > 1).length;
    if (scenario.expects.resumes === true && anew > 0) run.wrong.push(`${anew} consumers could not resume`);
  } catch (error) {
    run.wrong.push(`the run broke off: ${(error as Error).stack ?? error}`);
    await load.stop();
  }
  return {
    seed,
    report: report ?? NOTHING,
    recoveredMs,
    refused: sum(load.providers.map((provider) => provider.refused)),
    askedAgain: sum(load.providers.map((provider) => provider.askedAgain)),
    resumed: sum(load.consumers.map(({ platform }) => platform.resumptions)),
    bound: sum(load.consumers.map(({ platform }) => platform.incarnation - 1)),
    wrong: run.wrong,
    story: run.wrong.length === 0 ? '' : storyOf(scenario, run, report),
  };
}

/** Well above what any scenario promises. */
const SERVED_MS = 90_000;

const NOTHING: CheckReport = {
  acknowledged: 0,
  deliveries: 0,
  vanished: 0,
  missing: 0,
  outOfOrder: 0,
  repeated: 0,
  repeatedInSession: 0,
  oldestRepeatMs: 0,
  phantoms: 0,
  doubled: 0,
  gaps: 0,
  faults: [],
};

const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);

/** What is not as promised. */
export function judge(expects: Expectations, report: CheckReport, recoveredMs: number | undefined): string[] {
  if (expects.mustLose === true) {
    return report.vanished > 0 ? [] : ['nothing was lost, though nothing kept it: the suite is blind'];
  }
  const wrong: string[] = [];
  const none = (count: number, what: string) => {
    if (count > 0) wrong.push(`${count} ${what}`);
  };
  none(report.vanished, 'acknowledged events are not in the log');
  none(report.missing, 'events of the log never reached a consumer');
  none(report.outOfOrder, 'deliveries were out of order');
  none(report.repeatedInSession, 'events came twice within a session');
  none(report.doubled, 'publishes that were asked again stand in the log twice');
  none(report.gaps, 'gaps were told');
  if (expects.mayTakeBack !== true) none(report.phantoms, 'deliveries of events that are not in the log');
  if (expects.repeatsWithinMs === undefined) none(report.repeated, 'events were repeated');
  else if (report.oldestRepeatMs > expects.repeatsWithinMs) {
    wrong.push(`an event was repeated that came ${Math.round(report.oldestRepeatMs)} ms before the break`);
  }
  const others = report.faults.length;
  if (wrong.length === 0 && others > 0) wrong.push(`${others} other faults`);
  if (recoveredMs === undefined) wrong.push('somebody was never served again');
  else if (recoveredMs > expects.recoversWithinMs)
    wrong.push(`it took ${Math.round(recoveredMs)} ms until everybody was served again`);
  return wrong;
}

function storyOf(scenario: Scenario, run: FaultRun, report: CheckReport | undefined): string {
  const logs = run.cluster.instances.map(({ name, output }) => {
    const loud = output.filter((line) => !/^\{"level":"(trace|debug|info)"/.test(line));
    return `--- ${name}\n${loud
      .slice(-25)
      .map((line) => line.slice(0, 600))
      .join('\n')}`;
  });
  return [
    `${scenario.id} ${scenario.title}, seed ${run.seed}: ${run.wrong.join('; ')}`,
    '--- timeline',
    String(run.timeline),
    '--- faults',
    ...(report ?? run.load.checker.soFar()).faults.slice(0, 40),
    ...logs,
    ...(run.cluster.options.redis === 'sentinel' ? ['--- Sentinels', ...run.cluster.redis.output] : []),
  ].join('\n');
}
