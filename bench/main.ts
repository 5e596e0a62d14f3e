import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { attachServer } from './driver/attached.ts';
import { startOwnRedis } from './driver/own-redis.ts';
import { startOwnServer } from './driver/own-server.ts';
import { Rig } from './driver/rig.ts';
import { gatherFacts, makeRecord, type RunRecord, renderRecord, renderSummary, renderSvg } from './report.ts';
import { fanout } from './scenarios/fanout.ts';
import { idle } from './scenarios/idle.ts';
import { latency } from './scenarios/latency.ts';
import { login } from './scenarios/login.ts';
import { ping } from './scenarios/ping.ts';
import { publishing } from './scenarios/publish.ts';
import { redisMemory } from './scenarios/redis-memory.ts';
import type { BenchOptions, Scenario, ScenarioResult, StoreScenario } from './scenarios/scenario.ts';

interface Entry {
  readonly scenario: Scenario | StoreScenario;
  readonly defaults: Readonly<Record<string, string>>;
}

const SCENARIOS: Readonly<Record<string, Entry>> = {
  fanout: { scenario: fanout, defaults: { consumers: '1000' } },
  publish: { scenario: publishing, defaults: { publishers: '16' } },
  latency: { scenario: latency, defaults: { publishers: '16', store: 'redis', instances: '3' } },
  login: { scenario: login, defaults: {} },
  idle: { scenario: idle, defaults: { consumers: '5000' } },
  ping: { scenario: ping, defaults: { consumers: '50', window: '4' } },
  'redis-memory': { scenario: redisMemory, defaults: { store: 'redis', durability: 'memory' } },
};

/** What `all` runs: every figure of one instance on the embedded store that has a bar. */
const SUITE = [
  ['fanout'],
  ['fanout', '--consumers', '5000'],
  ['fanout', '--burst', '10'],
  ['fanout', '--sm'],
  ['publish'],
  ['login'],
  ['login', '--mechanism', 'external'],
  ['idle'],
  ['idle', '--mechanism', 'external'],
  ['ping'],
] as const;

/** What `all-redis` runs: several instances on one Redis. */
const REDIS_SUITE = [
  ['latency'],
  ['publish', '--store', 'redis', '--instances', '1'],
  ['publish', '--store', 'redis', '--instances', '2'],
  ['publish', '--store', 'redis', '--instances', '3'],
  ['fanout', '--store', 'redis', '--instances', '3', '--consumers', '5000'],
  ['fanout', '--store', 'redis', '--instances', '3', '--consumers', '5000', '--sm'],
  ['publish', '--store', 'redis-cluster', '--instances', '3'],
  ['fanout', '--store', 'redis-cluster', '--instances', '3', '--consumers', '5000'],
  ['login', '--store', 'redis', '--instances', '1'],
  ['redis-memory'],
] as const;
const SUITES: Readonly<Record<string, readonly (readonly string[])[]>> = { all: SUITE, 'all-redis': REDIS_SUITE };

const USAGE = `Usage: npm run bench -- SCENARIO [options]

Starts the server on a temporary data directory and free ports, loads it from other processes, and prints what a unit
of work cost the server. Fails (exit 1) when a consumer missed an event, got one twice or out of order.

  fanout    1 topic, many consumers: CPU per million deliveries, beside bare TLS writes in the same run
  publish   as many topics as publishers, 1 consumer each, durable: rate, CPU per 1,000
  login     TLS, SASL, bind, close: CPU per 1,000
  idle      bound, subscribed, silent sessions: memory per session
  ping      XEP-0199 from every session: CPU per million
  latency   publishers on one instance, consumers on the others, at half of the rate that a closed loop reaches
  redis-memory  bytes of Redis per session, subscription, log entry, retained item
  all       every run that has a bar, then one table; options count for each
  all-redis the runs of several instances on Redis

Options, with what they are when left out
  --consumers N        sessions that receive, idle or ping  (fanout 1000, idle 5000, ping 50)
  --publishers N       sessions that publish                (fanout: 1, with --burst as many as the burst; publish 16)
  --burst N            fanout: events in flight for each consumer                             (1)
  --sm                 consumers acknowledge by XEP-0198
  --window N           publish, ping: requests that a session leaves unanswered               (publish 1, ping 4)
  --logins N           login: measured logins                                                 (2000)
  --mechanism M        login, idle: scram (SCRAM-SHA-256) or external (client certificates)   (scram)
  --payload N          bytes of one report; an event has some 400 more                        (1024)
  --seconds N          measured time, after the warm-up                                       (10)
  --tls MODE           starttls or direct                                                     (starttls)
  --swarms N           client processes                                                       (2)
  --seed N             for the reports' text                                                  (1)
  --instances N        the server as so many instances, clients spread over them              (1; latency 3)
  --store STORE        embedded, redis or redis-cluster (three primaries), started by the run (embedded; latency redis)
  --durability D       of Redis: fsync, replicas (one for each primary) or memory             (fsync)
  --rate N             latency: publishes a second, or half                                   (half)
  --sessions N         redis-memory: sessions, one for each account                           (100000)
  --subscriptions N    redis-memory: subscriptions, at most 100 for each account              (1000000)
  --items N            redis-memory: entries of each log                                      (20000)
  --profile            write a CPU profile of each instance and measured stretch beside the results; it costs CPU
  --attach FILE        measure a server that runs already; FILE describes it (bench/driver/attached.ts)
  --out DIR            where NAME.json and NAME.svg go                                        (bench/results)
  --json FILE          write the JSON to FILE instead
  --help
`;

