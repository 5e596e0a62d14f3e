import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Checked, HeadChecks } from '../../../packages/pubsub/src/store/redis/head-checks.ts';

interface Topic extends Checked {
  readonly name: number;
}

describe('head checks (delivery.md §3.3)', () => {
  let checks: HeadChecks<Topic>;
  let topics: Topic[];
  let checked: number[];
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'setInterval', 'clearInterval', 'clearTimeout', 'performance'] });
    checked = [];
  });
  afterEach(() => {
    checks.close();
    vi.useRealTimers();
  });

  const start = (count: number, activeFrom = count) => {
    vi.advanceTimersByTime(600_000); // long after the start: what was active then is quiet now
    const nowMs = performance.now();
    topics = Array.from({ length: count }, (_, name) => ({
      name,
      checkedAtMs: nowMs,
      activeAtMs: name >= activeFrom ? nowMs - (count - name) : nowMs - 120_000,
    }));
    checks = new HeadChecks({
      intervalMs: 5_000,
      all: () => ({ size: topics.length, [Symbol.iterator]: () => topics.values() }),
      compare: async (some) => {
        checked.push(...some.map(({ name }) => name));
      },
    });
  };

  it('looks at every topic once in five seconds while there are few', async () => {
    start(100);
    await vi.advanceTimersByTimeAsync(4_900);
    expect(checked).toEqual([]);
    await vi.advanceTimersByTimeAsync(1_100);
    expect([...checked].sort((a, b) => a - b)).toEqual(topics.map(({ name }) => name));
    await vi.advanceTimersByTimeAsync(20_000);
    expect(checked.length).toBeGreaterThanOrEqual(400);
    expect(checked.length).toBeLessThanOrEqual(500);
  });

  it('spends 2,000 a second at most, on all of 100,000 in turn, the recently active first', async () => {
    start(100_000, 99_000);
    checks.due(topics);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(checked.length).toBeGreaterThanOrEqual(1_800);
    expect(checked.length).toBeLessThanOrEqual(2_200);
    const active = topics.slice(99_000).map(({ name }) => name);
    expect(checked.slice(0, 1_000)).toEqual(active.reverse()); // the last one heard of is the first one looked at
    await vi.advanceTimersByTimeAsync(50_000);
    expect(new Set(checked).size).toBe(100_000);
  });

  it('does not look at what is followed no longer, and looks at once at what may have been missed', async () => {
    start(3);
    checks.due(topics);
    checks.drop(topics[2]!);
    await vi.advanceTimersByTimeAsync(10);
    // The first step is under way at once, the rest was dropped in time only if it still waited.
    expect(checked.slice(0, 2)).toEqual([0, 1]);
    checks.due([topics[1]!]);
    await vi.advanceTimersByTimeAsync(200);
    expect(checked.at(-1)).toBe(1);
  });
});
