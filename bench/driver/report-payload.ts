import { MARK_BYTES } from './event-scanner.ts';

/** The incident reports that the bench publishes: IODEF 2.0 (RFC 7970) of a chosen size with one mark in the IncidentID. */

export const IODEF_NS = 'urn:ietf:params:xml:ns:iodef-2.0';

const WORDS = [
  'beacon',
  'dropper',
  'lateral',
  'phishing',
  'payload',
  'resolver',
  'exfiltration',
  'loader',
  'tunnel',
  'scanner',
  'implant',
  'domain',
];

/** mulberry32: a small generator with a seed, so that a run can be repeated byte for byte. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A report in two halves; between them goes a mark. */
export interface ReportTemplate {
  readonly before: string;
  readonly after: string;
}

/**
 * Makes a report of `bytes` bytes (at least some 620: the elements that RFC 7970 §7.1 shows, a description fills the rest).
 *
 * @throws RangeError when `bytes` is too small
 */
export function makeReport(bytes: number, seed: number): ReportTemplate {
  const random = seededRandom(seed);
  const before =
    `<IODEF-Document xmlns='${IODEF_NS}' version='2.00' xml:lang='en'>` +
    `<Incident purpose='reporting' restriction='private'><IncidentID name='csirt.example.com'>`;
  const middle = '</IncidentID><GenerationTime>2015-07-18T09:00:00-05:00</GenerationTime><Description>';
  const end =
    `</Description><Contact type='organization' role='creator'><Email><EmailTo>contact@csirt.example.com</EmailTo></Email></Contact>` +
    '</Incident></IODEF-Document>';
  const room = bytes - before.length - MARK_BYTES - middle.length - end.length;
  if (room < 1) throw new RangeError(`a report needs at least ${bytes - room + 1} bytes`);
  let text = '';
  while (text.length < room) text += `${WORDS[Math.floor(random() * WORDS.length)]!} `;
  return { before, after: `${middle}${text.slice(0, room)}${end}` };
}
