import { Element } from 'ltx';
import type { InboxMessage } from '../cluster/inbox.ts';
import type { OfflineMessages } from '../cluster/offline-messages.ts';
import { StanzaError } from '../errors/stanza-error.ts';
import { StreamError } from '../errors/stream-error.ts';
import { JID } from '../jid.ts';
import type { Logger } from '../observe/log.ts';
import type { SessionPort } from '../session/ports.ts';
import type { Session, StanzaSink, Undelivered } from '../session/session.ts';
import type { Sessions } from '../session/sessions.ts';
import type { OversizeEvent } from '../transport/xml-stream.ts';
import { Exchange } from './exchange.ts';
import { IqRouter } from './iq-router.ts';
import type { IqRoute, Outbound, Sender, StanzaService } from './service.ts';

/**
 * Takes each stanza to where its `to` says (RFC 6120 §8.1, §10; RFC 6121 §8.5), and sees to it that
 * every IQ request gets exactly one answer.
 */

export interface RouterOptions {
  readonly domain: string;
  readonly sessions: Sessions;
  /** What the server answers on behalf of an account (RFC 6120 §10.3.3), to its owner alone. */
  readonly accountRoutes: readonly IqRoute[];
  readonly offline: OfflineMessages;
  /** Whether platforms may talk to each other directly (RFC 8600 §3, interface C). */
  readonly allowsDirect: boolean;
  readonly log: Logger;
  /** Told of each stanza that a client sent. */
  received?(kind: 'iq' | 'message' | 'presence'): void;
}

/** RFC 6121 §4.6: most targets of directed presence that one session may have. */
const MAX_DIRECTED = 100;
const PRESENCE_TYPES = new Set(['unavailable', 'subscribe', 'subscribed', 'unsubscribe', 'unsubscribed', 'probe', 'error']);

interface ServiceEntry {
  readonly service: StanzaService;
  readonly iq: IqRouter;
}

export class Router implements StanzaSink, Outbound {
  readonly #options: RouterOptions;
  readonly #services = new Map<string, ServiceEntry>();
  readonly #account: IqRouter;
  readonly #exchange: Exchange;

  constructor(options: RouterOptions) {
    this.#options = options;
    this.#exchange = new Exchange(options);
    this.#account = new IqRouter(options.accountRoutes, this.#onBug);
  }

