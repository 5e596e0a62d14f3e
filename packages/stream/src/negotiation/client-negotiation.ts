import { Element } from 'ltx';
import { SaslFailure } from '../errors/sasl-failure.ts';
import { StanzaError } from '../errors/stanza-error.ts';
import { StreamError } from '../errors/stream-error.ts';
import { JID } from '../jid.ts';
import type { Logger } from '../observe/log.ts';
import { iqResult } from '../routing/iq-router.ts';
import { errorReply } from '../session/answer.ts';
import type { Session } from '../session/session.ts';
import type { Sessions } from '../session/sessions.ts';
import { failed } from '../session/stream-management.ts';
import type { CloseReason } from '../transport/close-reason.ts';
import type { StreamHandler, XmlStream } from '../transport/xml-stream.ts';
import { NS } from '../xml/ns.ts';
import type { XmlLimits } from '../xml/tokenizer.ts';
import type { AuthenticatedAccount, Authenticator, SaslExchange, TlsFacts } from './authenticator.ts';
import { authenticatedFeatures, plainFeatures, secureFeatures } from './features.ts';
import { decodeSasl, encodeSasl, type SaslOutcome } from './sasl.ts';

/**
 * A client's way from the first byte to a bound resource: STARTTLS, SASL, resource binding or resumption
 * (RFC 6120 §5, §6, §7; order by XEP-0170).
 */

export type NegotiationState = 'plain' | 'securing' | 'secure' | 'authenticated' | 'bound' | 'over';

export interface NegotiationDeps {
  readonly domain: string;
  readonly authenticator: Authenticator;
  readonly sessions: Sessions;
  /** Carries the connection over to TLS. Rejects when the handshake fails or times out. */
  secure(stream: XmlStream): Promise<TlsFacts>;
  /** Whether the account may still log in: asked again after bind, since rights may change in between (delivery.md §2.6). */
  mayStay(who: AuthenticatedAccount): Promise<boolean>;
  limitsFor(who: AuthenticatedAccount): XmlLimits;
  readonly preAuthMaxBytes: number;
  readonly idleSeconds: number;
  /** Most failed attempts before the stream ends: 2 to 5 (RFC 6120 §6.4.5). */
  readonly saslRetries: number;
  /** From connect to bind, ms. */
  readonly timeoutMs: number;
  readonly log: Logger;
  outcome(what: SaslOutcome): void;
  /** The stream has a session now. */
  bound(stream: XmlStream): void;
  over(stream: XmlStream, reason: CloseReason): void;
}

/** RFC 6120 §7.7.3: at least 5 and no more than 10. */
const BIND_RETRIES = 5;

export class ClientNegotiation implements StreamHandler {
  readonly #stream: XmlStream;
  readonly #deps: NegotiationDeps;
  #state: NegotiationState;
  #tls: TlsFacts | undefined;
  #exchange: SaslExchange | undefined;
  /** The one under way, by the name under which it was offered. */
  #mechanism = 'other';
  #failures = 0;
  #bindFailures = 0;
  #who: AuthenticatedAccount | undefined;
  #lang: string | undefined;
  readonly #timer: NodeJS.Timeout;

