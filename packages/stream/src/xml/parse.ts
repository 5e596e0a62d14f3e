import type { Element } from 'ltx';
import { NS } from './ns.ts';
import { XmlTokenizer } from './tokenizer.ts';

const OPEN = Buffer.from(`<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.streams}'>`);

/**
 * Reads one stanza that an instance of ours has written (`serializeStanza`).
 *
 * @throws Error when it is none
 */
export function parseStanza(xml: Buffer): Element {
  const max = xml.length + OPEN.length;
  const tokenizer = new XmlTokenizer({
    maxStanzaBytes: max,
    hardStanzaBytes: max,
    // Whatever the stream that it came from let pass: a level or an attribute costs more bytes than this.
    maxDepth: max,
    maxAttributes: max,
    maxNameBytes: max,
  });
  tokenizer.feed(OPEN);
  tokenizer.feed(xml);
  for (let event = tokenizer.next(); event !== undefined; event = tokenizer.next()) {
    if (event.kind === 'stanza') return event.element;
  }
  throw new Error('not a whole stanza');
}
