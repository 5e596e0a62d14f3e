import type { ClusterParts } from '../cluster/cluster-parts.ts';
import type { ResumeState } from '../cluster/resume-states.ts';
import { StreamError } from '../errors/stream-error.ts';
import { JID } from '../jid.ts';
import type { Logger } from '../observe/log.ts';
import { randomText } from '../random.ts';
import type { CloseReason } from '../transport/close-reason.ts';
import type { AuthenticatedAccount } from './account.ts';
import type { Claims } from './claims.ts';
import type { EntryKeeper } from './ports.ts';
import { Session, type SessionOwner } from './session.ts';

/**
 * Sessions that go on elsewhere (XEP-0198 §5; delivery.md §6.2, §6.3). Whoever holds a session writes its state to the store
 * and lets go of it: asked by the instance to which the client came back, or because it stops. Whoever the client comes to
 * takes the session's claim over, takes the state out, and has the session waiting as if it had hibernated there.
 *
 * Of several that want one session, the claim on its resource has one winner; where the claim is gone with its instance, the
 * state has.
 */

/** What this needs of the table of sessions. */
export interface HandOverHost extends SessionOwner {
  readonly cluster: ClusterParts;
  readonly keeper: EntryKeeper;
  byResumeId(smId: string): Session | undefined;
  /** Enters a session that comes from elsewhere. */
  adopt(session: Session): void;
}

/** A stream's first session id begins its SM-ID, and the ids of the sessions that go on with it elsewhere. */
const STREAM_CHARS = 12; // 9 random bytes
/** What is the same in the ids of a session here and of those that it goes on as elsewhere. */
export const lineage = (sessionId: string): string => sessionId.slice(0, STREAM_CHARS);
/** With 128 random bits behind it. Nothing else is looked up: it comes from the peer. */
const SM_ID_CHARS = STREAM_CHARS + 22;
/** A session that is asked for gets this long to finish what it is handling. */
const SETTLE_MS = 1_500;
/** A session that is always just gone is not run after for ever. */
const FETCH_ATTEMPTS = 3;
/** Within this time its owner answers (delivery.md §6.2). */
const ANSWER_MS = 5_000;

interface ResumeRequest {
  readonly id: string;
  readonly smId: string;
  readonly account: string;
  /** Who asks, and whom. */
  readonly from: string;
  readonly owner: string;
}

type Outcome = 'handed-over' | 'unknown' | 'no-answer';

interface ResumeAnswer {
  readonly id: string;
  readonly outcome: Outcome;
}

/** A session that left from here: what still comes for it is added to its state, until somebody takes that. */
export class Departed {
  readonly jid: JID;
  readonly smId: string;
  readonly sessionId: string;
  readonly receivesBare: boolean;
  readonly isAvailable: boolean;
  readonly #append: (stanza: string) => Promise<'kept' | 'gone' | 'full'>;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(session: Session, append: (stanza: string) => Promise<'kept' | 'gone' | 'full'>) {
    this.jid = session.jid;
    this.smId = session.resumeId as string;
    this.sessionId = session.id;
    this.receivesBare = session.receivesBare;
    this.isAvailable = session.presence.kind === 'available';
    this.#append = append;
  }

  /**
   * Keeps a stanza with the state, in the order of the calls. `gone`: the session is elsewhere by now; `follow` is awaited
   * then, before the next one's turn.
   */
  keep(stanza: Buffer, follow?: () => Promise<void>): Promise<'kept' | 'gone' | 'full'> {
    const kept = this.#tail.then(async () => {
      const outcome = await this.#append(stanza.toString('utf8'));
      if (outcome === 'gone') await follow?.();
      return outcome;
    });
    this.#tail = kept.catch(() => undefined); // whoever handed the stanza in is told
    return kept;
  }
}

export class HandOver {
  readonly #host: HandOverHost;
  readonly #parts: ClusterParts;
  readonly #claims: Claims;
  readonly #log: Logger;
  /** Sessions on their way out. */
  readonly #leaving = new Map<Session, Promise<boolean>>();
  /** By bare JID: sessions that left from here, for as long as they can be resumed. */
  readonly #departed = new Map<string, Departed[]>();
  /** SM-IDs that are being fetched, so that two streams here do not fetch one session twice. */
  readonly #fetching = new Map<string, Promise<Session | undefined>>();
  /** Requests that wait for their answer. */
  readonly #asked = new Map<string, (outcome: Outcome) => void>();

  constructor(host: HandOverHost, claims: Claims, log: Logger) {
    this.#host = host;
    this.#parts = host.cluster;
    this.#claims = claims;
    this.#log = log;
  }

  // --- out -----------------------------------------------------------------------------------------------

  /**
   * Writes a session's state and lets go of it: its stream ends with `error` once the state is durable. False: it could not
   * leave, and is as it was, or over.
   */
  leave(session: Session, why: CloseReason, error: StreamError): Promise<boolean> {
    const under = this.#leaving.get(session);
    if (under !== undefined) return under;
    const leaving = this.#leave(session, why, error).finally(() => this.#leaving.delete(session));
    this.#leaving.set(session, leaving);
    return leaving;
  }

