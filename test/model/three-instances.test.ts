/**
 * Three instances on one Redis are one Broker: parties come, go, break off and resume on whichever instance, some of them at the
 * same time, and every answer and notification is what the reference model says (G-039). `npm run model -- --instances 3` runs
 * any number from any seed.
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasRedis } from '../support/start-redis.ts';
import { check, tableOf } from './checker.ts';
import { type RunningGrid, startGrid } from './start-grid.ts';

const SEED = 9;
const OPERATIONS = 600;

describe.skipIf(!hasRedis())('three instances on one Redis do what the model does (G-039)', () => {
  let grid: RunningGrid;
  beforeAll(async () => {
    grid = await startGrid('grid', 3);
  });
  afterAll(() => grid.stop());

  it(`${OPERATIONS} operations from seed ${SEED}`, { timeout: 240_000 }, async () => {
    const report = await check(grid, SEED, OPERATIONS, (line) => process.stdout.write(`${line}\n`));
    process.stdout.write(
      `model, three instances, seed ${SEED}: ${report.operations} operations, ${report.notifications} notifications\n${tableOf(report.counts)}\n`,
    );
    expect(report.failure).toBeUndefined();
    expect(report.operations).toBe(OPERATIONS);
    expect(report.notifications).toBeGreaterThan(OPERATIONS / 10);
    expect(report.counts.get('together')).toBeGreaterThan(OPERATIONS / 50);
    expect(report.counts.get('resume')).toBeGreaterThan(0);
  });
});
