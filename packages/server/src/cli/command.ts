import { parseArgs } from 'node:util';

/** A wrong command line: exit code 2, and where to look. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export interface Option {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  /** May be given several times. */
  readonly multiple?: true;
  /** What stands for the value in help, in capitals. */
  readonly value?: string;
  readonly doc: string;
  /** Dotted name of the setting that it overrides. */
  readonly settings?: readonly string[];
}

export type Options = Readonly<Record<string, Option>>;

/** The parsed options of one invocation. */
export interface Values {
  text(name: string): string | undefined;
  texts(name: string): readonly string[];
  has(name: string): boolean;
}

export interface Command {
  /** `platform add`; what the user types. */
  readonly name: string;
  /** Positional arguments as help shows them; optional ones in brackets. */
  readonly args?: readonly string[];
  readonly summary: string;
  /** Paragraphs and examples below the options. */
  readonly notes?: string;
  readonly options: Options;
  /** Resolves with the exit code. */
  run(values: Values, args: readonly string[]): Promise<number>;
}

const HELP: Option = { type: 'boolean', short: 'h', doc: 'Show this help.' };

/** Splits the arguments behind a command's name. @throws UsageError */
export function parseCommand(
  command: Command,
  argv: readonly string[],
): { values: Values; args: readonly string[]; wantsHelp: boolean } {
  const options = Object.fromEntries(
    Object.entries({ ...command.options, help: HELP }).map(([name, { type, short, multiple }]) => [
      name,
      { type, ...(short === undefined ? {} : { short }), ...(multiple === undefined ? {} : { multiple }) },
    ]),
  );
  let parsed: { values: Record<string, unknown>; positionals: string[] };
  try {
    parsed = parseArgs({ args: [...argv], options, allowPositionals: true, strict: true });
  } catch (error) {
    throw new UsageError((error as Error).message.split('. To specify')[0]!);
  }
  const wantsHelp = parsed.values.help === true;
  if (!wantsHelp) checkCount(command, parsed.positionals);
  return { values: valuesOf(parsed.values), args: parsed.positionals, wantsHelp };
}

function checkCount(command: Command, given: readonly string[]): void {
  const known = command.args ?? [];
  const required = known.filter((arg) => !arg.startsWith('['));
  if (given.length < required.length) throw new UsageError(`${command.name}: ${required[given.length]} is missing`);
  if (given.length > known.length)
    throw new UsageError(`${command.name}: unexpected argument ${JSON.stringify(given[known.length])}`);
}

function valuesOf(values: Readonly<Record<string, unknown>>): Values {
  return {
    text: (name) => (typeof values[name] === 'string' ? values[name] : undefined),
    texts: (name) => (Array.isArray(values[name]) ? (values[name] as string[]) : []),
    has: (name) => values[name] === true,
  };
}

/** The help of one command. */
export function renderHelp(command: Command): string {
  const usage = ['xmpp-grid', command.name, '[options]', ...(command.args ?? [])].join(' ');
  const rows = Object.entries({ ...command.options, help: HELP }).map(
    ([name, option]) => [spellOption(name, option), option.doc] as const,
  );
  const width = Math.max(...rows.map(([left]) => left.length));
  const options = rows.map(([left, doc]) => `  ${left.padEnd(width)}  ${doc}`).join('\n');
  return `Usage: ${usage}\n\n${command.summary}\n\nOptions:\n${options}\n${command.notes === undefined ? '' : `\n${command.notes}\n`}`;
}

function spellOption(name: string, option: Option): string {
  const short = option.short === undefined ? '    ' : `-${option.short}, `;
  return `${short}--${name}${option.type === 'string' ? ` ${option.value ?? 'VALUE'}` : ''}`;
}
