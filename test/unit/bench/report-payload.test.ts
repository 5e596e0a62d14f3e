import { describe, expect, it } from 'vitest';
import { MARK_BYTES } from '../../../bench/driver/event-scanner.ts';
import { makeReport, seededRandom } from '../../../bench/driver/report-payload.ts';

describe('reports of the bench', () => {
  it.each([700, 1024, 60_000])('have exactly %i bytes with their mark', (bytes) => {
    const { before, after } = makeReport(bytes, 1);
    expect(Buffer.byteLength(before) + MARK_BYTES + Buffer.byteLength(after)).toBe(bytes);
  });

  it('are the same for the same seed and differ for another', () => {
    expect(makeReport(1024, 5)).toEqual(makeReport(1024, 5));
    expect(makeReport(1024, 5)).not.toEqual(makeReport(1024, 6));
  });

  it('refuse a size that the elements alone exceed', () => {
    expect(() => makeReport(100, 1)).toThrow(RangeError);
  });

  it('draw numbers from 0 to below 1', () => {
    const random = seededRandom(42);
    for (let i = 0; i < 1000; i++) {
      const value = random();
      expect(value >= 0 && value < 1).toBe(true);
    }
  });
});
