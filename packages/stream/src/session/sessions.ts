import { Element } from 'ltx';
import type { ClusterParts } from '../cluster/cluster-parts.ts';
import type { InboxMessage } from '../cluster/inbox.ts';
import { StreamError } from '../errors/stream-error.ts';
import { JID } from '../jid.ts';
import type { Logger } from '../observe/log.ts';
import { randomText } from '../random.ts';
import type { CloseReason } from '../transport/close-reason.ts';
import { Gate } from '../transport/gate.ts';
import type { XmlStream } from '../transport/xml-stream.ts';
import type { AuthenticatedAccount } from './account.ts';
import { Claims, type DisplaceBody } from './claims.ts';
import { type Departed, HandOver, type HandOverHost } from './hand-over.ts';
import type { EntryKeeper, SessionObserver } from './ports.ts';
import type { PresenceState } from './presence.ts';
import { Session, type StanzaSink } from './session.ts';
import { parseCount, tooHigh } from './stream-management.ts';

/**
 * The bound sessions of this instance: by account, resource and SM-ID. The only writer of this table. It dies with the
 * process; others know its sessions by their claims in the registry, which die with it.
 */

/**
 * Ends after which what was not acknowledged goes elsewhere: the client may never have had it. One that closed its stream in
 * order had its chance to acknowledge; one whose access was cut gets nothing more.
 */
const MAY_BE_UNDELIVERED: ReadonlySet<CloseReason> = new Set([
  'connection-lost',
  'idle-timeout',
  'displaced-by-new-session',
  'slow-consumer',
  'resumed-elsewhere',
  'drain',
  'internal-error',
]);

/** Why an account's session may not go on, and what its stream is told. */
const ACCESS_ENDS = {
  'account-disabled': () => new StreamError('not-authorized', { text: 'the account was disabled' }),
  'account-removed': () => new StreamError('not-authorized', { text: 'the account was removed' }),
  // RFC 6120 §4.9.3.16: what was negotiated holds no longer.
  'role-changed': () => new StreamError('reset', { text: 'the account has another role now' }),
  'credential-cut': () => new StreamError('reset', { text: 'the password or certificate of this login is no longer valid' }),
} as const satisfies Partial<Record<CloseReason, () => StreamError>>;

export type AccessEnd = keyof typeof ACCESS_ENDS;

export interface SessionsOptions {
  readonly domain: string;
  readonly log: Logger;
  /** How long a broken stream may be resumed (XEP-0198 §5), ms. */
  readonly resumeTimeoutMs: number;
  /** Silence after which a peer is asked whether it is there, ms (RFC 6120 §4.6). */
  readonly idleMs: number;
  /** Time for any answer after that, ms. */
  readonly answerMs: number;
  readonly cluster: ClusterParts;
}

/** The session starts to receive at the latest this long after bind (delivery.md §4.2). */
const START_AFTER_BIND_MS = 1_000;
/** The old owner of a session gets this long to finish what it is handling. */
const SETTLE_MS = 2_000;
/** Time for clients to acknowledge what they were sent before their streams end; those that answer take milliseconds. */
const QUIESCE_MS = 2_000;
/** A drain ends this many ms after each other's streams at most: 200 in a second, fewer where there is more time for all. */
const DRAIN_PACE_MS = 5;
const RECLAIMED_AT_ONCE = 64;

export class Sessions implements HandOverHost {
  readonly domain: string;
  readonly log: Logger;
  readonly resumeTimeoutMs: number;
  readonly cluster: ClusterParts;
  readonly gate: Gate;
  sink!: StanzaSink;
  keeper!: EntryKeeper;
  readonly #idleMs: number;
  readonly #answerMs: number;
  readonly #claims: Claims;
  readonly #handOver: HandOver;
  /** Lists, not maps: nearly every account has one session. */
  readonly #accounts = new Map<string, Session[]>();
  readonly #byResumeId = new Map<string, Session>();
  readonly #observers: SessionObserver[] = [];
  readonly #wantAck = new Set<Session>();
  readonly #ticker: NodeJS.Timeout;
  readonly #idleTicker: NodeJS.Timeout;
  #count = 0;
  #isDraining = false;

