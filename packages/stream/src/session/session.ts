import { Element } from 'ltx';
import type { ResumeState } from '../cluster/resume-states.ts';
import { StanzaError } from '../errors/stanza-error.ts';
import { StreamError } from '../errors/stream-error.ts';
import type { JID } from '../jid.ts';
import type { Logger } from '../observe/log.ts';
import type { CloseReason } from '../transport/close-reason.ts';
import type { OversizeEvent, StreamHandler, XmlStream } from '../transport/xml-stream.ts';
import { NS } from '../xml/ns.ts';
import { serializeStanza } from '../xml/serialize.ts';
import type { AuthenticatedAccount } from './account.ts';
import type { AckQueue } from './ack-queue.ts';
import { Acknowledgements, MAX_UNACKNOWLEDGED } from './acknowledgements.ts';
import { errorReply } from './answer.ts';
import type { EntryRef, Redeliverable, SessionPort } from './ports.ts';
import { decidePresence, type PresenceState } from './presence.ts';
import { failed, parseCount } from './stream-management.ts';

/**
 * A bound resource: stanza rules of RFC 6120 §8.1, stream management (XEP-0198), pings, and the outbox's
 * bounds. It outlives its stream while it can be resumed.
 */

/** Bytes in the outbox at which log entries wait in the log instead (delivery.md §4.4). */
const HIGH_WATER_BYTES = 262_144;
const LOW_WATER_BYTES = HIGH_WATER_BYTES / 2;
/** Bytes of other stanzas on top of that at which the stream ends. */
const MAX_DIRECT_BYTES = 1_048_576;
/** A stanza that a session was given, and when (ms since the epoch; for what was sent to its stream: the end of that). */
export interface Undelivered {
  readonly stanza: Buffer;
  readonly sinceMs: number;
}

/** Handles the stanzas of all sessions; the router fills it. */
export interface StanzaSink {
  stanza(stanza: Element, session: Session): void | Promise<void>;
  /** A stanza over the soft limit was skipped. */
  oversize(event: OversizeEvent, session: Session): void;
  /** A session is over; `undelivered` is what it did not acknowledge, log entries left out. */
  ended(session: Session, undelivered: readonly Undelivered[]): void;
  /** A session that comes from another instance was resumed. */
  arrived(session: Session): void;
  /** A stanza came for a session that has moved on. */
  forward(stanza: Buffer, to: JID): Promise<void>;
}

/** What a session tells the table that holds it. */
export interface SessionOwner {
  readonly sink: StanzaSink;
  readonly domain: string;
  readonly resumeTimeoutMs: number;
  readonly log: Logger;
  started(session: Session): void;
  presenceChanged(session: Session, before: PresenceState, stanza: Element): void;
  writable(session: Session): void;
  hibernated(session: Session): void;
  ended(session: Session, why: CloseReason): void;
  /** The session goes on elsewhere. */
  departed(session: Session, why: CloseReason): void;
  /** The session has something that a later request for acknowledgement must cover. */
  wantsAckRequest(session: Session): void;
  newResumeId(session: Session): string;
}

export class Session implements SessionPort, StreamHandler {
  readonly id: string;
  readonly jid: JID;
  /** Replaced at resumption: rights are those of the newest login (delivery.md §6.2). */
  who: AuthenticatedAccount;
  readonly boundAtMs: number;
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
  #isLeaving = false;

  readonly #acks: Acknowledgements;
  /** Stanzas of the client that were answered, stored or handed on (XEP-0198 §4). */
  #handled = 0;

  #handling: Promise<void> | undefined;
  /** Since when there is no stream, and when each stanza since then came. */
  #away: { readonly sinceMs: number; readonly cameMs: number[] } | undefined;
  #resumeTimer: NodeJS.Timeout | undefined;
  #isResuming = false;

