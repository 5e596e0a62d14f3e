/**
 * Random bytes against the tokenizer. For each input: no crash but XmlFault; the same events and the same fault however it
 * is cut up, with wide and with narrow limits; payloads stand by themselves and say the same as the tree; saxes accepts
 * what we accept and reads the same.
 *
 *     npm run fuzz -- --seconds 30 --seed 1
 */

import { readdirSync, readFileSync } from 'node:fs';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { type Element, OpaqueElement, serialize, type XmlLimits } from '@xmpp-grid/stream';
import { ourPicture, type Reading, read, saxesPicture } from './xml-oracles.ts';

const NARROW: XmlLimits = { maxStanzaBytes: 300, hardStanzaBytes: 600, maxDepth: 6, maxAttributes: 4, maxNameBytes: 40 };
/** Every child of a child of a stanza is a payload: deep enough to inherit, shallow enough to happen often. */
const isGrandparent = (parent: Element): boolean => parent.parent !== null && parent.parent.parent === null;

/** Throws when the tokenizer breaks one of its promises on this input. */
export function fuzz(input: Uint8Array): void {
  const bytes = Buffer.from(input);
  const whole = read(bytes, [bytes.length]);
  // Sizes that follow from the input, so that an input that fails once fails always.
  let mix = bytes.reduce((sum, byte) => (Math.imul(sum, 31) + byte) | 0, 7);
  const sizes = Array.from({ length: 32 }, () => {
    mix = Math.imul(mix ^ (mix >>> 13), 0x5bd1e995);
    return 1 + ((mix >>> 0) % 37);
  });
  const single = read(bytes, [1]);
  same('one byte at a time', whole, single);
  same('other chunks', whole, read(bytes, sizes));
  const narrow = read(bytes, [bytes.length], NARROW, isGrandparent);
  same('narrow limits, one byte at a time', narrow, read(bytes, [1], NARROW, isGrandparent));
  same('narrow limits, other chunks', narrow, read(bytes, sizes, NARROW, isGrandparent));
  const opaque = read(bytes, [bytes.length], undefined, isGrandparent);
  same('payloads, one byte at a time', opaque, read(bytes, [1], undefined, isGrandparent));
  same('payloads, other chunks', opaque, read(bytes, sizes, undefined, isGrandparent));
  if (opaque.fault?.message !== whole.fault?.message) throw new Error('payloads change the fault');
  whole.stanzas.forEach((stanza, index) => {
    checkPayloads(stanza, opaque.stanzas[index]!);
    checkRoundTrip(stanza);
  });
  // Up to the last event: saxes reports some faults before a tag is complete, and we when it is.
  if (whole.fault === undefined) checkSaxes(bytes.subarray(0, single.fedBytes), whole);
}

function same(what: string, one: Reading, other: Reading): void {
  if (!isDeepStrictEqual(one.log, other.log)) {
    throw new Error(`${what}: the events differ\n${one.log.join('\n')}\n--- and ---\n${other.log.join('\n')}`);
  }
}

function checkPayloads(tree: Element, withPayloads: Element): void {
  tree.children.forEach((child, index) => {
    const other = withPayloads.children[index];
    if (typeof child === 'string' || typeof other === 'string' || other === undefined) return;
    if (!(other instanceof OpaqueElement)) {
      checkPayloads(child, other);
      return;
    }
    if (other.invalid !== undefined) return;
    const alone = read(Buffer.concat([Buffer.from('<x>'), other.bytes, Buffer.from('</x>')]), [1 << 30]);
    const sole = alone.stanzas[0];
    if (alone.fault !== undefined || sole === undefined)
      throw new Error('a payload that does not stand by itself', { cause: alone.fault });
    if (!isDeepStrictEqual(ourPicture(child), ourPicture(sole)))
      throw new Error('a payload that says something else than the tree');
    if (!isDeepStrictEqual(other.attrs, sole.attrs)) throw new Error('a payload whose attributes are not those of its bytes');
  });
}

function checkRoundTrip(stanza: Element): void {
  const again = read(Buffer.from(`<x xmlns='jabber:client'>${serialize(stanza)}`), [1 << 30]);
  const sole = again.stanzas[0];
  if (sole === undefined) throw new Error('our own serialiser wrote what our tokenizer refuses', { cause: again.fault });
  // A stanza in no namespace at all takes the stream's, since there is no way to say so on the wire without changing it.
  if (stanza.attrs.xmlns === undefined) return;
  if (!isDeepStrictEqual(ourPicture(stanza), ourPicture(sole)))
    throw new Error('a stanza that changed on its way through the serialiser');
}

