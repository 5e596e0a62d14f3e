export function countTests(json: string | undefined, exitCode: number): { passed: number; failed: number; skipped: number };