  constructor(
    id: string,
    jid: JID,
    who: AuthenticatedAccount,
    stream: XmlStream | undefined,
    owner: SessionOwner,
    boundAtMs = Date.now(),
  ) {
    this.id = id;
    this.boundAtMs = boundAtMs;
    this.jid = jid;
    this.who = who;
    this.#stream = stream;
    this.#owner = owner;
    this.#acks = new Acknowledgements({
      write: (bytes) => this.#write(bytes),
      taken: (of, refs) => of.acknowledged(this, refs),
      wantsTick: () => owner.wantsAckRequest(this),
      pingFrom: owner.domain,
      pingTo: jid.toString(),
    });
  }

  #write(bytes: Buffer): boolean {
    if (this.#stream === undefined || this.#stream.isClosing) return false;
    this.#stream.outbox.push(bytes);
    return true;
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

  get tlsVersion(): string {
    return this.#stream?.tlsVersion ?? '';
  }

  get queuedBytes(): number {
    return this.#stream?.outbox.bytes ?? 0;
  }

  get isWritable(): boolean {
    const stream = this.#stream;
    if (
      stream === undefined ||
      stream.isClosing ||
      stream.outbox.bytes >= HIGH_WATER_BYTES ||
      this.#isLeaving ||
      this.#acks.isFull
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
    this.#acks.entrySent(owner, ref);
  }

  sendStanza(stanza: Element | Buffer): void {
    if (!this.#isAlive) return;
    const bytes = Buffer.isBuffer(stanza) ? stanza : serializeStanza(stanza);
    const { queue } = this.#acks;
    if (queue !== undefined) {
      if (queue.length >= 2 * MAX_UNACKNOWLEDGED || queue.stanzaBytes + bytes.length > MAX_DIRECT_BYTES) {
        this.#endSlow();
        return;
      }
      queue.pushStanza(bytes);
    }
    const stream = this.#stream;
    if (stream === undefined) this.#away?.cameMs.push(Date.now());
    if (stream === undefined || stream.isClosing) return; // kept for the resumption, or too late
    if (stream.outbox.bytes + bytes.length > HIGH_WATER_BYTES + MAX_DIRECT_BYTES) {
      this.#endSlow();
      return;
    }
    stream.outbox.push(bytes);
    this.#acks.stanzaSent();
  }

  withdraw(topic: string): void {
    const stream = this.#stream;
    if (stream === undefined || stream.isClosing || stream.outbox.unwritten === 0 || !this.#acks.holds(topic)) return;
    stream.outbox.discard();
    this.#loseStream('right-cut', new StreamError('reset', { text: 'you may no longer hear of a topic; log in again' }));
  }

  #endSlow(): void {
    this.end(
      'slow-consumer',
      new StreamError('policy-violation', { text: 'too many stanzas wait for this client to read them' }),
    );
  }

  /** Entries that were sent to a connected client and not acknowledged. */
  get awaitsAcknowledgement(): boolean {
    return this.isConnected && this.#acks.isWaiting;
  }

  /** Asks now for the acknowledgement of everything sent, whatever the pace (drain). */
  askNow(): void {
    if (this.isConnected) this.#acks.askNow();
  }

  /**
   * Runs about once a second for sessions that want an acknowledgement. Until `closedMs` nothing of them was read (Gate).
   * @returns whether the session wants to be asked about again.
   */
  tick(now: number, closedMs: number): boolean {
    if (this.#stream === undefined) return false;
    const wish = this.#acks.tick(now, closedMs);
    if (wish === 'overdue') this.#loseStream('idle-timeout', Acknowledgements.overdue());
    return wish === 'again';
  }

  /** Looks for a peer that is gone: pings when nothing came for `idleMs`, ends the stream when nothing came `answerMs` later. */
  checkIdle(now: number, idleMs: number, answerMs: number, closedMs: number): void {
    const stream = this.#stream;
    if (stream === undefined || stream.isClosing) return;
    const certificateEnd = this.who.certificateNotAfterMs;
    if (certificateEnd !== undefined && certificateEnd <= Date.now()) {
      // RFC 6120 §13.7.2.3
      this.end('certificate-expired', new StreamError('reset', { text: 'the certificate of this stream has expired' }));
      return;
    }
    const silentMs = now - Math.max(stream.lastReceivedMs, closedMs);
    if (silentMs > idleMs + answerMs) {
      this.#loseStream('idle-timeout', new StreamError('connection-timeout', { text: 'nothing was received' }));
    } else if (silentMs > idleMs) {
      this.#acks.probe();
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
    if (name === 'iq' && this.#acks.pong(element.attrs)) {
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
    if (this.#acks.queue !== undefined) this.#handled = (this.#handled + 1) >>> 0;
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
        if (this.#acks.queue !== undefined) {
          stream.send(failed('unexpected-request'));
          return;
        }
        this.#acks.enable();
        this.#handled = 0;
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
    if (this.#acks.queue === undefined) {
      this.#stream?.send(failed('unexpected-request'));
      return;
    }
    const h = parseCount(text);
    if (h === undefined) throw new StreamError('invalid-xml', { text: 'h must be an unsigned integer' });
    this.#acks.acknowledge(h);
    this.#checkWritable();
  }

  drained(): void {
    this.#checkWritable();
  }

  #checkWritable(): void {
    if (!this.#wasBlocked) return;
    const stream = this.#stream;
    if (stream === undefined || stream.outbox.bytes > LOW_WATER_BYTES) return;
    if ((this.#acks.queue?.length ?? 0) > MAX_UNACKNOWLEDGED / 2) {
      // Nothing more will be sent that could be asked about: ask now, or the session stays blocked.
      this.#acks.askNow();
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
    this.#acks.streamEnded();
    // XEP-0198 §7: only a stream that was not closed cleanly is kept.
    const isOurs = reason === 'idle-timeout' || reason === 'right-cut';
    const canResume = this.resumeId !== undefined && (reason === 'connection-lost' || isOurs);
    if (!canResume || (wasClean && !isOurs)) {
      this.#over(reason);
      return;
    }
    this.#hibernate(reason);
  }

  #hibernate(reason: CloseReason): void {
    this.#away = { sinceMs: Date.now(), cameMs: [] };
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
    return this.#acks.queue?.canAcknowledge(h) ?? false;
  }

  get sentCount(): number {
    return this.#acks.queue?.sent ?? 0;
  }

  /** The old stream, if it still stands, ends with a conflict before the new one takes over. */
  leaveStream(): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    this.#stream = undefined;
    this.#hibernate('resumed-elsewhere'); // should the new stream break before it takes over
    stream.setHandler(ABANDONED); // its end is not the session's
    stream.close('resumed-elsewhere', new StreamError('conflict', { text: 'this session was resumed on another stream' }));
  }

  /** Moves onto a new stream: `<resumed/>`, then everything unacknowledged again, in order (XEP-0198 §5). */
  async resume(stream: XmlStream, who: AuthenticatedAccount, h: number): Promise<boolean> {
    const queue = this.#acks.queue as AckQueue;
    if (this.#isResuming || this.#isLeaving) return false; // the claim has one winner (delivery.md §6.2)
    this.#isResuming = true;
    try {
      queue.acknowledge(h, (owner, refs) => owner.acknowledged(this, refs));
      // Entries are read again while nothing is sent; what is queued meanwhile comes behind them.
      const encoded = await Promise.all(
        queue.all().map(({ what, owner }) => (owner === undefined ? undefined : owner.encodeAgain(this, what as EntryRef))),
      );
      if (!this.#isAlive || stream.isOver) return false;
      if (this.#resumeTimer !== undefined) clearTimeout(this.#resumeTimer);
      this.who = who;
      stream.send(
        new Element('resumed', { xmlns: NS.streamManagement, h: String(this.#handled), previd: this.resumeId as string }),
      );
      this.#stream = stream;
      this.#away = undefined;
      stream.setHandler(this);
      this.#acks.streamEnded(); // whatever was asked on the old stream
      for (const [i, { what, owner }] of queue.takeAll().entries()) {
        if (owner === undefined) {
          queue.pushStanza(what as Buffer);
          stream.outbox.push(what as Buffer);
          continue;
        }
        const again = encoded[i];
        if (again === undefined) continue; // withdrawn since: skipped and not counted
        queue.pushEntry(owner, what as EntryRef);
        stream.outbox.push2(again.prefix, again.body);
      }
      this.#acks.askNow();
      return true;
    } finally {
      this.#isResuming = false;
    }
  }

  // --- to and from other instances (delivery.md §6.2, §6.3) ----------------------------------------------

  /** Sends no more log entries: what was sent waits for its acknowledgement, the rest in the log. */
  quiet(): void {
    this.#isLeaving = true;
  }

  /** Reads no more of what the client sends; what is being handled goes on. */
  stopReading(): void {
    this.#isLeaving = true;
    this.#stream?.stopReading();
  }

  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  get isResuming(): boolean {
    return this.#isResuming;
  }

  /** The session could not leave, and goes on as before. */
  stay(): void {
    this.#isLeaving = false;
    this.#stream?.startReading();
    this.#checkWritable();
  }

  /** What the session needs to go on elsewhere. Only while stream management is enabled and nothing is read. */
  state(extra: Readonly<Record<string, string>>): ResumeState {
    const queue = this.#acks.queue as AckQueue;
    const { presence } = this;
    return {
      sessionId: this.id,
      resource: this.jid.resource as string,
      boundAtMs: this.boundAtMs,
      handled: this.#handled,
      acknowledged: queue.acknowledged,
      unacknowledged: queue
        .all()
        .map(({ what }) => (Buffer.isBuffer(what) ? { stanza: what.toString('utf8') } : { entry: what })),
      ...(presence.kind === 'never-sent'
        ? {}
        : {
            presence: {
              available: presence.kind === 'available',
              priority: presence.kind === 'available' ? presence.priority : 0,
            },
          }),
      ...(this.directedPresence === undefined ? {} : { directedPresence: [...this.directedPresence] }),
      ...(this.defaultLang === undefined ? {} : { lang: this.defaultLang }),
      extra,
    };
  }

  /** Stanzas that were queued after the first `count` of what is unacknowledged. Only while stream management is enabled. */
  stanzasAfter(count: number): Buffer[] {
    const queue = this.#acks.queue as AckQueue;
    return queue.all().flatMap(({ what }, i) => (i >= count && Buffer.isBuffer(what) ? [what] : []));
  }

  /** What was not acknowledged, log entries left out; nothing without stream management. */
  get undelivered(): readonly Undelivered[] {
    const all = this.#acks.queue?.all() ?? [];
    const { sinceMs, cameMs } = this.#away ?? { sinceMs: Date.now(), cameMs: [] };
    const firstAway = all.length - cameMs.length;
    return all.flatMap(({ what }, i) =>
      Buffer.isBuffer(what) ? [{ stanza: what, sinceMs: cameMs[i - firstAway] ?? sinceMs }] : [],
    );
  }

  /** The session is no longer this instance's; nobody is told that it is over. Returns its stream, which nobody listens to. */
  depart(why: CloseReason): XmlStream | undefined {
    const stream = this.#stream;
    this.#stream = undefined;
    this.#isAlive = false;
    if (this.#resumeTimer !== undefined) clearTimeout(this.#resumeTimer);
    stream?.setHandler(ABANDONED);
    this.#owner.departed(this, why);
    return stream;
  }

  /** Goes on where the session stood elsewhere, and waits to be resumed. Only right after it was made, without a stream. */
  restore(resumeId: string, state: ResumeState, entries: Redeliverable): void {
    this.resumeId = resumeId;
    this.defaultLang = state.lang;
    if (state.presence !== undefined) {
      const { available, priority } = state.presence;
      this.presence = available ? { kind: 'available', priority } : { kind: 'unavailable' };
    }
    if (state.directedPresence !== undefined) this.directedPresence = new Set(state.directedPresence);
    this.#hasStarted = true; // with `<enabled/>`, without which nothing can be resumed
    this.#acks.enable();
    const queue = this.#acks.queue as AckQueue;
    queue.continueAt(state.acknowledged);
    for (const each of state.unacknowledged) {
      if ('entry' in each) queue.pushEntry(entries, each.entry);
      else queue.pushStanza(Buffer.from(each.stanza));
    }
    this.#handled = state.handled;
    this.#hibernate('connection-lost');
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
