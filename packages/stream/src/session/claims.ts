import type { ClusterParts } from '../cluster/cluster-parts.ts';
import type { SessionClaim } from '../cluster/session-registry.ts';
import { StoreUnavailable } from '../cluster/store-unavailable.ts';
import { StanzaError } from '../errors/stanza-error.ts';
import { StreamError } from '../errors/stream-error.ts';
import type { JID } from '../jid.ts';
import type { Logger } from '../observe/log.ts';

/**
 * This instance's claims on resources: made before a session is, given up after it, told of to whoever lost one. Owns no
 * session. When the process dies its claims count for nothing (delivery.md §7.2).
 */

/** A displaced session is told of again this often while its instance's inbox takes nothing; then it stays until its own end. */
const TELL_ATTEMPTS = 6;
const TELL_AGAIN_MS = 500;
/** Claims to give up that are tried again in one round. */
const DROPS_PER_ROUND = 256;

/** The inbox message that ends a displaced session. */
export interface DisplaceBody {
  readonly jid: string;
  readonly sessionId: string;
}

export class Claims {
  readonly #parts: ClusterParts;
  readonly #log: Logger;
  /** Claims on one full JID take turns, so that the table here and the registry agree on who was last. */
  readonly #turns = new Map<string, Promise<void>>();
  /** Session ids whose claim is being made; true: displaced since. */
  readonly #underWay = new Map<string, boolean>();
  /** Claims of sessions that are over, until the registry has given them up. Bounded by the sessions there were. */
  readonly #toDrop = new Map<string, JID>();
  #isDropping = false;

  constructor(parts: ClusterParts, log: Logger) {
    this.#parts = parts;
    this.#log = log;
  }

