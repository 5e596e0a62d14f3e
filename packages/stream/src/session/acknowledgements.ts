import { StreamError } from '../errors/stream-error.ts';
import { NS } from '../xml/ns.ts';
import { escapeAttribute } from '../xml/serialize.ts';
import { AckQueue } from './ack-queue.ts';
import type { EntryRef, Redeliverable } from './ports.ts';
import { tooHigh } from './stream-management.ts';

/**
 * What a client has taken of what it was sent: counted by XEP-0198 once that is enabled, before that by the answer to a
 * ping sent behind the events (delivery.md §5.2, §6.1).
 */

/** Most unacknowledged stanzas before entries wait in the log (delivery.md §6.1). */
export const MAX_UNACKNOWLEDGED = 1_000;
/** We ask at most once a second or, under stream management, per this many stanzas. */
const ASK_EVERY_STANZAS = 64;
const ASK_EVERY_MS = 1_000;
/** An `<r/>` unanswered for this long ends the stream. */
const ASK_TIMEOUT_MS = 60_000;

const REQUEST_ACK = Buffer.from(`<r xmlns='${NS.streamManagement}'/>`);

/** What acknowledgements need of their session. */
export interface AckHost {
  /** Sends bytes behind everything sent so far; false when there is no stream to send them on. */
  write(bytes: Buffer): boolean;
  /** The client has taken everything of this owner up to these entries. */
  taken(owner: Redeliverable, refs: readonly EntryRef[]): void;
  /** `tick` wants to run within about a second. */
  wantsTick(): void;
  /** Where pings go: from the server's domain to the full JID. */
  readonly pingFrom: string;
  readonly pingTo: string;
}

/** The newest entry of one topic that a ping is to acknowledge. */
interface Pending {
  owner: Redeliverable;
  ref: EntryRef;
}

export class Acknowledgements {
  readonly #host: AckHost;
  /** XEP-0198's queue; undefined until it is enabled. */
  #queue: AckQueue | undefined;
  // Maps exist only while they hold something: most of 100,000 sessions are idle.
  #behindPing: Map<string, Pending> | undefined;
  #sincePing: Map<string, Pending> | undefined;
  #pingId: string | undefined;
  #pings = 0;
  #sinceAsked = 0;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #isAsking = false;

  constructor(host: AckHost) {
    this.#host = host;
  }

  /** Counts from now on (XEP-0198 §4). */
  enable(): void {
    this.#queue = new AckQueue();
    this.#behindPing = undefined;
    this.#sincePing = undefined;
    this.#isAsking = false;
  }

  /** The queue of XEP-0198, when it is enabled. */
  get queue(): AckQueue | undefined {
    return this.#queue;
  }

  /** Under stream management: as much is unacknowledged as may be. */
  get isFull(): boolean {
    return this.#queue !== undefined && this.#queue.length >= MAX_UNACKNOWLEDGED;
  }

  /** Something was sent and not acknowledged. */
  get isWaiting(): boolean {
    return this.#queue === undefined ? this.#sincePing !== undefined || this.#behindPing !== undefined : this.#queue.length > 0;
  }

