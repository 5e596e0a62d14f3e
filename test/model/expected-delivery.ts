/**
 * Which session is owed which notification: the rules of delivery.md §4 to §6 for sessions that come, go, break and resume,
 * over what the reference model says that happens.
 */

import { bareOf, type LogEntry, type Notice, type Outcome } from './reference.ts';

/** A message that a session is owed, or may get. */
export interface Expectation {
  /** Undefined: the bare or the full JID. */
  readonly to: string | undefined;
  readonly node: string;
  readonly says: readonly string[];
  readonly type: string;
  readonly entry: LogEntry | undefined;
  /** Not wrong if it comes, not missed if it does not. */
  isOptional: boolean;
  /** It is read from the log again, perhaps: then the configuration that it is told by, or tells, may be that of now. */
  readonly isLate?: boolean;
  /** What it may say then. */
  readonly later?: readonly string[];
  /** A `<gap/>` may come instead, which is a message of its own and not of the topic's type (delivery.md §9.2). */
  readonly mayBeGap?: boolean;
}

export interface ModelSession {
  readonly name: string;
  readonly resource: string;
  readonly hasStreamManagement: boolean;
  isBroken: boolean;
  /** Not yet received, in order. */
  expected: Expectation[];
  /** Received and not acknowledged, in order; stream management only. */
  unacknowledged: Expectation[];
}

/** An entry that the account as a whole has not acknowledged for sure (delivery.md §5.1). */
interface Owed {
  readonly notice: Notice;
  /** Some session may have acknowledged it, by the answer to a ping or a count that is not written yet (§5.2, §5.3). */
  isUncertain: boolean;
  readonly acknowledgedBy: Set<ModelSession>;
}

/** For the time of a message between instances, here so many requests, a session may hear of what another unsubscribed from. */
const LEAVING_REQUESTS = 5;

const late = (expected: Expectation): Expectation => ({ ...expected, says: expected.later ?? expected.says, isLate: true });

/** Which topics there are, and where others went. */
export interface KnownTopics {
  exists(node: string): boolean;
  movedTo(node: string): string | undefined;
}

export class ExpectedDelivery {
  readonly #domain: string;
  readonly #isShared: boolean;
  readonly #sessions = new Map<string, ModelSession>();
  /** By subscribed bare JID and topic, oldest first. */
  readonly #owed = new Map<string, Owed[]>();
  /** What an account hears, or may hear, at its next login, by bare JID: direct messages kept for it, ends of subscriptions. */
  readonly #late = new Map<string, Expectation[]>();

  /** Subscriptions that a session ended of which the account's other sessions may still hear. */
  #left: { readonly node: string; readonly jid: string; readonly by: string; readonly until: number }[] = [];
  #followed = 0;

  /** `isShared`: of several instances one may not know yet what another knows. */
  constructor(domain: string, isShared: boolean) {
    this.#domain = domain;
    this.#isShared = isShared;
  }

