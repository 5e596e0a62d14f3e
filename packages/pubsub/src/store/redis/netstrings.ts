/** Reads `LENGTH:BYTES,` one after another: how scripts put several values of any bytes into one. */
export class Netstrings {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** @throws RangeError when the next value is cut off or is none */
  next(): Buffer {
    const colon = this.#bytes.indexOf(0x3a, this.#at);
    const length = colon === -1 ? Number.NaN : Number(this.#bytes.toString('latin1', this.#at, colon));
    const end = colon + 1 + length;
    if (!Number.isSafeInteger(length) || this.#bytes[end] !== 0x2c) throw new RangeError('damaged record in Redis');
    this.#at = end + 1;
    return this.#bytes.subarray(colon + 1, end);
  }

  text(): string {
    return this.next().toString();
  }

  /** What follows the last value read. */
  rest(): Buffer {
    return this.#bytes.subarray(this.#at);
  }
}