/** EX_USAGE of sysexits. */
const EXIT_USAGE = 64;

class UsageError extends Error {}

interface CommandLine {
  readonly scenario: Scenario | StoreScenario;
  readonly options: BenchOptions;
  readonly swarms: number;
  readonly attach: string | undefined;
  readonly profile: boolean;
  readonly out: string;
  readonly json: string | undefined;
}

function parseCommandLine(args: string[]): CommandLine | 'help' {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      consumers: text,
      publishers: text,
      burst: text,
      sm: flag,
      window: text,
      logins: text,
      mechanism: text,
      payload: text,
      seconds: text,
      tls: text,
      swarms: text,
      seed: text,
      instances: text,
      store: text,
      durability: text,
      rate: text,
      sessions: text,
      subscriptions: text,
      items: text,
      profile: flag,
      attach: text,
      out: text,
      json: text,
      help: flag,
    },
  });
  if (values.help) return 'help';
  const [name, ...more] = positionals;
  const chosen = name === undefined ? undefined : SCENARIOS[name];
  if (chosen === undefined || more.length > 0)
    throw new UsageError(`one scenario of ${Object.keys(SCENARIOS).join(', ')} or ${Object.keys(SUITES).join(' or ')} is needed`);
  const given: Readonly<Record<string, string | boolean | undefined>> = { ...chosen.defaults, ...values };
  const count = (option: string, otherwise: number, max: number): number => {
    const value = given[option] === undefined ? otherwise : Number(given[option]);
    if (!Number.isInteger(value) || value < 1 || value > max)
      throw new UsageError(`--${option} is a whole number from 1 to ${max}`);
    return value;
  };
  const oneOf = <T extends string>(option: string, allowed: readonly T[]): T => {
    const value = given[option] ?? allowed[0];
    const found = allowed.find((word) => word === value);
    if (found === undefined) throw new UsageError(`--${option} is ${allowed.join(' or ')}`);
    return found;
  };
  const burst = count('burst', 1, 100);
  const store = oneOf('store', ['embedded', 'redis', 'redis-cluster']);
  const instances = count('instances', 1, 16);
  if (store === 'embedded' && (instances > 1 || values.durability !== undefined))
    throw new UsageError('--instances and --durability need --store redis or redis-cluster');
  if (values.attach !== undefined && (store !== 'embedded' || values.profile === true))
    throw new UsageError('--store and --profile are for servers that the run starts, not for --attach');
  if (store === 'embedded' && !('needs' in chosen.scenario)) throw new UsageError(`${name} needs --store redis or redis-cluster`);
  return {
    scenario: chosen.scenario,
    options: {
      consumers: count('consumers', 1000, 100_000),
      publishers: count('publishers', burst, 1000),
      burst,
      streamManagement: values.sm === true,
      seconds: count('seconds', 10, 3600),
      window: count('window', 1, 1000),
      logins: count('logins', 2000, 1_000_000),
      mechanism: oneOf('mechanism', ['scram', 'external']),
      reportBytes: count('payload', 1024, 256 * 1024),
      tls: oneOf('tls', ['starttls', 'direct']),
      seed: count('seed', 1, 2 ** 31),
      instances,
      store,
      durability: oneOf('durability', ['fsync', 'replicas', 'memory']),
      rate: given.rate === undefined || given.rate === 'half' ? 'half' : count('rate', 1, 1_000_000),
      sessions: count('sessions', 100_000, 10_000_000),
      subscriptions: count('subscriptions', 1_000_000, 100_000_000),
      items: count('items', 20_000, 1_000_000),
    },
    swarms: count('swarms', 2, 64),
    attach: values.attach,
    profile: values.profile === true,
    out: values.out ?? fileURLToPath(new URL('./results', import.meta.url)),
    json: values.json,
  };
}

