/**
 * Node's own decoders for a part of a Buffer, which its type declarations leave out: `toString('latin1', from, to)` without
 * the look-up of the encoding's name. The tokenizer makes a string for each short value, so that counts (bench: publish).
 */
interface Slices {
  latin1Slice(from: number, to: number): string;
  utf8Slice(from: number, to: number): string;
}

/** Decodes bytes that are all below 0x80. */
export function asciiText(buffer: Buffer, from: number, to: number): string {
  return (buffer as Buffer & Slices).latin1Slice(from, to);
}

/** Decodes bytes that are known to be UTF-8. */
export function utf8Text(buffer: Buffer, from: number, to: number): string {
  return (buffer as Buffer & Slices).utf8Slice(from, to);
}

export const TAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SPACE = 0x20;
export const BANG_SIGN = 0x21;
export const QUOTE = 0x22;
export const HASH = 0x23;
export const AMP = 0x26;
export const APOS = 0x27;
export const MINUS = 0x2d;
export const SLASH = 0x2f;
export const COLON = 0x3a;
export const SEMICOLON = 0x3b;
export const LT = 0x3c;
export const EQUALS = 0x3d;
export const GT = 0x3e;
export const QUESTION = 0x3f;
export const OPEN_BRACKET = 0x5b;
export const CLOSE_BRACKET = 0x5d;
export const LOWER_X = 0x78;

// Classes of bytes in values and text: 0 is taken as it is, everything else ends the fast loop.
export const PLAIN = 0;
export const WHITE = 1; // in values TAB, LF, CR; in text and CDATA only CR
export const SPECIAL = 2;
export const MULTIBYTE = 3;
export const ILLEGAL = 4; // outside the production Char
function byteClasses(special: readonly number[], white: readonly number[]): Uint8Array {
  const classes = new Uint8Array(256);
  for (let byte = 0; byte < 256; byte++) {
    if (byte >= 0x80) classes[byte] = MULTIBYTE;
    else if (byte < SPACE && byte !== TAB && byte !== LF && byte !== CR) classes[byte] = ILLEGAL;
  }
  for (const byte of special) classes[byte] = SPECIAL;
  for (const byte of white) classes[byte] = WHITE;
  return classes;
}
export const VALUE_BYTES = byteClasses([QUOTE, APOS, AMP, LT], [TAB, LF, CR]);
export const TEXT_BYTES = byteClasses([LT, AMP, GT, CLOSE_BRACKET], [CR]);
export const CDATA_BYTES = byteClasses([GT, CLOSE_BRACKET], [CR]);

/** Copies bytes; a few of them by hand, since a call out of JavaScript costs more (chunks of one byte). */
export function copyBytes(source: Buffer, from: number, to: number, target: Buffer, at: number): void {
  if (to - from > 16) {
    source.copy(target, at, from, to);
    return;
  }
  for (let read = from, write = at; read < to; read++, write++) target[write] = source[read]!;
}

/** A buffer of at least `needed` bytes, double the size of the old one, with the old one's first `length` bytes. */
export function grown(old: Buffer, length: number, needed: number): Buffer {
  const buffer = Buffer.allocUnsafeSlow(Math.max(256, old.length * 2, needed));
  old.copy(buffer, 0, 0, length);
  return buffer;
}

/** Whether a UTF-8 sequence can begin with this byte. */
export function isUtf8Lead(byte: number): boolean {
  return byte < 0x80 || (byte >= 0xc2 && byte <= 0xf4);
}
