import { COLON, MINUS } from './bytes.ts';
import { fault } from './fault.ts';
import { isXmlName } from './names.ts';

// Classes of bytes in names: NAME_START may begin one, NAME_FOLLOW may only go on. Bytes from 0x80 are judged when the name is complete.
export const NAME_FOLLOW = 1;
export const NAME_START = 2;
export const NAME_BYTES = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++) {
  const isLetter = (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a);
  if (isLetter || byte === 0x5f || byte === COLON || byte >= 0x80) NAME_BYTES[byte] = NAME_START;
  else if ((byte >= 0x30 && byte <= 0x39) || byte === MINUS || byte === 0x2e) NAME_BYTES[byte] = NAME_FOLLOW;
}

const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** What a qualified name declares or needs. */
export const UNPREFIXED = 0;
export const PREFIXED = 1;
export const DECLARES_DEFAULT = 2; // xmlns
export const DECLARES_PREFIX = 3; // xmlns:a

/** A checked qualified name. */
export class Name {
  readonly text: string;
  readonly bytes: Uint8Array;
  readonly hash: number;
  readonly prefix: string;
  readonly local: string;
  readonly role: number;

  constructor(text: string, bytes: Uint8Array, hash: number) {
    const colon = text.indexOf(':');
    this.text = text;
    this.bytes = bytes;
    this.hash = hash;
    this.prefix = colon < 0 ? '' : text.slice(0, colon);
    this.local = colon < 0 ? text : text.slice(colon + 1);
    if (text === 'xmlns') this.role = DECLARES_DEFAULT;
    else if (this.prefix === 'xmlns') this.role = DECLARES_PREFIX;
    else this.role = colon < 0 ? UNPREFIXED : PREFIXED;
  }
}

/**
 * Names seen lately by any stream, one per hash slot, newest wins: a name that is known costs no string. Bounded by its
 * slots and by the length of the names that it takes.
 */
const KNOWN_NAMES: (Name | undefined)[] = new Array<Name | undefined>(2048).fill(undefined);
const MAX_KNOWN_NAME_BYTES = 64;

export function nameOf(buffer: Buffer, from: number, to: number, hash: number): Name {
  const length = to - from;
  const slot = (hash ^ (hash >>> 15)) & 2047;
  const known = KNOWN_NAMES[slot];
  if (known !== undefined && known.hash === hash && known.bytes.length === length) {
    const bytes = known.bytes;
    let at = 0;
    while (at < length && bytes[at] === buffer[from + at]) at++;
    if (at === length) return known;
  }
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at++) bytes[at] = buffer[from + at]!;
  let text: string;
  try {
    text = STRICT_UTF8.decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) fault('bad-utf8', 'in a name');
    throw error;
  }
  if (!isXmlName(text)) fault('not-well-formed', 'a name that is no qualified name');
  const name = new Name(text, bytes, hash);
  if (length <= MAX_KNOWN_NAME_BYTES) KNOWN_NAMES[slot] = name;
  return name;
}

export const HASH_START = 0x811c9dc5 | 0;
export const HASH_PRIME = 0x01000193;
