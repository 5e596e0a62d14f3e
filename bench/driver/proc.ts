import { readFileSync } from 'node:fs';

/** What Linux knows of a process: CPU time and memory, read from /proc. */

/** USER_HZ: fixed at 100 by the kernel's interface to user space on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;

/** CPU time and threads of one process. Seconds, in steps of 0.01. */
export interface CpuTimes {
  readonly user: number;
  readonly system: number;
}

/** Memory of one process. Bytes. */
export interface MemoryUse {
  readonly rss: number;
  readonly peakRss: number;
  /** Resident pages that belong to no file: heap, buffers, stacks. */
  readonly anonymous: number;
}

/**
 * Reads utime and stime from the text of /proc/PID/stat.
 * The command's name stands in parentheses and may itself hold spaces and parentheses, so fields count from the last `)`.
 *
 * @throws Error when the text is not such a line
 */
export function parseStat(text: string): CpuTimes {
  const fields = text
    .slice(text.lastIndexOf(')') + 1)
    .trim()
    .split(/\s+/);
  const user = Number(fields[11]); // field 14 of proc(5); field 3 is the first after the name
  const system = Number(fields[12]);
  if (!text.includes(')') || !Number.isFinite(user) || !Number.isFinite(system)) throw new Error('not a line of /proc/PID/stat');
  return { user: user / TICKS_PER_SECOND, system: system / TICKS_PER_SECOND };
}

/** Reads the memory lines of /proc/PID/status. @throws Error when VmRSS is missing (a kernel thread, or a dead process) */
export function parseStatus(text: string): MemoryUse {
  const kib = (name: string): number | undefined => {
    const value = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1];
    return value === undefined ? undefined : Number(value) * 1024;
  };
  const rss = kib('VmRSS');
  if (rss === undefined) throw new Error('/proc/PID/status has no VmRSS line');
  return { rss, peakRss: kib('VmHWM') ?? rss, anonymous: kib('RssAnon') ?? rss };
}

/** CPU seconds that a process has used, user and system, all threads. @throws Error (ENOENT) when it has ended */
export function cpuSeconds(pid: number): number {
  const { user, system } = parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  return user + system;
}

/** @throws Error (ENOENT) when the process has ended */
export function memoryUse(pid: number): MemoryUse {
  return parseStatus(readFileSync(`/proc/${pid}/status`, 'latin1'));
}

/**
 * Reads from the text of /proc/stat how long all cores together have been busy, in seconds since boot: everything but idle
 * and waiting for disks, and what a hypervisor gave to others.
 *
 * @throws Error when the text does not begin with the line of all cores
 */
export function parseMachineCpu(text: string): number {
  const line = /^cpu {2}([\d ]+)$/m.exec(text)?.[1];
  const fields = line?.trim().split(/\s+/).map(Number) ?? [];
  if (fields.length < 8) throw new Error('not the text of /proc/stat');
  // proc(5): user nice system idle iowait irq softirq steal; guest time is in user already.
  return [0, 1, 2, 5, 6, 7].reduce((sum, field) => sum + fields[field]!, 0) / TICKS_PER_SECOND;
}

/** CPU seconds that the whole machine has spent on anything since boot. */
export function machineCpuSeconds(): number {
  return parseMachineCpu(readFileSync('/proc/stat', 'latin1'));
}
