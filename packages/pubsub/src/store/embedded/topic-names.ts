import type { Page, PageRequest } from '../topic-store.ts';

/**
 * Orders strings as their UTF-8 bytes are ordered: by code point. JavaScript's own order differs where a character
 * outside the Basic Multilingual Plane meets one of U+E000 to U+FFFF.
 */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return isSurrogate(x) === isSurrogate(y) ? x - y : isSurrogate(x) ? 1 : -1;
  }
  return a.length - b.length;
}

const isSurrogate = (unit: number) => unit >= 0xd800 && unit <= 0xdfff;

/** Index of the first name that is not before `name`. */
function lowerBound(names: readonly string[], name: string): number {
  let low = 0;
  let high = names.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareUtf8(names[middle]!, name) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The names of all topics, sorted, in memory: about 100 bytes a topic, so that a page of a list costs neither a walk
 * over the store nor the decoding of records. What a filter lets through is kept as long as the same function asks and no
 * topic comes or goes.
 */
export class TopicNames {
  #sorted: string[];
  #filtered = new WeakMap<(node: string) => boolean, readonly string[]>();

  /** `sorted`: in order of UTF-8 bytes. */
  constructor(sorted: string[]) {
    this.#sorted = sorted;
  }

  add(node: string): void {
    const at = lowerBound(this.#sorted, node);
    if (this.#sorted[at] === node) return;
    this.#sorted.splice(at, 0, node);
    this.#filtered = new WeakMap();
  }

  remove(node: string): void {
    const at = lowerBound(this.#sorted, node);
    if (this.#sorted[at] !== node) return;
    this.#sorted.splice(at, 1);
    this.#filtered = new WeakMap();
  }

  page(request: PageRequest, visible: (node: string) => boolean): Page<string> {
    const names = this.#visible(visible);
    const count = names.length;
    const [from, to] = bounds(names, request);
    return { entries: names.slice(from, to), count, index: Math.min(from, count) };
  }

  #visible(visible: (node: string) => boolean): readonly string[] {
    let names = this.#filtered.get(visible);
    if (!names) {
      names = this.#sorted.filter(visible);
      this.#filtered.set(visible, names);
    }
    return names;
  }
}

function bounds(names: readonly string[], { max, after, before, index }: PageRequest): readonly [number, number] {
  if (after !== undefined) {
    const at = lowerBound(names, after);
    const from = names[at] === after ? at + 1 : at;
    return [from, from + max];
  }
  if (before !== undefined) {
    const to = before === '' ? names.length : lowerBound(names, before);
    return [Math.max(0, to - max), to];
  }
  const from = index ?? 0;
  return [from, from + max];
}
