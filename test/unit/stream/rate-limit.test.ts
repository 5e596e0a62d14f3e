import { arrive, KeyedRateLimit, RateLimitMetrics } from '@xmpp-grid/stream';
import fc from 'fast-check';
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';

describe('GCRA, design D12 (C-079, C-083, G-086)', () => {
  it('lets a burst through, then one at a time', () => {
    const rate = { perSecond: 10, burst: 3 };
    let tat = 0;
    const early: number[] = [];
    for (const now of [1_000, 1_000, 1_000, 1_000, 1_100]) {
      const next = arrive(rate, tat, now, 1);
      early.push(next.earlyMs);
      if (next.earlyMs === 0) tat = next.tat;
    }
    expect(early).toEqual([0, 0, 0, 100, 0]);
  });

  it('never passes more than the burst and the rate allow, whatever the arrivals', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(300), { maxLength: 300 }), (gaps) => {
        const rate = { perSecond: 20, burst: 5 };
        let now = 0;
        let tat = 0;
        const passed: number[] = [];
        for (const gap of gaps) {
          now += gap;
          const next = arrive(rate, tat, now, 1);
          if (next.earlyMs > 0) continue;
          tat = next.tat;
          passed.push(now);
        }
        for (let i = 0; i < passed.length; i++) {
          const first = passed[i] as number;
          const within = passed.filter((at) => at >= first && at < first + 1_000).length;
          if (within > rate.burst + rate.perSecond) return false;
        }
        return true;
      }),
    );
  });

  it('keeps keys apart, forgets those at rest, and counts', async () => {
    const registry = new Registry();
    const limit = new KeyedRateLimit('connections', { perSecond: 1, burst: 1 }, new RateLimitMetrics(registry));
    expect(limit.allows('a', 0)).toBe(true);
    expect(limit.allows('a', 10)).toBe(false);
    expect(limit.allows('b', 10)).toBe(true);
    for (let i = 0; i < 1_000; i++) limit.allows(`k${i}`, 10_000 + i * 2_000);
    expect(limit.size).toBeLessThan(5);
    const metrics = await registry.metrics();
    expect(metrics).toContain('xmppgrid_ratelimit_rejected_total{limiter="connections",scope="ip",action="close"} 1');
    expect(metrics).toContain('xmppgrid_ratelimit_checked_total{limiter="connections",scope="ip"} 1003');
    expect(metrics).toContain('xmppgrid_ratelimit_limit_per_second{limiter="connections"} 1');
  });
});
