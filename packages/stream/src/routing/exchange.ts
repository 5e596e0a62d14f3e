import { Element } from 'ltx';
import type { InboxMessage } from '../cluster/inbox.ts';
import type { OfflineMessages } from '../cluster/offline-messages.ts';
import { StoreUnavailable } from '../cluster/store-unavailable.ts';
import { StanzaError } from '../errors/stanza-error.ts';
import { JID } from '../jid.ts';
import type { Logger } from '../observe/log.ts';
import { randomText } from '../random.ts';
import { errorReply } from '../session/answer.ts';
import { type Departed, lineage } from '../session/hand-over.ts';
import type { SessionPort } from '../session/ports.ts';
import type { Undelivered } from '../session/session.ts';
import type { Sessions } from '../session/sessions.ts';
import { parseStanza } from '../xml/parse.ts';
import { serializeStanza } from '../xml/serialize.ts';
import { Parcel } from './parcel.ts';

/**
 * Carries stanzas to sessions wherever they are: here, on another instance through its inbox, or to the messages kept for an
 * account that is away (RFC 6121 §8.5; delivery.md §7.3). When a session moves, what is on its way to its former instance
 * follows it, and its senders wait for that before they send to the new one (RFC 6120 §10.1). A session that moves again
 * while something still follows its last move gets all of it once, perhaps not in order.
 *
 * A message to a bare JID visits the instances that hold sessions of the account one after another, each of which hands it
 * to its receivers and passes it on with what it knows: who was visited, and who took it. The last one keeps it for later if
 * nobody did. So each resource gets it once, also one that moves meanwhile, and no presence needs to be known elsewhere; an
 * instance that dies with it in hand leaves it in its inbox.
 */

export interface ExchangeOptions {
  readonly sessions: Sessions;
  readonly offline: OfflineMessages;
  readonly log: Logger;
}

/** What goes with a stanza from one instance to the next. */
interface Transit {
  readonly to: string;
  readonly kind: 'iq' | 'message' | 'presence';
  readonly type?: string | undefined;
  /** Instances that it came through. */
  readonly seen: readonly string[];
  /** A message to a bare JID: the sessions that have it, by what stays the same when one moves. */
  readonly took?: readonly string[];
}

interface OwnPresence {
  readonly from: string;
  readonly isNew: boolean;
}

/** A stanza that was sent this long ago has arrived, or its instance is in trouble. */
const ON_ITS_WAY_MS = 10_000;
/** Most pairs of sender and receiver whose last stanza is remembered. */
const MAX_ON_THEIR_WAY = 10_000;
/** Order is given up when what was sent does not arrive for this long. */
const FLUSH_MS = 2_000;

/** Follows a session the way that stanzas for it do, behind them. */
interface FlushBody {
  readonly id: string;
  /** The instance that waits. */
  readonly from: string;
  readonly to: string;
  readonly hops: number;
}

/** A session that moves faster than a stanza for it: then it counts as away. */
const MAX_HOPS = 8;
/** While the store does not answer, a message in hand waits: its inbox cannot go on either. */
const STORE_ATTEMPTS = 6;
const STORE_AGAIN_MS = 100;

export class Exchange {
  readonly #sessions: Sessions;
  readonly #offline: OfflineMessages;
  readonly #log: Logger;
  /** By sender and receiver: to which other instance the last stanza went, oldest first. */
  readonly #sent = new Map<string, { readonly instanceId: string; readonly atMs: number }>();
  readonly #flushes = new Map<string, () => void>();

  constructor({ sessions, offline, log }: ExchangeOptions) {
    this.#sessions = sessions;
    this.#offline = offline;
    this.#log = log;
  }

  // --- to a full JID -----------------------------------------------------------------------------------

  /**
   * Hands a stanza to the session of a full JID, wherever it is.
   *
   * @returns false when there is none
   * @throws StanzaError `resource-constraint` (wait) when its instance does not keep up, or the store cannot be asked
   */
  toFull(stanza: Element, to: JID): Promise<boolean> {
    const { kind, type } = described(stanza);
    return this.#toFull(new Parcel(stanza), to, { to: to.toString(), kind, type, seen: [] }, pairOf(stanza, to));
  }

