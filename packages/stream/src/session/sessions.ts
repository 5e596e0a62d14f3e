import { Element } from 'ltx';
import { StanzaError } from '../errors/stanza-error.ts';
import { StreamError } from '../errors/stream-error.ts';
import type { JID } from '../jid.ts';
import type { Logger } from '../observe/log.ts';
import { randomText } from '../random.ts';
import type { CloseReason } from '../transport/close-reason.ts';
import type { XmlStream } from '../transport/xml-stream.ts';
import type { AuthenticatedAccount } from './account.ts';
import type { SessionObserver } from './ports.ts';
import type { PresenceState } from './presence.ts';
import { Session, type SessionOwner, type StanzaSink } from './session.ts';
import { parseCount, tooHigh } from './stream-management.ts';

/**
 * The bound sessions of this instance: by account, resource and SM-ID. The only writer of this table;
 * it dies with the process, and clients bind again.
 */

export interface SessionsOptions {
  readonly domain: string;
  readonly log: Logger;
  /** How long a broken stream may be resumed (XEP-0198 §5), ms. */
  readonly resumeTimeoutMs: number;
  /** Silence after which a peer is asked whether it is there, ms (RFC 6120 §4.6). */
  readonly idleMs: number;
  /** Time for any answer after that, ms. */
  readonly answerMs: number;
}

/** The session starts to receive at the latest this long after bind (delivery.md §4.2). */
const START_AFTER_BIND_MS = 1_000;
/** The old owner of a session gets this long to finish what it is handling. */
const SETTLE_MS = 2_000;

export class Sessions implements SessionOwner {
  readonly domain: string;
  readonly log: Logger;
  readonly resumeTimeoutMs: number;
  sink!: StanzaSink;
  isDraining = false;
  readonly #idleMs: number;
  readonly #answerMs: number;
  readonly #accounts = new Map<string, Map<string, Session>>();
  readonly #byResumeId = new Map<string, Session>();
  readonly #observers: SessionObserver[] = [];
  readonly #wantAck = new Set<Session>();
  readonly #ticker: NodeJS.Timeout;
  readonly #idleTicker: NodeJS.Timeout;
  #count = 0;

  constructor(options: SessionsOptions) {
    this.domain = options.domain;
    this.log = options.log;
    this.resumeTimeoutMs = options.resumeTimeoutMs;
    this.#idleMs = options.idleMs;
    this.#answerMs = options.answerMs;
    this.#ticker = setInterval(() => this.#tick(), 250);
    this.#ticker.unref();
    this.#idleTicker = setInterval(() => this.#checkIdle(), Math.max(50, Math.min(15_000, this.#idleMs / 4, this.#answerMs / 2)));
    this.#idleTicker.unref();
  }

  get size(): number {
    return this.#count;
  }