  /** Whether an entry of that topic was sent and not acknowledged. */
  holds(topic: string): boolean {
    if (this.#queue !== undefined) return this.#queue.holds(topic);
    return this.#sincePing?.has(topic) === true || this.#behindPing?.has(topic) === true;
  }

  entrySent(owner: Redeliverable, ref: EntryRef): void {
    if (this.#queue !== undefined) {
      this.#queue.pushEntry(owner, ref);
    } else {
      this.#sincePing ??= new Map();
      const pending = this.#sincePing.get(ref.topic);
      if (pending === undefined) this.#sincePing.set(ref.topic, { owner, ref });
      else {
        pending.owner = owner;
        pending.ref = ref;
      }
    }
    this.#sent();
  }

  /** A stanza that is in the queue already left; without stream management nobody acknowledges it. */
  stanzaSent(): void {
    if (this.#queue !== undefined) this.#sent();
  }

  #sent(): void {
    this.#sinceAsked++;
    if (this.#isAsking) return;
    const now = performance.now();
    const isDue = now - this.#askedAtMs >= ASK_EVERY_MS || (this.#queue !== undefined && this.#sinceAsked >= ASK_EVERY_STANZAS);
    if (isDue) this.#ask(now);
    else this.#host.wantsTick();
  }

  #ask(now: number): void {
    if (this.#queue !== undefined) {
      if (!this.#host.write(REQUEST_ACK)) return;
    } else {
      if (!this.#ping()) return;
      this.#behindPing = this.#sincePing;
      this.#sincePing = undefined;
    }
    this.#isAsking = true;
    this.#askedAtMs = now;
    this.#sinceAsked = 0;
  }

  /** Written out, not built: with many consumers that have no XEP-0198 these are most of what we send (bench/ scenario `fanout`). */
  #ping(): boolean {
    this.#pingId = `ping-${++this.#pings}`;
    const { pingFrom, pingTo } = this.#host;
    return this.#host.write(
      Buffer.from(
        `<iq type='get' from='${pingFrom}' to='${escapeAttribute(pingTo)}' id='${this.#pingId}'><ping xmlns='${NS.ping}'/></iq>`,
      ),
    );
  }

  /** Asks now, whatever the pace, unless a question is open: a drain, a resumption, a session that is full. */
  askNow(): void {
    if (!this.#isAsking && this.isWaiting) this.#ask(performance.now());
  }

  /** Asks for any sign of life. */
  probe(): void {
    if (this.#queue !== undefined) {
      if (!this.#isAsking) this.#ask(performance.now());
    } else if (this.#pingId === undefined) this.#ping();
  }

  /** Runs about once a second while wanted. `overdue`: the client owes an answer for too long; `rest`: nothing is wanted any more. Until `closedMs` we did not read. */
  tick(now: number, closedMs = 0): 'again' | 'rest' | 'overdue' {
    const sinceMs = Math.max(this.#askedAtMs, closedMs);
    if (this.#isAsking) return this.#queue !== undefined && now - sinceMs > ASK_TIMEOUT_MS ? 'overdue' : 'again';
    if (this.#sinceAsked === 0) return 'rest';
    if (now - this.#askedAtMs >= ASK_EVERY_MS) this.#ask(now);
    return 'again';
  }

  /** Whether an IQ answers our ping; if so, what went before the ping is acknowledged, by an error too (XEP-0199 §4.1). */
  pong(attrs: Readonly<Record<string, string | undefined>>): boolean {
    if (this.#pingId === undefined || attrs.id !== this.#pingId) return false;
    if (attrs.type !== 'result' && attrs.type !== 'error') return false;
    if (attrs.to !== undefined && attrs.to !== this.#host.pingFrom) return false;
    this.#pingId = undefined;
    const taken = this.#behindPing;
    this.#behindPing = undefined;
    if (taken !== undefined) for (const { owner, ref } of taken.values()) this.#host.taken(owner, [ref]);
    this.#answered();
    return true;
  }

  /**
   * Takes the client's `h`. Only while stream management is enabled.
   * @throws StreamError `undefined-condition` with `<handled-count-too-high/>` (XEP-0198 §6)
   */
  acknowledge(h: number): void {
    const queue = this.#queue as AckQueue;
    if (!queue.canAcknowledge(h)) throw tooHigh(h, queue.sent);
    queue.acknowledge(h, (owner, refs) => this.#host.taken(owner, refs));
    this.#answered();
  }

  #answered(): void {
    this.#isAsking = false;
    if (this.#sinceAsked > 0) this.#host.wantsTick();
  }

  /** The stream is gone: whatever was asked on it will not be answered. */
  streamEnded(): void {
    this.#isAsking = false;
    this.#pingId = undefined;
  }

  /** The stream error for a client that is `overdue`. */
  static overdue(): StreamError {
    return new StreamError('connection-timeout', { text: 'no acknowledgement came' });
  }
}
