/**
 * Finds the bench's marks in a consumer's byte stream without parsing XML: a thousand consumers share the
 * machine with the server that is measured, so each byte may cost them little.
 */

/** What every mark begins with. It occurs nowhere else in the traffic of a run. */
const MARK_HEAD = 'xgb!';
const SOURCE_DIGITS = 4;
const SEQ_DIGITS = 9;
const MICROS_DIGITS = 16;
/** Bytes of one mark: `xgb!SSSS!NNNNNNNNN!UUUUUUUUUUUUUUUU`, all digits decimal. */
export const MARK_BYTES = MARK_HEAD.length + SOURCE_DIGITS + 1 + SEQ_DIGITS + 1 + MICROS_DIGITS;

const HEAD = Buffer.from(MARK_HEAD, 'latin1');
const SOURCE_AT = HEAD.length;
const SEQ_AT = SOURCE_AT + SOURCE_DIGITS + 1;
const MICROS_AT = SEQ_AT + SEQ_DIGITS + 1;
const IQ = Buffer.from('<iq ', 'latin1');
const IQ_END = Buffer.from('</iq>', 'latin1');
const ACK_REQUEST = Buffer.from('<r xmlns=', 'latin1');
const STREAM_END = Buffer.from('</stream:stream>', 'latin1');
const GREATER = 0x3e;
const SLASH = 0x2f;
/** The longest thing that may lie across two chunks, less one byte. */
const TAIL_BYTES = MARK_BYTES - 1;
/** An IQ sent to a consumer (a ping, a result) is small; a longer one is a fault of the run. */
const MAX_IQ_BYTES = 64 * 1024;

/**
 * Writes one mark, to be put into an event's payload as text.
 *
 * @param source number of the publisher, 0 to 9,999
 * @param seq number of the event among that publisher's, 1 to 999,999,999
 * @param micros `monotonicMicros()` at the moment of sending
 */
export function renderMark(source: number, seq: number, micros: number): string {
  if (!(source >= 0 && source < 10 ** SOURCE_DIGITS)) throw new RangeError(`source ${source} is not in a mark's range`);
  if (!(seq >= 1 && seq < 10 ** SEQ_DIGITS)) throw new RangeError(`sequence ${seq} is not in a mark's range`);
  const digits = (value: number, width: number) => String(Math.trunc(value)).padStart(width, '0');
  return `${MARK_HEAD}${digits(source, SOURCE_DIGITS)}!${digits(seq, SEQ_DIGITS)}!${digits(micros, MICROS_DIGITS)}`;
}

/** Microseconds of the machine's monotonic clock: one clock for all processes of the machine. */
export function monotonicMicros(): number {
  const [seconds, nanos] = process.hrtime();
  return seconds * 1e6 + nanos / 1e3;
}

/** What a scanner tells its owner. */
export interface ScanHandlers {
  /** One mark, in stream order. */
  event(source: number, seq: number, micros: number): void;
  /** One whole `<iq/>`, as text; never contains a mark. */
  iq(text: string): void;
  /** The server asked for an XEP-0198 acknowledgement; every mark before it has been told. At most once per chunk. */
  ackRequested(): void;
  /** The server closed its stream; `text` is the end of what it sent, for the report. */
  streamEnded(text: string): void;
}

/**
 * Reads one stream, whatever its chunks. Holds back at most the bytes of an unfinished mark or IQ.
 * A scanned stream must not carry marks inside an IQ (a scanner is for subscribers, not for item retrieval).
 */
export class EventScanner {
  readonly #handlers: ScanHandlers;
  #held: Buffer | undefined;

  constructor(handlers: ScanHandlers) {
    this.#handlers = handlers;
  }

  /** @throws Error when an IQ does not end within 64 KiB or a mark is not made of digits. */
  push(chunk: Buffer): void {
    const data = this.#held === undefined ? chunk : Buffer.concat([this.#held, chunk]);
    this.#held = undefined;
    let done = 0; // everything before it has been told

    let at = data.indexOf(HEAD);
    while (at !== -1 && at + MARK_BYTES <= data.length) {
      this.#handlers.event(
        readDigits(data, at + SOURCE_AT, SOURCE_DIGITS),
        readDigits(data, at + SEQ_AT, SEQ_DIGITS),
        readDigits(data, at + MICROS_AT, MICROS_DIGITS),
      );
      done = at + MARK_BYTES;
      at = data.indexOf(HEAD, done);
    }

    let unfinishedIq = -1;
    at = data.indexOf(IQ);
    while (at !== -1) {
      const end = iqEnd(data, at);
      if (end === -1) {
        if (data.length - at > MAX_IQ_BYTES) throw new Error('an <iq/> to a consumer is longer than 64 KiB');
        unfinishedIq = at;
        break;
      }
      this.#handlers.iq(data.toString('utf8', at, end));
      done = Math.max(done, end);
      at = data.indexOf(IQ, end);
    }

    at = data.indexOf(ACK_REQUEST);
    if (at !== -1) {
      done = Math.max(done, data.lastIndexOf(ACK_REQUEST) + ACK_REQUEST.length);
      this.#handlers.ackRequested();
    }

    const streamEnd = data.lastIndexOf(STREAM_END);
    if (streamEnd !== -1) {
      done = Math.max(done, streamEnd + STREAM_END.length);
      this.#handlers.streamEnded(data.toString('utf8', Math.max(0, data.length - 400)));
    }

    // A chunk that ends with '>' cuts no mark and no start tag: the common case keeps nothing.
    if (unfinishedIq === -1 && data[data.length - 1] === GREATER) return;
    let keep = data.length - TAIL_BYTES;
    if (unfinishedIq !== -1 && unfinishedIq < keep) keep = unfinishedIq;
    keep = Math.max(keep, done);
    if (keep < data.length) this.#held = Buffer.from(data.subarray(keep)); // copied: a slice would pin the whole record
  }
}

/** Where the IQ that begins at `at` ends (exclusive), or -1. */
function iqEnd(data: Buffer, at: number): number {
  const headEnd = data.indexOf(GREATER, at);
  if (headEnd === -1) return -1;
  if (data[headEnd - 1] === SLASH) return headEnd + 1;
  const end = data.indexOf(IQ_END, headEnd);
  return end === -1 ? -1 : end + IQ_END.length;
}

function readDigits(data: Buffer, at: number, count: number): number {
  let value = 0;
  for (let i = at; i < at + count; i++) {
    const digit = data[i]! - 0x30;
    if (digit < 0 || digit > 9) throw new Error(`a mark is damaged: ${data.toString('latin1', at, at + count)}`);
    value = value * 10 + digit;
  }
  return value;
}
