import type { Element } from 'ltx';
import { parseStanza } from '../xml/parse.ts';
import { serializeStanza } from '../xml/serialize.ts';

/** One stanza on its way: an element from a stream here, bytes from another instance; turned into the other when needed. */
export class Parcel {
  #element: Element | undefined;
  #bytes: Buffer | undefined;

  constructor(stanza: Element | Buffer) {
    if (Buffer.isBuffer(stanza)) this.#bytes = stanza;
    else this.#element = stanza;
  }

  /** Do not change it: the bytes may have been made already. */
  get element(): Element {
    this.#element ??= parseStanza(this.#bytes as Buffer);
    return this.#element;
  }

  get bytes(): Buffer {
    this.#bytes ??= serializeStanza(this.#element as Element);
    return this.#bytes;
  }
}
