import { StoreFormatError } from '@xmpp-grid/pubsub';
import { RedisRefused, StoreUnavailable } from '@xmpp-grid/stream';
import { AdminError } from '../admin/operations.ts';
import { ConfigError } from '../config-load.ts';
import { ClusterFailed } from '../local-cluster/cluster-failed.ts';
import { StoreError } from '../store-error.ts';
import { WorkerFailed } from '../workers/worker-failed.ts';
import { UsageError } from './command.ts';

/** What the shell gets. 78 is EX_CONFIG of sysexits.h. */
export const EXIT = { ok: 0, failure: 1, usage: 2, config: 78 } as const;

/** Says what went wrong and what to do, and with which code to exit. Only a bug shows its stack. */
export function explain(error: unknown): { readonly lines: readonly string[]; readonly exitCode: number } {
  if (error instanceof UsageError) return { lines: [error.message], exitCode: EXIT.usage };
  if (error instanceof ConfigError) return { lines: error.problems, exitCode: EXIT.config };
  if (error instanceof RedisRefused) return { lines: [error.message], exitCode: EXIT.config };
  if (error instanceof StoreUnavailable) return { lines: [`${error.message}; is the store there?`], exitCode: EXIT.failure };
  if (error instanceof ClusterFailed) return { lines: error.message.split('\n'), exitCode: EXIT.failure };
  if (error instanceof WorkerFailed) return { lines: error.message.split('\n'), exitCode: error.exitCode };
  if (error instanceof StoreError || error instanceof StoreFormatError || error instanceof AdminError)
    return { lines: [error.message], exitCode: EXIT.failure };
  const failure = error as NodeJS.ErrnoException & { address?: string; port?: number };
  const where = failure.port === undefined ? (failure.address ?? '') : `port ${failure.port} on ${failure.address ?? '?'}`;
  switch (failure.syscall === undefined ? undefined : failure.code) {
    case 'EADDRINUSE':
      return {
        lines: [
          `${where} is in use: stop the program that uses it, or choose another port (--port, --direct-tls-port, --http-port)`,
        ],
        exitCode: EXIT.failure,
      };
    case 'EACCES':
      if (failure.syscall !== 'listen') break;
      return { lines: [`${where} needs more rights than this user has: choose a port above 1023`], exitCode: EXIT.failure };
    case 'EADDRNOTAVAIL':
      return { lines: [`${where}: this machine has no such address (--bind, listeners.*.host)`], exitCode: EXIT.config };
    default:
  }
  if (failure.syscall !== undefined) return { lines: [failure.message], exitCode: EXIT.failure };
  return { lines: [error instanceof Error ? (error.stack ?? error.message) : String(error)], exitCode: EXIT.failure };
}
