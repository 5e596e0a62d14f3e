import { describe, expect, it } from 'vitest';
import { BARS, type Bar, type BarName, verdict } from '../../../bench/bars.ts';

describe('bars of the bench', () => {
  it.each(Object.entries(BARS) as [BarName, Bar][])(
    '%s: the aim is no easier than the bar, the bar no easier than that of v0.1',
    (_name, bar) => {
      const goodness = (value: number) => (bar.better === 'less' ? -value : value);
      expect(goodness(bar.aim)).toBeGreaterThanOrEqual(goodness(bar.bar));
      if (bar.first !== undefined) expect(goodness(bar.bar)).toBeGreaterThanOrEqual(goodness(bar.first));
    },
  );

  it.each<[BarName, number, string]>([
    ['fan-out singles', 14, 'aim met'],
    ['fan-out singles', 14.1, 'bar met'],
    ['fan-out singles', 18.1, 'first bar met'],
    ['fan-out singles', 22.1, 'missed'],
    ['ping', 45.1, 'missed'],
    ['publish rate', 6000, 'aim met'],
    ['publish rate', 2500, 'bar met'],
    ['publish rate', 2499, 'missed'],
  ])('%s of %d: %s', (name, value, want) => {
    expect(verdict(name, value)).toBe(want);
  });
});