  constructor(options: SessionsOptions) {
    this.domain = options.domain;
    this.log = options.log;
    this.resumeTimeoutMs = options.resumeTimeoutMs;
    this.cluster = options.cluster;
    this.gate = new Gate(() => options.cluster.mayServe());
    this.#claims = new Claims(options.cluster, options.log);
    this.#handOver = new HandOver(this, this.#claims, options.log);
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
    for (const sessions of this.#accounts.values()) yield* sessions;
  }

  observe(observer: SessionObserver): void {
    this.#observers.push(observer);
  }

  find(jid: JID): Session | undefined {
    return this.#accounts.get(jid.bareString)?.find((session) => session.jid.resource === jid.resource);
  }

  ofAccount(account: JID): readonly Session[] {
    const sessions = this.#accounts.get(account.bareString);
    return sessions === undefined ? [] : [...sessions];
  }

  /**
   * Claims a resource for a stream. A session that holds it already, on whichever instance, ends with `conflict` (RFC 6120
   * §7.7.2.2, the third way: a platform that comes back after a power cut must not be locked out by its own ghost).
   * `answer` sends the result before anything else is sent to the session; it is not called when the stream ended meanwhile.
   *
   * @throws StanzaError `resource-constraint` when the account has its most resources (§7.6.2.1) or the store cannot be asked
   * @throws StreamError `conflict` when another stream bound the resource meanwhile; `system-shutdown` while this one drains
   */
  async bind(
    stream: XmlStream,
    who: AuthenticatedAccount,
    resource: string | undefined,
    lang: string | undefined,
    answer: (session: Session) => void,
  ): Promise<Session | undefined> {
    if (this.#isDraining) throw shutdown();
    const jid = who.account.withResource(resource ?? randomText(12));
    const id = randomText(9);
    const session = await this.#claims.bind(jid, id, who.limits.maxResources, () => {
      this.find(jid)?.end('displaced-by-new-session', displaced());
      for (const left of this.departedOf(jid)) if (left.jid.equals(jid)) this.#handOver.displaced(jid, left.sessionId);
      return stream.isClosing ? undefined : this.#bound(new Session(id, jid, who, stream, this), stream, lang, answer);
    });
    if (session === undefined) this.#claims.drop(jid, id);
    return session;
  }

  #bound(session: Session, stream: XmlStream, lang: string | undefined, answer: (session: Session) => void): Session {
    session.defaultLang = lang;
    this.#add(session);
    stream.setHandler(session);
    answer(session);
    for (const observer of this.#observers) observer.bound(session);
    setTimeout(() => session.start(), START_AFTER_BIND_MS).unref();
    return session;
  }

