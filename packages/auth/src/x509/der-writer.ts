/** Writes DER (X.690 §10), for certificates and bundles of our own making. */
import { TAG } from './der.ts';

/** One element, its length in shortest form. */
export function element(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents);
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content]);
  const octets: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256);
  return Buffer.concat([Buffer.from([tag, 0x80 | octets.length, ...octets]), content]);
}

/** SEQUENCE of elements. */
export function sequenceOf(...contents: readonly Buffer[]): Buffer {
  return element(TAG.sequence, ...contents);
}

/** SET OF elements, in the order that DER prescribes (X.690 §11.6). */
export function setOf(...contents: readonly Buffer[]): Buffer {
  return element(TAG.set, ...contents.toSorted(Buffer.compare));
}

/** OBJECT IDENTIFIER from its dotted form. */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return element(TAG.oid, Buffer.from([first * 40 + second, ...rest].flatMap(base128)));
}

function base128(arc: number): number[] {
  const octets = [arc % 128];
  for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128)) octets.unshift(0x80 | (rest % 128));
  return octets;
}
