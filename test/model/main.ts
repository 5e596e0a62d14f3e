/**
 * The model checker by command: any number of operations from any seed, counts by verb and outcome, and the shortest script of
 * the first difference.
 *
 *     npm run model -- --operations 20000 --seed 7 [--profile compat] [--instances 3] [--rest 200]
 */

import { parseArgs } from 'node:util';
import { check, tableOf } from './checker.ts';
import { startGrid } from './start-grid.ts';

const { values } = parseArgs({
  options: {
    operations: { type: 'string', default: '10000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    profile: { type: 'string', default: 'grid' },
    instances: { type: 'string', default: '1' },
    rest: { type: 'string', default: '0' },
    help: { type: 'boolean', default: false },
  },
});
const USAGE = `usage: npm run model -- [--operations N (10000)] [--seed S (random)] [--profile grid|compat (grid)]
                          [--instances N (1)] [--rest MS (0)]
  --instances  so many on one Redis, which is started for them; 1 has a store of its own
  --rest       before each operation up to so many milliseconds pass, drawn at random
`;
if (values.help) {
  process.stdout.write(USAGE);
  process.exit(0);
}
const operations = Number(values.operations);
const seed = Number(values.seed);
const instances = Number(values.instances);
const mostRestMs = Number(values.rest);
const { profile } = values;
if (
  !Number.isSafeInteger(operations) ||
  operations < 1 ||
  !Number.isSafeInteger(instances) ||
  instances < 1 ||
  instances > 10 ||
  !Number.isSafeInteger(mostRestMs) ||
  mostRestMs < 0 ||
  !Number.isSafeInteger(seed) ||
  (profile !== 'grid' && profile !== 'compat')
) {
  process.stderr.write(USAGE);
  process.exit(64);
}

process.stdout.write(`seed ${seed}, ${operations} operations, profile ${profile}, ${instances} instances\n`);
const grid = await startGrid(profile, instances);
try {
  const report = await check({ ...grid, mostRestMs }, seed, operations, (line) => process.stdout.write(`${line}\n`));
  process.stdout.write(`${tableOf(report.counts)}\n`);
  process.stdout.write(`${report.operations} operations, ${report.notifications} notifications\n`);
  process.stdout.write(report.failure === undefined ? 'no difference\n' : `${report.failure}\n`);
  process.exitCode = report.failure === undefined ? 0 : 1;
} finally {
  await grid.stop();
}
