import { readFileSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { type Config, SETTINGS } from './config.ts';
import { ROLE_KEYS, roleTemplates } from './role-setting.ts';
import { isSetting, type Setting, type SettingTree, type ValuesOf } from './setting.ts';

/** Everything that is wrong with a configuration, one line each. Exit code 78 (EX_CONFIG of sysexits.h). */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

/** Values by dotted name, as a flag or a preset gives them. */
export type Overrides = ReadonlyMap<string, unknown>;

/** Where a configuration comes from; later sources win: preset, file, flags. */
export interface ConfigSources {
  /** Other defaults than the table's, as `serve --demo` has. */
  readonly preset?: Overrides;
  /** YAML file. */
  readonly file?: string;
  /** Dotted setting name → value; `name` is how the user wrote it, for messages. */
  readonly flags?: ReadonlyMap<string, { readonly value: unknown; readonly name: string }>;
  /** Paths in flags and presets are relative to it. */
  readonly cwd: string;
}

const MAX_FILE_BYTES = 1024 ** 2;

/**
 * Reads and checks a configuration.
 *
 * @throws ConfigError with every problem at once
 */
export function loadConfig(sources: ConfigSources): Config {
  const file = sources.file === undefined ? undefined : readFile(sources.file, sources.cwd);
  const problems: Problem[] = file === undefined ? [] : [...unknownKeys(file, SETTINGS, [])];
  const values = valuesOf(SETTINGS, [], { ...sources, file }, problems);
  if (problems.length > 0) throw new ConfigError(inOrder(problems));
  const config = complete(values as unknown as Values);
  const conflicts = contradictions(config, file);
  if (conflicts.length > 0) throw new ConfigError(inOrder(conflicts));
  return config;
}

function inOrder(problems: readonly Problem[]): string[] {
  return problems.toSorted((a, b) => a.line - b.line).map((problem) => problem.text);
}

interface Problem {
  readonly line: number;
  readonly text: string;
}

interface ConfigFile {
  /** As the user named it, for messages. */
  readonly name: string;
  readonly directory: string;
  readonly document: Document;
  readonly lines: LineCounter;
}

type Values = ValuesOf<typeof SETTINGS>;

function complete(values: Values): Config {
  return {
    ...values,
    brokerDomain: values.brokerDomain ?? `broker.${values.domain}`,
    roles: roleTemplates(values.roles, values.limits),
  };
}

function readFile(name: string, cwd: string): ConfigFile {
  const path = resolve(cwd, name);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError([`${name}: cannot be read: ${reason(error)}`]);
  }
  if (text.length > MAX_FILE_BYTES) throw new ConfigError([`${name}: is larger than 1 MiB; a configuration is a few KiB`]);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    throw new ConfigError(document.errors.map((error) => `${name}:${lines.linePos(error.pos[0]).line}: ${error.message}`));
  }
  if (document.contents !== null && !isMap(document.contents)) {
    throw new ConfigError([`${name}:1: expected settings as \`name: value\`; see docs/configuration.md`]);
  }
  return { name, directory: dirname(path), document, lines };
}

type Path = readonly string[];

function lineOf(file: ConfigFile, path: Path): number {
  for (let depth = path.length; depth > 0; depth--) {
    const parent = depth === 1 ? file.document.contents : file.document.getIn(path.slice(0, depth - 1), true);
    if (!isMap(parent)) {
      const item = isSeq(parent) ? parent.get(Number(path[depth - 1]), true) : undefined;
      if (isNode(item) && item.range) return file.lines.linePos(item.range[0]).line;
      continue;
    }
    const pair = parent.items.find((item) => keyOf(item.key) === path[depth - 1]);
    const start = isScalar(pair?.key) ? pair.key.range?.[0] : undefined;
    if (start !== undefined) return file.lines.linePos(start).line;
  }
  return 1;
}

function keyOf(key: unknown): string {
  return String(isScalar(key) ? key.value : key);
}

function inFile(file: ConfigFile, path: Path, message: string): Problem {
  const line = lineOf(file, path);
  return { line, text: `${file.name}:${line}: ${message}` };
}

