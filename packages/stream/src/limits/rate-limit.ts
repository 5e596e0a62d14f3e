import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/**
 * Rate limits by GCRA (the generic cell rate algorithm): one number per key, the theoretical arrival time.
 * Local to this instance (design D12). RFC 6120 §13.12.
 */

export interface Rate {
  /** Units per second in the long run; over 0. */
  readonly perSecond: number;
  /** Units that may come at once after a rest; at least 1. */
  readonly burst: number;
}

/**
 * Decides about one arrival of `cost` units.
 *
 * @param tat the key's theoretical arrival time, ms; 0 for a new key
 * @returns the new theoretical arrival time, and how long (ms) this arrival comes too early: 0 when it conforms.
 */
export function arrive(rate: Rate, tat: number, nowMs: number, cost: number): { readonly tat: number; readonly earlyMs: number } {
  const perUnitMs = 1_000 / rate.perSecond;
  const next = Math.max(tat, nowMs) + cost * perUnitMs;
  return { tat: next, earlyMs: Math.max(0, next - nowMs - rate.burst * perUnitMs) };
}

export const LIMITERS = ['connections', 'bandwidth'] as const;
export type Limiter = (typeof LIMITERS)[number];
const SCOPES = { connections: 'ip', bandwidth: 'session' } as const satisfies Record<Limiter, string>;
type Action = 'close' | 'delay';

/** `xmppgrid_ratelimit_*`: one set of metrics for all limiters, labels from closed lists. */
export class RateLimitMetrics {
  readonly #checked: Record<Limiter, () => void>;
  readonly #rejected: Counter<'limiter' | 'scope' | 'action'>;
  readonly #delay: Histogram<'limiter'>;
  readonly #tracked: Gauge<'limiter'>;
  readonly #evicted: Counter<'limiter'>;
  readonly #perSecond: Gauge<'limiter'>;
  readonly #burst: Gauge<'limiter'>;

  constructor(registry: Registry) {
    const registers = [registry];
    const checked = new Counter({
      name: 'xmppgrid_ratelimit_checked_total',
      help: 'Arrivals that a rate limit judged',
      labelNames: ['limiter', 'scope'],
      registers,
    });
    const counter = (limiter: Limiter) => {
      const child = checked.labels(limiter, SCOPES[limiter]);
      return () => child.inc();
    };
    this.#checked = { connections: counter('connections'), bandwidth: counter('bandwidth') };
    this.#rejected = new Counter({
      name: 'xmppgrid_ratelimit_rejected_total',
      help: 'Arrivals beyond a rate limit, by what was done about them',
      labelNames: ['limiter', 'scope', 'action'],
      registers,
    });
    this.#delay = new Histogram({
      name: 'xmppgrid_ratelimit_delay_seconds',
      help: 'How long a stream was not read from because of a rate limit',
      labelNames: ['limiter'],
      buckets: [0.01, 0.05, 0.1, 0.5, 1, 5, 10],
      registers,
    });
    this.#tracked = new Gauge({
      name: 'xmppgrid_ratelimit_tracked_keys',
      help: 'Keys that a rate limit remembers',
      labelNames: ['limiter'],
      registers,
    });
    this.#evicted = new Counter({
      name: 'xmppgrid_ratelimit_evicted_keys_total',
      help: 'Keys forgotten because the table was full',
      labelNames: ['limiter'],
      registers,
    });
    this.#perSecond = new Gauge({
      name: 'xmppgrid_ratelimit_limit_per_second',
      help: 'Configured rate',
      labelNames: ['limiter'],
      registers,
    });
    this.#burst = new Gauge({ name: 'xmppgrid_ratelimit_burst', help: 'Configured burst', labelNames: ['limiter'], registers });
  }

  configured(limiter: Limiter, rate: Rate): void {
    this.#perSecond.set({ limiter }, rate.perSecond);
    this.#burst.set({ limiter }, rate.burst);
  }

  checked(limiter: Limiter): void {
    this.#checked[limiter]();
  }

  rejected(limiter: Limiter, action: Action): void {
    this.#rejected.inc({ limiter, scope: SCOPES[limiter], action });
  }

  delayed(limiter: Limiter, seconds: number): void {
    this.#delay.observe({ limiter }, seconds);
  }

  tracked(limiter: Limiter, keys: number): void {
    this.#tracked.set({ limiter }, keys);
  }

  evicted(limiter: Limiter): void {
    this.#evicted.inc({ limiter });
  }
}

/** Keys that a table holds at most: 100,000 addresses take some 10 MiB. */
const MAX_KEYS = 100_000;

/** A rate for each of many keys. A key at rest is forgotten; a full table forgets the one that arrived longest ago. */
export class KeyedRateLimit {
  readonly #rate: Rate;
  readonly #limiter: Limiter;
  readonly #metrics: RateLimitMetrics | undefined;
  /** Key → theoretical arrival time, in order of the last arrival. */
  readonly #tats = new Map<string, number>();

  constructor(limiter: Limiter, rate: Rate, metrics?: RateLimitMetrics) {
    this.#limiter = limiter;
    this.#rate = rate;
    this.#metrics = metrics;
    metrics?.configured(limiter, rate);
  }

  get size(): number {
    return this.#tats.size;
  }

  /** Whether the arrival conforms; one that does not is not counted against the key. */
  allows(key: string, nowMs: number): boolean {
    this.#metrics?.checked(this.#limiter);
    const { tat, earlyMs } = arrive(this.#rate, this.#tats.get(key) ?? 0, nowMs, 1);
    if (earlyMs > 0) {
      this.#metrics?.rejected(this.#limiter, 'close');
      return false;
    }
    this.#tats.delete(key);
    this.#tats.set(key, tat);
    this.#forget(nowMs);
    return true;
  }

  #forget(nowMs: number): void {
    // The oldest first: two at rest go for each one that comes, so the table follows the traffic down.
    let looked = 0;
    for (const [key, tat] of this.#tats) {
      const isFull = this.#tats.size > MAX_KEYS;
      if (!isFull && (tat > nowMs || ++looked > 2)) break;
      if (tat > nowMs) this.#metrics?.evicted(this.#limiter);
      this.#tats.delete(key);
    }
    this.#metrics?.tracked(this.#limiter, this.#tats.size);
  }
}