  constructor(stream: XmlStream, deps: NegotiationDeps, tls: TlsFacts | undefined) {
    this.#stream = stream;
    this.#deps = deps;
    this.#tls = tls;
    this.#state = tls === undefined ? 'plain' : 'secure';
    if (tls !== undefined) stream.tlsVersion = tls.version;
    this.#timer = setTimeout(
      () => stream.close('negotiation-timeout', new StreamError('connection-timeout', { text: 'log in faster' })),
      deps.timeoutMs,
    );
    this.#timer.unref();
    stream.setHandler(this);
  }

  header(header: Element): void {
    const attrs = header.attrs as Record<string, string | undefined>;
    const from = attrs.from;
    this.#lang = attrs['xml:lang'];
    const to = attrs.to;
    // A missing 'to' is let pass as §4.7.2's interoperability note asks; a wrong one is not.
    let isServed = to === undefined;
    try {
      isServed = to === undefined || JID.parse(to).toString() === this.#deps.domain;
    } catch {
      // Not an address at all: as unknown as any other host.
    }
    const version = /^([0-9]+)\.([0-9]+)$/.exec(attrs.version ?? '0.9');
    this.#stream.sendHeader(this.#deps.domain, bareOf(from), this.#lang);
    if (!isServed) throw new StreamError('host-unknown', { text: `this server serves ${this.#deps.domain}` }); // §4.9.3.6
    if (version === null || Number(version[1]) < 1)
      throw new StreamError('unsupported-version', { text: 'version 1.0 is needed' }); // §4.9.3.25
    if (this.#who !== undefined && from !== undefined && bareOf(from) !== this.#who.account.toString()) {
      throw new StreamError('invalid-from', { text: `this stream was authenticated as ${this.#who.account}` }); // §4.9.3.9
    }
    this.#stream.send(this.#features());
  }

  #features(): Element {
    const { domain, authenticator, preAuthMaxBytes, idleSeconds } = this.#deps;
    const limits = { maxBytes: preAuthMaxBytes, idleSeconds };
    if (this.#who !== undefined) {
      return authenticatedFeatures({ maxBytes: this.#who.limits.maxStanzaBytes, idleSeconds });
    }
    const tls = this.#tls;
    if (tls === undefined) return plainFeatures();
    return secureFeatures(authenticator.mechanisms(domain, tls), authenticator.channelBindingTypes(domain, tls), limits);
  }

  stanza(element: Element): void | Promise<void> {
    switch (this.#state) {
      case 'plain':
        return this.#plain(element);
      case 'secure':
        return this.#secureElement(element);
      case 'authenticated':
        return this.#authenticatedElement(element);
      case 'securing':
      case 'bound':
      case 'over':
        throw new StreamError('not-authorized');
    }
  }

  oversize(): void {
    throw new StreamError('policy-violation', { text: `no more than ${this.#deps.preAuthMaxBytes} bytes before login` }); // §13.12
  }

  drained(): void {
    // Nothing waits: negotiation answers one element at a time.
  }

  ended(reason: CloseReason): void {
    clearTimeout(this.#timer);
    this.#state = 'over';
    this.#deps.over(this.#stream, reason);
  }

  // --- STARTTLS, RFC 6120 §5 ----------------------------------------------------------------------

  #plain(element: Element): void | Promise<void> {
    const ns = element.attrs.xmlns;
    if (ns === NS.sasl && element.name === 'auth') {
      // §6.5.4; TLS is mandatory to negotiate.
      this.#stream.send(new SaslFailure('encryption-required', { text: 'negotiate STARTTLS first' }).toElement());
      return;
    }
    if (ns !== NS.tls || element.name !== 'starttls') {
      throw new StreamError('not-authorized', { text: 'negotiate STARTTLS first' }); // §4.9.3.12
    }
    if (this.#stream.pendingBytes > 0) {
      // Whatever came behind <starttls/> was sent in the clear and could have been put there by anyone.
      this.#stream.send(new Element('failure', { xmlns: NS.tls })); // §5.4.3.2
      this.#stream.close('starttls-injection', undefined, false);
      return;
    }
    this.#state = 'securing';
    this.#stream.send(new Element('proceed', { xmlns: NS.tls })); // §5.4.2.3
    return this.#deps.secure(this.#stream).then(
      (facts) => {
        this.#tls = facts;
        this.#stream.tlsVersion = facts.version;
        this.#state = 'secure';
      },
      (error: unknown) => {
        this.#deps.log.info(
          {
            connectionId: this.#stream.connectionId,
            remote: this.#stream.remoteAddress,
            err: error instanceof Error ? error.message : String(error),
          },
          'TLS handshake failed, connection closed',
        );
        this.#stream.destroy('tls-handshake-failed');
      },
    );
  }

  // --- SASL, RFC 6120 §6 --------------------------------------------------------------------------

  #secureElement(element: Element): void | Promise<void> {
    if (element.attrs.xmlns !== NS.sasl) throw new StreamError('not-authorized', { text: 'authenticate first' });
    switch (element.name) {
      case 'auth':
        return this.#step(() => {
          const mechanism = (element.attrs.mechanism as string | undefined) ?? '';
          const tls = this.#tls as TlsFacts;
          this.#mechanism = 'other';
          if (!this.#deps.authenticator.mechanisms(this.#deps.domain, tls).includes(mechanism)) {
            throw new SaslFailure('invalid-mechanism'); // §6.5.7
          }
          this.#mechanism = mechanism;
          this.#exchange = this.#deps.authenticator.begin(mechanism, this.#deps.domain, tls);
          return this.#exchange.step(decodeSasl(element.text(), 'auth'));
        });
      case 'response':
        return this.#step(() => {
          if (this.#exchange === undefined) throw new SaslFailure('malformed-request', { text: 'no mechanism is under way' });
          return this.#exchange.step(decodeSasl(element.text(), 'response'));
        });
      case 'abort':
        return this.#step(() => {
          throw new SaslFailure('aborted'); // §6.5.1
        });
      default:
        throw new StreamError('not-authorized', { text: `<${element.name}/> is not part of SASL` });
    }
  }

  async #step(run: () => ReturnType<SaslExchange['step']>): Promise<void> {
    try {
      const step = await run();
      if (this.#state !== 'secure') return;
      if (step.kind === 'challenge') {
        this.#stream.send(new Element('challenge', { xmlns: NS.sasl }).t(encodeSasl(step.data)));
        return;
      }
      this.#exchange = undefined;
      this.#who = step.who;
      this.#state = 'authenticated';
      const success = new Element('success', { xmlns: NS.sasl });
      if (step.data !== undefined) success.t(encodeSasl(step.data));
      this.#stream.send(success); // §6.4.6
      this.#stream.setLimits(this.#deps.limitsFor(step.who));
      this.#stream.restart();
      this.#deps.outcome({ mechanism: step.who.mechanism, result: 'ok' });
      this.#deps.log.info(
        {
          jid: step.who.account.toString(),
          mechanism: step.who.mechanism,
          role: step.who.role,
          remote: this.#stream.remoteAddress,
        },
        'platform logged in',
      );
    } catch (error) {
      if (!(error instanceof SaslFailure)) throw error;
      this.#exchange = undefined;
      this.#failures++;
      this.#deps.outcome({ mechanism: this.#mechanism, result: error.condition });
      this.#stream.send(error.toElement());
      if (this.#failures >= this.#deps.saslRetries) {
        this.#stream.close('authentication-failed', new StreamError('policy-violation', { text: 'too many failed logins' })); // §6.4.5
      }
    }
  }

  // --- resource binding, RFC 6120 §7; resumption, XEP-0198 §5 -----------------------------------------

  #authenticatedElement(element: Element): void | Promise<void> {
    const ns = element.attrs.xmlns;
    if (ns === NS.streamManagement) return this.#management(element);
    if (
      ns !== NS.client ||
      element.name !== 'iq' ||
      element.attrs.type !== 'set' ||
      element.getChild('bind', NS.bind) === undefined
    ) {
      throw new StreamError('not-authorized', { text: 'bind a resource first' }); // §7.1
    }
    return this.#bind(element);
  }

  async #bind(iq: Element): Promise<void> {
    const who = this.#who as AuthenticatedAccount;
    try {
      if (iq.attrs.id === undefined) throw new StanzaError('bad-request', { text: 'an IQ needs an id' });
      // gloox sends an empty <resource/> when its user asks for none: the resource is ours to make (§7.6).
      const asked = iq.getChild('bind', NS.bind)?.getChild('resource')?.text() ?? '';
      const resource = asked === '' ? undefined : prepareResource(who.account, asked);
      if (!(await this.#deps.mayStay(who))) throw new StanzaError('not-allowed'); // §7.6.2.2
      if (this.#state !== 'authenticated' || this.#stream.isClosing) return;
      const session = await this.#deps.sessions.bind(this.#stream, who, resource, this.#lang, (made) => {
        this.#boundNow();
        const reply = iqResult(iq, new Element('bind', { xmlns: NS.bind }).c('jid').t(made.jid.toString()).up());
        delete reply.attrs.from;
        delete reply.attrs.to;
        made.sendStanza(reply);
      });
      if (session !== undefined) await this.#judge(session, who);
    } catch (error) {
      if (error instanceof StreamError && error.condition === 'conflict') {
        this.#stream.close('displaced-by-new-session', error); // before it was bound at all
        return;
      }
      if (!(error instanceof StanzaError)) throw error;
      const reply = errorReply(iq, error);
      if (reply !== undefined) this.#stream.send(reply);
      if (++this.#bindFailures >= BIND_RETRIES) {
        throw new StreamError('policy-violation', { text: 'too many attempts to bind a resource' }); // §7.7.3
      }
    }
  }

  /** Write ours, then read theirs: the account may have been cut while we bound (delivery.md §2.6). */
  async #judge(session: Session, who: AuthenticatedAccount): Promise<void> {
    try {
      if (await this.#deps.mayStay(who)) return;
      session.end('account-disabled', new StreamError('not-authorized', { text: 'the account was disabled' }), true);
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error;
      // Nobody is admitted whose rights cannot be read.
      session.end('internal-error', new StreamError('internal-server-error', { text: error.text, cause: error }), true);
    }
  }

  #management(element: Element): void | Promise<void> {
    if (element.name !== 'resume') {
      this.#stream.send(failed('unexpected-request')); // XEP-0198 §3, example 5
      return;
    }
    return this.#resume(element);
  }

  async #resume(element: Element): Promise<void> {
    const who = this.#who as AuthenticatedAccount;
    const attrs = element.attrs as Record<string, string | undefined>;
    if (attrs.previd === undefined || attrs.h === undefined) {
      this.#stream.send(failed('bad-request'));
      return;
    }
    try {
      const session = (await this.#deps.mayStay(who))
        ? await this.#deps.sessions.resume(this.#stream, who, attrs.previd, attrs.h, () => this.#boundNow())
        : undefined;
      if (session === undefined)
        this.#stream.send(failed('item-not-found')); // XEP-0198 §5; the client may bind instead
      else await this.#judge(session, who);
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error;
      this.#stream.send(failed(error.condition)); // §6
    }
  }

  #boundNow(): void {
    this.#state = 'bound';
    clearTimeout(this.#timer);
    this.#deps.bound(this.#stream);
  }
}

function bareOf(from: string | undefined): string | undefined {
  if (from === undefined) return undefined;
  try {
    return JID.parse(from).bare.toString();
  } catch {
    return undefined; // §4.7.1: be liberal in accepting stream headers
  }
}

/** @throws StanzaError `bad-request` (§7.7.2.1) */
function prepareResource(account: JID, text: string): string {
  try {
    return account.withResource(text).resource as string;
  } catch (cause) {
    throw new StanzaError('bad-request', { text: 'this resource cannot be used', cause });
  }
}
