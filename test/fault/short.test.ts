import { describe, expect, it } from 'vitest';
import { hasRedis } from '../support/start-redis.ts';
import { rowOf, tableOf } from './report.ts';
import { runScenario, SHORT } from './scenario.ts';
import { SCENARIOS } from './scenarios/index.ts';

/**
 * One seed of a few faults; all of them, with more seeds and under more load: `npm run test:fault`. The control loses on
 * purpose: it shows that the checker would see a loss.
 */
const SELECTION = ['F1', 'F2', 'F4', 'F4m', 'F13'];

describe.skipIf(!hasRedis(true))('faults, over three instances on Redis', () => {
  it.each(SCENARIOS.filter(({ id }) => SELECTION.includes(id)))('$id $title', { timeout: 240_000 }, async (scenario) => {
    const results = await runScenario(scenario, [1], SHORT);
    console.log(tableOf([rowOf(scenario, results)]));
    expect(results.flatMap(({ story }) => (story === '' ? [] : [story]))).toEqual([]);
  });
});
