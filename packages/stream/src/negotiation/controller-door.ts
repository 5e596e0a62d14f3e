import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Element } from 'ltx';
import { StreamError } from '../errors/stream-error.ts';
import type { Rate, RateLimitMetrics } from '../limits/rate-limit.ts';
import type { Logger } from '../observe/log.ts';
import type { Sessions } from '../session/sessions.ts';
import type { CloseReason } from '../transport/close-reason.ts';
import type { Listener } from '../transport/listener.ts';
import { XmlStream } from '../transport/xml-stream.ts';
import type { XmlLimits } from '../xml/tokenizer.ts';
import type { AuthenticatedAccount, Authenticator, TlsFacts } from './authenticator.ts';
import { ClientNegotiation } from './client-negotiation.ts';
import type { SaslOutcome } from './sasl.ts';

/**
 * The front door: turns accepted connections into client streams and keeps count of those that have no
 * session yet.
 */

export interface DoorOptions {
  readonly domain: string;
  readonly listener: Listener;
  readonly authenticator: Authenticator;
  readonly sessions: Sessions;
  facts(socket: TLSSocket): TlsFacts;
  mayStay(who: AuthenticatedAccount): Promise<boolean>;
  /** XML limits before login; after it the role's stanza sizes replace the two byte limits. */
  readonly preAuthLimits: XmlLimits;
  readonly isOpaque: (parent: Element) => boolean;
  readonly bandwidth?: Rate | undefined;
  readonly rateMetrics?: RateLimitMetrics | undefined;
  readonly idleSeconds: number;
  readonly saslRetries: number;
  readonly negotiationTimeoutMs: number;
  readonly log: Logger;
  saslOutcome?(outcome: SaslOutcome): void;
  streamClosed?(reason: CloseReason): void;
}

export class ControllerDoor {
  readonly #options: DoorOptions;
  /** Streams that have not bound a resource. */
  readonly #negotiating = new Set<XmlStream>();

  constructor(options: DoorOptions) {
    this.#options = options;
  }

  get negotiating(): number {
    return this.#negotiating.size;
  }

  /** Plain TCP; STARTTLS is required before anything else (RFC 6120 §5). */
  listenStartTls(port: number, host: string): Promise<AddressInfo> {
    return this.#options.listener.listen(port, host, (socket) => this.#open(socket, undefined));
  }

  /** TLS from the first byte (XEP-0368). */
  listenDirectTls(port: number, host: string): Promise<AddressInfo> {
    const { listener, log } = this.#options;
    return listener.listen(port, host, (socket) => {
      socket.on('error', (error) => log.debug({ err: error.message }, 'socket error'));
      listener.secure(socket).then(
        (secured) => this.#open(secured, this.#options.facts(secured)),
        (error: unknown) => {
          log.info(
            { remote: socket.remoteAddress, err: error instanceof Error ? error.message : String(error) },
            'TLS handshake failed, connection closed',
          );
          this.#options.streamClosed?.('tls-handshake-failed');
          socket.destroy();
        },
      );
    });
  }

  #open(socket: Socket, tls: TlsFacts | undefined): void {
    const { domain, preAuthLimits, isOpaque, log } = this.#options;
    const stream = new XmlStream(socket, domain, {
      limits: preAuthLimits,
      isOpaque,
      log,
      bandwidth: this.#options.bandwidth,
      rateMetrics: this.#options.rateMetrics,
      gate: this.#options.sessions.gate,
    });
    this.#negotiating.add(stream);
    new ClientNegotiation(
      stream,
      {
        domain,
        authenticator: this.#options.authenticator,
        sessions: this.#options.sessions,
        secure: (from) => this.#secure(from),
        mayStay: this.#options.mayStay,
        limitsFor: (who) => ({
          ...preAuthLimits,
          maxStanzaBytes: who.limits.maxStanzaBytes,
          hardStanzaBytes: who.limits.hardStanzaBytes,
        }),
        preAuthMaxBytes: preAuthLimits.maxStanzaBytes,
        idleSeconds: this.#options.idleSeconds,
        saslRetries: this.#options.saslRetries,
        timeoutMs: this.#options.negotiationTimeoutMs,
        log,
        outcome: (outcome) => this.#options.saslOutcome?.(outcome),
        bound: (bound) => this.#negotiating.delete(bound),
        over: (over, reason) => {
          this.#negotiating.delete(over);
          this.#options.streamClosed?.(reason);
        },
      },
      tls,
    );
  }

  async #secure(stream: XmlStream): Promise<TlsFacts> {
    const plain = await stream.detachForTls();
    const secured = await this.#options.listener.secure(plain);
    const facts = this.#options.facts(secured);
    stream.secured(secured);
    return facts;
  }

  /** Ends what has not bound a resource: the server stops. */
  endNegotiations(): void {
    for (const stream of [...this.#negotiating]) {
      stream.close('drain', new StreamError('system-shutdown', { text: 'this server stops' }));
    }
  }
}
