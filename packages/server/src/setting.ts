import { domainToASCII } from 'node:url';
import { z } from 'zod';

/** One row of the configuration table: what is accepted, what it means, and what it is when absent. */
export interface Setting<T> {
  readonly kind: 'setting';
  /** Turns the value of the file or flag into the value that code receives. */
  readonly schema: z.ZodType<T>;
  /** What is accepted, in words that follow "expected". */
  readonly accepts: string;
  /** Unit of the value that code receives; undefined for what has none. */
  readonly unit?: string;
  /** As it would be written in the file; undefined: no default. */
  readonly default: unknown;
  /** The default in words, where it depends on other settings. */
  readonly defaultText?: string;
  /** One sentence for the reference. */
  readonly doc: string;
  /** The value names a file: it is relative to where it was written down, and code receives it absolute. */
  readonly isPath?: true;
}

/** A tree of settings, as deep as the file. */
export interface SettingTree {
  readonly [name: string]: Setting<unknown> | SettingTree;
}

/** The values that a tree of settings yields. */
export type ValuesOf<T> = { readonly [K in keyof T]: T[K] extends Setting<infer V> ? V : ValuesOf<T[K]> };

export function isSetting(node: Setting<unknown> | SettingTree): node is Setting<unknown> {
  return node.kind === 'setting';
}

type Rest = { readonly default: unknown; readonly doc: string; readonly defaultText?: string };

/** A whole number; `unit` is a plain noun. */
export function integer(range: { readonly min: number; readonly max: number; readonly unit?: string } & Rest): Setting<number> {
  const { min, max, unit, ...rest } = range;
  const accepts = `a whole number from ${min} to ${max}${unit === undefined ? '' : ` (${unit})`}`;
  return { kind: 'setting', schema: z.int().min(min).max(max), accepts, ...(unit === undefined ? {} : { unit }), ...rest };
}

/** A TCP port; 0 lets the system choose one. */
export function port(rest: Rest): Setting<number> {
  return { kind: 'setting', schema: z.int().min(0).max(65_535), accepts: 'a port from 0 to 65535', ...rest };
}

const DURATION_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** A time span in milliseconds, or a number with a unit (`10s`, `10min`, `7d`). */
export function duration(range: { readonly minMs: number; readonly maxMs: number } & Rest): Setting<number> {
  const { minMs, maxMs, ...rest } = range;
  return {
    kind: 'setting',
    schema: z.preprocess((value) => scaled(value, DURATION_MS), z.int().min(minMs).max(maxMs)),
    accepts: `a duration from ${spellDuration(minMs)} to ${spellDuration(maxMs)} (milliseconds, or a number with ms, s, min, h or d)`,
    unit: 'ms',
    ...rest,
  };
}

const SIZE_BYTES: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** A size in bytes, or a number with a unit (`512KiB`, `4MiB`). */
export function size(range: { readonly minBytes: number; readonly maxBytes: number } & Rest): Setting<number> {
  const { minBytes, maxBytes, ...rest } = range;
  return {
    kind: 'setting',
    schema: z.preprocess((value) => scaled(value, SIZE_BYTES), z.int().min(minBytes).max(maxBytes)),
    accepts: `a size from ${spellSize(minBytes)} to ${spellSize(maxBytes)} (bytes, or a number with B, KiB, MiB or GiB)`,
    unit: 'bytes',
    ...rest,
  };
}

/** One word of a closed list. */
export function oneOf<const T extends string>(words: readonly T[], rest: Rest): Setting<T> {
  return { kind: 'setting', schema: z.enum(words) as unknown as z.ZodType<T>, accepts: `one of ${words.join(', ')}`, ...rest };
}

export function flag(rest: Rest): Setting<boolean> {
  return { kind: 'setting', schema: z.boolean(), accepts: 'true or false', ...rest };
}

/** A DNS domain in lower case; an internationalised one stays as it is written. */
export function domain(rest: Rest): Setting<string> {
  return { kind: 'setting', schema: z.string().toLowerCase().refine(isDomain), accepts: 'a domain name', ...rest };
}

export function optionalDomain(rest: Omit<Rest, 'default'>): Setting<string | undefined> {
  return { ...domain({ default: undefined, ...rest }), schema: z.string().toLowerCase().refine(isDomain).optional() };
}

/** A path, relative to the directory of the file that names it (of the working directory for a flag). */
export function path(rest: Rest): Setting<string> {
  return { kind: 'setting', schema: z.string().min(1), accepts: 'a path', isPath: true, ...rest };
}

export function optionalPath(rest: Omit<Rest, 'default'>): Setting<string | undefined> {
  return { kind: 'setting', schema: z.string().min(1).optional(), accepts: 'a path', isPath: true, default: undefined, ...rest };
}

/** A list of texts, each of which `check` accepts. */
export function listOf(
  item: { readonly check: (text: string) => boolean; readonly accepts: string; readonly max: number } & Rest,
): Setting<readonly string[]> {
  const { check, accepts, max, ...rest } = item;
  return { kind: 'setting', schema: z.array(z.string().refine(check)).max(max), accepts: `a list of ${accepts}`, ...rest };
}

export function optionalText(max: { readonly maxLength: number } & Omit<Rest, 'default'>): Setting<string | undefined> {
  const { maxLength, ...rest } = max;
  return {
    kind: 'setting',
    schema: z.string().min(1).max(maxLength).optional(),
    accepts: `a text of 1 to ${maxLength} characters`,
    default: undefined,
    ...rest,
  };
}

/** A text that may be empty. */
export function text(max: { readonly maxLength: number } & Rest): Setting<string> {
  const { maxLength, ...rest } = max;
  return { kind: 'setting', schema: z.string().max(maxLength), accepts: `a text of at most ${maxLength} characters`, ...rest };
}

/** An IP address or host name to listen on. */
export function address(rest: Rest): Setting<string> {
  return {
    kind: 'setting',
    schema: z.string().regex(/^[0-9A-Za-z.:%-]{1,253}$/),
    accepts: 'an IP address or host name',
    ...rest,
  };
}

function isDomain(text: string): boolean {
  const ascii = domainToASCII(text);
  return (
    ascii.length > 0 && ascii.length <= 253 && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(ascii)
  );
}

function scaled(value: unknown, units: Readonly<Record<string, number>>): unknown {
  if (typeof value !== 'string') return value;
  const match = /^(\d{1,12}) ?([A-Za-z]{1,3})$/.exec(value);
  const factor = match?.[2] === undefined ? undefined : units[match[2]];
  return factor === undefined ? value : Number(match?.[1]) * factor;
}

/** 600000 → `10min`: the largest unit that divides it. */
export function spellDuration(ms: number): string {
  return spell(ms, DURATION_MS);
}

/** 524288 → `512KiB`: the largest unit that divides it. */
export function spellSize(bytes: number): string {
  return spell(bytes, SIZE_BYTES);
}

function spell(value: number, units: Readonly<Record<string, number>>): string {
  const [name, factor] =
    Object.entries(units).findLast(([, factor]) => value >= factor && value % factor === 0) ?? Object.entries(units)[0]!;
  return `${value / factor}${name}`;
}
