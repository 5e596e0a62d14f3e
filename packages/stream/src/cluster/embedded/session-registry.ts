import type { JID } from '../../jid.ts';
import type { BindOutcome, BoundResource, SessionClaim, SessionRegistry } from '../session-registry.ts';

interface Held extends SessionClaim {
  readonly resource: string;
}

/** One process: what it forgets when it ends, nobody else knew. */
export class EmbeddedSessionRegistry implements SessionRegistry {
  /** Lists, not maps: nearly every account has one resource, and 100,000 maps of one entry are 20 MB. */
  readonly #accounts = new Map<string, Held[]>();

  async bind(account: JID, resource: string, claim: SessionClaim, maxResources: number): Promise<BindOutcome> {
    const claims = this.#of(account);
    const displaced = claims.find((each) => each.resource === resource);
    if (displaced === undefined && claims.length >= maxResources) return { kind: 'full', resources: claims.length };
    this.#put(account, resource, claim);
    return { kind: 'bound', displaced: displaced && claimOf(displaced) };
  }

  async drop(account: JID, resource: string, sessionId: string): Promise<boolean> {
    const claims = this.#of(account);
    const at = claims.findIndex((each) => each.resource === resource);
    if (claims[at]?.sessionId !== sessionId) return false;
    if (claims.length === 1) this.#accounts.delete(account.bareString);
    else claims.splice(at, 1);
    return true;
  }

  async reclaim(account: JID, resource: string, claim: SessionClaim, formerId = claim.sessionId): Promise<boolean> {
    const held = this.#of(account).find((each) => each.resource === resource);
    if (held !== undefined && held.sessionId !== formerId) return false;
    this.#put(account, resource, claim);
    return true;
  }

  async sessionsOf(account: JID): Promise<readonly BoundResource[]> {
    return this.#of(account).map((held) => ({ resource: held.resource, claim: claimOf(held) }));
  }

  #of(account: JID): Held[] {
    return this.#accounts.get(account.bareString) ?? [];
  }

  #put(account: JID, resource: string, { instanceId, sessionId, sinceMs }: SessionClaim): void {
    const held: Held = { resource, instanceId, sessionId, sinceMs };
    const claims = this.#accounts.get(account.bareString);
    if (claims === undefined) {
      this.#accounts.set(account.bareString, [held]);
      return;
    }
    const at = claims.findIndex((each) => each.resource === resource);
    if (at < 0) claims.push(held);
    else claims[at] = held;
  }
}

const claimOf = ({ instanceId, sessionId, sinceMs }: Held): SessionClaim => ({ instanceId, sessionId, sinceMs });
