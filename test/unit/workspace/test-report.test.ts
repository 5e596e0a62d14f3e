/** The last line of `npm test` and of CI: what may look green, and what may not. */
import { describe, expect, it } from 'vitest';
import { countTests } from '../../../scripts/test-report.mjs';

const report = (...files: { status: string; tests: string[] }[]) =>
  JSON.stringify({
    testResults: files.map(({ status, tests }) => ({ status, assertionResults: tests.map((each) => ({ status: each })) })),
  });

describe('the counts of a test run', () => {
  it.each([
    ['all passed', report({ status: 'passed', tests: ['passed', 'passed'] }), 0, { passed: 2, failed: 0, skipped: 0 }],
    ['one failed', report({ status: 'failed', tests: ['passed', 'failed'] }), 1, { passed: 1, failed: 1, skipped: 0 }],
    ['one skipped', report({ status: 'passed', tests: ['passed', 'pending', 'todo'] }), 0, { passed: 1, failed: 0, skipped: 2 }],
    [
      'a file that did not load',
      report({ status: 'passed', tests: ['passed'] }, { status: 'failed', tests: [] }),
      1,
      { passed: 1, failed: 1, skipped: 0 },
    ],
    ['an error outside any test', report({ status: 'passed', tests: ['passed'] }), 1, { passed: 1, failed: 1, skipped: 0 }],
    ['all skipped', report({ status: 'passed', tests: ['pending'] }), 0, { passed: 0, failed: 1, skipped: 1 }],
    ['no test at all', report(), 0, { passed: 0, failed: 1, skipped: 0 }],
    ['no report', undefined, 0, { passed: 0, failed: 1, skipped: 0 }],
  ])('%s', (_name, json, exitCode, counts) => {
    expect(countTests(json, exitCode)).toEqual(counts);
  });
});