  /** The same for what an inbox's handler sends: it may not wait for those before it (delivery.md §7.3). */
  #toFullAtOnce(stanza: Element, to: JID): Promise<boolean> {
    const { kind, type } = described(stanza);
    return this.#toFull(new Parcel(stanza), to, { to: to.toString(), kind, type, seen: [] });
  }

  /** Whether the last stanza of this sender for this JID went to another instance and may still be on its way. */
  isOnItsWay(stanza: Element, to: JID): boolean {
    return this.#sent.size > 0 && this.#sent.has(pairOf(stanza, to));
  }

  /** `pair`: of a stanza that was sent here, undefined for one that comes from another instance. */
  async #toFull(parcel: Parcel, to: JID, transit: Transit, pair?: string): Promise<boolean> {
    const { cluster } = this.#sessions;
    const seen = [...transit.seen, cluster.instanceId()];
    // Twice: an instance may be gone, or have got a new id, between the look and the sending.
    for (let attempt = 0; attempt < 2; attempt++) {
      if (pair !== undefined && this.#sent.has(pair) && this.#sessions.find(to))
        await this.#letPass(pair, to, cluster.instanceId());
      if (this.#here(parcel, to, transit.kind) || (await this.#keptFor(parcel, to, transit.kind))) return true;
      const claim = (await cluster.registry.sessionsOf(to)).find(({ resource }) => resource === to.resource)?.claim;
      if (claim === undefined || seen.length > MAX_HOPS) return false;
      if (claim.instanceId === cluster.instanceId()) {
        // It is about to come here from another instance, or was bound since we looked.
        await this.#sessions.arriving(to);
        if (pair !== undefined) await this.#letPass(pair, to, cluster.instanceId());
        return this.#here(parcel, to, transit.kind);
      }
      if (pair !== undefined) await this.#letPass(pair, to, claim.instanceId);
      const outcome = await cluster.inboxes.send(claim.instanceId, encode({ ...transit, seen }, parcel));
      if (outcome === 'full') throw notKeepingUp();
      if (outcome === 'sent') {
        if (pair !== undefined) this.#noteSent(pair, claim.instanceId);
        return true;
      }
    }
    return false;
  }

  #noteSent(pair: string, instanceId: string): void {
    const atMs = performance.now();
    this.#sent.delete(pair);
    this.#sent.set(pair, { instanceId, atMs });
    for (const [oldest, { atMs: then }] of this.#sent) {
      if (atMs - then < ON_ITS_WAY_MS && this.#sent.size <= MAX_ON_THEIR_WAY) break;
      this.#sent.delete(oldest);
    }
  }

  /** The receiver is at `next` by now: waits until what was sent to where it was has followed it (RFC 6120 §10.1). */
  async #letPass(pair: string, to: JID, next: string): Promise<void> {
    const last = this.#sent.get(pair);
    if (last === undefined || last.instanceId === next) return;
    this.#sent.delete(pair);
    if (performance.now() - last.atMs >= ON_ITS_WAY_MS) return;
    const { cluster } = this.#sessions;
    const flush: FlushBody = { id: randomText(9), from: cluster.instanceId(), to: to.toString(), hops: 0 };
    let timer: NodeJS.Timeout | undefined;
    const done = new Promise<void>((resolve) => {
      this.#flushes.set(flush.id, resolve);
      timer = setTimeout(resolve, FLUSH_MS).unref();
    });
    try {
      const outcome = await cluster.inboxes.send(last.instanceId, { kind: 'flush', body: JSON.stringify(flush) });
      if (outcome === 'sent') await done;
    } finally {
      clearTimeout(timer);
      this.#flushes.delete(flush.id);
    }
  }

  async #flushArrived(flush: FlushBody): Promise<void> {
    const { cluster } = this.#sessions;
    const to = JID.parse(flush.to);
    const isHere = (): boolean =>
      this.#sessions.find(to) !== undefined || this.#sessions.departedOf(to).some(({ jid }) => jid.equals(to));
    if (!isHere() && flush.hops < MAX_HOPS) {
      const claim = (await cluster.registry.sessionsOf(to)).find(({ resource }) => resource === to.resource)?.claim;
      if (claim?.instanceId === cluster.instanceId()) {
        await this.#sessions.arriving(to);
      } else if (claim !== undefined) {
        const body = JSON.stringify({ ...flush, hops: flush.hops + 1 } satisfies FlushBody);
        if ((await cluster.inboxes.send(claim.instanceId, { kind: 'flush', body })) === 'sent') return;
      }
    }
    await cluster.inboxes.send(flush.from, { kind: 'flushed', body: flush.id });
  }

  #here(parcel: Parcel, to: JID, kind: Transit['kind']): boolean {
    const session = this.#sessions.find(to);
    if (session === undefined) return false;
    if (kind !== 'presence' || session.presence.kind === 'available') session.sendStanza(parcel.bytes);
    return true;
  }

  /** Keeps a stanza with the state of a session that left from here. */
  async #keptFor(parcel: Parcel, to: JID, kind: Transit['kind']): Promise<boolean> {
    const departed = this.#sessions.departedOf(to).find(({ jid }) => jid.equals(to));
    if (departed === undefined) return false;
    if (kind === 'presence' && !departed.isAvailable) return true;
    return this.#keep(parcel, departed);
  }

  async #keep(parcel: Parcel, departed: Departed): Promise<boolean> {
    const outcome = await departed.keep(parcel.bytes);
    if (outcome === 'full') throw notKeepingUp();
    if (outcome === 'gone') this.#sessions.departedIsGone(departed);
    return outcome === 'kept';
  }

  /** A stanza for a session that went elsewhere a moment ago. */
  async forward(stanza: Buffer, to: JID): Promise<void> {
    const parcel = new Parcel(stanza);
    const transit: Transit = { to: to.toString(), ...described(parcel.element), seen: [] };
    await this.#onwards(parcel, to, transit);
  }

  // --- messages to a bare JID, RFC 6121 §8.5.2 ------------------------------------------------------------

  /**
   * Hands a message to every session of an account that takes such messages; when there is none it is kept, unless it is a
   * headline.
   *
   * @throws StanzaError when nobody has it and it cannot be kept
   */
  toBare(message: Element, to: JID): Promise<void> {
    const { kind, type } = described(message);
    return this.#visit(new Parcel(message), to, { to: to.bareString, kind, type, seen: [], took: [] }, atOnce);
  }

  async #visit(parcel: Parcel, to: JID, transit: Transit, ask: Ask): Promise<void> {
    const { cluster } = this.#sessions;
    const seen = new Set(transit.seen);
    const took = new Set(transit.took);
    if (!seen.has(cluster.instanceId())) {
      seen.add(cluster.instanceId());
      await this.#takeHere(parcel, to, took);
    }
    let hasSessions = false;
    try {
      // Each round asks one more instance; those that are gone are replaced by nothing, or by their new ids.
      for (let round = 0; round < MAX_HOPS; round++) {
        const bound = await ask(() => cluster.registry.sessionsOf(to));
        hasSessions = bound.length > 0;
        const next = bound.find(({ claim }) => !seen.has(claim.instanceId))?.claim.instanceId;
        if (next === undefined) break;
        const message = encode({ ...transit, took: [...took], seen: [...seen] }, parcel);
        seen.add(next);
        const outcome = await ask(() => cluster.inboxes.send(next, message));
        if (outcome === 'sent') return;
        if (outcome === 'full')
          this.#log.warn({ to: transit.to, instanceId: next }, 'an inbox is full: its sessions miss a message');
      }
    } catch (error) {
      // Somebody has it, and the sender would send it to them again.
      if (took.size === 0) throw error;
      this.#log.warn({ err: error, to: transit.to }, 'a message did not reach the sessions of other instances');
      return;
    }
    if (took.size > 0 || transit.type === 'headline') return; // §8.5.2.2.1: a headline is not kept
    await this.#offline.store(to.bare, parcel.element);
    // Whoever came to be available meanwhile has looked before the message was there (delivery.md §2.6).
    if (hasSessions) await this.#tellKept(to);
  }

  /**
   * A stanza that a session was sent, did not acknowledge, and can no longer be sent. A message from another account goes to
   * the account's other sessions, or is kept (RFC 6121 §8.5.3.2.1); a request is answered. What services sent they send
   * again where it matters. `sessionId` is the session's own.
   */
  async undelivered({ stanza, sinceMs }: Undelivered, sessionId: string): Promise<void> {
    const parcel = new Parcel(stanza);
    const { from, to: address } = parcel.element.attrs as Record<string, string | undefined>;
    if (from === undefined || address === undefined || JID.parse(from).local === undefined) return;
    const { kind, type } = described(parcel.element);
    const to = JID.parse(address);
    if (kind === 'iq' && (type === 'get' || type === 'set')) {
      await this.#bounce(parcel, to, new StanzaError('service-unavailable')); // §8.5.3.2.3
    } else if (kind === 'message' && type !== 'error' && type !== 'groupchat') {
      // Sessions that were there when it came have it already.
      if (to.resource === undefined && (await this.#hadOthers(to, sessionId, sinceMs))) return;
      await this.#onwards(parcel, to.bare, { to: to.bareString, kind, type, seen: [], took: [] });
    }
  }

  async #hadOthers(account: JID, sessionId: string, atMs: number): Promise<boolean> {
    const bound = await this.#sessions.cluster.registry.sessionsOf(account);
    return bound.some(({ claim }) => claim.sessionId !== sessionId && claim.sinceMs < atMs);
  }

  async #takeHere(parcel: Parcel, to: JID, took: Set<string>): Promise<void> {
    for (const session of this.#sessions.ofAccount(to)) {
      const line = lineage(session.id);
      if (!session.receivesBare || took.has(line)) continue;
      session.sendStanza(parcel.bytes);
      took.add(line);
    }
    for (const departed of this.#sessions.departedOf(to)) {
      const line = lineage(departed.sessionId);
      if (!departed.receivesBare || took.has(line)) continue;
      try {
        if (await this.#keep(parcel, departed)) took.add(line);
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error;
        this.#log.warn(
          { err: error, jid: departed.jid.toString() },
          'a message could not be kept for a session that may be resumed',
        );
      }
    }
  }

  /** Hands out what was kept, on whichever instance the account has somebody who takes it by now. */
  async #tellKept(account: JID): Promise<void> {
    this.#takeKept(account);
    try {
      for (const id of await this.#elsewhere(account)) {
        await this.#sessions.cluster.inboxes.send(id, { kind: 'kept', body: account.bareString });
      }
    } catch (error) {
      this.#log.info({ err: error, account: account.bareString }, 'a kept message waits for the next session');
    }
  }

  /** Other instances that hold sessions of an account. */
  async #elsewhere(account: JID): Promise<ReadonlySet<string>> {
    const { cluster } = this.#sessions;
    const ids = new Set((await cluster.registry.sessionsOf(account)).map(({ claim }) => claim.instanceId));
    ids.delete(cluster.instanceId());
    return ids;
  }

  #takeKept(account: JID): void {
    const receiver = this.#sessions.ofAccount(account).find((session) => session.receivesBare);
    if (receiver !== undefined) this.deliverKept(receiver);
  }

  /** Hands a session what was kept while its account was away (XEP-0160 §2). */
  deliverKept(session: SessionPort): void {
    this.#offline.take(session.jid).then(
      (kept) => {
        for (const bytes of kept) session.sendStanza(bytes);
      },
      (error: unknown) => this.#log.error({ err: error, jid: session.jid.toString() }, 'kept messages cannot be read'),
    );
  }

  // --- presence -------------------------------------------------------------------------------------------

  /** Hands presence to every available session of an account, wherever it is. Nothing of it is kept (RFC 6121 §8.5.2.2.2). */
  async presenceToBare(presence: Element, to: JID): Promise<void> {
    const parcel = new Parcel(presence);
    this.#presenceHere(parcel, to);
    const { kind, type } = described(presence);
    const message = encode({ to: to.bareString, kind, type, seen: [] }, parcel);
    for (const id of await this.#elsewhere(to)) await this.#sessions.cluster.inboxes.send(id, message);
  }

  /**
   * Tells the account's sessions on other instances of one session's own presence (RFC 6121 §4.2.2, §4.4.2, §4.5.2); the
   * session hears of them when it `isNew` among the available ones. Never rejects: presence is told again with its next change.
   */
  async ownPresence(presence: Element, from: JID, isNew: boolean): Promise<void> {
    try {
      await this.#ownPresence(presence, from, isNew);
    } catch (error) {
      this.#log.info({ err: error, jid: from.toString() }, 'other instances do not hear of the presence of a session');
    }
  }

  async #ownPresence(presence: Element, from: JID, isNew: boolean): Promise<void> {
    const others = await this.#elsewhere(from);
    if (others.size === 0) return;
    const body = `${JSON.stringify({ from: from.toString(), isNew } satisfies OwnPresence)}\n${serializeStanza(presence).toString()}`;
    for (const id of others) await this.#sessions.cluster.inboxes.send(id, { kind: 'own-presence', body });
  }

  async #ownPresenceArrived(body: string): Promise<void> {
    const end = body.indexOf('\n');
    const { from: text, isNew } = JSON.parse(body.slice(0, end)) as OwnPresence;
    const from = JID.parse(text);
    const presence = parseStanza(Buffer.from(body.slice(end + 1)));
    for (const session of this.#sessions.ofAccount(from)) {
      if (session.presence.kind !== 'available') continue;
      presence.attrs.to = session.jid.toString();
      session.sendStanza(presence);
      if (isNew) await this.#toFullAtOnce(new Element('presence', { from: session.jid.toString(), to: text }), from);
    }
  }

  #presenceHere(parcel: Parcel, to: JID): void {
    for (const session of this.#sessions.ofAccount(to)) {
      if (session.presence.kind === 'available') session.sendStanza(parcel.bytes);
    }
  }

  // --- from other instances -----------------------------------------------------------------------------------

  /**
   * Takes a message of the inbox that carries a stanza, or what a dead instance left of them. Answers go back by the same way.
   *
   * @returns false for another kind of message
   */
  async fromInbox(message: InboxMessage): Promise<boolean> {
    if (message.kind === 'kept') {
      this.#takeKept(JID.parse(message.body));
      return true;
    }
    if (message.kind === 'flush') {
      await this.#flushArrived(JSON.parse(message.body) as FlushBody);
      return true;
    }
    if (message.kind === 'flushed') {
      this.#flushes.get(message.body)?.();
      return true;
    }
    if (message.kind === 'own-presence') {
      await this.#ownPresenceArrived(message.body);
      return true;
    }
    if (message.kind !== 'stanza') return false;
    const { transit, parcel } = decode(message);
    await this.#onwards(parcel, JID.parse(transit.to), transit);
    return true;
  }

  async #onwards(parcel: Parcel, to: JID, transit: Transit): Promise<void> {
    try {
      await this.#arrived(parcel, to, transit);
    } catch (error) {
      if (!(error instanceof StanzaError)) throw error;
      await this.#bounce(parcel, to, error);
    }
  }

  async #arrived(parcel: Parcel, to: JID, transit: Transit): Promise<void> {
    if (to.resource === undefined) {
      if (transit.kind === 'presence') this.#presenceHere(parcel, to);
      else await this.#visit(parcel, to, transit, patiently);
      return;
    }
    if (await patiently(() => this.#toFull(parcel, to, transit))) return;
    const { kind, type } = transit;
    if (kind === 'presence' || type === 'error' || (kind === 'iq' && type === 'result')) return; // §8.5.3.2
    if (kind === 'iq' || type === 'groupchat') throw new StanzaError('service-unavailable'); // §8.5.3.2.1, §8.5.3.2.3
    await this.#visit(parcel, to, { ...transit, to: to.bareString, seen: [], took: [] }, patiently);
  }

  async #bounce(parcel: Parcel, to: JID, error: StanzaError): Promise<void> {
    const reply = errorReply(parcel.element, error);
    if (reply?.attrs.to === undefined) return;
    const sender = JID.parse(reply.attrs.to as string);
    try {
      if (sender.resource !== undefined && (await this.#toFullAtOnce(reply, sender))) return;
      this.#log.info(
        { to: to.toString(), condition: error.condition },
        'a stanza could not be delivered, and nobody waits to hear',
      );
    } catch (failure) {
      this.#log.warn({ err: failure, to: to.toString() }, 'a stanza could not be delivered, and its sender not be told');
    }
  }
}

