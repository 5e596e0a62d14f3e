import { Element } from 'ltx';
import { StanzaError } from '../errors/stanza-error.ts';
import { StreamError } from '../errors/stream-error.ts';
import type { JID } from '../jid.ts';
import type { Logger } from '../observe/log.ts';
import type { CloseReason } from '../transport/close-reason.ts';
import type { OversizeEvent, StreamHandler, XmlStream } from '../transport/xml-stream.ts';
import { NS } from '../xml/ns.ts';
import { escapeAttribute, serializeStanza } from '../xml/serialize.ts';
import type { AuthenticatedAccount } from './account.ts';
import { AckQueue } from './ack-queue.ts';
import { errorReply } from './answer.ts';
import type { EntryRef, Redeliverable, SessionPort } from './ports.ts';
import { decidePresence, type PresenceState } from './presence.ts';

/**
 * A bound resource: stanza rules of RFC 6120 §8.1, stream management (XEP-0198), pings, and the outbox's
 * bounds. It outlives its stream while it can be resumed.
 */

/** Bytes in the outbox at which log entries wait in the log instead (delivery.md §4.4). */
const HIGH_WATER_BYTES = 262_144;
const LOW_WATER_BYTES = HIGH_WATER_BYTES / 2;
/** Bytes of other stanzas on top of that at which the stream ends. */
const MAX_DIRECT_BYTES = 1_048_576;
/** Most unacknowledged stanzas (delivery.md §6.1). */
const MAX_UNACKNOWLEDGED = 1_000;
/** We ask for an acknowledgement at most once a second or per this many stanzas. */
const ASK_EVERY_STANZAS = 64;
const ASK_EVERY_MS = 1_000;
/** An `<r/>` unanswered for this long ends the stream. */
const ASK_TIMEOUT_MS = 60_000;

const REQUEST_ACK = Buffer.from(`<r xmlns='${NS.streamManagement}'/>`);

/** The newest entry of one topic that a ping is to acknowledge. */
interface Pending {
  owner: Redeliverable;
  ref: EntryRef;
}

/** Handles the stanzas of all sessions; the router fills it. */
export interface StanzaSink {
  stanza(stanza: Element, session: Session): void | Promise<void>;
  /** A stanza over the soft limit was skipped. */
  oversize(event: OversizeEvent, session: Session): void;
}

/** What a session tells the table that holds it. */
export interface SessionOwner {
  readonly sink: StanzaSink;
  readonly domain: string;
  readonly resumeTimeoutMs: number;
  readonly log: Logger;
  /** No more entries go out: what was sent waits for its acknowledgement, the rest for the next login. */
  readonly isDraining: boolean;
  started(session: Session): void;
  presenceChanged(session: Session, before: PresenceState, stanza: Element): void;
  writable(session: Session): void;
  hibernated(session: Session): void;
  ended(session: Session, why: CloseReason): void;
  /** The session has something that a later request for acknowledgement must cover. */
  wantsAckRequest(session: Session): void;
  newResumeId(session: Session): string;
}

export class Session implements SessionPort, StreamHandler {
  readonly id: string;
  readonly jid: JID;
  /** Replaced at resumption: rights are those of the newest login (delivery.md §6.2). */
  who: AuthenticatedAccount;
  readonly boundAtMs = Date.now();
  readonly isSecure = true;
  presence: PresenceState = { kind: 'never-sent' };
  peerMaxStanzaBytes = Number.POSITIVE_INFINITY;
  /** Full and bare JIDs that were sent directed presence and must hear of the end (RFC 6121 §4.6.3). */
  directedPresence: Set<string> | undefined;
  resumeId: string | undefined;
  defaultLang: string | undefined;

  readonly #owner: SessionOwner;
  #stream: XmlStream | undefined;
  #isAlive = true;
  #hasStarted = false;
  #wasBlocked = false;

  // XEP-0198; undefined until enabled.
  #acks: AckQueue | undefined;
  /** Stanzas of the client that were answered, stored or handed on. */
  #handled = 0;
  #sinceAsked = 0;
  #askedAtMs = 0;
  #isAsking = false;

  // Without XEP-0198: what a ping sent behind the events acknowledges (delivery.md §5.2).
  // Maps exist only while they hold something: most of 100,000 sessions are idle.
  #behindPing: Map<string, Pending> | undefined;
  #sincePing: Map<string, Pending> | undefined;
  #pingId: string | undefined;
  #pings = 0;

