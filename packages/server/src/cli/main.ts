import { VERSION } from '../version.ts';
import { type Command, parseCommand, renderHelp, UsageError } from './command.ts';
import { CERT_COMMANDS } from './commands/cert.ts';
import { cluster } from './commands/cluster.ts';
import { CONFIG_COMMANDS } from './commands/config.ts';
import { demo } from './commands/demo.ts';
import { INSPECT_COMMANDS } from './commands/inspect.ts';
import { PLATFORM_COMMANDS } from './commands/platform.ts';
import { serve } from './commands/serve.ts';
import { EXIT, explain } from './failure.ts';
import { print } from './output.ts';

const COMMANDS: readonly Command[] = [
  serve,
  demo,
  cluster,
  ...PLATFORM_COMMANDS,
  ...CERT_COMMANDS,
  ...INSPECT_COMMANDS,
  ...CONFIG_COMMANDS,
];

/**
 * The command `xmpp-grid`. Resolves with the exit code: 0, 1 for a failure, 2 for a wrong command line, 78 for a wrong
 * configuration.
 */
export async function main(argv: readonly string[]): Promise<number> {
  try {
    return await run(argv);
  } catch (error) {
    const { lines, exitCode } = explain(error);
    for (const line of lines) process.stderr.write(`xmpp-grid: ${line}\n`);
    if (exitCode === EXIT.usage) process.stderr.write('xmpp-grid: --help shows what is possible\n');
    return exitCode;
  }
}

async function run(argv: readonly string[]): Promise<number> {
  const [first] = argv;
  if (first === '--version' || first === '-V' || first === 'version') {
    print(`xmpp-grid ${VERSION}`);
    return EXIT.ok;
  }
  if (first === '--help' || first === '-h' || first === 'help') {
    print(overview());
    return EXIT.ok;
  }
  if (first === undefined) {
    process.stderr.write(`${overview()}\n`);
    return EXIT.usage;
  }
  const found = findCommand(argv);
  if (found === undefined) return group(argv);
  const { values, args, wantsHelp } = parseCommand(found.command, argv.slice(found.words));
  if (wantsHelp) {
    process.stdout.write(renderHelp(found.command));
    return EXIT.ok;
  }
  return await found.command.run(values, args);
}

/** The longest command name that the arguments begin with. */
function findCommand(argv: readonly string[]): { command: Command; words: number } | undefined {
  for (const words of [2, 1]) {
    const command = COMMANDS.find(({ name }) => name === argv.slice(0, words).join(' '));
    if (command !== undefined) return { command, words };
  }
  return undefined;
}

/** `xmpp-grid platform --help`, or a word that is no command. @throws UsageError */
function group(argv: readonly string[]): number {
  const [first = '', second] = argv;
  const inGroup = COMMANDS.filter(({ name }) => name.startsWith(`${first} `));
  if (inGroup.length === 0) throw new UsageError(`there is no command ${JSON.stringify(first)}`);
  const text = `Usage: xmpp-grid ${first} COMMAND [options]\n\n${list(inGroup)}`;
  if (second === '--help' || second === '-h') {
    print(text);
    return EXIT.ok;
  }
  const known = inGroup.map(({ name }) => name.slice(first.length + 1)).join(', ');
  throw new UsageError(
    second === undefined
      ? `${first}: which command? ${known}`
      : `${first} has no command ${JSON.stringify(second)}; it has ${known}`,
  );
}

function list(commands: readonly Command[]): string {
  const rows = commands.map((command) => [[command.name, ...(command.args ?? [])].join(' '), command.summary] as const);
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, summary]) => `  ${left.padEnd(width)}  ${summary}`).join('\n');
}

function overview(): string {
  return `Usage: xmpp-grid COMMAND [options]

XMPP-Grid (RFC 8600): a Controller and Broker on which security platforms share information.

${list(COMMANDS)}

"xmpp-grid COMMAND --help" explains one command. Exit codes: 0 done, 1 failed, 2 wrong command line, 78 wrong configuration.`;
}
