import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { attachServer } from './driver/attached.ts';
import { startOwnServer } from './driver/own-server.ts';
import { Rig } from './driver/rig.ts';
import { gatherFacts, makeRecord, type RunRecord, renderRecord, renderSummary, renderSvg } from './report.ts';
import { fanout } from './scenarios/fanout.ts';
import { idle } from './scenarios/idle.ts';
import { login } from './scenarios/login.ts';
import { ping } from './scenarios/ping.ts';
import { publishing } from './scenarios/publish.ts';
import type { BenchOptions, Scenario } from './scenarios/scenario.ts';

const SCENARIOS: Readonly<Record<string, { readonly scenario: Scenario; readonly defaults: Readonly<Record<string, string>> }>> =
  {
    fanout: { scenario: fanout, defaults: { consumers: '1000' } },
    publish: { scenario: publishing, defaults: { publishers: '16' } },
    login: { scenario: login, defaults: {} },
    idle: { scenario: idle, defaults: { consumers: '5000' } },
    ping: { scenario: ping, defaults: { consumers: '50', window: '4' } },
  };

/** What `all` runs: every figure that has a bar. */
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

const USAGE = `Usage: npm run bench -- SCENARIO [options]

Starts the server on a temporary data directory and free ports, loads it from other processes, and prints what a unit
of work cost the server. Fails (exit 1) when a consumer missed an event, got one twice or out of order.

  fanout    1 topic, many consumers: CPU per million deliveries, beside bare TLS writes in the same run
  publish   as many topics as publishers, 1 consumer each, durable: rate, CPU per 1,000
  login     TLS, SASL, bind, close: CPU per 1,000
  idle      bound, subscribed, silent sessions: memory per session
  ping      XEP-0199 from every session: CPU per million
  all       every run that has a bar, then one table; options count for each

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
  --attach FILE        measure a server that runs already; FILE describes it (bench/driver/attached.ts)
  --out DIR            where NAME.json and NAME.svg go                                        (bench/results)
  --json FILE          write the JSON to FILE instead
  --help
`;

/** EX_USAGE of sysexits. */
const EXIT_USAGE = 64;

class UsageError extends Error {}

interface CommandLine {
  readonly scenario: Scenario;
  readonly options: BenchOptions;
  readonly swarms: number;
  readonly attach: string | undefined;
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
    throw new UsageError(`one scenario of ${Object.keys(SCENARIOS).join(', ')} or all is needed`);
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
    },
    swarms: count('swarms', 2, 64),
    attach: values.attach,
    out: values.out ?? fileURLToPath(new URL('./results', import.meta.url)),
    json: values.json,
  };
}

/** Progress for whoever watches; a log that nobody watches gets the result alone. */
function say(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`bench: ${text}\n`);
}

async function run(line: CommandLine, args: readonly string[]): Promise<RunRecord> {
  const { scenario, options } = line;
  const needs = scenario.needs(options);
  const server = line.attach === undefined ? await startOwnServer(needs, say) : attachServer(line.attach, needs);
  let rig: Rig | undefined;
  const onSignal = (signal: NodeJS.Signals) => {
    say(`${signal}: stopping the server`);
    void server.stop().finally(() => process.exit(1));
  };
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  try {
    const facts = gatherFacts(`npm run bench -- ${args.join(' ')}`, server.name);
    rig = await Rig.assemble(server, line.swarms, options.tls, say);
    const record = makeRecord(scenario.title(options), facts, options, await scenario.run(rig, options));
    process.stdout.write(renderRecord(record));
    const jsonFile = line.json ?? join(line.out, `${record.name}.json`);
    mkdirSync(dirname(jsonFile), { recursive: true });
    writeFileSync(jsonFile, `${JSON.stringify(record, undefined, 2)}\n`);
    const svg = renderSvg(record);
    if (svg !== undefined) writeFileSync(jsonFile.replace(/(\.json)?$/, '.svg'), svg);
    return record;
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
    rig?.dismantle();
    await server.stop();
  }
}

/** Returns the exit code. */
async function main(args: string[]): Promise<number> {
  const isSuite = args[0] === 'all';
  const lists = isSuite ? SUITE.map((own) => [...own, ...args.slice(1)]) : [args];
  const runs = lists.map((list) => ({ list, line: parseCommandLine(list) })); // all options are checked before the first run
  const records: RunRecord[] = [];
  for (const { list, line } of runs) {
    if (line === 'help') {
      process.stdout.write(USAGE);
      return 0;
    }
    records.push(await run(line, list));
  }
  if (isSuite) process.stdout.write(`\n## Summary\n\n${renderSummary(records)}`);
  return records.every((record) => record.passed) ? 0 : 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const isUsage = error instanceof UsageError || (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS') === true;
  process.stderr.write(isUsage ? `bench: ${(error as Error).message}\n\n${USAGE}` : `bench: ${(error as Error).message}\n`);
  process.exitCode = isUsage ? EXIT_USAGE : 1;
}
