import type { RedisConnections } from '@xmpp-grid/stream';
import { newToken } from '../embedded/tokens.ts';
import type { RedisKeys } from './keys.ts';
import { list, text } from './records.ts';
import { SCRIPTS } from './scripts.ts';

/** Accounts whose index is changed at a time. */
const STEP = 100;

/**
 * Which topics an account has a subscription, a request or an affiliation in: a superset, kept in the account's slot, while
 * the truth is in each topic's (delivery.md §2.7). Written with a fresh token before the topic's record; removed after it,
 * and only if nobody wrote it anew.
 */
export class AccountIndex {
  readonly #connections: RedisConnections;
  readonly #keys: RedisKeys;

  constructor(connections: RedisConnections, keys: RedisKeys) {
    this.#connections = connections;
    this.#keys = keys;
  }

  async topicsOf(account: string): Promise<readonly string[]> {
    return list(await this.#connections.call('HKEYS', this.#keys.accountTopics(account))).map(text);
  }

  /** Before the topic's record says so. Resolves with those whose index did not name the topic yet. */
  async announce(accounts: readonly string[], node: string): Promise<readonly string[]> {
    const added: string[] = [];
    await inSteps(accounts, async (account) => {
      const made = await this.#connections.callDurably('HSET', this.#keys.accountTopics(account), node, newToken());
      if (Number(made) === 1) added.push(account);
    });
    return added;
  }

  /** After it: somebody who cleared the account at the same time may have removed the announcement. */
  confirm(accounts: readonly string[], node: string): Promise<void> {
    return inSteps(accounts, (account) => this.#confirm(account, node));
  }

  /** Drops the topic from those accounts' index that have nothing to do with it any more. */
  drop(accounts: readonly string[], node: string): Promise<void> {
    return inSteps(accounts, (account) => this.#drop(account, node));
  }

  /**
   * Adds what is missing for accounts that the topic's record named a moment ago. Returns how many it was missing for.
   *
   * @throws StoreUnavailable
   */
  async repair(accounts: readonly string[], node: string): Promise<number> {
    const known = await Promise.all(
      accounts.map((account) => this.#connections.call('HEXISTS', this.#keys.accountTopics(account), node)),
    );
    const missing = accounts.filter((_, i) => Number(known[i]) === 0);
    await this.confirm(missing, node);
    // One that left meanwhile must not be told at its next login that it lost what it gave up.
    const gone: string[] = [];
    for (const account of missing) if (!(await this.#isInvolved(account, node))) gone.push(account);
    await this.drop(gone, node);
    return missing.length - gone.length;
  }

  #confirm(account: string, node: string): Promise<unknown> {
    return this.#connections.callDurably('HSETNX', this.#keys.accountTopics(account), node, newToken());
  }

  async #drop(account: string, node: string): Promise<void> {
    const key = this.#keys.accountTopics(account);
    const token = await this.#connections.call('HGET', key, node);
    if (token === null || (await this.#isInvolved(account, node))) return;
    await this.#connections.runDurably(SCRIPTS.forgetTopic, [key], [node, text(token)]);
    if (await this.#isInvolved(account, node)) await this.#confirm(account, node);
  }

  async #isInvolved(account: string, node: string): Promise<boolean> {
    const [right, subscription] = await Promise.all([
      this.#connections.call('HEXISTS', this.#keys.affiliations(node), account),
      this.#connections.call('HEXISTS', this.#keys.subscriptions(node), account),
    ]);
    return Number(right) === 1 || Number(subscription) === 1;
  }
}

async function inSteps(accounts: readonly string[], step: (account: string) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < accounts.length; from += STEP) {
    await Promise.all(accounts.slice(from, from + STEP).map(step));
  }
}
