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