/** saxes trims namespace names; Namespaces in XML compares them as they are (§2.3), and so do we. */
const SPACED_NAMESPACE = /xmlns[^=<>]*=\s*(?:"[\s&]|'[\s&]|"[^"]*[\s;]"|'[^']*[\s;]')/u;

function checkSaxes(bytes: Buffer, ours: Reading): void {
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  if (SPACED_NAMESPACE.test(text)) return;
  const root = saxesPicture(text, ours.isClosed);
  if (!ours.isClosed) return;
  const stanzas = root!.children.filter((child) => typeof child !== 'string');
  if (!isDeepStrictEqual(stanzas, ours.stanzas.map(ourPicture))) throw new Error('saxes reads something else');
}

/** Pieces that have broken parsers before. */
const HOSTILE = [
  '<!-- -->',
  '<!DOCTYPE x>',
  '<!DOCTYPE x [<!ENTITY a "b">]>',
  '<?pi x?>',
  "<?xml version='1.0'?>",
  "<?xml version='1.0' encoding='UTF-16'?>",
  '<![CDATA[',
  ']]>',
  ']]',
  ']',
  '>',
  '<',
  '</',
  '/>',
  '&',
  ';',
  '&lt;',
  '&amp;',
  '&apos;',
  '&#0;',
  '&#x10FFFF;',
  '&#xD800;',
  '&#xFFFF;',
  '&#13;',
  '&#65;',
  '&foo;',
  '&#x41',
  "'",
  '"',
  '=',
  ' ',
  '\r',
  '\n',
  '\r\n',
  '\t',
  '\0',
  '\x01',
  '\x7f',
  '\u0085',
  '\u00e9',
  '\u2028',
  '\ufeff',
  '\u{1F600}',
  " a=''",
  " a='1' a='2'",
  " xmlns=''",
  " xmlns='u'",
  " xmlns:a='u'",
  " xmlns:b='u'",
  " xmlns:a=''",
  " xmlns:xml='u'",
  " xmlns:xmlns='u'",
  " xmlns:c='http://www.w3.org/XML/1998/namespace'",
  " xmlns:xml='http://www.w3.org/XML/1998/namespace'",
  " a:x='1'",
  " b:x='2'",
  ' stream:x="3"',
  " xml:lang='de'",
  " __proto__='1'",
  " constructor='2'",
  '<a:b>',
  '</a:b>',
  '<a:b:c/>',
  '<:a/>',
  '<a:/>',
  '<a:1/>',
  '<stream:a/>',
  '<\u00e9/>',
  '<b>',
  '</b>',
  '<b/>',
  '<iq>',
  '</iq>',
  '</stream:stream>',
  '<stream:stream>',
  "<x xmlns='v'><y/></x>",
  'text',
]
  .map((text) => Buffer.from(text))
  .concat(
    [
      [0xc0, 0x80],
      [0xed, 0xa0, 0x80],
      [0xf4, 0x90, 0x80, 0x80],
      [0xef, 0xbf, 0xbe],
      [0xef, 0xbf, 0xbf],
      [0xe2, 0x82],
      [0xff],
      [0xfe, 0xff],
      [0x80],
    ].map((raw) => Buffer.from(raw)),
  );

export type Random = () => number;

/** A small generator with a seed (mulberry32): numbers from 0 up to 1, the same for the same seed. */
export function randomOf(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Changes a few places of a seed: bytes flipped, cut out, doubled, hostile pieces put in, another seed spliced on. */
export function mutate(seeds: readonly Buffer[], random: Random): Buffer {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  let bytes = Buffer.from(pick(seeds));
  for (let changes = Math.floor(random() * 5); changes >= 0; changes--) {
    const at = Math.floor(random() * (bytes.length + 1));
    const until = Math.min(bytes.length, at + Math.floor(random() * 24));
    const choice = random();
    let piece: Buffer = bytes.subarray(at, until);
    if (choice < 0.55) piece = Buffer.concat([pick(HOSTILE), random() < 0.5 ? piece : Buffer.alloc(0)]);
    else if (choice < 0.7) piece = Buffer.alloc(0);
    else if (choice < 0.8) piece = Buffer.concat([piece, piece]);
    else if (choice < 0.9) piece = Buffer.from(piece.map((byte) => byte ^ (random() < 0.2 ? 1 << Math.floor(random() * 8) : 0)));
    else {
      const other = pick(seeds);
      const from = Math.floor(random() * other.length);
      piece = other.subarray(from, from + Math.floor(random() * 200));
    }
    bytes = Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(until)]);
  }
  return bytes;
}

const HEADER =
  "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:a='urn:a' to='grid.example' version='1.0' xml:lang='en'>";
const SMALL = [
  '<presence/>',
  "<message to='a@grid.example'><body>one &lt; two &#x263A; </body></message>",
  "<iq id='1'><x xmlns='u' xmlns:p='v'><p:y p:k='1' k='2' a:k='3'>t<![CDATA[<&>]]]]>t</p:y><z xmlns=''/></x></iq>",
  '<iq id="2" ><a:x\n b = \'c\'\t><a:y ></a:y\n></a:x ></iq >',
  "<iq><x><stream:y xml:lang='de'>\u00e9\u2028\u{1F600}</stream:y><y>\r\n</y></x></iq> \n ",
];

/** The examples of RFC 8600 and a few stanzas that use every corner of the grammar, as whole streams. */
export function seeds(): Buffer[] {
  const folder = new URL('../fixtures/rfc8600/', import.meta.url);
  const examples = readdirSync(folder)
    .filter((name) => name.endsWith('.xml'))
    .map((name) => readFileSync(new URL(name, folder), 'utf8'));
  return [...SMALL, SMALL.join('\n'), ...examples].map((body) => Buffer.from(`${HEADER}${body}</stream:stream>`));
}

function main(): void {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '30' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000_000) },
    },
  });
  const seed = Number(values.seed);
  const deadline = Date.now() + Number(values.seconds) * 1000;
  const random = randomOf(seed);
  const corpus = seeds();
  let executions = 0;
  let accepted = 0;
  console.log(`seed ${seed}, ${values.seconds} s`);
  while (Date.now() < deadline) {
    const input = mutate(corpus, random);
    executions++;
    try {
      fuzz(input);
    } catch (error) {
      console.error(`execution ${executions} failed on\n${JSON.stringify(input.toString('latin1'))}\n`, error);
      process.exitCode = 1;
      return;
    }
    if (read(input, [input.length]).fault === undefined) {
      accepted++;
      // What got through is worth changing further.
      if (corpus.length < 2000 && random() < 0.1 && input.length < 4000) corpus.push(input);
    }
  }
  console.log(`${executions} executions, ${accepted} accepted, none failed`);
}

if (import.meta.main) main();
