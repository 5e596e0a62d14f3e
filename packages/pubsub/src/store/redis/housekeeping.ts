import type { RedisConnections } from '@xmpp-grid/stream';
import type { HousekeepingShare } from '../housekeeping.ts';
import type { LogRetention } from '../log-retention.ts';
import type { AccountIndex } from './account-index.ts';
import type { RedisKeys } from './keys.ts';
import { list, text } from './records.ts';
import { SCRIPTS } from './scripts.ts';

export interface HousekeepingDeps {
  readonly connections: RedisConnections;
  readonly keys: RedisKeys;
  readonly retention: LogRetention;
  readonly index: AccountIndex;
  /** Entries trimmed in one step. */
  readonly maxTrim: number;
  /** Up to `max` topic names from `from` on, in the words of ZRANGEBYLEX. */
  namesFrom(from: string, max: number): Promise<readonly string[]>;
  /** There is no such topic: its name goes, unless one is made at this moment. */
  dropName(node: string): Promise<void>;
  /** Finishes the erasure of withdrawn payloads. */
  erase(node: string): Promise<void>;
}

/** Topics swept at a time. */
const AT_ONCE = 32;
/** A pass over all topics does not begin sooner after the last began. */
const PASS_MS = 60_000;
/** Accounts whose index is looked at in one sweep: a million subscriptions take half an hour. */
const ACCOUNTS = 500;
/** A pass over all accounts of all topics does not begin sooner after the last ended. */
const REPAIR_MS = 3_600_000;

const EVERYTHING: HousekeepingShare = { owns: () => true, isLive: () => true };

type Accounts = 'affiliations' | 'subscriptions';

/** Where the repair of the index stands: at the beginning of the next topic, or within one. */
interface Repair {
  node: string | undefined;
  accounts: Accounts;
  cursor: string;
}

const START: Repair = { node: undefined, accounts: 'affiliations', cursor: '0' };

/** What each instance does a little of all the time, for its share of the topics (delivery.md §7.4). */
export class Housekeeping {
  readonly #deps: HousekeepingDeps;
  #sweptTo: string | undefined;
  #passAtMs = Number.NEGATIVE_INFINITY;
  #repair: Repair = { ...START };
  #repairedAtMs = Number.NEGATIVE_INFINITY;
  #isSweeping = false;

  constructor(deps: HousekeepingDeps) {
    this.#deps = deps;
  }

  /** @throws StoreUnavailable; the next call goes on */
  async sweep(nowMs: number, maxTopics: number, share: HousekeepingShare = EVERYTHING): Promise<void> {
    if (this.#isSweeping) return;
    this.#isSweeping = true;
    try {
      await this.#sweepTopics(nowMs, maxTopics, share);
      await this.#repairIndex(nowMs, share);
    } finally {
      this.#isSweeping = false;
    }
  }

  async #sweepTopics(nowMs: number, maxTopics: number, share: HousekeepingShare): Promise<void> {
    if (this.#sweptTo === undefined) {
      if (nowMs - this.#passAtMs < PASS_MS) return;
      this.#passAtMs = nowMs;
    }
    const nodes = await this.#deps.namesFrom(this.#sweptTo === undefined ? '-' : `(${this.#sweptTo}`, maxTopics);
    const own = nodes.filter(share.owns);
    for (let from = 0; from < own.length; from += AT_ONCE) {
      await Promise.all(own.slice(from, from + AT_ONCE).map((node) => this.#sweepTopic(node, nowMs, share)));
    }
    this.#sweptTo = nodes.length < maxTopics ? undefined : nodes.at(-1);
  }

  async #sweepTopic(node: string, nowMs: number, share: HousekeepingShare): Promise<void> {
    const { connections, keys: names, retention, maxTrim } = this.#deps;
    const { maxAgeMs, maxEntries, maxBytes, minAgeMs } = retention;
    const keys = [names.topic(node), names.log(node), names.marks(node)];
    const args = [nowMs, maxAgeMs, maxEntries, maxBytes, minAgeMs, maxTrim];
    const [word, past] = list(await connections.runDurably(SCRIPTS.sweepTopic, keys, args));
    if (text(word) === 'gone') {
      await this.#deps.dropName(node);
      return;
    }
    const dead = list(past)
      .map(text)
      .filter((instance) => !share.isLive(instance));
    if (dead.length > 0) await connections.runDurably(SCRIPTS.sweepTopic, keys, [...args, ...dead]);
    await this.#deps.erase(node);
  }

  /** Re-adds to accounts' indexes what a failover of their slot lost (delivery.md §2.7). */
  async #repairIndex(nowMs: number, share: HousekeepingShare): Promise<void> {
    if (this.#repair.node === undefined && nowMs - this.#repairedAtMs < REPAIR_MS) return;
    for (let left = ACCOUNTS; left > 0; ) {
      const node =
        this.#repair.cursor === '0' && this.#repair.accounts === 'affiliations' ? await this.#nextNode(share) : this.#repair.node;
      if (node === undefined) {
        this.#repair = { ...START };
        this.#repairedAtMs = nowMs;
        return;
      }
      this.#repair.node = node;
      left -= await this.#repairSome(node);
    }
  }

  async #nextNode(share: HousekeepingShare): Promise<string | undefined> {
    for (let after = this.#repair.node; ; ) {
      const nodes = await this.#deps.namesFrom(after === undefined ? '-' : `(${after}`, ACCOUNTS);
      const own = nodes.find(share.owns);
      if (own !== undefined || nodes.length < ACCOUNTS) return own;
      after = nodes.at(-1);
    }
  }

  /** One page of one list of accounts; at least 1, so that empty topics cost something of the budget too. */
  async #repairSome(node: string): Promise<number> {
    const { connections, keys, index } = this.#deps;
    const { accounts: which, cursor } = this.#repair;
    const key = which === 'affiliations' ? keys.affiliations(node) : keys.subscriptions(node);
    const [next, flat] = list(await connections.call('HSCAN', key, cursor, 'COUNT', ACCOUNTS));
    const accounts = list(flat)
      .filter((_, i) => i % 2 === 0)
      .map(text);
    await index.repair(accounts, node);
    this.#repair.cursor = text(next);
    if (this.#repair.cursor === '0') this.#repair.accounts = which === 'affiliations' ? 'subscriptions' : 'affiliations';
    return Math.max(1, accounts.length);
  }
}
