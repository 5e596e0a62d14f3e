import { describe, expect, it } from 'vitest';
import { Checker, type Delivery } from './checker.ts';

/** A checker that cannot fail proves nothing: each rule sees its own fault, and no other. */

const delivery = (seq: number, more: Partial<Delivery> = {}): Delivery => ({
  node: 'n',
  seq,
  entryId: `${seq}-aa`,
  itemId: `item-${seq}`,
  messageId: `tag.${seq}-aa`,
  atMs: seq,
  incarnation: 1,
  ...more,
});

/** Three entries in the log, all acknowledged; `c` receives what the test says. */
function check(receives: readonly Delivery[], log: readonly Delivery[] = [1, 2, 3].map((seq) => delivery(seq))) {
  const checker = new Checker();
  checker.expect('c', ['n']);
  checker.expect('auditor', ['n']);
  for (const seq of [1, 2, 3]) {
    checker.sent(`item-${seq}`, seq);
    checker.acknowledged('n', `item-${seq}`, seq);
  }
  for (const each of receives) checker.delivered('c', each);
  for (const each of log) checker.delivered('auditor', each);
  const report = checker.report('auditor');
  const { acknowledged, deliveries, faults, oldestRepeatMs, ...counts } = report;
  return { found: Object.fromEntries(Object.entries(counts).filter(([, count]) => count !== 0)), faults };
}

describe('the checker', () => {
  it('finds nothing where all came in order', () => {
    expect(check([1, 2, 3].map((seq) => delivery(seq)))).toEqual({ found: {}, faults: [] });
  });

  it('sees a loss', () => {
    expect(check([delivery(1), delivery(3)]).found).toEqual({ missing: 1 });
  });

  it('sees disorder', () => {
    expect(check([delivery(1), delivery(3), delivery(2)]).found).toEqual({ outOfOrder: 1 });
  });

  it('counts a repeat of a later session, and blames one within a session', () => {
    const all = [delivery(1), delivery(2), delivery(3)];
    expect(check([...all, delivery(3, { incarnation: 2 })])).toEqual({ found: { repeated: 1 }, faults: [] });
    expect(check([...all, delivery(3)]).found).toEqual({ repeated: 1, repeatedInSession: 1 });
  });

  it('blames a repeat that has another message id', () => {
    const { faults } = check([delivery(1), delivery(2), delivery(3), delivery(3, { incarnation: 2, messageId: 'other' })]);
    expect(faults).toHaveLength(1);
  });

  it('sees an acknowledged publish that the log lost, and the phantom that a consumer had of it', () => {
    const kept = [1, 2].map((seq) => delivery(seq));
    expect(check([...kept, delivery(3)], kept).found).toEqual({ vanished: 1, phantoms: 1 });
  });

  it('sees a publish that is in the log twice', () => {
    const log = [delivery(1), delivery(2), delivery(3), delivery(4, { itemId: 'item-3' })];
    expect(check(log, log).found).toEqual({ doubled: 1 });
  });

  it('sees an event without a subscription', () => {
    expect(check([delivery(1), delivery(2), delivery(3), delivery(1, { node: 'other' })]).faults).toEqual([
      'c got other/1-aa without a subscription',
    ]);
  });
});
