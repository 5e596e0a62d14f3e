import { describe, expect, it } from 'vitest';
import { EventScanner, MARK_BYTES, renderMark } from '../../../bench/driver/event-scanner.ts';

/** Runs a scanner over chunks and lists what it told, in order per kind. */
function scan(chunks: readonly Buffer[]) {
  const seen = { events: [] as string[], iqs: [] as string[], acks: 0, ends: 0 };
  const scanner = new EventScanner({
    event: (source, seq, micros) => seen.events.push(`${source}/${seq}/${micros}`),
    iq: (text) => seen.iqs.push(text),
    ackRequested: () => {
      seen.acks += 1;
    },
    streamEnded: () => {
      seen.ends += 1;
    },
  });
  for (const chunk of chunks) scanner.push(chunk);
  return seen;
}

const message = (seq: number) =>
  `<message to='a@b/c'><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='t'><item id='${seq}'><doc xmlns='x'>${renderMark(7, seq, 1_000_000 + seq)}</doc></item></items></event></message>`;
const ping = `<iq type='get' id='p1' from='b'><ping xmlns='urn:xmpp:ping'/></iq>`;
const emptyResult = `<iq type='result' id='r1'/>`;
const stream = Buffer.from(
  `${message(1)}${ping}${message(2)}${message(3)}<r xmlns='urn:xmpp:sm:3'/>${emptyResult}${message(999_999_999)}</stream:stream>`,
);
const wanted = {
  events: ['7/1/1000001', '7/2/1000002', '7/3/1000003', `7/999999999/${1_000_000 + 999_999_999}`],
  iqs: [ping, emptyResult],
  acks: 1,
  ends: 1,
};

describe('event scanner of the bench', () => {
  it('finds every mark, IQ and acknowledgement request in one chunk', () => {
    expect(scan([stream])).toEqual(wanted);
  });

  it('finds the same when the stream is cut in two at every byte', () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      expect(scan([stream.subarray(0, cut), stream.subarray(cut)]), `cut at ${cut}`).toEqual(wanted);
    }
  });

  it.each([1, 2, 3, 7, MARK_BYTES - 1, MARK_BYTES, MARK_BYTES + 1, 100])('finds the same in chunks of %i bytes', (size) => {
    const chunks: Buffer[] = [];
    for (let at = 0; at < stream.length; at += size) chunks.push(stream.subarray(at, at + size));
    expect(scan(chunks)).toEqual(wanted);
  });

  it('asks for one answer when one chunk holds several acknowledgement requests', () => {
    expect(scan([Buffer.from(`<r xmlns='urn:xmpp:sm:3'/>${message(1)}<r xmlns='urn:xmpp:sm:3'/>`)]).acks).toBe(1);
  });

  it('refuses a damaged mark instead of counting it', () => {
    const damaged = renderMark(1, 1, 1).replace('000000001!', '00000x001!');
    expect(() => scan([Buffer.from(`<d>${damaged}</d>`)])).toThrow('damaged');
  });

  it('refuses an IQ that does not end within 64 KiB', () => {
    const chunks = [Buffer.from(`<iq type='get' id='1'>`), Buffer.alloc(70_000, 'a')];
    expect(() => scan(chunks)).toThrow('64 KiB');
  });

  it('writes marks of one length and refuses numbers outside their digits', () => {
    expect(renderMark(0, 1, 0)).toHaveLength(MARK_BYTES);
    expect(renderMark(9999, 999_999_999, 999_999_999_999_999)).toHaveLength(MARK_BYTES);
    expect(() => renderMark(10_000, 1, 0)).toThrow(RangeError);
    expect(() => renderMark(0, 0, 0)).toThrow(RangeError);
  });
});
