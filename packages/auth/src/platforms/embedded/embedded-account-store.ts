import { randomBytes } from 'node:crypto';
import type { JID } from '@xmpp-grid/stream';
import type { Database } from 'lmdb';
import { decodeAccount, encodeAccount, type PlatformAccount } from '../account.ts';
import type { AccountStore, VersionedAccount } from '../account-store.ts';

/**
 * Accounts in one lmdb database of encoding `string`: bare JID -> version, space, JSON. The environment belongs to
 * whoever handed it in. Every bare JID fits a key of lmdb (1,978 bytes): a localpart has 1,023 at most, and a domain
 * name, whose A-labels have 253 characters, no more than about 870.
 */
export class EmbeddedAccountStore implements AccountStore {
  readonly #db: Database<string, string>;

  constructor(db: Database<string, string>) {
    this.#db = db;
  }

  async get(jid: JID): Promise<VersionedAccount | undefined> {
    const value = this.#db.get(jid.bareString);
    return value === undefined ? undefined : decode(value);
  }

  async put(account: PlatformAccount, expected: string | undefined): Promise<{ readonly version: string } | 'stale'> {
    const version = randomBytes(12).toString('base64url');
    const written = await this.#guarded(account.jid, expected, (key) => {
      this.#db.put(key, `${version} ${encodeAccount(account)}`);
    });
    return written ? { version } : 'stale';
  }

  async remove(jid: JID, expected: string): Promise<'removed' | 'stale'> {
    const removed = await this.#guarded(jid, expected, (key) => {
      this.#db.remove(key);
    });
    return removed ? 'removed' : 'stale';
  }

  async list(after: string | undefined, limit: number): Promise<readonly VersionedAccount[]> {
    const page: VersionedAccount[] = [];
    // One entry more than asked for, because the range starts with `after` itself.
    const range = this.#db.getRange({ ...(after === undefined ? {} : { start: after }), limit: limit + 1 });
    for (const { key, value } of range) {
      if (key !== after && page.length < limit) page.push(decode(value));
    }
    return page;
  }

  async count(): Promise<number> {
    return this.#db.getKeysCount();
  }

  /** Runs a write when the record still has the expected version; resolves when it has reached the disk. */
  async #guarded(jid: JID, expected: string | undefined, write: (key: string) => void): Promise<boolean> {
    const key = jid.bareString;
    const done = await this.#db.transaction(() => {
      const value = this.#db.get(key);
      if ((value === undefined ? undefined : versionOf(value)) !== expected) return false;
      write(key);
      return true;
    });
    if (done) await this.#db.flushed;
    return done;
  }
}

function versionOf(value: string): string {
  return value.slice(0, value.indexOf(' '));
}

function decode(value: string): VersionedAccount {
  const version = versionOf(value);
  return { version, account: decodeAccount(value.slice(version.length + 1)) };
}
