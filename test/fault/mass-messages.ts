import type { CheckReport, Delivery } from './checker.ts';

/** What the mass run asks of a process full of platforms, and what it is told. */
export type MassAsk =
  | {
      readonly kind: 'connect';
      readonly first: number;
      readonly count: number;
      /** Platform number i hears nodes[i % nodes.length]. */
      readonly nodes: readonly string[];
      readonly ports: readonly number[];
      readonly domain: string;
      readonly broker: string;
      readonly ca: string;
      readonly seed: number;
    }
  /** Where to come back to, from now on. */
  | { readonly kind: 'ports'; readonly ports: readonly number[] }
  /** Answered once everybody is connected again, after having been cut off, and has an event that was sent since. */
  | { readonly kind: 'caught-up'; readonly sinceMs: number; readonly deadlineMs: number }
  /** The log of each topic, as the auditor has it; answered with the judgement. */
  | { readonly kind: 'judge'; readonly log: readonly Delivery[]; readonly deadlineMs: number };

export interface MassAnswers {
  readonly connect: { readonly connected: number };
  readonly ports: null;
  readonly 'caught-up': { readonly back: number; readonly of: number };
  readonly judge: CheckReport;
}

export type MassAnswer =
  | { readonly id: number; readonly answer: MassAnswers[MassAsk['kind']] }
  | { readonly id: number; readonly error: string };

/** The item's id carries when it was sent: by the monotonic clock, which all processes of a machine share. */
export const massItemId = (node: string, count: number): string => `${node}.${count}.${Math.round(monotonicMs())}`;
export const sentMsOf = (itemId: string): number => Number(itemId.slice(itemId.lastIndexOf('.') + 1));

export const monotonicMs = (): number => {
  const [seconds, nanos] = process.hrtime();
  return seconds * 1e3 + nanos / 1e6;
};
