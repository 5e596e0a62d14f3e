import { describe, expect, it } from 'vitest';
import { housekeepingShare } from '../../../packages/server/src/housekeeping-share.ts';

const topics = Array.from({ length: 3_000 }, (_, i) => `incident/${i}`);
const ownedBy = (id: string, live: readonly string[]) => {
  const share = housekeepingShare({ id, live: () => live });
  return new Set(topics.filter((node) => share.owns(node)));
};

describe('housekeeping is shared by rendezvous hashing (delivery.md §7.4)', () => {
  const all = ['a1', 'b2', 'c3'];
  const shares = all.map((id) => ownedBy(id, all));

  it('each topic is one instance’s, and the shares are about equal', () => {
    for (const node of topics) expect(shares.filter((share) => share.has(node))).toHaveLength(1);
    for (const share of shares) expect(share.size).toBeGreaterThan(800);
  });

  it('when one goes only its share moves', () => {
    const [a = new Set(), , c = new Set()] = shares;
    for (const [id, before] of [
      ['a1', a],
      ['c3', c],
    ] as const) {
      const after = ownedBy(id, ['a1', 'c3']);
      for (const node of before) expect(after.has(node)).toBe(true);
    }
  });

  it('alone, all of it is its own', () => {
    expect(ownedBy('a1', []).size).toBe(topics.length);
  });
});
