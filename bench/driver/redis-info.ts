/** What Redis tells of itself in the answers to INFO. */

/**
 * Calls by command from INFO commandstats. Commands that scripts ran are among them, under their own names.
 *
 * @throws Error when the text is not that section
 */
export function parseCommandCalls(info: string): ReadonlyMap<string, number> {
  if (!/^# Commandstats/m.test(info)) throw new Error('not the answer to INFO commandstats');
  const lines = info.matchAll(/^cmdstat_([^:]+):calls=(\d+),/gm);
  return new Map(Array.from(lines, ([, name, calls]) => [name!, Number(calls)]));
}

/**
 * Memory that data take, from INFO memory: what is allocated, less the buffers of normal clients, of replicas and of the
 * append-only file, which depend on the moment.
 *
 * @throws Error when a line is missing
 */
export function parseDataMemory(info: string): number {
  const field = (name: string): number => {
    const value = new RegExp(`^${name}:(\\d+)\\r?$`, 'm').exec(info)?.[1];
    if (value === undefined) throw new Error(`INFO memory has no line ${name}`);
    return Number(value);
  };
  return field('used_memory') - field('mem_clients_normal') - field('mem_clients_slaves') - field('mem_aof_buffer');
}

/** The sum over several servers, by command. */
export function addCalls(parts: readonly ReadonlyMap<string, number>[]): ReadonlyMap<string, number> {
  const sum = new Map<string, number>();
  for (const part of parts) for (const [name, calls] of part) sum.set(name, (sum.get(name) ?? 0) + calls);
  return sum;
}

/** What was called between two readings; commands that were not called are left out. */
export function callsBetween(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): Readonly<Record<string, number>> {
  const entries = [...after].map(([name, calls]) => [name, calls - (before.get(name) ?? 0)] as const);
  return Object.fromEntries(entries.filter(([, calls]) => calls > 0).sort(([, a], [, b]) => b - a));
}
