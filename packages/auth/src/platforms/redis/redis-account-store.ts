import { asAnswer, JID, type RedisConnections, randomText, StoreUnavailable } from '@xmpp-grid/stream';
import { decodeAccount, encodeAccount, type PlatformAccount } from '../account.ts';
import type { AccountStore, VersionedAccount } from '../account-store.ts';
import { type AuthKeys, authKeys } from './keys.ts';
import { authScript } from './scripts.ts';

const PUT = authScript('put-account-1');
const REMOVE = authScript('remove-account-1');
const LIST = authScript('list-account-1');
const UNLIST = authScript('unlist-account-1');

const VERSION_BYTES = 12;
/** Enough to tell the few accounts apart that ever bore one name. */
const TOKEN_BYTES = 8;
/** Entries of the list that one command reads. */
const LIST_STEP = 500;
/** Sorts before every character that a JID may have. */
const END = '\u0000';
const AFTER_END = '\u0001';

/**
 * Accounts in Redis: a record for each in the account's slot, and one list of their names.
 *
 * Both are written in two steps. The list holds a name before its record exists and until after it is gone, each time under
 * a token of its own, so that a removal never takes away the name of an account that was made again meanwhile. An
 * interruption between the steps leaves an entry without a record, which lists nothing.
 */
export class RedisAccountStore implements AccountStore {
  readonly #redis: RedisConnections;
  readonly #keys: AuthKeys;

  constructor(redis: RedisConnections) {
    this.#redis = redis;
    this.#keys = authKeys(redis.settings.keyPrefix);
  }

  async get(jid: JID): Promise<VersionedAccount | undefined> {
    const [version, record] = await this.#redis.ask((client) => client.hmget(this.#keys.account(jid), 'v', 'r'));
    return version == null || record == null ? undefined : { version, account: decodeAccount(record) };
  }

  async put(account: PlatformAccount, expected: string | undefined): Promise<{ readonly version: string } | 'stale'> {
    const { jid } = account;
    const version = randomText(VERSION_BYTES);
    const token = randomText(TOKEN_BYTES);
    const isNew = expected === undefined;
    if (isNew) await this.#redis.runDurably(LIST, [this.#keys.accounts], [entryOf(jid, token)]);
    const args = [expected ?? '', version, token, encodeAccount(account)];
    const reply = await this.#redis.runDurably(PUT, [this.#keys.account(jid)], args);
    const [word, listed = ''] = asAnswer(PUT, ['stored', 'stale'], reply);
    if (word === 'stale') {
      if (isNew) await this.#redis.run(UNLIST, [this.#keys.accounts], [entryOf(jid, token)]);
      return 'stale';
    }
    // A failover may have kept the record and lost its name: each change heals that.
    if (!isNew) await afterAll(this.#redis.runDurably(LIST, [this.#keys.accounts], [entryOf(jid, listed)]));
    return { version };
  }

  async remove(jid: JID, expected: string): Promise<'removed' | 'stale'> {
    const reply = await this.#redis.runDurably(REMOVE, [this.#keys.account(jid)], [expected]);
    const [word, token = ''] = asAnswer(REMOVE, ['removed', 'stale'], reply);
    if (word === 'removed') await afterAll(this.#redis.runDurably(UNLIST, [this.#keys.accounts], [entryOf(jid, token)]));
    return word;
  }

  async list(after: string | undefined, limit: number): Promise<readonly VersionedAccount[]> {
    const page: VersionedAccount[] = [];
    for (let last = after; page.length < limit; ) {
      const from = last === undefined ? '-' : `[${last}${AFTER_END}`;
      const step = Math.min(limit - page.length, LIST_STEP);
      const entries = await this.#redis.ask((client) => client.zrangebylex(this.#keys.accounts, from, '+', 'LIMIT', 0, step));
      const names = new Set(entries.map(nameOf));
      const found = await Promise.all([...names].map((name) => this.get(JID.parse(name))));
      page.push(...found.filter((each) => each !== undefined)); // others are being made, or an interruption left them
      if (entries.length < step) break;
      last = nameOf(entries.at(-1) as string);
    }
    return page;
  }

  count(): Promise<number> {
    return this.#redis.ask((client) => client.zcard(this.#keys.accounts));
  }
}

const entryOf = (jid: JID, token: string): string => `${jid.bareString}${END}${token}`;
const nameOf = (entry: string): string => entry.slice(0, entry.indexOf(END));

/** The record is changed already, so a failure from here on does not mean that nothing was done. */
async function afterAll(step: Promise<unknown>): Promise<void> {
  try {
    await step;
  } catch (error) {
    throw error instanceof StoreUnavailable ? new StoreUnavailable('unknown', error) : error;
  }
}