/** Progress for whoever watches; a log that nobody watches gets the result alone. */
function say(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`bench: ${text}\n`);
}

/** Name of the result files. */
function titleOf({ scenario, options }: CommandLine): string {
  const { store, instances, durability } = options;
  if (store === 'embedded') return scenario.title(options);
  if (!('needs' in scenario)) return `${scenario.title(options)}${store === 'redis' ? '' : '-cluster'}`;
  return `${scenario.title(options)}-${store}-${instances}${durability === 'fsync' ? '' : `-${durability}`}`;
}

/** Starts what is measured, measures, and stops it again, whatever happens. */
async function measure(line: CommandLine): Promise<{ readonly server: string; readonly result: ScenarioResult }> {
  const { scenario, options } = line;
  const stops: (() => Promise<unknown>)[] = [];
  const stopAll = async () => {
    for (let stop = stops.pop(); stop !== undefined; stop = stops.pop()) await stop();
  };
  const onSignal = (signal: NodeJS.Signals) => {
    say(`${signal}: stopping the server`);
    void stopAll().finally(() => process.exit(1));
  };
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  try {
    const redis = options.store === 'embedded' ? undefined : await startOwnRedis(options.store, options.durability);
    if (redis !== undefined) stops.push(() => redis.stop());
    if (!('needs' in scenario)) {
      if (redis === undefined) throw new Error('this scenario measures Redis');
      return { server: `Redis ${redis.version}`, result: await scenario.runOnStore(redis, options, say) };
    }
    const needs = scenario.needs(options);
    const setup = { instances: options.instances, ...(redis === undefined ? {} : { redis }) };
    const server = line.attach === undefined ? await startOwnServer(needs, setup, say) : attachServer(line.attach, needs);
    stops.push(() => server.stop());
    const keepProfile = (name: string, profile: string) =>
      writeFileSync(join(line.out, `${titleOf(line)}-${name}.cpuprofile`), profile);
    const rig = await Rig.assemble(server, {
      swarms: line.swarms,
      tls: options.tls,
      say,
      ...(line.profile ? { keepProfile } : {}),
    });
    stops.push(async () => rig.dismantle());
    const result = await scenario.run(rig, options);
    return { server: redis === undefined ? server.name : `${server.name} on Redis ${redis.version}`, result };
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
    await stopAll();
  }
}

async function run(line: CommandLine, args: readonly string[]): Promise<RunRecord> {
  mkdirSync(line.out, { recursive: true });
  const facts = gatherFacts(`npm run bench -- ${args.join(' ')}`);
  const { server, result } = await measure(line);
  const record = makeRecord(titleOf(line), { ...facts, server }, line.options, result);
  process.stdout.write(renderRecord(record));
  const jsonFile = line.json ?? join(line.out, `${record.name}.json`);
  mkdirSync(dirname(jsonFile), { recursive: true });
  writeFileSync(jsonFile, `${JSON.stringify(record, undefined, 2)}\n`);
  const svg = renderSvg(record);
  if (svg !== undefined) writeFileSync(jsonFile.replace(/(\.json)?$/, '.svg'), svg);
  return record;
}

/** Returns the exit code. */
async function main(args: string[]): Promise<number> {
  const suite = SUITES[args[0] ?? ''];
  const lists = suite === undefined ? [args] : suite.map((own) => [...own, ...args.slice(1)]);
  const runs = lists.map((list) => ({ list, line: parseCommandLine(list) })); // all options are checked before the first run
  const records: RunRecord[] = [];
  for (const { list, line } of runs) {
    if (line === 'help') {
      process.stdout.write(USAGE);
      return 0;
    }
    records.push(await run(line, list));
  }
  if (suite !== undefined) process.stdout.write(`\n## Summary\n\n${renderSummary(records)}`);
  return records.every((record) => record.passed) ? 0 : 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const isUsage = error instanceof UsageError || (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS') === true;
  process.stderr.write(isUsage ? `bench: ${(error as Error).message}\n\n${USAGE}` : `bench: ${(error as Error).message}\n`);
  process.exitCode = isUsage ? EXIT_USAGE : 1;
}
