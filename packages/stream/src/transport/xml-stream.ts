import type { Socket } from 'node:net';
import type { Element } from 'ltx';
import { StreamError } from '../errors/stream-error.ts';
import { arrive, type Rate, type RateLimitMetrics } from '../limits/rate-limit.ts';
import type { Logger } from '../observe/log.ts';
import { randomText } from '../random.ts';
import { NS } from '../xml/ns.ts';
import { escapeAttribute, serializeStanza } from '../xml/serialize.ts';
import { type XmlEvent, XmlFault, type XmlLimits, XmlTokenizer } from '../xml/tokenizer.ts';
import { type CloseReason, faultToStreamError } from './close-reason.ts';
import { ALWAYS_OPEN, type Gate } from './gate.ts';
import { Outbox } from './outbox.ts';

/**
 * One XML stream over one socket: headers, ordered handling of what arrives, errors and the closing
 * handshake (RFC 6120 §4). What the stanzas mean is the handler's business.
 */

/** A stanza that was too long to handle and short enough to answer. */
export type OversizeEvent = Extract<XmlEvent, { kind: 'oversize' }>;

/** Receives what arrives. A returned promise holds back this stream, and only this one (RFC 6120 §10.1). */
export interface StreamHandler {
  /** A stream header that passed the rules of §4.7 and §4.8. Answer with `sendHeader`. */
  header(header: Element): void | Promise<void>;
  stanza(element: Element, bytes: number): void | Promise<void>;
  /** A stanza between the soft and the hard limit was skipped. */
  oversize(event: OversizeEvent): void | Promise<void>;
  /** The outbox went below its low-water mark. */
  drained(): void;
  /** The stream is over: called once, after which nothing arrives and nothing can be sent. */
  ended(reason: CloseReason, wasClean: boolean): void;
}

export interface XmlStreamOptions {
  readonly limits: XmlLimits;
  readonly isOpaque: (parent: Element) => boolean;
  readonly log: Logger;
  /** Bytes that one peer may send; beyond it the stream is read more slowly (RFC 6120 §13.12). */
  readonly bandwidth?: Rate | undefined;
  readonly rateMetrics?: RateLimitMetrics | undefined;
  /** While it is closed nothing is handled and nothing written. Default: always open. */
  readonly gate?: Gate | undefined;
  /** How long after our closing tag we wait for the peer's (§4.4), ms. */
  readonly closeTimeoutMs?: number;
}

/** Fed but unparsed bytes at which we stop reading from the socket while a handler is busy. */
const READ_AHEAD_BYTES = 65_536;

/** Nothing else that we send begins so. */
const HEADER_START = `<?xml version='1.0'?>`;

export class XmlStream {
  /** Names this connection in logs; the stream id on the wire is new with every header (§4.7.3). */
  readonly connectionId = randomText(6, 'hex');
  readonly outbox: Outbox;
  readonly remoteAddress: string;
  /** '' before TLS. */
  tlsVersion = '';
  #socket: Socket;
  readonly #tokenizer: XmlTokenizer;
  readonly #log: Logger;
  readonly #closeTimeoutMs: number;
  #handler!: StreamHandler;
  #isBusy = false;
  #isStopped = false;
  #hasSentHeader = false;
  #sentClose = false;
  #receivedClose = false;
  #isOver = false;
  #reason: CloseReason | undefined;
  #closeTimer: NodeJS.Timeout | undefined;
  /** Default domain and namespace for a header that we must send before an early error. */
  #from: string;
  /** On the monotonic clock, ms. */
  lastReceivedMs = performance.now();
  readonly #bandwidth: Rate | undefined;
  readonly #rateMetrics: RateLimitMetrics | undefined;
  #tat = 0;
  #isShaped = false;