  #add(session: Session): void {
    const key = session.jid.bareString;
    const sessions = this.#accounts.get(key);
    if (sessions === undefined) this.#accounts.set(key, [session]);
    else sessions.push(session);
    this.#count++;
  }

  /** Takes a message of the inbox that is about a session; false: it is of another kind. */
  fromInbox({ kind, body }: InboxMessage): boolean {
    switch (kind) {
      case 'displace':
        this.#displace(JSON.parse(body) as DisplaceBody);
        return true;
      case 'resume-request':
        this.#handOver.requested(body);
        return true;
      case 'resume-answer':
        this.#handOver.answered(body);
        return true;
      default:
        return false;
    }
  }

  /** A session's resource was bound elsewhere. */
  #displace({ jid: text, sessionId }: DisplaceBody): void {
    if (this.#claims.displacedUnderWay(sessionId)) return;
    const jid = JID.parse(text);
    const session = this.find(jid);
    if (session?.id === sessionId) session.end('displaced-by-new-session', displaced(), true);
    else this.#handOver.displaced(jid, sessionId);
  }

  /** Resolves when a session of that JID that is being bound or comes from another instance is here, or did not come. */
  arriving(jid: JID): Promise<void> {
    return this.#claims.settled(jid);
  }

  /** Sessions of an account that left from here and wait in the store to be resumed, perhaps. */
  departedOf(account: JID): readonly Departed[] {
    return this.#handOver.departedOf(account);
  }

  departedIsGone(departed: Departed): void {
    this.#handOver.departedIsGone(departed);
  }

  /** Whether the account has a session on any instance. */
  async isConnected(account: JID): Promise<boolean> {
    return this.#accounts.has(account.bareString) || (await this.cluster.registry.sessionsOf(account)).length > 0;
  }

  /**
   * Moves a session onto a new stream (XEP-0198 §5); `moved` is called as soon as the stream is the session's.
   *
   * @returns undefined when there is no such session of this account: the caller answers `<failed/>`
   * @throws StreamError `undefined-condition` when `hText` is too high (§6); `system-shutdown` while this instance drains
   */
  async resume(
    stream: XmlStream,
    who: AuthenticatedAccount,
    previd: string,
    hText: string | undefined,
    moved: () => void,
  ): Promise<Session | undefined> {
    const h = parseCount(hText);
    if (h === undefined) return undefined;
    const here = this.#byResumeId.get(previd);
    const session = here ?? (await this.#handOver.fetch(previd, who, () => !stream.isClosing && !this.#isDraining));
    if (this.#isDraining) throw shutdown(); // the client finds the session at another instance
    if (session === undefined || !session.isAlive || session.isLeaving) return undefined;
    // The id alone proves nothing: it must be the same account (RFC 8600 §8.2.2, "another Platform's session-id").
    if (!session.jid.bare.equals(who.account.bare)) return undefined;
    session.leaveStream();
    await Promise.race([session.settled(), new Promise((resolve) => setTimeout(resolve, SETTLE_MS).unref())]);
    if (!session.isAlive || stream.isOver) return undefined;
    if (!session.canResumeAt(h)) throw tooHigh(h, session.sentCount);
    if (!(await session.resume(stream, who, h))) return undefined;
    moved();
    for (const observer of this.#observers) observer.resumed(session);
    if (here === undefined) this.sink.arrived(session);
    return session;
  }

  /**
   * The rights of an account changed (delivery.md §8.2): ends for good, with what `judge` says of its login, each session that
   * may not go on, and then forgets what could be resumed; a new login begins with the new rights. Returns how many ended here.
   *
   * @throws StoreUnavailable when states to resume from could not be dropped; the sessions have ended all the same
   */
  async rejudge(account: JID, judge: (who: AuthenticatedAccount) => AccessEnd | undefined): Promise<number> {
    let ended = 0;
    for (const session of this.ofAccount(account)) {
      const why = judge(session.who);
      if (why === undefined) continue;
      session.end(why, ACCESS_ENDS[why](), true);
      ended++;
    }
    // A state has no rights of its own, but one that was given up for a session of this kind must not outlive it.
    if (ended > 0) await this.cluster.resumeStates.dropAll(account);
    return ended;
  }

  /** Ends every stream and resumable session of an account; returns how many. Unwritten output is dropped. */
  endAccount(account: JID, why: CloseReason, error: StreamError): number {
    const sessions = this.ofAccount(account);
    for (const session of sessions) session.end(why, error, true);
    return sessions.length;
  }

  /**
   * Claims every session again: under the instance's new id, or after a failover that may have lost claims (delivery.md §3.4,
   * §7.2). Sessions whose resource is somebody else's by now end with `conflict`.
   *
   * @throws StoreUnavailable when not all could be claimed: to be called again
   */
  async reclaimAll(): Promise<void> {
    const sessions = [...this.all()];
    const worker = async (): Promise<void> => {
      for (let session = sessions.pop(); session !== undefined; session = sessions.pop()) {
        if (!session.isAlive) continue;
        const isOurs = await this.#claims.reclaim(session.jid, session.id, session.boundAtMs);
        if (!isOurs) session.end('displaced-by-new-session', displaced(), true);
        else if (!session.isAlive) this.#claims.drop(session.jid, session.id); // it ended meanwhile
      }
    };
    await Promise.all(Array.from({ length: RECLAIMED_AT_ONCE }, worker));
  }

  /**
   * Ends every stream, spread over a part of `graceMs`. Each gets no more entries, some time to acknowledge what it was sent,
   * and an end to what it is handling; sessions that can be resumed are handed over first (delivery.md §6.3). After an orderly
   * stop nothing is repeated to clients that answer (§5.4).
   */
  async drain(graceMs: number): Promise<void> {
    this.#isDraining = true;
    const until = performance.now() + graceMs;
    const acknowledgeMs = Math.min(QUIESCE_MS, graceMs / 2);
    const sessions = [...this.all()];
    const paceMs = Math.min(DRAIN_PACE_MS, graceMs / 3 / sessions.length);
    const startMs = performance.now();
    const drained = sessions.map(async (session, i) => {
      await sleep(startMs + i * paceMs - performance.now());
      await this.#drainOne(session, acknowledgeMs);
    });
    await Promise.race([Promise.all(drained), sleep(until - performance.now())]);
    // Those that came while the others left.
    const late = [...this.all()].map((session) => this.#drainOne(session, 0));
    await Promise.race([Promise.all(late), sleep(Math.max(until - performance.now(), SETTLE_MS))]);
    for (const session of [...this.all()]) session.end('drain', shutdown());
  }

  async #drainOne(session: Session, acknowledgeMs: number): Promise<void> {
    const until = performance.now() + acknowledgeMs;
    session.quiet();
    session.askNow();
    // One that is on its way to a new stream can leave only once it is there, or has stayed where it was.
    const isBusy = () => session.awaitsAcknowledgement || session.isResuming;
    for (let lookMs = 10; isBusy() && performance.now() < until; lookMs = Math.min(2 * lookMs, 160)) {
      await sleep(lookMs);
    }
    try {
      if (await this.#handOver.leave(session, 'drain', shutdown())) return;
      session.stopReading();
      await Promise.race([session.settled(), sleep(SETTLE_MS)]);
      await this.keeper.settle(session);
    } catch (error) {
      this.log.error({ err: error, jid: session.jid.toString() }, 'a session could not be handed over');
    }
    session.end('drain', shutdown());
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
    this.#remove(session);
    this.#claims.drop(session.jid, session.id);
    if (session.presence.kind === 'available') {
      for (const other of this.ofAccount(session.jid)) {
        if (other.presence.kind !== 'available') continue;
        other.sendStanza(
          new Element('presence', { type: 'unavailable', from: session.jid.toString(), to: other.jid.toString() }),
        );
      }
    }
    this.#endDirected(session);
    this.sink.ended(session, MAY_BE_UNDELIVERED.has(why) ? session.undelivered : []);
    for (const observer of this.#observers) observer.ended(session, why);
    this.log.info({ jid: session.jid.toString(), sessionId: session.id, closeReason: why }, 'session ended');
  }

  departed(session: Session, why: CloseReason): void {
    this.#remove(session);
    for (const observer of this.#observers) observer.ended(session, why);
    this.log.info(
      { jid: session.jid.toString(), sessionId: session.id, closeReason: why },
      'session waits to be resumed elsewhere',
    );
  }

  #remove(session: Session): void {
    const key = session.jid.bareString;
    const sessions = this.#accounts.get(key) ?? [];
    const left = sessions.filter((other) => other !== session);
    if (left.length === 0) this.#accounts.delete(key);
    else this.#accounts.set(key, left);
    if (session.resumeId !== undefined) this.#byResumeId.delete(session.resumeId);
    this.#wantAck.delete(session);
    this.#count--;
  }

  // --- HandOverHost -----------------------------------------------------------------------------

  byResumeId(smId: string): Session | undefined {
    return this.#byResumeId.get(smId);
  }

  adopt(session: Session): void {
    this.#add(session);
    this.#byResumeId.set(session.resumeId as string, session);
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
    const id = `${session.id}${randomText(16)}`;
    this.#byResumeId.set(id, session);
    return id;
  }

  #tick(): void {
    void this.#claims.dropAgain();
    if (!this.gate.isOpen) return;
    const now = performance.now();
    for (const session of this.#wantAck) if (!session.tick(now, this.gate.closedMs)) this.#wantAck.delete(session);
  }

  #checkIdle(): void {
    if (!this.gate.isOpen) return;
    const now = performance.now();
    for (const session of [...this.all()]) session.checkIdle(now, this.#idleMs, this.#answerMs, this.gate.closedMs);
  }
}

const displaced = (): StreamError => new StreamError('conflict', { text: 'the resource was bound by a new stream' });
const shutdown = (): StreamError => new StreamError('system-shutdown', { text: 'this instance stops' });

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)).unref());
