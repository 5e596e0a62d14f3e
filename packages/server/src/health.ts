import type { LifecycleState } from './observe/metrics.ts';

/** What the probes ask; each a cheap, synchronous look. */
export interface HealthFacts {
  state(): LifecycleState;
  /** False after a write failed, until one succeeds. */
  storeWritable(): boolean;
  /** False while the instance is past its lease, or cannot confirm that it knows of every change of rights. */
  mayServe(): boolean;
  certificateNotAfterMs(): number | undefined;
  /** Worst event loop delay of the last second. */
  lagMs(): number;
  /** Event loop delay that lasts for five seconds. */
  lastingLagMs(): number;
  nowMs(): number;
}

export interface Verdict {
  readonly ok: boolean;
  /** Every reason that stands against it, in plain words; `ok` when there is none. */
  readonly reasons: readonly string[];
}

/** The three questions that a supervisor and a load balancer ask. */
export interface Probes {
  started(): Verdict;
  ready(): Verdict;
  alive(): Verdict;
}

/** The probes of one instance. */
export function probesOf(facts: HealthFacts): Probes {
  return { started: () => started(facts), ready: () => ready(facts), alive: () => alive(facts) };
}

/**
 * 500 ms that last: ten times a busy second's worst delay; behind that, logins time out and traffic should go to a peer. A burst
 * alone, as when a thousand clients come back at once, makes all instances late at once, and to refuse them all helps nobody.
 */
export const MAX_READY_LAG_MS = 500;
/** 30 s: an event loop that far behind is stuck, and only a restart helps. */
export const MAX_ALIVE_LAG_MS = 30_000;

/** Has the instance come up once? Stays true while it drains. */
export function started(facts: HealthFacts): Verdict {
  return verdict([facts.state() === 'starting' ? 'starting' : undefined]);
}

/** Should new streams come here? */
export function ready(facts: HealthFacts): Verdict {
  const state = facts.state();
  const notAfterMs = facts.certificateNotAfterMs();
  return verdict([
    state === 'ready' ? undefined : state,
    facts.storeWritable() ? undefined : 'the store cannot be written',
    facts.mayServe() ? undefined : 'the store does not answer: nothing is served until it does',
    notAfterMs !== undefined && notAfterMs <= facts.nowMs() ? 'the server certificate has expired' : undefined,
    facts.lastingLagMs() > MAX_READY_LAG_MS ? `the event loop is ${Math.round(facts.lastingLagMs())} ms behind` : undefined,
  ]);
}

/** Would a restart help? The event loop alone decides: a failing store must not restart every instance. */
export function alive(facts: HealthFacts): Verdict {
  return verdict([facts.lagMs() > MAX_ALIVE_LAG_MS ? `the event loop is ${Math.round(facts.lagMs())} ms behind` : undefined]);
}

function verdict(reasons: readonly (string | undefined)[]): Verdict {
  const found = reasons.filter((reason) => reason !== undefined);
  return { ok: found.length === 0, reasons: found };
}