  /**
   * Claims a resource for a new session; then `won` makes it, in the same turn of the event loop in which that is known.
   * Whoever held the resource must end: `displaced` is given to `won` for a session here, and told of elsewhere.
   *
   * @throws StanzaError `resource-constraint` when the account has its most resources (RFC 6120 §7.6.2.1), or the store cannot be asked
   * @throws StreamError `conflict` when the resource was bound by another stream meanwhile
   */
  async bind<T>(jid: JID, sessionId: string, maxResources: number, won: () => T): Promise<T> {
    let displaced: SessionClaim | undefined;
    const made = await this.#inTurn(jid, sessionId, async () => {
      const claim = this.#claim(sessionId);
      const outcome = await this.#parts.registry.bind(jid, jid.resource as string, claim, maxResources);
      if (outcome.kind === 'full') {
        throw new StanzaError('resource-constraint', { text: `this account may have ${maxResources} connected resources` });
      }
      displaced = outcome.displaced;
      await this.#underThisId(jid, claim);
      this.#stillMine(sessionId);
      return won();
    });
    if (displaced !== undefined && displaced.instanceId !== this.#parts.instanceId()) await this.#tellDisplaced(jid, displaced);
    return made;
  }

  /**
   * Takes over the claim of a session that comes from another instance, under a new session id; then `won` makes it, while
   * other claims on this JID wait. Undefined: another session holds the resource, or `won` made none.
   */
  takeOver<T>(jid: JID, sessionId: string, formerId: string, won: () => Promise<T | undefined>): Promise<T | undefined> {
    return this.#inTurn(jid, sessionId, async () => {
      const claim = this.#claim(sessionId);
      if (!(await this.#parts.registry.reclaim(jid, jid.resource as string, claim, formerId))) return undefined;
      let made: T | undefined;
      try {
        await this.#underThisId(jid, claim);
        this.#stillMine(sessionId);
        made = await won();
      } finally {
        if (made === undefined) this.drop(jid, sessionId);
      }
      return made;
    });
  }

  /** Resolves when no claim on this JID is being made or taken over here any more. */
  async settled(jid: JID): Promise<void> {
    await this.#turns.get(jid.toString());
  }

  /** Whether a session whose claim is still being made has that id; if so, it will not come to be. */
  displacedUnderWay(sessionId: string): boolean {
    if (!this.#underWay.has(sessionId)) return false;
    this.#underWay.set(sessionId, true);
    return true;
  }

  /** Gives a claim up, now or when the store answers again. */
  drop(jid: JID, sessionId: string): void {
    this.#toDrop.set(sessionId, jid);
    this.#dropOne(jid, sessionId).catch((error: unknown) =>
      this.#log.warn({ err: error, jid: jid.toString(), sessionId }, 'a claim could not be given up; trying again'),
    );
  }

  /** Tries again to give up what could not be given up. To be called about once a second. Never rejects. */
  async dropAgain(): Promise<void> {
    if (this.#isDropping || this.#toDrop.size === 0 || !this.#parts.mayServe()) return;
    this.#isDropping = true;
    let left = DROPS_PER_ROUND;
    try {
      for (const [sessionId, jid] of this.#toDrop) {
        if (left-- === 0) break;
        await this.#dropOne(jid, sessionId);
      }
    } catch {
      // Told of when it failed first; the next round tries again.
    } finally {
      this.#isDropping = false;
    }
  }

  async #dropOne(jid: JID, sessionId: string): Promise<void> {
    await this.#parts.registry.drop(jid, jid.resource as string, sessionId);
    this.#toDrop.delete(sessionId);
  }

  /** Writes a session's claim again (delivery.md §3.4, §7.2). False: somebody else holds the resource, the session must end. */
  reclaim(jid: JID, sessionId: string, sinceMs: number): Promise<boolean> {
    return this.#parts.registry.reclaim(jid, jid.resource as string, this.#claim(sessionId, sinceMs));
  }

  #claim(sessionId: string, sinceMs = Date.now()): SessionClaim {
    return { instanceId: this.#parts.instanceId(), sessionId, sinceMs };
  }

  /** The instance may have got a new id while it claimed under the former one. */
  async #underThisId(jid: JID, claim: SessionClaim): Promise<void> {
    if (claim.instanceId === this.#parts.instanceId()) return;
    if (!(await this.reclaim(jid, claim.sessionId, claim.sinceMs))) throw lost();
  }

  #stillMine(sessionId: string): void {
    if (this.#underWay.get(sessionId) === true) throw lost();
  }

  async #inTurn<T>(jid: JID, sessionId: string, run: () => Promise<T>): Promise<T> {
    const key = jid.toString();
    const before = this.#turns.get(key);
    const { promise: turn, resolve: over } = Promise.withResolvers<void>();
    this.#turns.set(key, turn);
    this.#underWay.set(sessionId, false);
    try {
      await before;
      return await run();
    } catch (error) {
      // Whether the claim stands is not known.
      if (error instanceof StoreUnavailable) this.drop(jid, sessionId);
      throw error;
    } finally {
      this.#underWay.delete(sessionId);
      if (this.#turns.get(key) === turn) this.#turns.delete(key);
      over();
    }
  }

  /** The first attempt is awaited, so that the new session is not told of before the old one's instance knows. */
  async #tellDisplaced(jid: JID, { instanceId, sessionId }: SessionClaim, attempt = 1): Promise<void> {
    const body = JSON.stringify({ jid: jid.toString(), sessionId } satisfies DisplaceBody);
    let failure: unknown;
    try {
      const outcome = await this.#parts.inboxes.send(instanceId, { kind: 'displace', body });
      if (outcome !== 'full') return; // sent; or its instance is gone, and the session with it
    } catch (error) {
      failure = error;
    }
    const fields = { err: failure, jid: jid.toString(), sessionId, instanceId };
    if (attempt === TELL_ATTEMPTS) {
      this.#log.error(fields, 'a displaced session could not be told; it lives until its stream ends');
      return;
    }
    this.#log.debug(fields, 'a displaced session could not be told; trying again');
    setTimeout(
      () => void this.#tellDisplaced(jid, { instanceId, sessionId, sinceMs: 0 }, attempt + 1),
      TELL_AGAIN_MS * 2 ** attempt,
    ).unref();
  }
}

const lost = (): StreamError => new StreamError('conflict', { text: 'the resource was bound by a new stream' });