function* unknownKeys(file: ConfigFile, tree: SettingTree, path: Path): Generator<Problem> {
  const node = path.length === 0 ? file.document.contents : file.document.getIn(path, true);
  if (!isMap(node)) {
    const isAbsent = node === undefined || node === null || (isScalar(node) && node.value === null);
    if (!isAbsent) yield inFile(file, path, `${path.join('.')}: expected settings below it (${Object.keys(tree).join(', ')})`);
    return;
  }
  for (const item of node.items) {
    const key = keyOf(item.key);
    const here = [...path, key];
    const known = Object.hasOwn(tree, key) ? tree[key] : undefined;
    if (known === undefined) {
      const nearest = nearestName(key, path, tree);
      const hint = nearest === undefined ? `known here: ${Object.keys(tree).join(', ')}` : `did you mean ${nearest}?`;
      yield inFile(file, here, `${here.join('.')}: unknown setting; ${hint}`);
    } else if (!isSetting(known)) {
      yield* unknownKeys(file, known, here);
    }
  }
}

function valuesOf(
  tree: SettingTree,
  path: Path,
  sources: Omit<ConfigSources, 'file'> & { readonly file: ConfigFile | undefined },
  problems: Problem[],
): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [name, node] of Object.entries(tree)) {
    const here = [...path, name];
    if (!isSetting(node)) {
      values[name] = valuesOf(node, here, sources, problems);
      continue;
    }
    const source = sourceOf(here, node, sources);
    const parsed = node.schema.safeParse(source.raw, { reportInput: true });
    if (parsed.success) {
      const value = node.isPath && typeof parsed.data === 'string' ? resolve(source.directory, parsed.data) : parsed.data;
      if (value !== undefined) values[name] = value;
      continue;
    }
    for (const issue of parsed.error.issues) {
      if (issue.path.length === 0) {
        const shown = source.raw === undefined ? 'nothing' : JSON.stringify(source.raw);
        problems.push(source.problem(here, `expected ${node.accepts}, got ${shown}`));
      } else {
        for (const { path: inner, message } of describe(issue))
          problems.push(source.problem([...here, ...inner.map(String)], message));
      }
    }
  }
  return values;
}

/** A fault inside a setting that has structure of its own (`roles`), in our words. */
function describe(issue: z.core.$ZodIssue): readonly { readonly path: readonly PropertyKey[]; readonly message: string }[] {
  const { path } = issue;
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => {
        const nearest = closest(key, ROLE_KEYS, (name) => name);
        return {
          path: [...path, key],
          message: `unknown setting; ${nearest === undefined ? `a role has ${ROLE_KEYS.join(', ')}` : `did you mean ${nearest}?`}`,
        };
      });
    case 'invalid_key':
      return issue.issues.map(({ message }) => ({ path, message }));
    case 'invalid_value':
      return [{ path, message: `expected one of ${issue.values.join(', ')}, got ${JSON.stringify(issue.input)}` }];
    case 'invalid_type':
      return [
        {
          path,
          message: `expected ${issue.expected === 'array' ? 'a list' : `a ${issue.expected}`}, got ${JSON.stringify(issue.input) ?? 'nothing'}`,
        },
      ];
    default:
      return [{ path, message: issue.message }];
  }
}

interface Source {
  readonly raw: unknown;
  readonly directory: string;
  problem(path: Path, message: string): Problem;
}

function sourceOf(
  path: Path,
  setting: Setting<unknown>,
  sources: Omit<ConfigSources, 'file'> & { readonly file: ConfigFile | undefined },
): Source {
  const name = path.join('.');
  const flag = sources.flags?.get(name);
  if (flag !== undefined) {
    return {
      raw: flag.value,
      directory: sources.cwd,
      problem: (_path, message) => ({ line: 0, text: `${flag.name}: ${message}` }),
    };
  }
  const { file } = sources;
  const node = file?.document.getIn(path, true);
  if (file !== undefined && node !== undefined && node !== null && !(isScalar(node) && node.value === null)) {
    const raw = isScalar(node) ? node.value : (node as { toJS(doc: Document): unknown }).toJS(file.document);
    return { raw, directory: file.directory, problem: (at, message) => inFile(file, at, `${at.join('.')}: ${message}`) };
  }
  const raw = sources.preset?.has(name) ? sources.preset.get(name) : setting.default;
  return { raw, directory: sources.cwd, problem: (at, message) => ({ line: 0, text: `${at.join('.')}: ${message}` }) };
}

