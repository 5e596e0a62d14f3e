/**
 * A strict reader for DER (X.690 §10), just wide enough for certificates. It never recurses: a caller opens one level at
 * a time and so bounds the depth by what it asks for. Every function throws `DerError` and nothing else on bad bytes.
 */

/** Bytes that are not the DER they should be. */
export class DerError extends Error {
  override readonly name: string = 'DerError';
}

/** Identifier octets that certificates use. Context-specific ones are made by `contextTag`. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  sequence: 0x30,
  set: 0x31,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
} as const;

/** The identifier octet of a context-specific tag, 0 to 30. */
export function contextTag(number: number, constructed: boolean): number {
  return 0x80 | (constructed ? 0x20 : 0) | number;
}

/** One element; both Buffers are views of the input. */
export interface DerNode {
  /** The identifier octet: class, constructed bit and tag number. */
  readonly tag: number;
  readonly content: Buffer;
  /** Identifier, length and content, as they came. */
  readonly raw: Buffer;
}

/** 16 MiB: above any certificate or revocation list that is read here. */
const MAX_LENGTH = 1 << 24;
/** More children than any certificate field has; large lists are read by a reader of their own. */
const MAX_CHILDREN = 4096;

function readAt(bytes: Buffer, offset: number): DerNode {
  const tag = bytes[offset];
  const first = bytes[offset + 1];
  if (tag === undefined || first === undefined) throw new DerError('element cut off');
  if ((tag & 0x1f) === 0x1f) throw new DerError('tag numbers over 30 are not used in certificates');
  let length = first;
  let start = offset + 2;
  if (first >= 0x80) {
    const count = first & 0x7f;
    if (count === 0) throw new DerError('indefinite length'); // X.690 §10.1
    if (count > 4) throw new DerError('length too large');
    length = 0;
    for (let i = 0; i < count; i++) {
      const byte = bytes[start + i];
      if (byte === undefined) throw new DerError('element cut off');
      length = length * 256 + byte;
    }
    start += count;
    if (length < 0x80 || length < 256 ** (count - 1)) throw new DerError('length not in its shortest form'); // X.690 §10.1
    if (length > MAX_LENGTH) throw new DerError('length too large');
  }
  if (start + length > bytes.length) throw new DerError('element cut off');
  return { tag, content: bytes.subarray(start, start + length), raw: bytes.subarray(offset, start + length) };
}

/** Reads the one element that the bytes are; anything behind it is an error. */
export function readDer(bytes: Buffer): DerNode {
  const node = readAt(bytes, 0);
  if (node.raw.length !== bytes.length) throw new DerError('bytes behind the element');
  return node;
}

/** The elements inside a constructed one, one level deep. */
export function children(node: DerNode): readonly DerNode[] {
  if ((node.tag & 0x20) === 0) throw new DerError('not a constructed element');
  const found: DerNode[] = [];
  let offset = 0;
  while (offset < node.content.length) {
    if (found.length === MAX_CHILDREN) throw new DerError('too many elements');
    const child = readAt(node.content, offset);
    found.push(child);
    offset += child.raw.length;
  }
  return found;
}

/** Checks the tag and gives the element back, for reading in a chain. */
export function expectTag(node: DerNode | undefined, tag: number, what: string): DerNode {
  if (node?.tag !== tag) throw new DerError(`${what}: unexpected or missing element`);
  return node;
}

/** The elements of a SEQUENCE. */
export function sequence(node: DerNode | undefined, what: string): readonly DerNode[] {
  return children(expectTag(node, TAG.sequence, what));
}

/** OBJECT IDENTIFIER in dotted form. @see X.690 §8.19 */
export function readOid(node: DerNode | undefined): string {
  const { content } = expectTag(node, TAG.oid, 'object identifier');
  if (content.length === 0 || content.length > 64) throw new DerError('object identifier of unusable length');
  const arcs: bigint[] = [];
  let arc = 0n;
  let isFirstOctet = true;
  for (const byte of content) {
    if (isFirstOctet && byte === 0x80) throw new DerError('object identifier not in its shortest form');
    arc = arc * 128n + BigInt(byte & 0x7f);
    isFirstOctet = (byte & 0x80) === 0;
    if (isFirstOctet) {
      arcs.push(arc);
      arc = 0n;
    }
  }
  if (!isFirstOctet) throw new DerError('object identifier cut off');
  const [head = 0n, ...rest] = arcs;
  const root = head < 40n ? 0n : head < 80n ? 1n : 2n;
  return [root, head - root * 40n, ...rest].join('.');
}

/** INTEGER as its content in hex, in shortest form; for serial numbers, which are compared and never computed with. */
export function readIntegerHex(node: DerNode | undefined): string {
  const { content } = expectTag(node, TAG.integer, 'integer');
  const [first, second] = content;
  if (first === undefined) throw new DerError('empty integer');
  if (second !== undefined && ((first === 0x00 && second < 0x80) || (first === 0xff && second >= 0x80))) {
    throw new DerError('integer not in its shortest form'); // X.690 §8.3.2
  }
  return content.toString('hex');
}

/** BOOLEAN: FF is true, 00 is false (X.690 §11.1). */
export function readBoolean(node: DerNode | undefined): boolean {
  const { content } = expectTag(node, TAG.boolean, 'boolean');
  if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff)) throw new DerError('boolean neither 00 nor FF');
  return content[0] === 0xff;
}

/** UTF8String; ill-formed UTF-8 is an error. */
export function readUtf8(node: DerNode | undefined): string {
  const { content } = expectTag(node, TAG.utf8String, 'UTF8String');
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
  } catch (cause) {
    throw new DerError('UTF8String is not UTF-8', { cause });
  }
}

/** The content of an IA5String, also an implicitly tagged one: ASCII only, no NUL (a name cut short at it is an old trick). */
export function ia5(content: Buffer): string {
  for (const byte of content) if (byte === 0 || byte > 0x7f) throw new DerError('IA5String has a NUL or a byte beyond ASCII');
  return content.toString('latin1');
}

/** UTCTime or GeneralizedTime in the one form each that RFC 5280 §4.1.2.5 allows; milliseconds since the epoch. */
export function readTime(node: DerNode | undefined): number {
  if (node?.tag !== TAG.utcTime && node?.tag !== TAG.generalizedTime) throw new DerError('time: unexpected or missing element');
  const text = node.content.toString('latin1');
  const isUtcTime = node.tag === TAG.utcTime;
  if (!(isUtcTime ? /^\d{12}Z$/ : /^\d{14}Z$/).test(text)) throw new DerError('time not in the form of RFC 5280');
  const year = isUtcTime ? Number(text.slice(0, 2)) + (text < '5' ? 2000 : 1900) : Number(text.slice(0, 4)); // §4.1.2.5.1
  const [month, day, hour, minute, second] = text
    .slice(isUtcTime ? 2 : 4)
    .match(/\d\d/g)!
    .map(Number) as [number, number, number, number, number];
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  const isReal = date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60;
  if (!isReal) throw new DerError('time that does not exist');
  return date.getTime();
}
