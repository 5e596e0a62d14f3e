import { Element, serialize, serializeStanza } from '@xmpp-grid/stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fuzz, mutate, randomOf, seeds } from '../../fuzz/tokenizer.ts';
import { libxmlPicture, ourPicture, read, saxesPicture } from '../../fuzz/xml-oracles.ts';

const HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/** Without U+FEFF, which libxml2-wasm drops at the beginning of a text when it decodes it for JavaScript. */
const isChar = (text: string) => !/[^\t\n\r\u0020-\uD7FF\uE000-\uFEFE\uFF00-\uFFFD\u{10000}-\u{10FFFF}]/u.test(text);
const value = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }).filter(isChar),
  fc.string({
    unit: fc.constantFrom('\t', '\n', '\r', '&', '<', '>', '"', "'", ']', 'x', '\u{1F600}', '\u0085'),
    maxLength: 8,
  }),
);
const localName = fc.constantFrom('a', 'b', 'item', 'x-y', '\u00e9', '_', 'constructor', '__proto__', '\u{10400}z');
const prefix = fc.constantFrom('', 'p:', 'q:');

interface Shape {
  name: string;
  attributes: [string, string][];
  children: (Shape | string)[];
}
const { shape } = fc.letrec<{ shape: Shape }>((tie) => ({
  shape: fc.record({
    name: fc.tuple(prefix, localName).map((parts) => parts.join('')),
    attributes: fc.array(
      fc.tuple(
        fc.tuple(prefix, localName).map((parts) => parts.join('')),
        value,
      ),
      { maxLength: 4 },
    ),
    children: fc.array(fc.oneof({ depthSize: 'small' }, value, tie('shape')), { maxLength: 4 }),
  }),
}));

function build({ name, attributes, children }: Shape): Element {
  const element = new Element(name, { 'xmlns:p': 'urn:p', 'xmlns:q': "urn:q?a=1&b='2'" });
  for (const [key, text] of attributes)
    Object.defineProperty(element.attrs, key, { value: text, enumerable: true, configurable: true });
  for (const child of children) {
    if (typeof child === 'string') element.t(child);
    else element.cnode(build(child));
  }
  return element;
}

describe('properties of the tokenizer and the serialiser', () => {
  it('a tree that was built survives serialising and reading, with every parser (RFC 6120 §11.3)', () => {
    fc.assert(
      fc.property(shape, (tree) => {
        const built = build(tree);
        built.attrs.xmlns = 'urn:root';
        const bytes = Buffer.from(`${HEADER}${serialize(built)}</stream:stream>`);
        const { stanzas, fault } = read(bytes, [bytes.length]);
        expect(fault).toBeUndefined();
        const want = ourPicture(built);
        expect(ourPicture(stanzas[0]!)).toEqual(want);
        expect(saxesPicture(bytes.toString(), true)!.children).toEqual([want]);
        expect(libxmlPicture(bytes).children).toEqual([want]);
        expect(serializeStanza(built).toString()).toBe(serialize(built));
      }),
      { numRuns: 300 },
    );
  });

  it('the same events for the same bytes, however they are cut up', () => {
    fc.assert(
      fc.property(
        fc.array(shape, { maxLength: 3 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
        (trees, sizes) => {
          const bytes = Buffer.from(`${HEADER}${trees.map((tree) => serialize(build(tree))).join(' ')}`);
          expect(read(bytes, sizes).log).toEqual(read(bytes, [bytes.length]).log);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('any bytes at all: no crash, the same fault for any chunking, payloads that stand by themselves', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        fuzz(bytes);
        fuzz(Buffer.concat([Buffer.from(HEADER), bytes]));
      }),
      { numRuns: 300 },
    );
  });

  it('mutated streams: the same', () => {
    const corpus = seeds();
    const random = randomOf(8600);
    for (let run = 0; run < 800; run++) fuzz(mutate(corpus, random));
  });
});

describe('the work of a chunking', () => {
  /** Counts what the tokenizer copies: with a rescan or a copy per chunk this would grow with the square of the size. */
  function bytesCopied(total: number): number {
    let copied = 0;
    const original = Buffer.prototype.copy;
    function counting(this: Buffer, target: Uint8Array, ...range: number[]): number {
      const count = original.call(this, target, ...range);
      copied += count;
      return count;
    }
    Buffer.prototype.copy = counting;
    try {
      const bytes = Buffer.from(`${HEADER}<iq><b k='${'x'.repeat(total)}'>${'y'.repeat(total)}</b></iq>`);
      const { log } = read(bytes, [1]);
      expect(log).toHaveLength(2);
    } finally {
      Buffer.prototype.copy = original;
    }
    return copied;
  }

  it('byte by byte, bytes are moved a bounded number of times each (design §8)', () => {
    // A doubling buffer moves each byte less than twice on average.
    for (const total of [1 << 10, 1 << 14, 1 << 16]) expect(bytesCopied(total) / (2 * total)).toBeLessThan(2);
  });
});
