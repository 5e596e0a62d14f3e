import type { JID } from '../../jid.ts';
import type { BindOutcome, BoundResource, SessionClaim, SessionRegistry } from '../session-registry.ts';

/** One process: what it forgets when it ends, nobody else knew. */
export class EmbeddedSessionRegistry implements SessionRegistry {
  readonly #accounts = new Map<string, Map<string, SessionClaim>>();

  async bind(account: JID, resource: string, claim: SessionClaim, maxResources: number): Promise<BindOutcome> {
    const key = account.bare.toString();
    const claims = this.#accounts.get(key) ?? new Map<string, SessionClaim>();
    const displaced = claims.get(resource);
    if (displaced === undefined && claims.size >= maxResources) return { kind: 'full', resources: claims.size };
    claims.set(resource, claim);
    this.#accounts.set(key, claims);
    return { kind: 'bound', displaced };
  }

  async drop(account: JID, resource: string, sessionId: string): Promise<boolean> {
    const key = account.bare.toString();
    const claims = this.#accounts.get(key);
    if (claims?.get(resource)?.sessionId !== sessionId) return false;
    claims.delete(resource);
    if (claims.size === 0) this.#accounts.delete(key);
    return true;
  }

  async reclaim(account: JID, resource: string, claim: SessionClaim): Promise<boolean> {
    const key = account.bare.toString();
    const claims = this.#accounts.get(key) ?? new Map<string, SessionClaim>();
    const held = claims.get(resource);
    if (held !== undefined && held.sessionId !== claim.sessionId) return false;
    claims.set(resource, claim);
    this.#accounts.set(key, claims);
    return true;
  }

  async sessionsOf(account: JID): Promise<readonly BoundResource[]> {
    const claims = this.#accounts.get(account.bare.toString()) ?? new Map<string, SessionClaim>();
    return [...claims].map(([resource, claim]) => ({ resource, claim }));
  }
}
