import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { ALWAYS_OPEN, type Gate, type Stopped } from './gate.ts';

/**
 * What waits to be written to one socket.
 *
 * A tick's output leaves as few writes of at most one TLS record each: one write per stanza costs three
 * to five times the CPU (design D4; bench/ scenario `fanout`). Flushes of many outboxes are sliced, so
 * that no slice holds the event loop for long.
 */

/** 16 KiB: the most that one TLS record carries. */
const RECORD_BYTES = 16_384;
/** Bytes handed to the socket and not yet taken by the kernel before we hold the rest back ourselves. */
const SOCKET_HIGH_WATER_BYTES = 65_536;
/** One slice of flushing many outboxes, ms. */
const SLICE_MS = 5;

/**
 * Where the parts of one record are put together, by all outboxes in turn. A TLS socket that has nothing under way encrypts
 * what it is given before `write` returns (Node's TLSWrap::DoWrite; test/unit/stream/outbox.test.ts holds it to that), so
 * the bytes may be overwritten right after. A buffer for each record cost twice as much in bursts: memory that is cold
 * when it is filled, cold again when it is encrypted, and then garbage (bench/ scenario `fanout --burst 10`).
 */
const scratch = Buffer.allocUnsafeSlow(RECORD_BYTES);

const dirty: Outbox[] = [];
let isScheduled = false;

function flushDirty(): void {
  isScheduled = false;
  const until = performance.now() + SLICE_MS;
  let index = 0;
  while (index < dirty.length) {
    (dirty[index] as Outbox).flush();
    index++;
    // The clock is read once in 64 flushes: a flush costs some 15 µs, reading the clock 0.05.
    if ((index & 63) === 0 && performance.now() > until) break;
  }
  dirty.splice(0, index);
  if (dirty.length > 0) schedule();
}

function schedule(): void {
  if (isScheduled) return;
  isScheduled = true;
  setImmediate(flushDirty);
}

export class Outbox implements Stopped {
  #socket: Duplex;
  readonly gate: Gate;
  #parts: Buffer[] = [];
  /** Bytes in #parts. */
  #bytes = 0;
  #isDirty = false;
  #isClosed = false;
  #isBlocked = false;
  #encryptsAtOnce: boolean;
  readonly #onDrain: () => void;
  readonly #socketDrained = (): void => {
    this.#isBlocked = false;
    this.flush();
    this.#onDrain();
  };

  /** `onDrain` runs whenever the socket took what it held. Nothing is written while the gate is closed. */
  constructor(socket: Duplex, onDrain: () => void, gate: Gate = ALWAYS_OPEN) {
    this.#socket = socket;
    this.gate = gate;
    this.#onDrain = onDrain;
    this.#encryptsAtOnce = socket instanceof TLSSocket;
    socket.on('drain', this.#socketDrained);
  }

  /** Bytes that the kernel has not taken yet. */
  get bytes(): number {
    return this.#bytes + this.#socket.writableLength;
  }

  /** Bytes that were not even handed to the socket. */
  get unwritten(): number {
    return this.#bytes;
  }

  push(part: Buffer): void {
    if (this.#isClosed) return;
    this.#parts.push(part);
    this.#bytes += part.length;
    this.#markDirty();
  }

  push2(first: Buffer, second: Buffer): void {
    if (this.#isClosed) return;
    this.#parts.push(first, second);
    this.#bytes += first.length + second.length;
    this.#markDirty();
  }

  #markDirty(): void {
    if (this.#isDirty || this.#isBlocked) return;
    this.#isDirty = true;
    dirty.push(this);
    schedule();
  }

  /** Writes what is queued, as far as the socket takes it. */
  flush(): void {
    this.#isDirty = false;
    if (this.#isClosed) return;
    if (!this.gate.isOpen) {
      this.gate.wait(this);
      return;
    }
    const parts = this.#parts;
    let from = 0;
    while (from < parts.length && !this.#isBlocked) {
      let size = 0;
      let to = from;
      while (to < parts.length && (to === from || size + (parts[to] as Buffer).length <= RECORD_BYTES)) {
        size += (parts[to] as Buffer).length;
        to++;
      }
      const chunk = this.#gather(parts, from, to, size);
      from = to;
      this.#bytes -= size;
      this.#socket.write(chunk);
      if (this.#socket.writableLength > SOCKET_HIGH_WATER_BYTES) this.#isBlocked = this.#socket.writableNeedDrain;
    }
    if (from > 0) parts.splice(0, from);
  }

  opened(): void {
    if (!this.#isClosed) this.#markDirty();
  }

  #gather(parts: readonly Buffer[], from: number, to: number, size: number): Buffer {
    if (to === from + 1) return parts[from] as Buffer;
    if (!this.#encryptsAtOnce || size > RECORD_BYTES || this.#socket.writableLength > 0) {
      return Buffer.concat(parts.slice(from, to), size);
    }
    let at = 0;
    for (let i = from; i < to; i++) at += (parts[i] as Buffer).copy(scratch, at);
    return scratch.subarray(0, size);
  }

  /** Whether a part that begins so has not been handed to the socket. */
  holds(beginning: string): boolean {
    return this.#parts.some((part) => part.toString('latin1', 0, beginning.length) === beginning);
  }

  /** Drops what has not been handed to the socket: the rights or the account behind it are gone. */
  discard(): void {
    this.#parts = [];
    this.#bytes = 0;
  }

  /** Flushes everything without regard to the socket's pace, then refuses more. Bounded by what was queued. */
  end(): void {
    if (this.#isClosed) return;
    if (this.#parts.length > 0) this.#socket.write(Buffer.concat(this.#parts, this.#bytes));
    this.close();
  }

  close(): void {
    this.#isClosed = true;
    this.discard();
    this.#socket.off('drain', this.#socketDrained);
  }

  /** After STARTTLS the same outbox goes on over the encrypted socket. Nothing may be queued. */
  moveTo(socket: Duplex): void {
    this.#socket.off('drain', this.#socketDrained);
    this.#socket = socket;
    this.#encryptsAtOnce = socket instanceof TLSSocket;
    this.#isBlocked = false;
    socket.on('drain', this.#socketDrained);
  }
}
