/**
 * The fault suite by command: every scenario with as many seeds as wanted, a table at the end, the story of each run that
 * went wrong.
 *
 *     npm run test:fault -- [--only F1,F4] [--seeds 5] [--first 1] [--short] [--verbose]
 *     npm run test:fault -- --mass [--platforms 15000]
 */

import { parseArgs } from 'node:util';
import { stopClusters } from '../support/start-cluster.ts';
import { massRun } from './mass.ts';
import { rowOf, tableOf } from './report.ts';
import { FULL, runScenario, type SeedResult, SHORT } from './scenario.ts';
import { SCENARIOS } from './scenarios/index.ts';

const USAGE = `usage: npm run test:fault -- [--only ID,ID] [--seeds N (5)] [--first SEED (1)] [--short] [--verbose]
       npm run test:fault -- --mass [--platforms N (15000)]
       npm run test:fault -- --list
`;
const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    seeds: { type: 'string', default: '5' },
    first: { type: 'string', default: '1' },
    short: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
    mass: { type: 'boolean', default: false },
    platforms: { type: 'string', default: '15000' },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const say = (text: string) => process.stdout.write(`${text}\n`);
const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => Number(values.first) + i);
const wanted = values.only?.split(',').map((id) => id.toLowerCase());
const scenarios = SCENARIOS.filter(({ id }) => wanted === undefined || wanted.includes(id.toLowerCase()));
if (values.help || seeds.length === 0 || seeds.some((seed) => !Number.isSafeInteger(seed)) || scenarios.length === 0) {
  process.stderr.write(USAGE);
  process.exit(values.help ? 0 : 64);
}
if (values.list) {
  for (const { id, title } of SCENARIOS) say(`${id.padEnd(6)} ${title}`);
  process.exit(0);
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    stopClusters().finally(() => process.exit(130));
  });
}

if (values.mass) {
  const wrong = await massRun(Number(values.platforms), seeds[0] as number, say);
  say(wrong.length === 0 ? 'as promised' : wrong.join('\n'));
  process.exit(wrong.length === 0 ? 0 : 1);
}

const rows: string[][] = [];
let failed = 0;
for (const scenario of scenarios) {
  const began = performance.now();
  say(`${scenario.id} ${scenario.title}: seeds ${seeds[0]} to ${seeds.at(-1)}`);
  const tell = ({ seed, story, report }: SeedResult) => {
    if (story !== '') failed++;
    say(
      story === '' ? `  seed ${seed}: ${report.acknowledged} acknowledged, ${report.deliveries} deliveries, as promised` : story,
    );
  };
  try {
    const results = await runScenario(scenario, seeds, values.short ? SHORT : FULL, tell, values.verbose ? say : undefined);
    rows.push(rowOf(scenario, results));
  } catch (error) {
    failed++;
    say(`  could not be run: ${(error as Error).stack}`);
    rows.push([`${scenario.id} ${scenario.title}`, 'NOT RUN']);
  }
  say(`  ${((performance.now() - began) / 1_000).toFixed(0)} s`);
}
say(`\n${tableOf(rows)}`);
say(failed === 0 ? 'as promised' : `${failed} runs went wrong`);
process.exit(failed === 0 ? 0 : 1);
