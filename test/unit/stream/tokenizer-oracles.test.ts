import { describe, expect, it } from 'vitest';
import { mutate, randomOf, seeds } from '../../fuzz/tokenizer.ts';
import { libxmlPicture, ourPicture, read, saxesPicture } from '../../fuzz/xml-oracles.ts';

/** Enough to meet every hostile piece many times over; a second or two. */
const INPUTS = 6000;

/** saxes trims namespace names; we take them as they are (Namespaces in XML §2.3). */
const ODD_NAMESPACE = /xmlns[^=<>]*=\s*(?:"[\s&]|'[\s&]|"[^"]*[\s;]"|'[^']*[\s;]')/u;

const corpus = seeds();
const random = randomOf(20260);
const inputs = Array.from({ length: INPUTS }, () => mutate(corpus, random));

/** Up to the end tag of the root: what follows is none of ours, and would be a fault of the document for the others. */
function wholeStream(bytes: Buffer) {
  const ours = read(bytes, [1]);
  return ours.isClosed ? { ours, bytes: bytes.subarray(0, ours.fedBytes) } : undefined;
}

/** libxml2 also judges namespace names as URIs, which is no matter of well-formedness (Namespaces in XML §9): undefined then. */
function libxmlUnlessUri(bytes: Buffer) {
  try {
    return libxmlPicture(bytes);
  } catch (error) {
    if (error instanceof Error && /is not a valid URI|is not absolute/.test(error.message)) return undefined;
    throw error;
  }
}

const stanzasOf = (root: { children: readonly unknown[] }) => root.children.filter((child) => typeof child !== 'string');

describe('tokenizer beside other parsers, RFC 6120 §11.3 (C-062, C-063)', () => {
  it('the seeds themselves read the same with saxes and libxml2', () => {
    for (const seed of corpus) {
      const { ours, bytes } = wholeStream(seed)!;
      const pictures = ours.stanzas.map(ourPicture);
      expect(pictures.length).toBeGreaterThan(0);
      expect(stanzasOf(saxesPicture(bytes.toString('utf8'), true)!)).toEqual(pictures);
      expect(stanzasOf(libxmlPicture(bytes))).toEqual(pictures);
    }
  });

  it('what it accepts, saxes and libxml2 accept and read the same', () => {
    let compared = 0;
    let comparedWithBoth = 0;
    for (const input of inputs) {
      const stream = wholeStream(input);
      if (stream === undefined || ODD_NAMESPACE.test(input.toString('latin1'))) continue;
      const pictures = stream.ours.stanzas.map(ourPicture);
      expect(stanzasOf(saxesPicture(stream.bytes.toString('utf8'), true)!)).toEqual(pictures);
      compared++;
      const libxml = libxmlUnlessUri(stream.bytes);
      if (libxml === undefined) continue;
      expect(stanzasOf(libxml)).toEqual(pictures);
      comparedWithBoth++;
    }
    expect(comparedWithBoth).toBeGreaterThan(INPUTS / 30);
    expect(compared).toBeGreaterThan(INPUTS / 30);
  });

  it('what it refuses as not well-formed, saxes refuses too', () => {
    let compared = 0;
    for (const input of inputs) {
      const { fault } = read(input, [input.length]);
      if (fault === undefined || !['not-well-formed', 'bad-utf8'].includes(fault.kind)) continue;
      // A document may have these; a stream has only stanzas between its stanzas (RFC 6120 §11.7).
      if (/between stanzas/.test(fault.message)) continue;
      expect(
        () => {
          const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(input);
          saxesPicture(text, true);
        },
        `${fault.message}: ${JSON.stringify(input.toString('latin1'))}`,
      ).toThrow();
      compared++;
    }
    expect(compared).toBeGreaterThan(INPUTS / 10);
  });
});
