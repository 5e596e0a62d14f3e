import { describe, expect, it } from 'vitest';
import { Latencies } from '../../../bench/driver/latency.ts';

/** The value at the nearest rank of a sorted list: what a percentile of all samples in one place would be. */
const exact = (sorted: readonly number[], percent: number) => sorted[Math.ceil((percent / 100) * sorted.length - 1e-9) - 1]!;

const samples = (count: number, seed: number) => {
  let state = seed;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.round(10 ** ((state / 2 ** 32) * 7)); // 1 µs to 10 s, evenly over the decades
  });
};

describe('latencies of the bench', () => {
  it('are all 0 when nothing was recorded', () => {
    expect(new Latencies().summary()).toEqual({ count: 0, mean: 0, p50: 0, p90: 0, p99: 0, p999: 0, max: 0 });
  });

  it('are exact below 256 µs', () => {
    const all = new Latencies();
    for (let value = 1; value <= 200; value++) all.record(value);
    expect(all.summary()).toMatchObject({ count: 200, mean: 100.5, p50: 100, p90: 180, p99: 198, p999: 200, max: 200 });
  });

  it.each([50, 90, 99, 99.9, 100])('agree with the sorted samples within 0.8 %% at p%d', (percent) => {
    const values = samples(20_000, 1);
    const all = new Latencies();
    for (const value of values) all.record(value);
    const want = exact(
      [...values].sort((a, b) => a - b),
      percent,
    );
    const got = all.percentile(percent);
    expect(got).toBeGreaterThanOrEqual(want);
    expect(got).toBeLessThanOrEqual(want * 1.008);
  });

  it('of several processes merge to what one process would have recorded', () => {
    const whole = new Latencies();
    const merged = new Latencies();
    for (const seed of [1, 2, 3]) {
      const part = new Latencies();
      for (const value of samples(3_000, seed)) {
        whole.record(value);
        part.record(value);
      }
      merged.add(JSON.parse(JSON.stringify(part.counts())));
    }
    expect(merged.summary()).toEqual(whole.summary());
    expect(merged.counts()).toEqual(whole.counts());
  });

  it('refuse counts of a bucket that does not exist', () => {
    expect(() => new Latencies().add({ pairs: [1e9, 1], sum: 0, max: 0 })).toThrow(RangeError);
  });

  it('draw every power of two between the shortest and the longest', () => {
    const all = new Latencies();
    for (const value of [3, 3, 40]) all.record(value);
    expect(all.octaves()).toEqual([
      { fromMicros: 2, count: 2 },
      { fromMicros: 4, count: 0 },
      { fromMicros: 8, count: 0 },
      { fromMicros: 16, count: 0 },
      { fromMicros: 32, count: 1 },
    ]);
  });
});
