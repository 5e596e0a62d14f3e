import { Element } from 'ltx';
import type { StanzaCondition } from '../errors/stanza-error.ts';
import { StreamError } from '../errors/stream-error.ts';
import { NS } from '../xml/ns.ts';

/** Elements and counts of XEP-0198 (Stream Management) 1.6.1. */

/** `<failed/>`: recoverable, the stream goes on (§6). `h` where a timed-out session is still known (§5). */
export function failed(condition: StanzaCondition, h?: number): Element {
  const element = new Element('failed', { xmlns: NS.streamManagement });
  if (h !== undefined) element.attrs.h = String(h);
  element.c(condition, { xmlns: NS.stanzaErrors });
  return element;
}

/** The peer acknowledges what was never sent (§6, example 17). */
export function tooHigh(h: number, sent: number): StreamError {
  return new StreamError('undefined-condition', {
    text: `You acknowledged ${h} stanzas, but only ${sent} were sent so far.`,
    child: new Element('handled-count-too-high', { xmlns: NS.streamManagement, h: String(h), 'send-count': String(sent) }),
  });
}

/** An unsigned 32-bit count in decimal, as `h`; undefined for anything else. */
export function parseCount(text: string | undefined): number | undefined {
  if (text === undefined || !/^[0-9]{1,10}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= 0xffff_ffff ? value : undefined;
}
