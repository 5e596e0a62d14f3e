import { isatty } from 'node:tty';
import { pino } from 'pino';

/** The program's logger: one event a line, fields not prose. Satisfies `Logger` of `stream`. */
export interface ProgramLogger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface LogOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly format: 'auto' | 'json' | 'text';
}

/**
 * Second net only: code never hands stanzas, SASL bytes or credentials to a logger (redaction by construction).
 * pino does not look into strings, so an error message must not hold a secret either.
 */
const REDACTED = ['password', '*.password', 'credentials', '*.credentials', 'key', '*.key', 'payload', '*.payload'];

/** Writes to `stream`, stdout by default: JSON lines, or one readable line per event on a terminal. */
export function createLogger(options: LogOptions, stream: NodeJS.WritableStream = process.stdout): ProgramLogger {
  const readable = options.format === 'text' || (options.format === 'auto' && stream === process.stdout && isatty(1));
  const destination = readable ? { write: (line: string) => void stream.write(renderLine(line)) } : stream;
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: REDACTED, censor: '[redacted]' },
      serializers: { err: (error: unknown) => (error instanceof Error ? pino.stdSerializers.err(error) : error) },
    },
    destination,
  );
}

const COLOURS: Readonly<Record<string, string>> = { debug: '\x1b[2m', info: '', warn: '\x1b[33m', error: '\x1b[31m' };

/** `12:34:56.789 warn  message  field=value …` from one line of pino's JSON. */
export function renderLine(line: string, colour: boolean = process.env.NO_COLOR === undefined): string {
  const { level, time, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const rest = Object.entries(fields).map(([name, value]) => `${name}=${renderValue(value)}`);
  const text = `${String(time).slice(11, 23)} ${String(level).padEnd(5)} ${clean(String(msg))}${rest.length > 0 ? `  ${rest.join(' ')}` : ''}`;
  const code = colour ? (COLOURS[String(level)] ?? '') : '';
  return code === '' ? `${text}\n` : `${code}${text}\x1b[0m\n`;
}

function renderValue(value: unknown): string {
  if (typeof value === 'string') return /^[\w.:@/+-]+$/.test(value) ? value : JSON.stringify(clean(value));
  const { message } = (value ?? {}) as { message?: unknown };
  return typeof message === 'string' ? JSON.stringify(clean(message)) : JSON.stringify(value);
}

/** Control characters of a peer's text must not steer the operator's terminal. */
function clean(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f]/g,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}
