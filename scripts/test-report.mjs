/** Counts the tests of a vitest JSON report. No imports: boot.mjs loads this before anything is installed. */

/**
 * What ran and how it ended. A file that could not be loaded is one failure, an exit code that no failed test explains is one, and so is
 * a run in which nothing passed: a report that is missing, empty or all skipped must never look green.
 *
 * @param {string | undefined} json vitest's JSON report; undefined when it wrote none
 * @param {number} exitCode vitest's exit code
 * @returns {{ passed: number, failed: number, skipped: number }}
 */
export function countTests(json, exitCode) {
  if (json === undefined) return { passed: 0, failed: 1, skipped: 0 };
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const file of JSON.parse(json).testResults) {
    const failedBefore = counts.failed;
    for (const { status } of file.assertionResults) {
      if (status === 'passed') counts.passed += 1;
      else if (status === 'failed') counts.failed += 1;
      else counts.skipped += 1;
    }
    if (file.status === 'failed' && counts.failed === failedBefore) counts.failed += 1;
  }
  if (counts.failed === 0 && (exitCode !== 0 || counts.passed === 0)) counts.failed = 1;
  return counts;
}
