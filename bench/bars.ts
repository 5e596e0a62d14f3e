/**
 * What the project wants to reach, beside which every report prints what it measured. Costs are CPU seconds of the
 * server's processes and its Redis on a machine with two cores that also carries the load generator. `limit` was measured with
 * throw-away prototypes in Node, `peer` is the best of ejabberd 23.01 and Prosody 0.12 on the same machine.
 */
export interface Bar {
  readonly unit: string;
  /** Which way is good. */
  readonly better: 'less' | 'more';
  /** What version 0.1 must keep, where that differs from `bar`. */
  readonly first?: number;
  readonly bar: number;
  readonly aim: number;
  readonly limit?: string;
  readonly peer?: string;
}

const CPU_PER_MILLION = 'CPU-s per million';

export const BARS = {
  'fan-out singles': { unit: CPU_PER_MILLION, better: 'less', first: 22, bar: 18, aim: 14, limit: '12.8', peer: '48' },
  'fan-out singles, 5,000 consumers': { unit: CPU_PER_MILLION, better: 'less', bar: 25, aim: 21, limit: '20 to 21', peer: '46' },
  'fan-out bursts': {
    unit: CPU_PER_MILLION,
    better: 'less',
    first: 8,
    bar: 6,
    aim: 3.5,
    limit: '2.5 to 3.8',
    peer: 'as singles',
  },
  'fan-out singles, acknowledged': { unit: CPU_PER_MILLION, better: 'less', bar: 24, aim: 18 },
  'publish rate': { unit: 'per second', better: 'more', bar: 2500, aim: 6000, peer: '1,085' },
  'publish cost': { unit: 'CPU-s per 1,000', better: 'less', first: 0.8, bar: 0.6, aim: 0.6, peer: '1.0' },
  'publish rate, Redis': { unit: 'per second', better: 'more', bar: 3000, aim: 6000, peer: '1,085' },
  'publish cost, Redis': { unit: 'CPU-s per 1,000', better: 'less', bar: 0.6, aim: 0.6, peer: '1.0' },
  'login SCRAM': { unit: 'CPU-s per 1,000', better: 'less', bar: 1.5, aim: 1.1, limit: '0.9', peer: '1.9 to 2.2' },
  'login EXTERNAL': { unit: 'CPU-s per 1,000', better: 'less', bar: 2.6, aim: 2.0, limit: '1.6' },
  'idle SCRAM': { unit: 'KiB per session', better: 'less', first: 85, bar: 70, aim: 55, limit: '39 to 44', peer: '65 to 70' },
  'idle EXTERNAL': { unit: 'KiB per session', better: 'less', bar: 85, aim: 65, limit: '59 to 67' },
  ping: { unit: CPU_PER_MILLION, better: 'less', bar: 45, aim: 25, peer: '75' },
} as const satisfies Record<string, Bar>;

export type BarName = keyof typeof BARS;

/** How a value stands: the best of the three that it reaches. */
export function verdict(name: BarName, value: number): 'aim met' | 'bar met' | 'first bar met' | 'missed' {
  const bar: Bar = BARS[name];
  const reaches = (goal: number) => (bar.better === 'less' ? value <= goal : value >= goal);
  if (reaches(bar.aim)) return 'aim met';
  if (reaches(bar.bar)) return 'bar met';
  return bar.first !== undefined && reaches(bar.first) ? 'first bar met' : 'missed';
}
