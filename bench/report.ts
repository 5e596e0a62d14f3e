import { execFileSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { BARS, type Bar, verdict } from './bars.ts';
import { Latencies, type LatencySummary } from './driver/latency.ts';
import type { CommandUses } from './driver/redis-info.ts';
import { type Figure, RATIO, type ScenarioResult } from './scenarios/scenario.ts';

/** Where and of what a run was: without it a figure means nothing. */
export interface RunFacts {
  readonly command: string;
  readonly server: string;
  readonly startedAt: string;
  readonly commit: string;
  /** Whether files differed from the commit. */
  readonly dirty: boolean;
  readonly node: string;
  readonly cpuModel: string;
  readonly cores: number;
  readonly memoryGiB: number;
}

/** What a result file holds. */
export interface RunRecord {
  readonly name: string;
  readonly facts: RunFacts;
  readonly options: object;
  readonly passed: boolean;
  readonly faults: readonly string[];
  readonly figures: readonly (Figure & { readonly reaches?: string })[];
  readonly latenciesMicros: readonly {
    readonly name: string;
    readonly summary: LatencySummary;
    readonly octaves: readonly { fromMicros: number; count: number }[];
  }[];
  readonly costs: ScenarioResult['costs'];
  readonly redisCommands?: CommandUses;
}

export function gatherFacts(command: string): Omit<RunFacts, 'server'> {
  const git = (...args: string[]): string => {
    try {
      return execFileSync('git', args, {
        cwd: fileURLToPath(new URL('..', import.meta.url)),
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim();
    } catch {
      return 'unknown'; // a release tarball has no history
    }
  };
  return {
    command,
    startedAt: new Date().toISOString(),
    commit: git('rev-parse', '--short', 'HEAD'),
    dirty: git('status', '--porcelain', '--untracked-files=no') !== '',
    node: process.version,
    cpuModel: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
  };
}

export function makeRecord(name: string, facts: RunFacts, options: object, result: ScenarioResult): RunRecord {
  return {
    name,
    facts,
    options,
    passed: result.faults.length === 0,
    faults: result.faults,
    figures: result.figures.map((figure) =>
      figure.bar === undefined ? figure : { ...figure, reaches: verdict(figure.bar, figure.value) },
    ),
    latenciesMicros: result.latencies.map(({ name: what, counts }) => {
      const merged = new Latencies();
      for (const part of counts) merged.add(part);
      return { name: what, summary: merged.summary(), octaves: merged.octaves() };
    }),
    costs: result.costs,
    ...(result.redisCommands === undefined ? {} : { redisCommands: result.redisCommands }),
  };
}

/** The record as people read it: a Markdown table, latencies, faults. */
export function renderRecord(record: RunRecord): string {
  const { facts } = record;
  const lines = [
    `## ${record.name}`,
    '',
    `\`${facts.command}\``,
    `${facts.server} at ${facts.commit}${facts.dirty ? ' with local changes' : ''}, ${facts.startedAt}, Node ${facts.node}, ${facts.cores} × ${facts.cpuModel}, ${facts.memoryGiB} GiB`,
    '',
  ];
  lines.push(...table([['figure', ...COLUMNS], ...record.figures.map((figure) => [figure.name, ...cells(figure)])]), '');
  for (const { name, summary, octaves } of record.latenciesMicros) {
    lines.push(
      `${name} (${formatNumber(summary.count, 0)}): mean ${millis(summary.mean)}, p50 ${millis(summary.p50)}, p90 ${millis(summary.p90)}, p99 ${millis(summary.p99)}, p99.9 ${millis(summary.p999)}, max ${millis(summary.max)}`,
      '',
      '```text',
      ...histogram(octaves),
      '```',
      '',
    );
  }
  if (record.faults.length > 0) lines.push('**FAILED**', ...record.faults.map((fault) => `- ${fault}`), '');
  return lines.join('\n');
}

const COLUMNS = ['measured', 'v0.1', 'bar', 'aim', 'limit in Node', 'best peer', 'reaches'];

/** One figure beside its bar, in the order of COLUMNS. */
function cells(figure: RunRecord['figures'][number]): string[] {
  const bar: Bar | undefined = figure.bar === undefined ? undefined : BARS[figure.bar];
  const sign = bar?.better === 'more' ? '≥' : '≤';
  const goal = (value: number | undefined) =>
    value === undefined ? '' : `${sign} ${formatNumber(value, value % 1 === 0 ? 0 : 1)}`;
  return [
    `${formatNumber(figure.value, figure.digits)} ${figure.unit}`.trim(),
    goal(bar?.first),
    goal(bar?.bar),
    goal(bar?.aim),
    bar?.limit ?? '',
    bar?.peer ?? '',
    figure.reaches ?? '',
  ];
}

/** Several runs in one table: of each what has a bar, and its ratio to the floor of the same run. */
export function renderSummary(records: readonly RunRecord[]): string {
  const rows = records.flatMap((record) => {
    const ratio = record.figures.find((figure) => figure.name === RATIO)?.value;
    const barred = record.figures.filter((figure) => figure.bar !== undefined);
    return barred.map((figure) => [
      record.name,
      figure.name,
      ...cells(figure),
      ratio === undefined ? '' : `${formatNumber(ratio, 2)} ×`,
      record.passed ? '' : 'FAILED',
    ]);
  });
  return `${table([['run', 'figure', ...COLUMNS, 'to the floor', 'faults'], ...rows]).join('\n')}\n`;
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(3, ...rows.map((row) => row[column]!.length)));
  const line = (row: readonly string[]) => `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(' | ')} |`;
  return [line(rows[0]!), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rows.slice(1).map(line)];
}

const BAR_WIDTH = 50;

function histogram(octaves: readonly { readonly fromMicros: number; readonly count: number }[]): string[] {
  const most = Math.max(1, ...octaves.map(({ count }) => count));
  return octaves.map(
    ({ fromMicros, count }) =>
      `${millis(fromMicros).padStart(10)} ${'█'.repeat(Math.ceil((count / most) * BAR_WIDTH)).padEnd(BAR_WIDTH)} ${formatNumber(count, 0)}`,
  );
}

const formatNumber = (value: number, digits: number) =>
  value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });

export function millis(micros: number): string {
  return `${formatNumber(micros / 1000, micros < 10_000 ? 2 : micros < 100_000 ? 1 : 0)} ms`;
}

/** The latencies as an SVG drawing: one column for each power of two. */
export function renderSvg(record: RunRecord): string | undefined {
  const latency = record.latenciesMicros.at(-1);
  if (latency === undefined || latency.octaves.length === 0) return undefined;
  const [width, height, left, bottom, top] = [640, 300, 20, 60, 50];
  const column = (width - 2 * left) / latency.octaves.length;
  const most = Math.max(...latency.octaves.map(({ count }) => count));
  const columns = latency.octaves.map(({ fromMicros, count }, i) => {
    const tall = (count / most) * (height - bottom - top);
    const x = left + i * column;
    return (
      `<rect x="${(x + 2).toFixed(1)}" y="${(height - bottom - tall).toFixed(1)}" width="${(column - 4).toFixed(1)}" height="${tall.toFixed(1)}" fill="#2a6f97"/>` +
      `<text x="${(x + column / 2).toFixed(1)}" y="${height - bottom + 16}" text-anchor="middle">${millis(fromMicros).replace(' ms', '')}</text>` +
      `<text x="${(x + column / 2).toFixed(1)}" y="${(height - bottom - tall - 4).toFixed(1)}" text-anchor="middle" fill="#555">${count}</text>`
    );
  });
  const { summary } = latency;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">
<title>${record.name}: ${latency.name}</title>
<rect width="${width}" height="${height}" fill="#fff"/>
<text x="${left}" y="20" font-size="14">${record.name}: ${latency.name}</text>
${columns.join('\n')}
<text x="${left}" y="${height - 26}">ms, from this to twice as much</text>
<text x="${left}" y="${height - 10}">p50 ${millis(summary.p50)}, p90 ${millis(summary.p90)}, p99 ${millis(summary.p99)}, p99.9 ${millis(summary.p999)}, max ${millis(summary.max)}; commit ${record.facts.commit}</text>
</svg>
`;
}
