import type { Scenario, SeedResult } from './scenario.ts';

const HEAD = [
  'fault',
  'seeds',
  'acked',
  'deliveries',
  'lost',
  'disorder',
  'repeated',
  'taken back',
  'refused',
  'resumed',
  'recovered',
];

/** One line for a scenario, over all its seeds. */
export function rowOf(scenario: Pick<Scenario, 'id' | 'title'>, results: readonly SeedResult[]): string[] {
  const total = (of: (result: SeedResult) => number) => String(results.reduce((sum, each) => sum + of(each), 0));
  const oldest = Math.max(0, ...results.map(({ report }) => report.oldestRepeatMs));
  const repeated = total(({ report }) => report.repeated);
  const slowest = results.some(({ recoveredMs }) => recoveredMs === undefined)
    ? 'never'
    : `${(Math.max(...results.map(({ recoveredMs }) => recoveredMs ?? 0)) / 1_000).toFixed(1)} s`;
  const failed = results.filter(({ wrong }) => wrong.length > 0).length;
  return [
    `${scenario.id} ${scenario.title}`,
    failed === 0 ? String(results.length) : `${results.length} (${failed} WRONG)`,
    total(({ report }) => report.acknowledged),
    total(({ report }) => report.deliveries),
    total(({ report }) => report.vanished + report.missing),
    total(({ report }) => report.outOfOrder),
    repeated === '0' ? '0' : `${repeated} (≤ ${(oldest / 1_000).toFixed(1)} s)`,
    total(({ report }) => report.phantoms),
    total(({ refused, askedAgain }) => refused + askedAgain),
    total(({ resumed }) => resumed),
    slowest,
  ];
}

export function tableOf(rows: readonly (readonly string[])[]): string {
  const all = [HEAD, ...rows];
  const widths = HEAD.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join('  ')
      .trimEnd();
  return all.map(line).join('\n');
}