  async #leave(session: Session, why: CloseReason, error: StreamError): Promise<boolean> {
    const smId = session.resumeId;
    if (smId === undefined || !session.isAlive || session.isResuming) return false;
    session.stopReading();
    await within(SETTLE_MS, session.settled());
    if (!session.isAlive) return false;
    const state = session.state({ entries: this.#host.keeper.leave(session) });
    if (!(await this.#put(session, smId, state))) {
      if (session.isAlive) session.stay();
      return false;
    }
    if (!session.isAlive) {
      // It ended while its state was written: nobody may go on from that.
      await this.#forget(session.jid, smId);
      return false;
    }
    const later = session.stanzasAfter(state.unacknowledged.length);
    const departed = new Departed(session, (stanza) => this.#parts.resumeStates.append(session.jid, smId, stanza));
    const stream = session.depart(why);
    this.#remember(departed);
    await Promise.all(later.map((stanza) => this.#keepOrForward(departed, stanza)));
    stream?.close(why, error);
    return true;
  }

  async #put(session: Session, smId: string, state: ResumeState): Promise<boolean> {
    const fields = { jid: session.jid.toString(), sessionId: session.id };
    try {
      const outcome = await this.#parts.resumeStates.put(session.jid, smId, state, this.#host.resumeTimeoutMs);
      if (outcome === 'full') this.#log.warn(fields, 'a session cannot go on elsewhere: its account has its most states');
      return outcome === 'stored';
    } catch (error) {
      this.#log.warn({ err: error, ...fields }, 'a session cannot go on elsewhere: its state could not be written');
      await this.#forget(session.jid, smId);
      return false;
    }
  }

  async #forget(jid: JID, smId: string): Promise<void> {
    await this.#parts.resumeStates.take(jid, smId).catch((error: unknown) =>
      // It expires, and its claim is not there to be taken over.
      this.#log.warn({ err: error, jid: jid.toString() }, 'a state that nobody may resume from could not be dropped'),
    );
  }

  async #keepOrForward(departed: Departed, stanza: Buffer): Promise<void> {
    try {
      const outcome = await departed.keep(stanza, () => {
        this.departedIsGone(departed); // or it would be asked to keep what it hands on
        return this.#host.sink.forward(stanza, departed.jid);
      });
      if (outcome === 'full') throw new Error('the state has its most bytes');
    } catch (error) {
      this.#log.error({ err: error, jid: departed.jid.toString() }, 'a stanza for a session that went elsewhere is lost');
    }
  }

  #remember(departed: Departed): void {
    const key = departed.jid.bareString;
    this.#departed.set(key, [...this.departedOf(departed.jid), departed]);
    setTimeout(() => {
      this.departedIsGone(departed);
      this.#claims.drop(departed.jid, departed.sessionId); // nobody took it over, or it is theirs under another session id
    }, this.#host.resumeTimeoutMs).unref();
  }

  /** Sessions of an account that left from here and may not have been resumed yet. */
  departedOf(account: JID): readonly Departed[] {
    return this.#departed.get(account.bareString) ?? [];
  }

  departedIsGone(departed: Departed): void {
    const key = departed.jid.bareString;
    const left = this.departedOf(departed.jid).filter((each) => each !== departed);
    if (left.length === 0) this.#departed.delete(key);
    else this.#departed.set(key, left);
  }

  /** The resource of a session that left from here was bound by a new stream: it cannot be resumed any more. */
  displaced(jid: JID, sessionId: string): void {
    const departed = this.departedOf(jid).find((each) => each.sessionId === sessionId);
    if (departed === undefined) return;
    this.departedIsGone(departed);
    void this.#forget(jid, departed.smId);
  }

  /** Another instance asks for a session. Returns at once: an inbox waits for nobody. */
  requested(body: string): void {
    const request = JSON.parse(body) as ResumeRequest;
    this.#handOut(request)
      .then((outcome) => {
        const answer: ResumeAnswer = { id: request.id, outcome };
        return this.#parts.inboxes.send(request.from, { kind: 'resume-answer', body: JSON.stringify(answer) });
      })
      .catch((error: unknown) =>
        this.#log.warn({ err: error, instanceId: request.from }, 'an instance that asked for a session could not be answered'),
      );
  }

  async #handOut({ smId, account, owner }: ResumeRequest): Promise<Outcome> {
    // Left behind by an instance that is gone, or by our own former id. Who asked may have the session by now.
    if (owner !== this.#parts.instanceId()) return 'no-answer';
    // It may be on its way here itself, for a stream that has broken since.
    await this.#fetching.get(fetchKey(JID.parse(account), smId))?.catch(() => undefined);
    const session = this.#host.byResumeId(smId);
    if (session === undefined) {
      return this.#departed.get(account)?.some((each) => each.smId === smId) ? 'handed-over' : 'unknown';
    }
    // The id alone proves nothing: it must be the same account (RFC 8600 §8.2.2).
    if (session.jid.bareString !== account) return 'unknown';
    const conflict = new StreamError('conflict', { text: 'this session was resumed on another stream' });
    return (await this.leave(session, 'resumed-elsewhere', conflict)) ? 'handed-over' : 'unknown';
  }

  // --- in --------------------------------------------------------------------------------------------------

  answered(body: string): void {
    const { id, outcome } = JSON.parse(body) as ResumeAnswer;
    this.#asked.get(id)?.(outcome);
  }

  /**
   * Brings a session here, to wait for its client. Gives up when that is not wanted any more.
   *
   * @returns undefined when this account has no such session that can be resumed
   * @throws StoreUnavailable
   */
  async fetch(smId: string, who: AuthenticatedAccount, isWanted: () => boolean): Promise<Session | undefined> {
    if (smId.length !== SM_ID_CHARS) return undefined;
    const key = fetchKey(who.account, smId);
    for (let under = this.#fetching.get(key); under !== undefined; under = this.#fetching.get(key)) {
      const session = await under;
      if (session !== undefined) return session;
      // What another stream gave up this one tries itself.
    }
    const fetching = this.#fetch(smId, who, isWanted).finally(() => this.#fetching.delete(key));
    this.#fetching.set(key, fetching);
    return fetching;
  }

  async #fetch(smId: string, who: AuthenticatedAccount, isWanted: () => boolean): Promise<Session | undefined> {
    // The session may go to another instance under our hands, for a stream of the same client that has broken since.
    const silent = new Set<string>();
    for (let attempt = 0; attempt < FETCH_ATTEMPTS && isWanted(); attempt++) {
      const fetched = await this.#fetchOnce(smId, who, isWanted, silent);
      if (fetched !== 'moved') return fetched;
    }
    return undefined;
  }

