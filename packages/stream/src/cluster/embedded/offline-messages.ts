import { createHash } from 'node:crypto';
import type { Database, RootDatabase } from 'lmdb';
import type { Element } from 'ltx';
import { delay } from '../../delay.ts';
import { StanzaError } from '../../errors/stanza-error.ts';
import type { JID } from '../../jid.ts';
import { serializeStanza } from '../../xml/serialize.ts';
import type { OfflineMessages } from '../offline-messages.ts';

/** XEP-0160 leaves the bound to the server: enough for a night's approvals, too little to fill a disk. */
const MAX_MESSAGES = 100;
const MAX_BYTES = 1_048_576;

interface Kept {
  readonly bytes: readonly Buffer[];
}

/** One record per account in the environment that `main.ts` opened. Survives restarts; writes resolve after `flushed`. */
export class EmbeddedOfflineMessages implements OfflineMessages {
  readonly #db: Database<Kept, string>;
  readonly #root: RootDatabase;
  readonly #domain: string;
  readonly #exists: (account: JID) => Promise<boolean>;

  constructor(root: RootDatabase, domain: string, exists: (account: JID) => Promise<boolean>) {
    this.#root = root;
    this.#db = root.openDB<Kept, string>({ name: 'offline-messages', encoding: 'msgpack' });
    this.#domain = domain;
    this.#exists = exists;
  }

  async store(account: JID, message: Element): Promise<void> {
    // XEP-0160 §3: a chat message without a body (a state notification) is worth nothing later.
    if (message.attrs.type === 'chat' && message.getChild('body') === undefined) return;
    if (!(await this.#exists(account))) return;
    message.cnode(delay(Date.now(), this.#domain));
    const bytes = serializeStanza(message);
    const key = keyOf(account);
    const isKept = await this.#root.transaction(() => {
      const kept = this.#db.get(key)?.bytes ?? [];
      const size = kept.reduce((sum, each) => sum + each.length, bytes.length);
      if (kept.length >= MAX_MESSAGES || size > MAX_BYTES) return false;
      this.#db.put(key, { bytes: [...kept, bytes] });
      return true;
    });
    if (!isKept) throw new StanzaError('service-unavailable', { text: 'too many messages wait for this account' });
    await this.#root.flushed;
  }

  async take(account: JID): Promise<readonly Buffer[]> {
    const key = keyOf(account);
    if (this.#db.get(key) === undefined) return [];
    return await this.#root.transaction(() => {
      const kept = this.#db.get(key)?.bytes ?? [];
      this.#db.remove(key);
      return kept.map((bytes) => Buffer.from(bytes));
    });
  }
}

/** Prepared bare JIDs have up to 2,047 bytes, lmdb's keys 1,978: the digest names the account whatever its length. */
const keyOf = (account: JID): string => createHash('sha256').update(account.bare.toString()).digest('base64url');
