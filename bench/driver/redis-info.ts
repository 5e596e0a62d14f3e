/** What Redis tells of itself in the answers to INFO. */

/** How often a command ran, and for how long in all. */
export interface CommandUse {
  readonly calls: number;
  readonly micros: number;
}

/** By command, most frequent first where it tells of a stretch of time. */
export type CommandUses = Readonly<Record<string, CommandUse>>;

/**
 * Use of each command from INFO commandstats. Commands that scripts ran are among them, under their own names.
 *
 * @throws Error when the text is not that section
 */
export function parseCommandUses(info: string): CommandUses {
  if (!/^# Commandstats/m.test(info)) throw new Error('not the answer to INFO commandstats');
  const lines = info.matchAll(/^cmdstat_([^:]+):calls=(\d+),usec=(\d+),/gm);
  return Object.fromEntries(
    Array.from(lines, ([, name, calls, micros]) => [name!, { calls: Number(calls), micros: Number(micros) }]),
  );
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
export function addUses(parts: readonly CommandUses[]): CommandUses {
  const sum: Record<string, CommandUse> = {};
  for (const part of parts) {
    for (const [name, { calls, micros }] of Object.entries(part)) {
      const { calls: c, micros: m } = sum[name] ?? { calls: 0, micros: 0 };
      sum[name] = { calls: c + calls, micros: m + micros };
    }
  }
  return sum;
}

/** What was used between two readings; commands that were not called are left out. */
export function usesBetween(before: CommandUses, after: CommandUses): CommandUses {
  const uses = Object.entries(after).map(([name, { calls, micros }]) => {
    const { calls: c, micros: m } = before[name] ?? { calls: 0, micros: 0 };
    return [name, { calls: calls - c, micros: micros - m }] as const;
  });
  return Object.fromEntries(uses.filter(([, { calls }]) => calls > 0).sort(([, a], [, b]) => b.calls - a.calls));
}