  get sessions(): readonly ModelSession[] {
    return [...this.#sessions.values()];
  }

  session(name: string, resource: string): ModelSession | undefined {
    return this.#sessions.get(`${name}/${resource}`);
  }

  /** Hands out what a request of this session leads to. */
  follow(outcome: Outcome, by: string): void {
    for (const notice of outcome.notices) this.#dispatch(notice);
    for (const event of outcome.events) this.#dispatchToLeavers(event);
    for (const { node, jid, isOwn } of outcome.ended) {
      this.#end(node, jid, outcome);
      if (this.#isShared && isOwn) this.#left.push({ node, jid, by, until: this.#followed + LEAVING_REQUESTS });
    }
    this.#followed++;
  }

  /** A new session; `requests` are those that wait for it as an owner. */
  login(
    name: string,
    resource: string,
    hasStreamManagement: boolean,
    requests: readonly Notice[],
    topics: KnownTopics,
  ): ModelSession {
    const old = this.session(name, resource);
    if (old) this.#drop(old); // its resource is taken over: nothing to resume any more
    const session: ModelSession = {
      name,
      resource,
      hasStreamManagement,
      isBroken: false,
      expected: [],
      unacknowledged: [],
    };
    this.#sessions.set(`${name}/${resource}`, session);
    const bare = this.#bare(name);
    // Of a deletion they need not hear who have to do with a new topic of that name.
    for (const kept of this.#late.get(bare) ?? []) session.expected.push(this.#asTold(kept, bare, topics));
    this.#late.delete(bare);
    for (const request of requests) session.expected.push({ ...request, to: undefined, isOptional: false }); // §8.6
    for (const [key, list] of this.#owed) {
      if (!key.startsWith(`${bare} `)) continue;
      for (const owed of list) {
        if (owed.notice.entry?.isWithdrawn === true) continue;
        session.expected.push({
          ...owed.notice,
          isLate: true,
          isOptional: owed.isUncertain || owed.acknowledgedBy.size > 0 || owed.notice.entry?.isDoubtful === true,
          // delivery.md §9.2: what was not kept is a gap, unless the ring still has it (§4.3)
          mayBeGap: owed.notice.entry?.isKept === false,
        });
        if (!hasStreamManagement) owed.isUncertain = true;
      }
    }
    return session;
  }

  /** The stream ends in order; with stream management, whatever is unacknowledged stays owed. */
  logout(session: ModelSession): void {
    this.#drop(session);
  }

  /** The client acknowledges everything that it received. */
  acknowledge(session: ModelSession): void {
    for (const { entry } of session.unacknowledged.splice(0)) {
      if (!entry) continue;
      for (const list of this.#owed.values()) {
        for (const owed of list) if (owed.notice.entry === entry) owed.acknowledgedBy.add(session);
      }
    }
  }

  breakStream(session: ModelSession): void {
    session.isBroken = true;
  }

  /** What comes again: everything after what the client says it has (XEP-0198 §5). */
  resume(session: ModelSession, saysAll: boolean, topics: KnownTopics): void {
    session.isBroken = false;
    if (saysAll) this.acknowledge(session);
    const again = session.unacknowledged.splice(0).map(late);
    session.expected = [...again, ...session.expected].filter(({ entry }) => entry?.isWithdrawn !== true); // delivery.md §6.2
    if (!this.#isShared) return;
    // Where it goes on now, what was not kept may not be at hand (§9.2), and it is not known whom a deletion was told (§1.5).
    session.expected = session.expected.map((each) => ({ ...each, mayBeGap: each.entry?.isKept === false }));
    const bare = this.#bare(session.name);
    const deletions = (this.#late.get(bare) ?? []).filter(({ says }) => says[0] === 'delete');
    for (const each of deletions) session.expected.push({ ...this.#asTold(each, bare, topics), isOptional: true });
  }

  /** The session got its own message back, which is a stanza like others when it has to be sent again. */
  bounced(name: string, resource: string, says: string): void {
    const session = this.session(name, resource) as ModelSession;
    const to = `${this.#bare(name)}/${resource}`;
    this.received(session, { to, node: '', says: [says], type: 'error', entry: undefined, isOptional: false });
  }

  /** The session got the message, or a gap in its place: it matched this expectation. */
  received(session: ModelSession, expectation: Expectation, isGap = false): void {
    // A gap is told once: nothing is left of the entry to be told to the account's other sessions.
    if (isGap) {
      for (const list of this.#owed.values()) {
        for (const owed of list) if (owed.notice.entry === expectation.entry) owed.isUncertain = true;
      }
    }
    if (session.hasStreamManagement) session.unacknowledged.push(expectation);
  }

  #bare(name: string): string {
    return `${name}@${this.#domain}`;
  }

  #of(bare: string): ModelSession[] {
    return this.sessions.filter(({ name }) => this.#bare(name) === bare);
  }

  #dispatch(notice: Notice): void {
    const bare = bareOf(notice.to);
    const all = this.#of(bare);
    const isFull = notice.to !== bare;
    const recipients = isFull ? all.filter(({ resource }) => notice.to === `${bare}/${resource}`) : all;
    const isForm = notice.says[0]?.startsWith('form ') === true;
    for (const session of recipients) {
      // Only later the configuration of then or now may say whether the payload goes with it.
      const expected = { ...notice, says: notice.says.slice(0, 1), later: notice.says, isOptional: false };
      session.expected.push(session.isBroken ? late(expected) : expected);
    }
    if (notice.entry === undefined) {
      if (recipients.length > 0 || isForm) return;
      const kept: Expectation = { ...notice, isOptional: true };
      // RFC 6121 §8.5.3.2: another resource may get it instead, or it is kept.
      if (all.length > 0) for (const session of all) session.expected.push({ ...kept });
      else this.#later(bare, kept);
      return;
    }
    if (isFull || notice.type === 'headline') return; // delivery.md §4.1, §9.2: nothing is kept
    const key = `${notice.to} ${notice.node}`;
    const list = this.#owed.get(key) ?? [];
    this.#owed.set(key, list);
    list.push({
      notice,
      isUncertain: recipients.some(({ hasStreamManagement }) => !hasStreamManagement),
      acknowledgedBy: new Set(),
    });
  }

  /** What was kept, as it is told now. */
  #asTold(kept: Expectation, bare: string, topics: KnownTopics): Expectation {
    if (kept.says[0] !== 'delete') return { ...kept, isOptional: kept.isOptional || topics.exists(kept.node) };
    // delivery.md §1.5: of a topic of that name the account is told only that it is not subscribed.
    if (topics.exists(kept.node)) return { ...kept, says: [`subscription ${bare} none`], isOptional: true };
    const redirect = topics.movedTo(kept.node);
    return redirect === undefined ? kept : { ...kept, says: [`delete ${redirect}`, 'delete'] };
  }

  #dispatchToLeavers(event: Omit<Notice, 'to'>): void {
    this.#left = this.#left.filter(({ until }) => until > this.#followed);
    for (const { node, jid, by } of this.#left) {
      if (node !== event.node) continue;
      for (const session of this.#of(bareOf(jid))) {
        const name = `${session.name}/${session.resource}`;
        const isReceiver = jid === bareOf(jid) || jid === `${bareOf(jid)}/${session.resource}`;
        if (isReceiver && name !== by) session.expected.push({ ...event, to: jid, isOptional: true });
      }
    }
  }

  #later(bare: string, expectation: Expectation): void {
    const list = this.#late.get(bare) ?? [];
    list.push(expectation);
    this.#late.set(bare, list);
  }

  /** A subscription ended: what was published under it is not owed any more; that it ended may be told at the next login. */
  #end(node: string, jid: string, outcome: Outcome): void {
    const deletion = outcome.notices.find((notice) => notice.to === jid && notice.says[0]?.startsWith('delete') === true);
    const key = `${jid} ${node}`;
    const list = this.#owed.get(key);
    const isAway = this.#of(bareOf(jid)).length === 0;
    this.#owed.delete(key);
    for (const session of this.#of(bareOf(jid))) {
      for (const each of [...session.expected, ...session.unacknowledged]) {
        const isEvent = each.entry !== undefined && each.says[0]?.startsWith('delete') !== true;
        if (each.to === jid && each.node === node && isEvent) each.isOptional = true;
      }
    }
    const bare = bareOf(jid);
    const told = { node, type: 'normal', entry: undefined, isOptional: true };
    if (isAway || (list ?? []).length > 0) this.#later(bare, { ...told, to: jid, says: [`subscription ${jid} none`] });
    // delivery.md §1.5: told at a login until it is known to have been told; where it went only while the tombstone lasts
    const isDue = isAway && jid === bare && deletion?.entry !== undefined && deletion.type !== 'headline';
    this.#later(bare, { ...told, to: undefined, says: ['delete'], isOptional: !isDue });
  }

  #drop(session: ModelSession): void {
    this.#sessions.delete(`${session.name}/${session.resource}`);
    const bare = this.#bare(session.name);
    // What was acknowledged is written now, and everything before it with it (delivery.md §5.3).
    for (const [key, list] of this.#owed) {
      if (!key.startsWith(`${bare} `)) continue;
      const last = list.findLastIndex(({ acknowledgedBy }) => acknowledgedBy.has(session));
      if (last < 0) continue;
      // Elsewhere it may be read before that: then it comes once more (delivery.md §5.4).
      if (this.#isShared) for (const owed of list.slice(0, last + 1)) owed.isUncertain = true;
      else this.#owed.set(key, list.slice(last + 1));
    }
    // Direct messages that were never acknowledged may reach the account otherwise (XEP-0198 §5).
    for (const each of [...session.unacknowledged, ...session.expected]) {
      if (each.entry !== undefined) continue;
      const others = this.#of(bare);
      if (others.length > 0) for (const other of others) other.expected.push({ ...each, isOptional: true });
      else this.#later(bare, { ...each, isOptional: true });
    }
  }
}
