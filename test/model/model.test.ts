/**
 * Random operations of many parties on a running instance equal the reference model: every answer, every notification, and that
 * nobody else is notified (G-039). `npm run model` runs any number from any seed.
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { check, replay, tableOf } from './checker.ts';
import type { Operation } from './operations.ts';
import { type RunningGrid, startGrid } from './start-grid.ts';

describe.each([
  ['grid', 1, 1_200],
  ['compat', 1_001, 800],
] as const)('a Broker of profile %s does what the model does (G-039)', (profile, seed, operations) => {
  let grid: RunningGrid;
  beforeAll(async () => {
    grid = await startGrid(profile);
  });
  afterAll(() => grid.stop());

  it(`${operations} operations from seed ${seed}`, { timeout: 240_000 }, async () => {
    const report = await check(grid, seed, operations, (line) => process.stdout.write(`${line}\n`));
    process.stdout.write(
      `model, profile ${profile}, seed ${seed}: ${report.operations} operations, ${report.notifications} notifications\n${tableOf(report.counts)}\n`,
    );
    expect(report.failure).toBeUndefined();
    expect(report.operations).toBe(operations);
    expect(report.notifications).toBeGreaterThan(operations / 10);
  });

  it('notices a difference: a model of the other profile', async () => {
    const script: Operation[] = [
      { do: 'login', by: 'ophelia/r1', sm: false, presence: true },
      { do: 'request', by: 'ophelia/r1', request: { verb: 'create', node: 'a1', fields: { access_model: 'open' } } },
    ];
    const difference = await replay({ ...grid, profile: profile === 'grid' ? 'compat' : 'grid' }, script);
    expect(difference?.what).toContain('unsupported-access-model');
  });
});