  #handling: Promise<void> | undefined;
  #resumeTimer: NodeJS.Timeout | undefined;
  #isResuming = false;

  constructor(id: string, jid: JID, who: AuthenticatedAccount, stream: XmlStream, owner: SessionOwner) {
    this.id = id;
    this.jid = jid;
    this.who = who;
    this.#stream = stream;
    this.#owner = owner;
  }

  get role(): string {
    return this.who.role;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** Connected, as opposed to waiting for its client to resume. */
  get isConnected(): boolean {
    return this.#stream !== undefined && !this.#stream.isClosing;
  }

  get remoteAddress(): string {
    return this.#stream?.remoteAddress ?? '';
  }

  get lastReceivedMs(): number {
    return this.#stream?.lastReceivedMs ?? 0;
  }

  get tlsVersion(): string {
    return this.#stream?.tlsVersion ?? '';
  }

  get queuedBytes(): number {
    return this.#stream?.outbox.bytes ?? 0;
  }

  get unacknowledged(): number {
    return this.#acks?.length ?? 0;
  }

  get hasStreamManagement(): boolean {
    return this.#acks !== undefined;
  }

  get isWritable(): boolean {
    const stream = this.#stream;
    if (
      stream === undefined ||
      stream.isClosing ||
      stream.outbox.bytes >= HIGH_WATER_BYTES ||
      this.#owner.isDraining ||
      (this.#acks !== undefined && this.#acks.length >= MAX_UNACKNOWLEDGED)
    ) {
      this.#wasBlocked = true;
      return false;
    }
    return true;
  }

  sendEntry(prefix: Buffer, body: Buffer, owner: Redeliverable, ref: EntryRef): void {
    const stream = this.#stream;
    if (stream === undefined) return; // not writable: nobody was to send
    stream.outbox.push2(prefix, body);
    if (this.#acks !== undefined) {
      this.#acks.pushEntry(owner, ref);
    } else {
      this.#sincePing ??= new Map();
      const pending = this.#sincePing.get(ref.topic);
      if (pending === undefined) this.#sincePing.set(ref.topic, { owner, ref });
      else {
        pending.owner = owner;
        pending.ref = ref;
      }
    }
    this.#sinceAsked++;
    this.#maybeAsk();
  }

  sendStanza(stanza: Element | Buffer): void {
    if (!this.#isAlive) return;
    const bytes = Buffer.isBuffer(stanza) ? stanza : serializeStanza(stanza);
    const acks = this.#acks;
    if (acks !== undefined) {
      if (acks.length >= 2 * MAX_UNACKNOWLEDGED || acks.stanzaBytes + bytes.length > MAX_DIRECT_BYTES) {
        this.#endSlow();
        return;
      }
      acks.pushStanza(bytes);
    }
    const stream = this.#stream;
    if (stream === undefined || stream.isClosing) return; // kept for the resumption, or too late
    if (stream.outbox.bytes + bytes.length > HIGH_WATER_BYTES + MAX_DIRECT_BYTES) {
      this.#endSlow();
      return;
    }
    stream.outbox.push(bytes);
    if (acks !== undefined) {
      this.#sinceAsked++;
      this.#maybeAsk();
    }
  }

  #endSlow(): void {
    this.end(
      'slow-consumer',
      new StreamError('policy-violation', { text: 'too many stanzas wait for this client to read them' }),
    );
  }

  /** Asks for an acknowledgement now when the pace allows it, else leaves it to the owner's tick. */
  #maybeAsk(): void {
    if (this.#isAsking) return;
    const now = Date.now();
    if (now - this.#askedAtMs >= ASK_EVERY_MS || (this.#acks !== undefined && this.#sinceAsked >= ASK_EVERY_STANZAS))
      this.#ask(now);
    else this.#owner.wantsAckRequest(this);
  }

  #ask(now: number): void {
    const stream = this.#stream;
    if (stream === undefined || stream.isClosing) return;
    this.#isAsking = true;
    this.#askedAtMs = now;
    this.#sinceAsked = 0;
    if (this.#acks !== undefined) {
      stream.outbox.push(REQUEST_ACK);
    } else {
      this.#behindPing = this.#sincePing;
      this.#sincePing = undefined;
      this.#sendPing(stream);
    }
  }

  /** Written out, not built: with many consumers that have no XEP-0198 these are most of what we send (bench/ scenario `fanout`). */
  #sendPing(stream: XmlStream): void {
    this.#pingId = `ping-${++this.#pings}`;
    const { domain } = this.#owner;
    stream.sendBytes(
      Buffer.from(
        `<iq type='get' from='${domain}' to='${escapeAttribute(this.jid.toString())}' id='${this.#pingId}'><ping xmlns='${NS.ping}'/></iq>`,
      ),
    );
  }

  /** Entries that were sent to a connected client and not acknowledged. */
  get awaitsAcknowledgement(): boolean {
    if (!this.isConnected) return false;
    return this.#acks === undefined ? this.#sincePing !== undefined || this.#behindPing !== undefined : this.#acks.length > 0;
  }

  /** Asks now for the acknowledgement of everything sent, whatever the pace (drain). */
  askNow(): void {
    if (this.awaitsAcknowledgement && !this.#isAsking) this.#ask(Date.now());
  }

  /**
   * Runs about once a second for sessions that want an acknowledgement.
   * @returns whether the session wants to be asked about again.
   */
  tick(now: number): boolean {
    if (this.#stream === undefined) return false;
    if (this.#isAsking) {
      if (this.#acks !== undefined && now - this.#askedAtMs > ASK_TIMEOUT_MS) {
        this.#loseStream('idle-timeout', new StreamError('connection-timeout', { text: 'no acknowledgement came' }));
        return false;
      }
      return true;
    }
    if (this.#sinceAsked === 0) return false;
    if (now - this.#askedAtMs < ASK_EVERY_MS) return true;
    this.#ask(now);
    return true;
  }

  /** Looks for a peer that is gone: pings when nothing came for `idleMs`, ends the stream when nothing came `answerMs` later. */
  checkIdle(now: number, idleMs: number, answerMs: number): void {
    const stream = this.#stream;
    if (stream === undefined || stream.isClosing) return;
    const certificateEnd = this.who.certificateNotAfterMs;
    if (certificateEnd !== undefined && certificateEnd <= now) {
      // RFC 6120 §13.7.2.3
      this.end('certificate-expired', new StreamError('reset', { text: 'the certificate of this stream has expired' }));
      return;
    }
    const silentMs = now - stream.lastReceivedMs;
    if (silentMs > idleMs + answerMs) {
      this.#loseStream('idle-timeout', new StreamError('connection-timeout', { text: 'nothing was received' }));
    } else if (silentMs > idleMs) {
      if (this.#acks !== undefined) {
        if (!this.#isAsking) this.#ask(now);
      } else if (this.#pingId === undefined) this.#sendPing(stream);
    }
  }

  // --- what arrives -----------------------------------------------------------------------------

  header(): void {
    throw new StreamError('bad-format', { text: 'a new stream header is not expected after resource binding' }); // §7.3.2
  }

  stanza(element: Element): void | Promise<void> {
    const ns = element.attrs.xmlns;
    if (ns === NS.streamManagement) return this.#managementElement(element);
    const name = element.name;
    if (ns !== NS.client || (name !== 'iq' && name !== 'message' && name !== 'presence')) {
      throw new StreamError('unsupported-stanza-type', { text: `<${name}/> is not a stanza` }); // §4.9.3.24
    }
    if (this.#isPong(element)) {
      this.#countHandled();
      return;
    }
    const pending = this.#owner.sink.stanza(element, this);
    if (pending === undefined) {
      this.#countHandled();
      return;
    }
    const handling = pending.then(() => {
      this.#countHandled();
      if (this.#handling === handling) this.#handling = undefined;
    });
    this.#handling = handling;
    return handling;
  }

  oversize(event: OversizeEvent): void {
    this.#owner.sink.oversize(event, this);
    this.#countHandled();
  }

  #countHandled(): void {
    if (this.#acks !== undefined) this.#handled = (this.#handled + 1) >>> 0;
  }

  #isPong(element: Element): boolean {
    if (this.#pingId === undefined || element.name !== 'iq') return false;
    const { type, id, to } = element.attrs as Record<string, string | undefined>;
    if (id !== this.#pingId || (type !== 'result' && type !== 'error')) return false;
    if (to !== undefined && to !== this.#owner.domain) return false;
    this.#pingId = undefined;
    const acknowledged = this.#behindPing;
    if (acknowledged !== undefined) {
      this.#behindPing = undefined;
      for (const { owner, ref } of acknowledged.values()) owner.acknowledged(this, [ref]);
    }
    this.#isAsking = false;
    if (this.#sinceAsked > 0) this.#owner.wantsAckRequest(this);
    return true;
  }

  #managementElement(element: Element): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    switch (element.name) {
      case 'r':
        stream.send(new Element('a', { xmlns: NS.streamManagement, h: String(this.#handled) }));
        return;
      case 'a':
        this.#acknowledge(element.attrs.h as string | undefined);
        return;
      case 'enable': {
        // XEP-0198 §3: at most one attempt; a second one may end the stream, we only refuse it (example 6).
        if (this.#acks !== undefined) {
          stream.send(failed('unexpected-request'));
          return;
        }
        this.#acks = new AckQueue();
        this.#handled = 0;
        this.#behindPing = undefined;
        this.#sincePing = undefined;
        this.#isAsking = false;
        const wantsResume = element.attrs.resume === 'true' || element.attrs.resume === '1';
        const enabled = new Element('enabled', { xmlns: NS.streamManagement });
        if (wantsResume) {
          this.resumeId = this.#owner.newResumeId(this);
          enabled.attrs.id = this.resumeId;
          enabled.attrs.resume = 'true';
          enabled.attrs.max = String(Math.floor(this.#owner.resumeTimeoutMs / 1_000));
        }
        stream.send(enabled);
        this.start();
        return;
      }
      case 'resume':
        stream.send(failed('unexpected-request'));
        return;
      default:
        throw new StreamError('unsupported-stanza-type', { text: `<${element.name}/> is not part of stream management` });
    }
  }

  #acknowledge(text: string | undefined): void {
    const acks = this.#acks;
    if (acks === undefined) {
      this.#stream?.send(failed('unexpected-request'));
      return;
    }
    const h = parseCount(text);
    if (h === undefined) throw new StreamError('invalid-xml', { text: 'h must be an unsigned integer' });
    if (!acks.canAcknowledge(h)) throw tooHigh(h, acks.sent); // §6
    acks.acknowledge(h, (owner, refs) => owner.acknowledged(this, refs));
    this.#isAsking = false;
    if (this.#sinceAsked > 0) this.#owner.wantsAckRequest(this);
    this.#checkWritable();
  }

  drained(): void {
    this.#checkWritable();
  }

  #checkWritable(): void {
    if (!this.#wasBlocked) return;
    const stream = this.#stream;
    if (stream === undefined || stream.outbox.bytes > LOW_WATER_BYTES) return;
    if (this.#acks !== undefined && this.#acks.length > MAX_UNACKNOWLEDGED / 2) {
      // Nothing more will be sent that could be asked about: ask now, or the session stays blocked.
      if (!this.#isAsking) this.#ask(Date.now());
      return;
    }
    this.#wasBlocked = false;
    this.#owner.writable(this);
  }

  /** Delivery of bare-JID traffic begins: the first of the events in delivery.md §4.2. */
  start(): void {
    if (this.#hasStarted || !this.#isAlive) return;
    this.#hasStarted = true;
    this.#owner.started(this);
  }

  get hasStarted(): boolean {
    return this.#hasStarted;
  }

  /** Takes a presence stanza without `to` (RFC 6121 §4.2, §4.5). */
  ownPresence(stanza: Element): void {
    const next = decidePresence(stanza);
    if (next === undefined) throw new StanzaError('bad-request', { text: 'priority must be an integer from -128 to 127' });
    const before = this.presence;
    this.presence = next;
    if (next.kind === 'available') this.start();
    this.#owner.presenceChanged(this, before, stanza);
  }

  get receivesBare(): boolean {
    return this.presence.kind === 'never-sent' || (this.presence.kind === 'available' && this.presence.priority >= 0);
  }

  // --- ends and resumption -----------------------------------------------------------------------

  ended(reason: CloseReason, wasClean: boolean): void {
    this.#stream = undefined;
    if (!this.#isAlive) return;
    this.#isAsking = false;
    this.#pingId = undefined;
    // XEP-0198 §7: only a stream that was not closed cleanly is kept.
    const canResume = this.resumeId !== undefined && (reason === 'connection-lost' || reason === 'idle-timeout');
    if (!canResume || (wasClean && reason !== 'idle-timeout')) {
      this.#over(reason);
      return;
    }
    this.#resumeTimer = setTimeout(() => this.#over(reason), this.#owner.resumeTimeoutMs);
    this.#resumeTimer.unref();
    this.#owner.hibernated(this);
  }

  /** Ends the stream but keeps the session where it can be resumed. */
  #loseStream(reason: CloseReason, error: StreamError): void {
    this.#stream?.close(reason, error);
  }

  /** Ends stream and session for good. What is queued and may no longer be sent is dropped with it. */
  end(reason: CloseReason, error?: StreamError, discardQueued = false): void {
    if (!this.#isAlive) return;
    const stream = this.#stream;
    this.#stream = undefined;
    this.#over(reason);
    if (stream !== undefined) {
      if (discardQueued) stream.outbox.discard();
      stream.close(reason, error);
    }
  }

  #over(why: CloseReason): void {
    if (!this.#isAlive) return;
    this.#isAlive = false;
    if (this.#resumeTimer !== undefined) clearTimeout(this.#resumeTimer);
    this.#owner.ended(this, why);
  }

  /** Stanzas of the client that wait for their answer: resumption counts them first. */
  async settled(): Promise<void> {
    await this.#handling?.catch(() => {
      // The stream that failed has been told already.
    });
  }

  /** Whether the peer's `h` fits what this session sent. */
  canResumeAt(h: number): boolean {
    return this.#acks?.canAcknowledge(h) ?? false;
  }

  get sentCount(): number {
    return this.#acks?.sent ?? 0;
  }

  /** The old stream, if it still stands, ends with a conflict before the new one takes over. */
  leaveStream(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.setHandler(ABANDONED); // its end is not the session's
    stream?.close('resumed-elsewhere', new StreamError('conflict', { text: 'this session was resumed on another stream' }));
  }

  /** Moves onto a new stream: `<resumed/>`, then everything unacknowledged again, in order (XEP-0198 §5). */
  async resume(stream: XmlStream, who: AuthenticatedAccount, h: number): Promise<boolean> {
    const acks = this.#acks as AckQueue;
    if (this.#isResuming) return false; // the claim has one winner (delivery.md §6.2)
    this.#isResuming = true;
    try {
      acks.acknowledge(h, (owner, refs) => owner.acknowledged(this, refs));
      // Entries are read again while nothing is sent; what is queued meanwhile comes behind them.
      const encoded = await Promise.all(
        acks.all().map(({ what, owner }) => (owner === undefined ? undefined : owner.encodeAgain(this, what as EntryRef))),
      );
      if (!this.#isAlive || stream.isOver) return false;
      if (this.#resumeTimer !== undefined) clearTimeout(this.#resumeTimer);
      this.who = who;
      stream.send(
        new Element('resumed', { xmlns: NS.streamManagement, h: String(this.#handled), previd: this.resumeId as string }),
      );
      this.#stream = stream;
      stream.setHandler(this);
      this.#isAsking = false;
      for (const [i, { what, owner }] of acks.takeAll().entries()) {
        if (owner === undefined) {
          acks.pushStanza(what as Buffer);
          stream.outbox.push(what as Buffer);
          continue;
        }
        const again = encoded[i];
        if (again === undefined) continue; // withdrawn since: skipped and not counted
        acks.pushEntry(owner, what as EntryRef);
        stream.outbox.push2(again.prefix, again.body);
      }
      if (acks.length > 0) this.#ask(Date.now());
      return true;
    } finally {
      this.#isResuming = false;
    }
  }

  /** Answers one of this client's stanzas with an error, unless it is one that must not be answered. */
  answerError(stanza: Element, error: StanzaError): void {
    const reply = errorReply(stanza, error);
    if (reply !== undefined) this.sendStanza(reply);
  }
}

/** For a stream that no longer belongs to a session. */
const ABANDONED: StreamHandler = {
  header: () => undefined,
  stanza: () => undefined,
  oversize: () => undefined,
  drained: () => undefined,
  ended: () => undefined,
};

export function failed(condition: string, h?: number): Element {
  const element = new Element('failed', { xmlns: NS.streamManagement });
  if (h !== undefined) element.attrs.h = String(h);
  element.c(condition, { xmlns: NS.stanzaErrors });
  return element;
}

export function tooHigh(h: number, sent: number): StreamError {
  return new StreamError('undefined-condition', {
    text: `You acknowledged ${h} stanzas, but only ${sent} were sent so far.`,
    child: new Element('handled-count-too-high', { xmlns: NS.streamManagement, h: String(h), 'send-count': String(sent) }),
  });
}

/** An unsigned 32-bit count in decimal, as XEP-0198's `h`. */
export function parseCount(text: string | undefined): number | undefined {
  if (text === undefined || !/^[0-9]{1,10}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= 0xffff_ffff ? value : undefined;
}
