import { describe, expect, it } from 'vitest';
import { rowOf, tableOf } from './report.ts';
import { runScenario, SHORT } from './scenario.ts';
import { killEmbedded } from './scenarios/embedded.ts';

/**
 * F1 on the embedded store: the process dies by SIGKILL under load, starts again, everybody comes back. Whatever was
 * acknowledged reaches every consumer in order; what is repeated says so by its stanza id (delivery.md §1.2, G-012, G-029, G-035).
 */
describe('F1 kill -9 of the instance under load', () => {
  it('loses nothing acknowledged, keeps the order, repeats only what was not acknowledged', { timeout: 240_000 }, async () => {
    const results = await runScenario(killEmbedded, [1], SHORT);
    console.log(tableOf([rowOf(killEmbedded, results)]));
    expect(results.flatMap(({ story }) => (story === '' ? [] : [story]))).toEqual([]);
  });
});
