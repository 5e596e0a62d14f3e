import type { Element } from 'ltx';
import { delay } from '../../delay.ts';
import { StanzaError } from '../../errors/stanza-error.ts';
import type { JID } from '../../jid.ts';
import { serializeStanza } from '../../xml/serialize.ts';
import type { OfflineMessages } from '../offline-messages.ts';
import { StoreUnavailable } from '../store-unavailable.ts';
import { parseEntries } from './blocking-reader.ts';
import type { RedisConnections } from './connections.ts';
import { type StreamKeys, streamKeys } from './keys.ts';
import { asAnswer, streamScript } from './scripts.ts';

const STORE = streamScript('store-offline-1');
const DROP = streamScript('drop-offline-1');

/** The embedded store's bounds (XEP-0160 leaves them to the server). */
const MAX_MESSAGES = 100;
const MAX_BYTES = 1_048_576;

/** Messages for accounts that are away, in Redis: any instance writes, whoever the account comes back to takes. */
export class RedisOfflineMessages implements OfflineMessages {
  readonly #redis: RedisConnections;
  readonly #keys: StreamKeys;
  readonly #domain: string;
  readonly #exists: (account: JID) => Promise<boolean>;

  constructor(redis: RedisConnections, domain: string, exists: (account: JID) => Promise<boolean>) {
    this.#redis = redis;
    this.#keys = streamKeys(redis.settings.keyPrefix);
    this.#domain = domain;
    this.#exists = exists;
  }

  async store(account: JID, message: Element): Promise<void> {
    // XEP-0160 §3: a chat message without a body (a state notification) is worth nothing later.
    if (message.attrs.type === 'chat' && message.getChild('body') === undefined) return;
    if (!(await this.#exists(account))) return;
    message.cnode(delay(Date.now(), this.#domain));
    const args = [serializeStanza(message), String(MAX_MESSAGES), String(MAX_BYTES)];
    const reply = await this.#redis.runDurably(STORE, [this.#keys.offline(account)], args);
    if (asAnswer(STORE, ['stored', 'full'], reply)[0] === 'full') {
      throw new StanzaError('service-unavailable', { text: 'too many messages wait for this account' });
    }
  }

  /**
   * Of two sessions of the account that come back at once each gets what it took out itself. When the answer to taking out
   * is lost the messages are handed out all the same: rather twice than never.
   */
  async take(account: JID): Promise<readonly Buffer[]> {
    const key = this.#keys.offline(account);
    const kept = parseEntries(await this.#redis.ask((client) => client.xrange(key, '-', '+', 'COUNT', MAX_MESSAGES)));
    if (kept.length === 0) return [];
    const mine = await this.#drop(
      key,
      kept.map(({ id }) => id),
    );
    return kept.filter(({ id }) => mine.has(id)).map(({ fields }) => Buffer.from(fields.get('m') ?? ''));
  }

  async #drop(key: string, ids: readonly string[]): Promise<ReadonlySet<string>> {
    try {
      const [, ...dropped] = asAnswer(DROP, ['dropped'], await this.#redis.runDurably(DROP, [key], ids));
      return new Set(dropped);
    } catch (error) {
      if (error instanceof StoreUnavailable && error.outcome === 'unknown') return new Set(ids);
      throw error;
    }
  }
}
