import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { join } from 'node:path';

/** The file in a part's directory that has its process id. */
export const PID_FILE = 'pid';
const POLL_MS = 20;
const GONE_TIMEOUT_MS = 5_000;

/**
 * Ends the processes of a cluster whose command was killed before it could: each is known by the id in its part's directory, and works
 * in that directory, so that no other process that has the id by now is meant. Only where there is /proc. Resolves with how many.
 */
export async function endLeftovers(directory: string): Promise<number> {
  const parts = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const left = parts.flatMap(({ name }) => {
    const part = join(directory, name);
    const pid = readPid(part);
    return pid !== undefined && worksIn(pid, part) ? [{ pid, part }] : [];
  });
  for (const { pid } of left) process.kill(pid, 'SIGKILL');
  const deadline = performance.now() + GONE_TIMEOUT_MS;
  while (left.some(({ pid, part }) => worksIn(pid, part)) && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return left.length;
}

function readPid(part: string): number | undefined {
  try {
    const pid = Number(readFileSync(join(part, PID_FILE), 'utf8'));
    return Number.isSafeInteger(pid) && pid > 1 ? pid : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function worksIn(pid: number, part: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(part);
  } catch {
    return false; // gone, another user's, or a system without /proc
  }
}
