import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { AckQueue } from '../../../packages/stream/src/session/ack-queue.ts';
import { Acknowledgements } from '../../../packages/stream/src/session/acknowledgements.ts';
import type { EntryRef, Redeliverable } from '../../../packages/stream/src/session/ports.ts';
import { parseCount } from '../../../packages/stream/src/session/stream-management.ts';

const owner: Redeliverable = { acknowledged: () => undefined, encodeAgain: async () => undefined };
const ref = (topic: string, seq: number): EntryRef => ({ topic, seq, uid: `u${seq}` });

describe('the queue of XEP-0198 §4', () => {
  it('hands out the newest entry of each topic, and nothing twice', () => {
    const queue = new AckQueue();
    for (let seq = 1; seq <= 3; seq++) {
      queue.pushEntry(owner, ref('a', seq));
      queue.pushEntry(owner, ref('b', seq));
    }
    const taken: string[] = [];
    const note = (_owner: Redeliverable, refs: readonly EntryRef[]) =>
      taken.push(
        refs
          .map(({ topic, seq }) => `${topic}${seq}`)
          .sort()
          .join(),
      );
    queue.acknowledge(3, note);
    queue.acknowledge(3, note);
    queue.acknowledge(6, note);
    expect(taken).toEqual(['a2,b1', 'a3,b3']);
    expect(queue.length).toBe(0);
  });

  it('takes nothing that was not sent, and nothing backwards', () => {
    const queue = new AckQueue();
    for (let i = 0; i < 5; i++) queue.pushStanza(Buffer.from('x'));
    expect(queue.canAcknowledge(6)).toBe(false);
    queue.acknowledge(5, () => undefined);
    expect([queue.acknowledged, queue.sent]).toEqual([5, 5]);
    expect(queue.canAcknowledge(4)).toBe(false); // backwards is 2^32 - 1 forwards (§4)
  });

  it('keeps order and bytes whatever comes when (property)', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constant('entry'), fc.constant('stanza'), fc.constant('ack'), fc.constant('again')), {
          maxLength: 200,
        }),
        (steps) => {
          const queue = new AckQueue();
          let model: string[] = [];
          let n = 0;
          for (const step of steps) {
            n++;
            if (step === 'entry') {
              queue.pushEntry(owner, ref('t', n));
              model.push(`t${n}`);
            } else if (step === 'stanza') {
              queue.pushStanza(Buffer.from(`s${n}`));
              model.push(`s${n}`);
            } else if (step === 'ack') {
              const some = n % (model.length + 1);
              queue.acknowledge((queue.acknowledged + some) >>> 0, () => undefined);
              model = model.slice(some);
            } else {
              for (const { what, owner: of } of queue.takeAll()) {
                if (of === undefined) queue.pushStanza(what as Buffer);
                else queue.pushEntry(of, what as EntryRef);
              }
            }
            const held = queue.all().map(({ what }) => (Buffer.isBuffer(what) ? what.toString() : `${what.topic}${what.seq}`));
            if (held.join() !== model.join()) return false;
            if (queue.stanzaBytes !== model.filter((each) => each.startsWith('s')).join('').length) return false;
          }
          return true;
        },
      ),
    );
  });

  it.each([
    ['0', 0],
    ['4294967295', 0xffff_ffff],
    ['4294967296', undefined],
    ['-1', undefined],
    ['1.5', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('reads h %s as %s', (text, want) => {
    expect(parseCount(text)).toBe(want);
  });
});

describe('asking, delivery.md §5.2 and §6.1', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'setInterval'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  function make() {
    const written: string[] = [];
    const taken: string[] = [];
    let wishes = 0;
    const acks = new Acknowledgements({
      write: (bytes) => written.push(bytes.toString()) > 0,
      taken: (_owner, refs) => taken.push(...refs.map(({ topic, seq }) => `${topic}${seq}`)),
      wantsTick: () => wishes++,
      pingFrom: 'localhost',
      pingTo: 'p@localhost/r',
    });
    return { acks, written, taken, wishes: () => wishes };
  }
  const pingId = (written: string[]) => /id='([^']+)'/.exec(written.at(-1) ?? '')?.[1] ?? '';

  it('without XEP-0198 a ping behind the events acknowledges what went before it, and only that', () => {
    const { acks, written, taken } = make();
    acks.entrySent(owner, ref('a', 1)); // asks at once
    acks.entrySent(owner, ref('a', 2)); // behind the ping
    expect(written).toHaveLength(1);
    expect(acks.pong({ id: 'other', type: 'result' })).toBe(false);
    expect(acks.pong({ id: pingId(written), type: 'get' })).toBe(false);
    expect(acks.pong({ id: pingId(written), type: 'error' })).toBe(true); // an error is an answer
    expect(taken).toEqual(['a1']);
    expect(acks.tick(performance.now())).toBe('again'); // not twice a second
    vi.advanceTimersByTime(1_000);
    expect(acks.tick(performance.now())).toBe('again');
    expect(written).toHaveLength(2);
    expect(acks.pong({ id: pingId(written), type: 'result', to: 'localhost' })).toBe(true);
    expect(taken).toEqual(['a1', 'a2']);
    expect(acks.tick(performance.now())).toBe('rest');
  });

  it('under XEP-0198 asks once a second or per 64 stanzas, and calls a client overdue after a minute', () => {
    const { acks, written } = make();
    acks.enable();
    acks.entrySent(owner, ref('a', 1));
    expect(written).toEqual(["<r xmlns='urn:xmpp:sm:3'/>"]);
    acks.acknowledge(1);
    for (let seq = 2; seq <= 65; seq++) acks.entrySent(owner, ref('a', seq));
    expect(written).toHaveLength(2); // the 64th
    expect(acks.tick(performance.now())).toBe('again');
    vi.advanceTimersByTime(60_001);
    expect(acks.tick(performance.now())).toBe('overdue');
    expect(() => acks.acknowledge(66)).toThrow(/acknowledged 66/);
  });

  it('asks nothing where there is no stream, and everything again on the next one', () => {
    let isConnected = false;
    const written: string[] = [];
    const acks = new Acknowledgements({
      write: (bytes) => {
        if (isConnected) written.push(bytes.toString());
        return isConnected;
      },
      taken: () => undefined,
      wantsTick: () => undefined,
      pingFrom: 'localhost',
      pingTo: 'p@localhost/r',
    });
    acks.enable();
    acks.entrySent(owner, ref('a', 1));
    expect(acks.isWaiting).toBe(true);
    acks.streamEnded();
    isConnected = true;
    acks.askNow();
    expect(written).toHaveLength(1);
  });
});
