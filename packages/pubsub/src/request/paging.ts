/** Paging of lists: from RSM to the store's pages, and over lists that are at hand. */

import { type RsmRequest, renderRsm, StanzaError } from '@xmpp-grid/stream';
import type { Element } from 'ltx';
import type { Page, PageRequest } from '../store/topic-store.ts';

/** The page to read: as asked, at most `cap` entries; the first page when nothing was asked (XEP-0030 §6.2). */
export function pageRequest(rsm: RsmRequest | undefined, cap: number): PageRequest {
  if (rsm === undefined) return { max: cap };
  const { max, ...place } = rsm;
  return { ...place, max: Math.min(max ?? cap, cap) };
}

/** @throws StanzaError `item-not-found` (XEP-0059 §2.4) */
export function knownPage<T>(page: Page<T> | 'unknown-key'): Page<T> {
  if (page === 'unknown-key') throw new StanzaError('item-not-found');
  return page;
}

/**
 * The `<set/>` that goes with a page. None when everything is on the page and nobody asked for RSM, nor when there is
 * nothing at all (XEP-0059 §2.2: the answer then follows the wrapper protocol alone).
 */
export function pageSet<T>(page: Page<T>, rsm: RsmRequest | undefined, uid: (entry: T) => string): Element | undefined {
  if (page.count === 0 || (rsm === undefined && page.entries.length >= page.count)) return undefined;
  const first = page.entries[0];
  const last = page.entries.at(-1);
  const ends = first === undefined || last === undefined ? {} : { ends: { first: uid(first), last: uid(last) } };
  return renderRsm({ index: page.index, count: page.count, ...ends });
}

/** A page of a list that is at hand and sorted by `uid`. A key that is gone is continued from its place. */
export function pageOfList<T>(list: readonly T[], request: PageRequest, uid: (entry: T) => string): Page<T> {
  const count = list.length;
  const firstThat = (isPast: (uidOfEntry: string) => boolean): number => {
    const at = list.findIndex((entry) => isPast(uid(entry)));
    return at < 0 ? count : at;
  };
  const { after, before, index, max } = request;
  if (before !== undefined) {
    const end = before === '' ? count : firstThat((each) => each >= before);
    const start = Math.max(0, end - max);
    return { entries: list.slice(start, end), count, index: start };
  }
  const start = after !== undefined ? firstThat((each) => each > after) : Math.min(index ?? 0, count);
  return { entries: list.slice(start, start + max), count, index: start };
}
