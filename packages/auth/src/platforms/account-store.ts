import type { JID } from '@xmpp-grid/stream';
import type { PlatformAccount } from './account.ts';

export interface VersionedAccount {
  readonly account: PlatformAccount;
  /** Random; another one after each change. Compared, never ordered. */
  readonly version: string;
}

/**
 * Where accounts live. Owner: this package; written by the administrator's commands only. Each write is one guarded
 * step: it takes effect only when the record still has the version on which the caller decided.
 *
 * Every write resolves when it is durable as the store is configured. Every method rejects when the store fails.
 */
export interface AccountStore {
  /** The account of a bare JID; a resource is ignored. */
  get(jid: JID): Promise<VersionedAccount | undefined>;
  /**
   * Stores a record. `expected` is the version that was read, or undefined for an account that must not exist yet.
   * Returns the new version, or `stale`: read again and decide again.
   */
  put(account: PlatformAccount, expected: string | undefined): Promise<{ readonly version: string } | 'stale'>;
  /** Removes a record that still has the version. */
  remove(jid: JID, expected: string): Promise<'removed' | 'stale'>;
  /** The first `limit` accounts after the bare JID `after` (or from the start), ordered by bare JID. */
  list(after: string | undefined, limit: number): Promise<readonly VersionedAccount[]>;
  /** How many accounts there are; over Redis a change that was interrupted may count one that is not there. */
  count(): Promise<number>;
}
