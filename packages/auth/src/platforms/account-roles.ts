import { JID } from '@xmpp-grid/stream';
import type { AccountStore } from './account-store.ts';

export interface AccountRolesOptions {
  readonly accounts: AccountStore;
  /** Most accounts remembered; the longest unused one goes first. Default 10,000. */
  readonly maxEntries?: number;
  /** How long an answer is used without another look, ms. Default 60,000 (delivery.md §8.2). */
  readonly maxAgeMs?: number;
  /** Monotonic ms. Default `performance.now`. */
  readonly now?: () => number;
}

interface Held {
  readonly role: Promise<string | undefined>;
  /** When the read began: what it brings is no newer. */
  readonly readMs: number;
}

/**
 * The roles of accounts, remembered by this instance. Whoever follows the control log calls `invalidate` for each account
 * that it tells of; what is missed nevertheless is read again after a minute (delivery.md §8.2).
 */
export class AccountRoles {
  readonly #accounts: AccountStore;
  readonly #maxEntries: number;
  readonly #maxAgeMs: number;
  readonly #now: () => number;
  /** Longest unused first. */
  readonly #held = new Map<string, Held>();

  constructor({ accounts, maxEntries = 10_000, maxAgeMs = 60_000, now = () => performance.now() }: AccountRolesOptions) {
    this.#accounts = accounts;
    this.#maxEntries = maxEntries;
    this.#maxAgeMs = maxAgeMs;
    this.#now = now;
  }

  /**
   * The role of a bare JID as prepared; undefined for an account that does not exist. Calls that come together share a read.
   *
   * Rejects when the store fails; the next call asks again.
   */
  roleOf(account: string): Promise<string | undefined> {
    const nowMs = this.#now();
    let held = this.#held.get(account);
    if (held === undefined || nowMs - held.readMs >= this.#maxAgeMs) held = { role: this.#read(account), readMs: nowMs };
    this.#held.delete(account);
    this.#held.set(account, held);
    for (const oldest of this.#held.keys()) {
      if (this.#held.size <= this.#maxEntries) break;
      this.#held.delete(oldest);
    }
    return held.role;
  }

  /** The account changed: whoever asks from now on gets what is read from now on. Takes a bare JID as prepared. */
  invalidate(account: string): void {
    this.#held.delete(account);
  }

  /** Changes were missed: everything is read again when asked for. */
  invalidateAll(): void {
    this.#held.clear();
  }

  #read(account: string): Promise<string | undefined> {
    const role = this.#accounts.get(JID.parse(account)).then((found) => found?.account.role);
    role.catch(() => {
      if (this.#held.get(account)?.role === role) this.#held.delete(account);
    });
    return role;
  }
}