  readonly #onBug = (error: unknown, iq: Element): void => {
    this.#options.log.error(
      { err: error, id: iq.attrs.id, from: iq.attrs.from },
      'a bug kept us from answering; internal-server-error was sent',
    );
  };

  /** Adds the owner of a domain. The Controller's own domain is a service like any other. */
  addService(service: StanzaService): void {
    if (this.#services.has(service.domain)) throw new Error(`two services for ${service.domain}`);
    this.#services.set(service.domain, { service, iq: new IqRouter(service.routes, this.#onBug) });
  }

  // --- from sessions -------------------------------------------------------------------------------

  stanza(stanza: Element, session: Session): void | Promise<void> {
    const attrs = stanza.attrs as Record<string, string | undefined>;
    const own = session.jid;
    if (attrs.from !== undefined && !isOwn(attrs.from, own)) {
      throw new StreamError('invalid-from', { text: `this stream is bound to ${own}` }); // §4.9.3.9
    }
    attrs.from = own.toString(); // §8.1.2.1 rule 1
    if (attrs['xml:lang'] === undefined && session.defaultLang !== undefined) attrs['xml:lang'] = session.defaultLang; // §8.1.5
    this.#options.received?.(stanza.name as 'iq' | 'message' | 'presence');
    try {
      const to = attrs.to === undefined ? undefined : JID.parse(attrs.to);
      const sender: Sender = { jid: own, session, role: session.role };
      switch (stanza.name) {
        case 'iq':
          return this.#iq(stanza, to, sender, session);
        case 'message':
          return this.#settle(this.#message(stanza, to ?? own.bare, sender), stanza, session);
        default:
          return this.#settle(this.#presence(stanza, to, sender, session), stanza, session);
      }
    } catch (error) {
      this.#answerError(stanza, error, session);
    }
  }

  oversize(event: OversizeEvent, session: Session): void {
    const { head, path } = event;
    const max = session.who.limits.maxStanzaBytes;
    head.attrs.from = session.jid.toString();
    const service = this.#services.get((head.attrs.to as string | undefined) ?? '');
    const error =
      (head.name === 'iq' ? service?.service.tooBig?.(path, max) : undefined) ??
      new StanzaError('policy-violation', { type: 'modify', text: `a stanza may have ${max} bytes` }); // §8.3.3.12, §13.12
    session.answerError(head, error);
  }

  #answerError(stanza: Element, error: unknown, session: Session): void {
    if (!(error instanceof StanzaError)) throw error;
    // An address that cannot be parsed must not come back as ours.
    if (error.condition === 'jid-malformed') stanza.attrs.to = this.#options.domain;
    session.answerError(stanza, error);
  }

  #settle(pending: void | Promise<void>, stanza: Element, session: Session): void | Promise<void> {
    return pending?.catch((error: unknown) => {
      if (error instanceof StanzaError) this.#answerError(stanza, error, session);
      else {
        this.#onBug(error, stanza);
        session.answerError(stanza, new StanzaError('internal-server-error'));
      }
    });
  }

  // --- IQ, RFC 6120 §8.2.3, §10.3.3, §10.5 ----------------------------------------------------------

  #iq(iq: Element, to: JID | undefined, sender: Sender, session: Session): void | Promise<void> {
    const { type, id } = iq.attrs as Record<string, string | undefined>;
    if (type === 'result' || type === 'error') {
      if (to?.resource === undefined || to.local === undefined) return; // ours: nothing of ours waits for it here
      // Whoever asked is gone: nobody is told (RFC 6120 §8.3.1).
      return this.#settle(this.#directIq(iq, to, sender), iq, session);
    }
    if (type !== 'get' && type !== 'set')
      throw new StanzaError('bad-request', { text: 'an IQ has type get, set, result or error' });
    if (id === undefined) throw new StanzaError('bad-request', { text: 'an IQ needs an id' });
    if (iq.getChildElements().length !== 1)
      throw new StanzaError('bad-request', { text: 'a request has exactly one child element' });

    if (to === undefined || (to.resource === undefined && to.equals(sender.jid.bare))) {
      const target = to ?? sender.jid.bare;
      return this.#account.answer(iq, { from: sender, to: target }).then((answer) => {
        session.sendStanza(answer);
      });
    }
    if (to.local === undefined) {
      const entry = this.#services.get(to.domain);
      if (entry === undefined) throw this.#unreachable(to);
      if (to.domain !== this.#options.domain) session.start(); // its first request to a service (delivery.md §4.2)
      return entry.iq.answer(iq, { from: sender, to }).then((answer) => {
        session.sendStanza(answer);
      });
    }
    // §10.5.3.2: handled on behalf of the account; of someone else's nothing is told (§13.11, XEP-0030 §8).
    if (to.resource === undefined) throw this.#unreachable(to);
    return this.#settle(this.#directIq(iq, to, sender), iq, session);
  }

  #directIq(iq: Element, to: JID, sender: Sender): void | Promise<void> {
    if (to.domain !== this.#options.domain || !this.#allowed(sender, to)) throw this.#unreachable(to);
    const target = this.#options.sessions.find(to);
    if (target !== undefined && !this.#exchange.isOnItsWay(iq, to)) {
      target.sendStanza(iq);
      return;
    }
    return this.#exchange.toFull(iq, to).then((isSent) => {
      if (!isSent) throw this.#unreachable(to);
    });
  }

  #allowed(sender: Sender, to: JID): boolean {
    return this.#options.allowsDirect || sender.jid.bare.equals(to.bare);
  }

  #unreachable(to: JID): StanzaError {
    if (to.domain === this.#options.domain || this.#services.has(to.domain)) return new StanzaError('service-unavailable');
    return new StanzaError('remote-server-not-found', { text: `${to.domain} is not served here` }); // §10.4.3
  }

  // --- messages, RFC 6121 §8.5 ------------------------------------------------------------------------

  #message(message: Element, to: JID, sender: Sender): void | Promise<void> {
    const type = message.attrs.type as string | undefined;
    if (to.local === undefined) {
      const service = this.#services.get(to.domain)?.service;
      if (service === undefined) throw this.#unreachable(to);
      return type === 'error' ? service.bounced(message, sender) : service.message(message, sender);
    }
    if (to.domain !== this.#options.domain || !this.#allowed(sender, to)) throw this.#unreachable(to);
    return this.#toAccount(message, to);
  }

  /** Delivers a message to an account's resources, or keeps it for later (RFC 6121 §8.5.2, §8.5.3). */
  async #toAccount(message: Element, to: JID): Promise<void> {
    const type = message.attrs.type as string | undefined;
    if (to.resource !== undefined) {
      const session = this.#options.sessions.find(to);
      if (session !== undefined && !this.#exchange.isOnItsWay(message, to)) {
        session.sendStanza(message);
        return;
      }
      if (await this.#exchange.toFull(message, to)) return;
      // §8.5.3.2.1: as for the bare JID, but never stored for a headline or an error.
    }
    if (type === 'error') return; // §8.5.2.1.1
    if (type === 'groupchat') throw new StanzaError('service-unavailable');
    await this.#exchange.toBare(message, to);
  }

  /** Hands out what was kept while the account was away, now that a resource of it is there (XEP-0160 §2). */
  deliverOffline(session: SessionPort): void {
    this.#exchange.deliverKept(session);
  }

  /**
   * Takes what other instances send to this one's inbox, and what a dead one left in its own. Never waits for another inbox's
   * answer (delivery.md §7.3).
   */
  async fromInbox(message: InboxMessage): Promise<void> {
    if (await this.#exchange.fromInbox(message)) return;
    if (this.#options.sessions.fromInbox(message)) return;
    this.#options.log.warn(
      { kind: message.kind },
      'an instance of another version sent what this one does not know; it is dropped',
    );
  }

  // --- presence, RFC 6121 §4 ----------------------------------------------------------------------------

  #presence(presence: Element, to: JID | undefined, sender: Sender, session: Session): void | Promise<void> {
    const type = presence.attrs.type as string | undefined;
    if (type !== undefined && !PRESENCE_TYPES.has(type))
      throw new StanzaError('bad-request', { text: `presence has no type ${type}` });
    if (to === undefined) {
      // Only availability may be broadcast; the rest needs somebody to tell (RFC 6121 §4.7.1).
      if (type !== undefined && type !== 'unavailable')
        throw new StanzaError('bad-request', { text: `presence of type ${type} needs a 'to'` });
      const before = session.presence.kind;
      session.ownPresence(presence);
      const isNew = session.presence.kind === 'available' && before !== 'available';
      return this.#exchange.ownPresence(presence, session.jid, isNew);
    }
    if (
      to.local === undefined ||
      type === 'error' ||
      type === 'probe' ||
      type === 'unsubscribed' ||
      type === 'unsubscribe' ||
      type === 'subscribed'
    ) {
      return; // services here take no presence; there are no rosters to change
    }
    if (type === 'subscribe') {
      // Deviation: there are no rosters, so every request is answered as for an account that does not exist (RFC 6121 §3.1.3).
      presence.attrs.type = 'unsubscribed';
      presence.attrs.from = to.bare.toString();
      presence.attrs.to = sender.jid.bare.toString();
      presence.children = [];
      session.sendStanza(presence);
      return;
    }
    if (to.domain !== this.#options.domain || !this.#allowed(sender, to)) return; // §10.5.3.1: ignored
    session.directedPresence ??= new Set();
    if (type === 'unavailable') session.directedPresence.delete(to.toString());
    else if (session.directedPresence.size < MAX_DIRECTED) session.directedPresence.add(to.toString());
    else throw new StanzaError('resource-constraint', { text: `directed presence goes to at most ${MAX_DIRECTED} addresses` });
    return to.resource === undefined
      ? this.#exchange.presenceToBare(presence, to)
      : this.#exchange.toFull(presence, to).then(() => undefined);
  }

  ended(session: Session, undelivered: readonly Undelivered[]): void {
    for (const each of undelivered) {
      this.#exchange
        .undelivered(each, session.id)
        .catch((error: unknown) =>
          this.#options.log.error({ err: error, jid: session.jid.toString() }, 'a stanza that was not acknowledged is lost'),
        );
    }
    if (session.presence.kind !== 'available') return;
    const gone = new Element('presence', { type: 'unavailable', from: session.jid.toString() });
    void this.#exchange.ownPresence(gone, session.jid, false);
  }

  /** What was kept while the session was nowhere is for it, as after a login. */
  arrived(session: Session): void {
    if (session.receivesBare) this.#exchange.deliverKept(session);
  }

  forward(stanza: Buffer, to: JID): Promise<void> {
    return this.#exchange.forward(stanza, to);
  }

  // --- from services --------------------------------------------------------------------------------------

  async send(stanza: Element): Promise<void> {
    const to = JID.parse(stanza.attrs.to as string);
    if (to.domain !== this.#options.domain) {
      this.#options.log.warn({ to: to.toString() }, 'a stanza for another domain was dropped: federation is not configured');
      return;
    }
    try {
      if (stanza.name === 'message') await this.#toAccount(stanza, to);
      else await this.#exchange.toFull(stanza, to);
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error;
      this.#options.log.info({ to: to.toString(), condition: error.condition }, 'a message of ours could not be delivered');
    }
  }

  isConnected(account: JID): Promise<boolean> {
    return this.#options.sessions.isConnected(account);
  }
}

/** Full or bare JID of the session itself (§4.9.3.9); anything else is somebody else's name. */
function isOwn(from: string, own: JID): boolean {
  if (from === own.toString()) return true;
  try {
    const jid = JID.parse(from);
    return jid.equals(own) || jid.equals(own.bare);
  } catch {
    return false;
  }
}
