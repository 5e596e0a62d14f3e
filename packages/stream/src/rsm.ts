/** Result set management (XEP-0059 1.0): `<set/>` in requests and results. */
import { Element } from 'ltx';
import { StanzaError } from './errors/stanza-error.ts';
import { NS } from './xml/ns.ts';

export interface RsmRequest {
  /** Most entries wanted; 0 asks for the count alone (§2.7). Undefined: as many as the service gives. */
  readonly max?: number;
  /** §2.2 */
  readonly after?: string;
  /** §2.3; '' asks for the last page (§2.5). */
  readonly before?: string;
  /** §2.6 */
  readonly index?: number;
}

export interface RsmResult {
  /** Position of the first entry of the page in the whole set. */
  readonly index: number;
  /** UIDs of the first and the last entry; undefined for an empty page, which names neither (§2.2). */
  readonly ends?: { readonly first: string; readonly last: string };
  readonly count: number;
}

/** A UID is at most as long as the longest node name or item id. */
const MAX_UID_BYTES = 4096;

function integer(set: Element, name: 'max' | 'index'): number | undefined {
  const element = set.getChild(name, NS.rsm);
  if (element === undefined || element === null) return undefined;
  const text = element.getText().trim();
  // xs:unsignedInt in the schema (§8)
  if (!/^\d{1,10}$/.test(text)) throw new StanzaError('bad-request', { text: `<${name}/> takes a non-negative integer` });
  return Number(text);
}

function uid(set: Element, name: 'after' | 'before'): string | undefined {
  const element = set.getChild(name, NS.rsm);
  if (element === undefined || element === null) return undefined;
  const text = element.getText();
  if (Buffer.byteLength(text) > MAX_UID_BYTES) throw new StanzaError('item-not-found'); // never was one (§2.4)
  return text;
}

/**
 * Reads the `<set/>` of a request, looked for among the children of `wrapper`.
 *
 * @returns undefined when the request does not use RSM
 * @throws StanzaError `bad-request` for a number that is none, or more than one of `<after/>`, `<before/>`, `<index/>`
 */
export function parseRsm(wrapper: Element): RsmRequest | undefined {
  const set = wrapper.getChild('set', NS.rsm);
  if (set === undefined || set === null) return undefined;
  const max = integer(set, 'max');
  const index = integer(set, 'index');
  const after = uid(set, 'after');
  const before = uid(set, 'before');
  if ([index, after, before].filter((given) => given !== undefined).length > 1) {
    throw new StanzaError('bad-request', { text: 'more than one of <after/>, <before/> and <index/>' });
  }
  return {
    ...(max === undefined ? {} : { max }),
    ...(index === undefined ? {} : { index }),
    ...(after === undefined || after === '' ? {} : { after }), // §2.2: none and "before the first" are the same
    ...(before === undefined ? {} : { before }),
  };
}

/** Renders the `<set/>` of a result: `first`, `last` only when the page has entries, `count` always (§2.2). */
export function renderRsm(result: RsmResult): Element {
  const set = new Element('set', { xmlns: NS.rsm });
  if (result.ends) {
    set.c('first', { index: String(result.index) }).t(result.ends.first);
    set.c('last').t(result.ends.last);
  }
  set.c('count').t(String(result.count));
  return set;
}