  readonly #onData = (chunk: Buffer): void => {
    this.lastReceivedMs = performance.now();
    if (this.#isOver || this.#receivedClose) return;
    this.#tokenizer.feed(chunk);
    if (this.#bandwidth !== undefined) this.#shape(this.#bandwidth, chunk.length);
    if (this.#isBusy) {
      if (this.#tokenizer.pendingBytes > READ_AHEAD_BYTES) this.#socket.pause();
      return;
    }
    this.#pump();
  };
  readonly #onEnd = (): void => this.#finish(this.#reason ?? (this.#receivedClose ? 'peer-closed' : 'connection-lost'));
  readonly #onClose = (): void => this.#finish(this.#reason ?? 'connection-lost');
  readonly #onError = (error: Error): void => {
    this.#log.debug({ err: error.message, connectionId: this.connectionId }, 'socket error');
    this.#finish(this.#reason ?? 'connection-lost');
  };

  constructor(socket: Socket, domain: string, options: XmlStreamOptions) {
    this.#socket = socket;
    this.#from = domain;
    this.#log = options.log;
    this.#closeTimeoutMs = options.closeTimeoutMs ?? 5_000;
    this.#bandwidth = options.bandwidth;
    this.#rateMetrics = options.rateMetrics;
    this.remoteAddress = socket.remoteAddress ?? '';
    this.#tokenizer = new XmlTokenizer(options.limits, options.isOpaque);
    this.outbox = new Outbox(
      socket,
      () => {
        if (!this.#isOver) this.#handler.drained();
      },
      options.gate ?? ALWAYS_OPEN,
    );
    this.#attach(socket);
  }

  #attach(socket: Socket): void {
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('close', this.#onClose);
    socket.on('error', this.#onError);
  }

  #detach(socket: Socket): void {
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.off('close', this.#onClose);
    socket.off('error', this.#onError);
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get isClosing(): boolean {
    return this.#sentClose || this.#isOver;
  }

  /** Plain-text bytes that arrived behind the stanza being handled; STARTTLS must see none. */
  get pendingBytes(): number {
    return this.#tokenizer.pendingBytes;
  }

  setHandler(handler: StreamHandler): void {
    this.#handler = handler;
  }

  setLimits(limits: XmlLimits): void {
    this.#tokenizer.setLimits(limits);
  }

  /** Forgets the old stream: the peer must send a new header (§4.3.3). */
  restart(): void {
    this.#tokenizer.restart();
    this.#hasSentHeader = false;
  }

  /** Answers the peer's header (§4.7). Returns the stream id: unpredictable and never used twice (§4.7.3). */
  sendHeader(from: string, to: string | undefined, lang: string | undefined): string {
    this.#from = from;
    const id = randomText(16);
    const toAttr = to === undefined ? '' : ` to='${escapeAttribute(to)}'`;
    const header =
      `${HEADER_START}<stream:stream from='${escapeAttribute(from)}'${toAttr} id='${id}' version='1.0'` +
      ` xml:lang='${escapeAttribute(lang ?? 'en')}' xmlns='${NS.client}' xmlns:stream='${NS.streams}'>`;
    this.#hasSentHeader = true;
    this.outbox.push(Buffer.from(header));
    return id;
  }

  send(element: Element): void {
    if (!this.isClosing) this.outbox.push(serializeStanza(element));
  }

  sendBytes(bytes: Buffer): void {
    if (!this.isClosing) this.outbox.push(bytes);
  }

  /** Hands the socket over for the TLS handshake once everything written so far has left. The stream stays silent until `secured`. */
  async detachForTls(): Promise<Socket> {
    this.outbox.flush();
    const socket = this.#socket;
    socket.pause();
    this.#detach(socket);
    socket.on('error', this.#onError);
    await new Promise<void>((resolve) => socket.write('', () => resolve()));
    return socket;
  }

  /** Goes on over the encrypted socket with a new stream. */
  secured(socket: Socket): void {
    this.#socket = socket;
    this.#attach(socket);
    this.outbox.moveTo(socket);
    this.#tokenizer.discardPending();
    this.restart();
    if (socket.destroyed) this.#finish('connection-lost');
  }

  #pump(): void {
    while (!this.#isBusy && !this.#isOver && !this.#isStopped) {
      if (!this.outbox.gate.isOpen) {
        this.#isBusy = true;
        void this.outbox.gate.opened().then(this.#resume);
        return;
      }
      let pending: void | Promise<void>;
      try {
        const event = this.#tokenizer.next();
        if (event === undefined) break;
        // After our closing tag the peer may finish sending; we only wait for its closing tag (§4.4).
        if (this.#sentClose && event.kind !== 'close') continue;
        switch (event.kind) {
          case 'open':
            pending = this.#open(event.header);
            break;
          case 'stanza':
            pending = this.#handler.stanza(event.element, event.bytes);
            break;
          case 'oversize':
            pending = this.#handler.oversize(event);
            break;
          case 'close':
            this.#receivedClose = true;
            this.close('peer-closed');
            return;
        }
      } catch (error) {
        this.fail(error);
        return;
      }
      if (pending !== undefined) {
        this.#isBusy = true;
        pending.then(this.#resume, (error: unknown) => {
          this.#isBusy = false;
          this.fail(error);
        });
      }
    }
    if (!this.#isBusy && !this.#isShaped && !this.#isStopped && this.#socket.isPaused() && !this.#isOver) this.#socket.resume();
  }

  /** Takes nothing further from the peer; what is being handled goes on (delivery.md §6.3). */
  stopReading(): void {
    this.#isStopped = true;
    this.#socket.pause();
  }

  startReading(): void {
    if (!this.#isStopped) return;
    this.#isStopped = false;
    this.#pump();
  }

  /** Stops reading for as long as the peer is ahead of its rate. What was read is handled as ever. */
  #shape(rate: Rate, bytes: number): void {
    const { tat, earlyMs } = arrive(rate, this.#tat, this.lastReceivedMs, bytes);
    this.#tat = tat;
    this.#rateMetrics?.checked('bandwidth');
    if (earlyMs === 0 || this.#isShaped) return;
    this.#rateMetrics?.rejected('bandwidth', 'delay');
    this.#rateMetrics?.delayed('bandwidth', earlyMs / 1_000);
    this.#isShaped = true;
    this.lastReceivedMs += earlyMs; // until then the silence is of our making
    this.#socket.pause();
    setTimeout(() => {
      this.#isShaped = false;
      if (!this.#isOver) this.#pump();
    }, earlyMs).unref();
  }

  readonly #resume = (): void => {
    this.#isBusy = false;
    this.#pump();
  };

  /** Header rules that hold for every stream (§4.7, §4.8); the domain is the handler's to judge. */
  #open(header: Element): void | Promise<void> {
    const colon = header.name.indexOf(':');
    const prefix = colon < 0 ? '' : header.name.slice(0, colon);
    const local = header.name.slice(colon + 1);
    const ns = prefix === '' ? header.attrs.xmlns : header.attrs[`xmlns:${prefix}`];
    if (local !== 'stream') throw new StreamError('bad-format', { text: 'the root element must be stream' }); // §4.9.3.1
    if (ns !== NS.streams) throw new StreamError('invalid-namespace', { text: `the stream namespace is ${NS.streams}` }); // §4.8.1
    if (prefix !== 'stream') throw new StreamError('bad-namespace-prefix', { text: 'use the prefix stream' }); // §4.8.5
    const content = header.attrs.xmlns;
    if (content !== NS.client) throw new StreamError('invalid-namespace', { text: `the content namespace is ${NS.client}` }); // §4.8.2
    return this.#handler.header(header);
  }

  /** Ends the stream for an error: ours is a bug and answers internal-server-error. */
  fail(error: unknown): void {
    if (error instanceof XmlFault) {
      const { error: streamError, reason } = faultToStreamError(error.kind, error.message);
      this.close(reason, streamError);
    } else if (error instanceof StreamError) {
      this.close(error.condition === 'system-shutdown' ? 'drain' : 'protocol-error', error);
    } else {
      this.#log.error({ err: error, connectionId: this.connectionId }, 'a bug ended this stream; other streams go on');
      this.close('internal-error', new StreamError('internal-server-error'));
    }
  }

  /**
   * Sends the error, if any, and the closing tag, once. Then waits for the peer's closing tag a bounded
   * time (§4.4); after an error the connection ends as soon as everything was written (§4.9.1.1).
   */
  close(reason: CloseReason, error?: StreamError, waitsForPeer = error === undefined): void {
    if (this.#isOver) return;
    this.#reason ??= reason;
    this.#isStopped = false;
    if (!this.#sentClose) {
      // An instance that may not serve says no more than that the stream ends (delivery.md §7.2 (c)).
      if (!this.outbox.gate.isOpen) {
        // Where the peer knows of no stream yet there is nothing to end: an error would stand outside of it.
        if (!this.#hasSentHeader || this.outbox.holds(HEADER_START)) {
          this.destroy(reason);
          return;
        }
        this.outbox.discard();
      }
      // §4.9.1.2: even an error during set-up comes inside a stream of ours.
      if (!this.#hasSentHeader) this.sendHeader(this.#from, undefined, undefined);
      if (error !== undefined) this.outbox.push(serializeStanza(error.toElement()));
      this.outbox.push(Buffer.from('</stream:stream>'));
      this.outbox.end();
      this.#sentClose = true;
    }
    if (this.#receivedClose || !waitsForPeer) {
      this.#socket.end();
      this.#armCloseTimer(Math.min(this.#closeTimeoutMs, 2_000));
      this.#finish(this.#reason);
    } else {
      if (this.#socket.isPaused()) this.#socket.resume();
      this.#armCloseTimer(this.#closeTimeoutMs);
    }
  }

  #armCloseTimer(ms: number): void {
    if (this.#closeTimer !== undefined) clearTimeout(this.#closeTimer);
    this.#closeTimer = setTimeout(() => {
      this.#socket.destroy();
      this.#finish(this.#reason ?? 'connection-lost');
    }, ms);
    this.#closeTimer.unref();
    this.#socket.once('close', () => clearTimeout(this.#closeTimer));
  }

  /** Ends the connection without a word: handshake failures, peers that are gone. */
  destroy(reason: CloseReason): void {
    this.#reason ??= reason;
    this.#socket.destroy();
    this.#finish(this.#reason);
  }

  #finish(reason: CloseReason): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.outbox.close();
    // The peer may still be sending behind its own end; nobody listens any more.
    this.#socket.off('data', this.#onData);
    this.#socket.resume();
    if (!this.#socket.destroyed && !this.#socket.writableEnded) this.#socket.end();
    this.#handler.ended(reason, this.#receivedClose || this.#sentClose);
  }
}