  /** `silent`: instances that did not answer; they are not asked again. */
  async #fetchOnce(
    smId: string,
    who: AuthenticatedAccount,
    isWanted: () => boolean,
    silent: Set<string>,
  ): Promise<Session | undefined | 'moved'> {
    const account = who.account.bare;
    const stream = lineage(smId);
    const bound = (await this.#parts.registry.sessionsOf(account)).find(({ claim }) => claim.sessionId.startsWith(stream));
    let owner: Outcome = 'no-answer';
    if (bound !== undefined) {
      const { instanceId } = bound.claim;
      if (silent.has(instanceId)) return undefined;
      if (instanceId !== this.#parts.instanceId()) owner = await this.#ask(instanceId, smId, account);
      // Only for an SM-ID that was given out: a claim must not be taken from a session that is there.
      else if (this.departedOf(account).some((each) => each.smId === smId)) owner = 'handed-over';
    }
    if (owner === 'unknown' || !isWanted()) return undefined;
    const sessionId = `${stream}~${randomText(6)}`;
    if (bound === undefined || owner === 'no-answer') {
      // Its instance stopped, or died after it had given the session out.
      const state = await this.#parts.resumeStates.take(account, smId);
      if (state === undefined) {
        if (bound === undefined) return undefined;
        silent.add(bound.claim.instanceId);
        return 'moved'; // perhaps, while we waited
      }
      const jid = account.withResource(state.resource);
      return this.#claims.takeOver(jid, sessionId, state.sessionId, () => this.#arrive(jid, sessionId, smId, state, who));
    }
    // The claim first: from here on what comes for the session comes here, and what came before is in the state.
    const jid = account.withResource(bound.resource);
    const session = await this.#claims.takeOver(jid, sessionId, bound.claim.sessionId, async () => {
      const state = await this.#parts.resumeStates.take(account, smId);
      return state && this.#arrive(jid, sessionId, smId, state, who);
    });
    return session ?? 'moved';
  }

  async #arrive(
    jid: JID,
    sessionId: string,
    smId: string,
    state: ResumeState,
    who: AuthenticatedAccount,
  ): Promise<Session | undefined> {
    const session = new Session(sessionId, jid, who, undefined, this.#host, state.boundAtMs);
    session.restore(smId, state, this.#host.keeper);
    this.#host.adopt(session);
    for (const departed of this.departedOf(jid)) if (departed.smId === smId) this.departedIsGone(departed); // it came back
    try {
      await this.#host.keeper.arrive(session, state.extra.entries ?? '');
    } catch (error) {
      session.end('internal-error');
      throw error;
    }
    return session.isAlive ? session : undefined;
  }

  /** Asks the owner of a session to write its state. */
  async #ask(instanceId: string, smId: string, account: JID): Promise<Outcome> {
    const id = randomText(9);
    const answer = new Promise<Outcome>((resolve) => this.#asked.set(id, resolve));
    try {
      const from = this.#parts.instanceId();
      const request: ResumeRequest = { id, smId, account: account.bareString, from, owner: instanceId };
      const outcome = await this.#parts.inboxes.send(instanceId, { kind: 'resume-request', body: JSON.stringify(request) });
      return outcome === 'sent' ? ((await within(ANSWER_MS, answer)) ?? 'no-answer') : 'no-answer';
    } finally {
      this.#asked.delete(id);
    }
  }
}

const fetchKey = (account: JID, smId: string): string => `${account.bareString} ${smId}`;

/** Undefined when it takes longer. */
function within<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(undefined), ms).unref();
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
