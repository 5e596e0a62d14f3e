import type { RootDatabaseOptions } from 'lmdb';

/**
 * How the one lmdb environment of an instance must be opened for the adapters that keep their promises in it.
 *
 * Commits are synchronous with the disk, on lmdb's own thread, so that what is visible is durable and a failed flush fails
 * its commit: with overlapping flushes lmdb-js resolves `flushed` on success only and otherwise never. Batching by event
 * turn is off because the rejection of a failed commit would escape as an unhandled one and end the process.
 */
export const ENVIRONMENT_OPTIONS = {
  maxDbs: 64,
  overlappingSync: false,
  eventTurnBatching: false,
} as const satisfies RootDatabaseOptions;
