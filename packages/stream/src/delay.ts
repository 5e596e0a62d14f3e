import { Element } from 'ltx';
import { NS } from './xml/ns.ts';

/** XEP-0203 (Delayed Delivery) 2.0: stamps on what is delivered late. XEP-0082 1.1 for the format of the stamp. */

/**
 * Writes a moment in the dateTime profile of XEP-0082 §3.2, in UTC with milliseconds.
 *
 * @throws RangeError for what is no date, or outside the years 0000 to 9999
 */
export function dateTime(at: Date | number): string {
  const text = new Date(at).toISOString();
  if (text.length !== 24) throw new RangeError(`year outside XEP-0082: ${text}`);
  return text;
}

/** Makes `<delay/>`: `at` is when the stanza was first sent, `from` the JID that held it back. @see XEP-0203 §2 */
export function delay(at: Date | number, from: string): Element {
  return new Element('delay', { xmlns: NS.delay, from, stamp: dateTime(at) });
}
