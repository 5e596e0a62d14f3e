import type { BarName } from '../bars.ts';
import type { TlsMode } from '../driver/client.ts';
import type { ConsumerReport } from '../driver/consumer.ts';
import type { LatencyCounts } from '../driver/latency.ts';
import type { OwnRedis, RedisDurability, RedisKind } from '../driver/own-redis.ts';
import type { CommandUses } from '../driver/redis-info.ts';
import type { Cost, Rig } from '../driver/rig.ts';
import type { ServerNeeds } from '../driver/server.ts';

/** Every option of the command line, checked. Which of them a scenario heeds its file says. */
export interface BenchOptions {
  readonly consumers: number;
  readonly publishers: number;
  readonly burst: number;
  readonly streamManagement: boolean;
  readonly seconds: number;
  /** Requests that each publisher or pinging session leaves unanswered at a time. */
  readonly window: number;
  readonly logins: number;
  readonly mechanism: 'scram' | 'external';
  /** Bytes of one report; an event is some 400 larger. */
  readonly reportBytes: number;
  readonly tls: TlsMode;
  readonly seed: number;
  readonly instances: number;
  readonly store: 'embedded' | RedisKind;
  /** What Redis promises; the embedded store always flushes. */
  readonly durability: RedisDurability;
  /** latency: publishes a second, or half of what a closed loop reaches just before. */
  readonly rate: number | 'half';
  /** redis-memory: of how many the bytes are taken. */
  readonly sessions: number;
  readonly subscriptions: number;
  readonly items: number;
}

/** One line of the report. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** Decimals to print. */
  readonly digits: number;
  readonly bar?: BarName;
}

/** Name of the figure that tells how many times the floor of the same run a unit cost. */
export const RATIO = 'ratio to the floor';

export interface ScenarioResult {
  readonly figures: readonly Figure[];
  readonly latencies: readonly { readonly name: string; readonly counts: readonly LatencyCounts[] }[];
  readonly costs: Readonly<Record<string, Cost>>;
  /** What Redis commands did in the measured stretch, inside scripts too. */
  readonly redisCommands?: CommandUses;
  /** Empty when every consumer received every event once and in order. */
  readonly faults: readonly string[];
}

export interface Scenario {
  /** Name of the result file for these options. */
  title(options: BenchOptions): string;
  needs(options: BenchOptions): ServerNeeds;
  run(rig: Rig, options: BenchOptions): Promise<ScenarioResult>;
}

/** Measures the store alone, through the adapters that the instances use. */
export interface StoreScenario {
  title(options: BenchOptions): string;
  runOnStore(redis: OwnRedis, options: BenchOptions, say: (text: string) => void): Promise<ScenarioResult>;
}

/** What was wrong at the consumers of a run, in words. `wanted` is the number of events that all of them together should have. */
export function consumerFaults(reports: readonly ConsumerReport[], wanted: number): string[] {
  const total = (pick: (report: ConsumerReport) => number) => reports.reduce((sum, report) => sum + pick(report), 0);
  const events = total((report) => report.events);
  const faults: string[] = [];
  if (events !== wanted) faults.push(`${wanted} events were due at the consumers, ${events} came`);
  const [gaps, repeats, lost] = [total((r) => r.gaps), total((r) => r.repeats), total((r) => r.lost)];
  if (gaps + repeats + lost > 0) {
    const first = reports.find((report) => report.firstFault !== '')?.firstFault ?? '';
    faults.push(`${gaps} gaps, ${repeats} repeats, ${lost} lost streams; first: ${first}`);
  }
  return faults;
}

/** What a unit of work cost: the server; where there is a Redis that too, and both together. The bar is for the whole. */
export function unitFigures(cost: Cost, units: number, per: UnitOfCost): Figure[] {
  const { unit, digits } = per;
  const figure = (name: string, seconds: number): Figure => ({
    name: `${name} per ${per.words}`,
    value: (seconds / units) * per.scale,
    unit,
    digits,
  });
  const bar = per.bar === undefined ? {} : { bar: per.bar };
  if (cost.redisCpu === undefined) return [{ ...figure('server CPU', cost.serverCpu), ...bar }];
  return [
    figure('server CPU', cost.serverCpu),
    figure('Redis CPU', cost.redisCpu),
    { ...figure('server and Redis CPU', cost.serverCpu + cost.redisCpu), ...bar },
  ];
}

export interface UnitOfCost {
  /** As in "server CPU per million deliveries". */
  readonly words: string;
  readonly scale: number;
  readonly unit: string;
  readonly digits: number;
  readonly bar?: BarName | undefined;
}

/** CPU, as every scenario prints it. */
export function costFigures(cost: Cost): Figure[] {
  return [
    { name: 'measured for', value: cost.wallSeconds, unit: 's', digits: 1 },
    { name: 'CPU of the server', value: cost.serverCpu, unit: 's', digits: 2 },
    ...(cost.redisCpu === undefined ? [] : [{ name: 'CPU of Redis', value: cost.redisCpu, unit: 's', digits: 2 }]),
    { name: 'CPU of the clients', value: cost.clientCpu, unit: 's', digits: 2 },
    { name: 'CPU of everything else on the machine', value: cost.otherCpu, unit: 's', digits: 2 },
  ];
}