/** Asks the store. */
type Ask = <T>(question: () => Promise<T>) => Promise<T>;

const atOnce: Ask = (question) => question();

/** A message of the inbox is not given up because the store is away for a moment. */
const patiently: Ask = async (question) => {
  for (let attempt = 1; ; attempt++) {
    try {
      return await question();
    } catch (error) {
      // What may have been done is not done again: it would come twice.
      if (!(error instanceof StoreUnavailable) || error.outcome === 'unknown' || attempt === STORE_ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, STORE_AGAIN_MS * 2 ** attempt).unref());
    }
  }
};

const pairOf = (stanza: Element, to: JID): string => `${stanza.attrs.from} ${to}`;

function described(stanza: Element): Pick<Transit, 'kind' | 'type'> {
  return { kind: stanza.name as Transit['kind'], type: stanza.attrs.type as string | undefined };
}

const notKeepingUp = (): StanzaError =>
  new StanzaError('resource-constraint', { type: 'wait', text: 'too much waits for this address, try again later' });

/** One line of JSON, then the stanza's XML. */
function encode(transit: Transit, parcel: Parcel): InboxMessage {
  return { kind: 'stanza', body: `${JSON.stringify(transit)}\n${parcel.bytes.toString('utf8')}` };
}

function decode({ body }: InboxMessage): { readonly transit: Transit; readonly parcel: Parcel } {
  const end = body.indexOf('\n');
  return { transit: JSON.parse(body.slice(0, end)) as Transit, parcel: new Parcel(Buffer.from(body.slice(end + 1))) };
}