  *all(): IterableIterator<Session> {
    for (const resources of this.#accounts.values()) yield* resources.values();
  }

  observe(observer: SessionObserver): void {
    this.#observers.push(observer);
  }

  find(jid: JID): Session | undefined {
    return jid.resource === undefined ? undefined : this.#accounts.get(jid.bare.toString())?.get(jid.resource);
  }

  ofAccount(account: JID): readonly Session[] {
    const resources = this.#accounts.get(account.bare.toString());
    return resources === undefined ? [] : [...resources.values()];
  }

  /**
   * Claims a resource for a stream. A session that holds it already ends with `conflict` (RFC 6120 §7.7.2.2,
   * the third way: a platform that comes back after a power cut must not be locked out by its own ghost).
   *
   * @throws StanzaError `resource-constraint` when the account has its most resources (§7.6.2.1)
   */
  bind(stream: XmlStream, who: AuthenticatedAccount, resource: string | undefined, lang: string | undefined): Session {
    const account = who.account.bare;
    const key = account.toString();
    const jid = account.withResource(resource ?? randomText(12));
    let resources = this.#accounts.get(key);
    const displaced = resources?.get(jid.resource as string);
    if (displaced === undefined && resources !== undefined && resources.size >= who.limits.maxResources) {
      throw new StanzaError('resource-constraint', {
        text: `this account may have ${who.limits.maxResources} connected resources`,
      });
    }
    displaced?.end('displaced-by-new-session', new StreamError('conflict', { text: 'the resource was bound by a new stream' }));
    resources = this.#accounts.get(key) ?? new Map<string, Session>();
    this.#accounts.set(key, resources);
    const session = new Session(randomText(9), jid, who, stream, this);
    session.defaultLang = lang;
    resources.set(jid.resource as string, session);
    this.#count++;
    stream.setHandler(session);
    for (const observer of this.#observers) observer.bound(session);
    setTimeout(() => session.start(), START_AFTER_BIND_MS).unref();
    return session;
  }

  /**
   * Moves a session onto a new stream (XEP-0198 §5).
   *
   * @returns false when there is no such session of this account: the caller answers `<failed/>`
   */
  async resume(stream: XmlStream, who: AuthenticatedAccount, previd: string, hText: string | undefined): Promise<boolean> {
    const h = parseCount(hText);
    const session = this.#byResumeId.get(previd);
    // The id alone proves nothing: it must be the same account (RFC 8600 §8.2.2, "another Platform's session-id").
    if (h === undefined || session === undefined || !session.isAlive || !session.jid.bare.equals(who.account.bare)) return false;
    session.leaveStream();
    await Promise.race([session.settled(), new Promise((resolve) => setTimeout(resolve, SETTLE_MS).unref())]);
    if (!session.isAlive || stream.isOver) return false;
    if (!session.canResumeAt(h)) throw tooHigh(h, session.sentCount);
    if (!(await session.resume(stream, who, h))) return false;
    for (const observer of this.#observers) observer.resumed(session);
    return true;
  }

  /** Ends every stream and resumable session of an account; returns how many. Unwritten output is dropped. */
  endAccount(account: JID, why: CloseReason, error: StreamError): number {
    const sessions = this.ofAccount(account);
    for (const session of sessions) session.end(why, error, true);
    return sessions.length;
  }

  /**
   * Sends no more entries and waits until those that were sent are acknowledged, `maxMs` at most: after an orderly stop
   * nothing is repeated to clients that answer (delivery.md §5.4).
   */
  async quiesce(maxMs: number): Promise<void> {
    this.isDraining = true;
    const until = Date.now() + maxMs;
    for (;;) {
      let isWaiting = false;
      for (const session of this.all()) {
        session.askNow();
        isWaiting ||= session.awaitsAcknowledgement;
      }
      if (!isWaiting || Date.now() >= until) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Ends every session. */
  endAll(why: CloseReason, error: StreamError): void {
    for (const session of [...this.all()]) session.end(why, error);
  }

  close(): void {
    clearInterval(this.#ticker);
    clearInterval(this.#idleTicker);
  }

  // --- SessionOwner -----------------------------------------------------------------------------

  started(session: Session): void {
    for (const observer of this.#observers) observer.started(session);
  }

  writable(session: Session): void {
    for (const observer of this.#observers) observer.writable(session);
  }

  hibernated(session: Session): void {
    this.log.debug({ jid: session.jid.toString(), sessionId: session.id }, 'connection lost, session waits to be resumed');
  }

  /** RFC 6121 §4.2.2, §4.4.2, §4.5.2: the account's own available resources hear of it; there are no rosters here. */
  presenceChanged(session: Session, before: PresenceState, stanza: Element): void {
    for (const other of this.ofAccount(session.jid)) {
      if (other.presence.kind !== 'available' && other !== session) continue;
      stanza.attrs.to = other.jid.toString();
      other.sendStanza(stanza);
      // A resource that comes online learns which others are there.
      if (other !== session && before.kind !== 'available' && session.presence.kind === 'available') {
        session.sendStanza(new Element('presence', { from: other.jid.toString(), to: session.jid.toString() }));
      }
    }
    if (session.presence.kind === 'unavailable') this.#endDirected(session);
    for (const observer of this.#observers) observer.availabilityChanged(session, { receivesBare: session.receivesBare });
  }

  ended(session: Session, why: CloseReason): void {
    const key = session.jid.bare.toString();
    const resources = this.#accounts.get(key);
    if (resources?.get(session.jid.resource as string) === session) {
      resources.delete(session.jid.resource as string);
      if (resources.size === 0) this.#accounts.delete(key);
    }
    if (session.resumeId !== undefined) this.#byResumeId.delete(session.resumeId);
    this.#wantAck.delete(session);
    this.#count--;
    if (session.presence.kind === 'available') {
      for (const other of this.ofAccount(session.jid)) {
        if (other.presence.kind !== 'available') continue;
        other.sendStanza(
          new Element('presence', { type: 'unavailable', from: session.jid.toString(), to: other.jid.toString() }),
        );
      }
    }
    this.#endDirected(session);
    for (const observer of this.#observers) observer.ended(session, why);
    this.log.info({ jid: session.jid.toString(), sessionId: session.id, closeReason: why }, 'session ended');
  }

  /** RFC 6121 §4.6.3: whoever got directed presence hears that the resource is gone. */
  #endDirected(session: Session): void {
    const targets = session.directedPresence;
    if (targets === undefined) return;
    session.directedPresence = undefined;
    for (const to of targets) {
      const result = this.sink.stanza(
        new Element('presence', { type: 'unavailable', from: session.jid.toString(), to }),
        session,
      );
      result?.catch((error: unknown) => this.log.error({ err: error }, 'directed presence could not be ended'));
    }
  }

  wantsAckRequest(session: Session): void {
    this.#wantAck.add(session);
  }

  newResumeId(session: Session): string {
    const id = randomText(16);
    this.#byResumeId.set(id, session);
    return id;
  }

  #tick(): void {
    const now = Date.now();
    for (const session of this.#wantAck) if (!session.tick(now)) this.#wantAck.delete(session);
  }

  #checkIdle(): void {
    const now = Date.now();
    for (const session of [...this.all()]) session.checkIdle(now, this.#idleMs, this.#answerMs);
  }
}