/** What single settings cannot tell: values that are fine alone and wrong together. */
function contradictions(config: Config, file: ConfigFile | undefined): Problem[] {
  const found: Problem[] = [];
  const report = (path: string, message: string) => {
    const text = `${path}: ${message}`;
    const parts = path.split('.');
    found.push(file?.document.hasIn(parts) ? inFile(file, parts, text) : { line: 0, text });
  };
  const { starttls, directTls, http } = config.listeners;
  const { redis } = config;
  if (config.store.kind === 'redis' && redis.nodes.length === 0)
    report('redis.nodes', 'store.kind redis needs to know where Redis is, as `[host:port]`');
  if (redis.mode === 'standalone' && redis.nodes.length > 1)
    report('redis.nodes', 'names several servers: redis.mode must be sentinel or cluster');
  if (redis.mode === 'cluster' && redis.database !== 0) report('redis.database', 'a Redis Cluster has only database 0');
  if ((redis.tls.certificate === undefined) !== (redis.tls.key === undefined))
    report('redis.tls.certificate', 'redis.tls.certificate and redis.tls.key go together');
  if (config.brokerDomain === config.domain)
    report('brokerDomain', 'must differ from domain: the Broker has an address of its own');
  if (config.profile === 'grid' && config.topics.defaultAccessModel === 'open') {
    report('topics.defaultAccessModel', 'open needs `profile: compat`; RFC 8600 §8.3.4 allows authorize and whitelist');
  }
  if ((config.tls.certificate === undefined) !== (config.tls.key === undefined)) {
    const [given, missing] = config.tls.key === undefined ? ['certificate', 'key'] : ['key', 'certificate'];
    report(`tls.${given}`, `needs tls.${missing} beside it`);
  }
  if (config.limits.hardStanzaBytes < config.limits.maxStanzaBytes) {
    report('limits.hardStanzaBytes', `must not be below limits.maxStanzaBytes (${config.limits.maxStanzaBytes})`);
  }
  if (config.topics.defaults.maxItems > config.topics.maxItems) {
    report('topics.defaults.maxItems', `must not exceed topics.maxItems (${config.topics.maxItems})`);
  }
  if (config.topics.defaults.maxPayloadBytes > config.topics.maxPayloadBytes) {
    report('topics.defaults.maxPayloadBytes', `must not exceed topics.maxPayloadBytes (${config.topics.maxPayloadBytes})`);
  }
  if (config.topics.maxPayloadBytes > config.limits.maxStanzaBytes) {
    report(
      'topics.maxPayloadBytes',
      `must not exceed limits.maxStanzaBytes (${config.limits.maxStanzaBytes}): a payload travels in a stanza`,
    );
  }
  if (config.retention.minAgeMs > config.retention.maxAgeMs) report('retention.minAgeMs', 'must not exceed retention.maxAgeMs');
  if (!starttls.enabled && !directTls.enabled) report('listeners.starttls.enabled', 'nobody could connect: directTls is off too');
  const open = Object.entries({ starttls, directTls, http }).filter(([, listener]) => listener.enabled && listener.port !== 0);
  for (const [index, [name, listener]] of open.entries()) {
    const earlier = open.slice(0, index).find(([, other]) => other.port === listener.port);
    if (earlier !== undefined) report(`listeners.${name}.port`, `${listener.port} is taken by listeners.${earlier[0]}.port`);
  }
  return found;
}

/** The known name that a mistyped one is closest to: at this place first, else anywhere. Undefined when none is near. */
function nearestName(key: string, path: Path, tree: SettingTree): string | undefined {
  const here = closest(key, Object.keys(tree), (name) => name);
  if (here !== undefined) return [...path, here].join('.');
  return closest(key, settingNames(SETTINGS), (name) => name.slice(name.lastIndexOf('.') + 1));
}

function closest(key: string, names: readonly string[], compared: (name: string) => string): string | undefined {
  const bound = key.length < 4 ? 1 : Math.max(2, Math.floor(key.length / 3));
  const ranked = names
    .map((name) => ({ name, distance: editDistance(key.toLowerCase(), compared(name).toLowerCase()) }))
    .filter(({ distance }) => distance <= bound)
    .toSorted((a, b) => a.distance - b.distance);
  return ranked[0]?.name;
}

/** Every setting's dotted name, in the order of the table. */
export function settingNames(tree: SettingTree, prefix = ''): string[] {
  return Object.entries(tree).flatMap(([name, node]) =>
    isSetting(node) ? [prefix + name] : settingNames(node, `${prefix}${name}.`),
  );
}

/** Levenshtein distance; inputs are cut to 64 characters. */
export function editDistance(a: string, b: string): number {
  const [left, right] = [a.slice(0, 64), b.slice(0, 64)];
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let i = 1; i <= left.length; i++) {
    const next = [i];
    for (let j = 1; j <= right.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (left[i - 1] === right[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[right.length]!;
}

function reason(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EACCES') return 'permission denied';
  if (code === 'EISDIR') return 'it is a directory';
  return error instanceof Error ? error.message : String(error);
}

/** `path` as a person in `cwd` would write it. */
export function shortPath(path: string, cwd: string): string {
  const short = relative(cwd, path);
  return short === '' ? '.' : short.startsWith('..') ? path : short;
}
