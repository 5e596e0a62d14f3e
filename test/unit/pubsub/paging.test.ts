import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { requestKey } from '../../../packages/pubsub/src/payload/type-check.ts';
import { pageOfList, pageRequest, pageSet } from '../../../packages/pubsub/src/request/paging.ts';

const LIST = ['b', 'd', 'f', 'h'];
const uid = (entry: string) => entry;

describe('pages of a list at hand, XEP-0059 §2', () => {
  it.each<[string, Parameters<typeof pageOfList>[1], string[], number]>([
    ['the first page', { max: 3 }, ['b', 'd', 'f'], 0],
    ['after an entry', { max: 2, after: 'b' }, ['d', 'f'], 1],
    ['after an entry that is gone: from its place (§2.4)', { max: 2, after: 'c' }, ['d', 'f'], 1],
    ['after the last', { max: 2, after: 'h' }, [], 4],
    ['before an entry', { max: 2, before: 'h' }, ['d', 'f'], 1],
    ['before an entry that is gone', { max: 2, before: 'g' }, ['d', 'f'], 1],
    ['before the first', { max: 2, before: 'b' }, [], 0],
    ['the last page', { max: 3, before: '' }, ['d', 'f', 'h'], 1],
    ['by index', { max: 2, index: 3 }, ['h'], 3],
    ['past the end by index', { max: 2, index: 9 }, [], 4],
    ['none', { max: 0 }, [], 0],
  ])('%s', (_, request, entries, index) => {
    expect(pageOfList(LIST, request, uid)).toEqual({ entries, count: 4, index });
  });

  it('walking either way meets every entry once, whatever the size of a page', () => {
    const lists = fc.uniqueArray(fc.string({ minLength: 1 }), { maxLength: 30 }).map((list) => list.sort());
    fc.assert(
      fc.property(lists, fc.integer({ min: 1, max: 7 }), (list, max) => {
        const forwards: string[] = [];
        for (;;) {
          const last = forwards.at(-1);
          const { entries, index } = pageOfList(list, last === undefined ? { max } : { max, after: last }, uid);
          if (entries.length === 0) break;
          expect(index).toBe(forwards.length);
          forwards.push(...entries);
        }
        const backwards: string[] = [];
        for (;;) {
          const { entries } = pageOfList(list, { max, before: backwards[0] ?? '' }, uid);
          if (entries.length === 0) break;
          backwards.unshift(...entries);
        }
        expect(forwards).toEqual(list);
        expect(backwards).toEqual(list);
      }),
    );
  });
});

describe('the page that is read for a request', () => {
  it('has a cap, with RSM and without (XEP-0030 §6.2, X-006)', () => {
    expect(pageRequest(undefined, 50)).toEqual({ max: 50 });
    expect(pageRequest({}, 50)).toEqual({ max: 50 });
    expect(pageRequest({ max: 1000, after: 'a' }, 50)).toEqual({ max: 50, after: 'a' });
    expect(pageRequest({ max: 0 }, 50)).toEqual({ max: 0 });
  });

  it('is told of by <set/> where it is not everything, or RSM was asked for', () => {
    const page = (entries: string[], count: number) => ({ entries, count, index: 0 });
    expect(pageSet(page(LIST, 4), undefined, uid)).toBeUndefined();
    expect(pageSet(page(['b'], 4), undefined, uid)?.toString()).toContain('<count>4</count>');
    expect(pageSet(page(LIST, 4), {}, uid)?.getChildText('last')).toBe('h');
    expect(pageSet(page([], 0), {}, uid)).toBeUndefined(); // §2.2: an empty set follows the wrapper protocol
    expect(pageSet(page([], 4), { max: 0 }, uid)?.getChild('first')).toBeUndefined();
  });
});

describe('what tells a retry from a new request, delivery.md §2.3', () => {
  const payload = (text: string) => ({ bytes: Buffer.from(text) });
  it('depends on account, IQ id, topic, item id or none, and payload; parts do not run into each other', () => {
    const keys = [
      requestKey('a@x', '1', 'n', 'i', payload('<p/>')),
      requestKey('b@x', '1', 'n', 'i', payload('<p/>')),
      requestKey('a@x', '2', 'n', 'i', payload('<p/>')),
      requestKey('a@x', '1', 'm', 'i', payload('<p/>')),
      requestKey('a@x', '1', 'n', 'j', payload('<p/>')),
      requestKey('a@x', '1', 'n', undefined, payload('<p/>')),
      requestKey('a@x', '1', 'n', '-', payload('<p/>')),
      requestKey('a@x', '1', 'n', 'i', payload('<q/>')),
      requestKey('a@x', '1', 'n', 'i', undefined),
      requestKey('a@x1', '', 'n', 'i', payload('<p/>')),
      requestKey('a@x', '1n', '', 'i', payload('<p/>')),
      requestKey('a@x', '1', 'n', 'i<', payload('p/>')),
    ];
    expect(new Set(keys).size).toBe(keys.length);
    expect(requestKey('a@x', '1', 'n', 'i', payload('<p/>'))).toBe(keys[0]);
  });
});
