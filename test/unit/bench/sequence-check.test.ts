import { describe, expect, it } from 'vitest';
import { SequenceCheck } from '../../../bench/driver/sequence-check.ts';

const verdicts = (seqs: readonly number[]) => {
  const check = new SequenceCheck();
  return seqs.map((seq) => check.take(0, seq));
};

describe('sequence check of the bench', () => {
  it('accepts 1, 2, 3 from each source apart', () => {
    const check = new SequenceCheck();
    for (const [source, seq] of [
      [0, 1],
      [1, 1],
      [0, 2],
      [0, 3],
      [1, 2],
    ] as const) {
      expect(check.take(source, seq)).toBe('expected');
    }
  });

  it('counts one loss once', () => {
    expect(verdicts([1, 2, 4, 5])).toEqual(['expected', 'expected', 'gap', 'expected']);
  });

  it('sees a loss of the very first event', () => {
    expect(verdicts([2])).toEqual(['gap']);
  });

  it('sees a repetition', () => {
    expect(verdicts([1, 2, 2, 3])).toEqual(['expected', 'expected', 'repeat', 'expected']);
  });

  it('sees two events that changed places', () => {
    expect(verdicts([1, 3, 2, 4])).toEqual(['expected', 'gap', 'repeat', 'expected']);
  });
});
