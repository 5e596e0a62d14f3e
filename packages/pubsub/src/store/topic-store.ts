import type { EntryId, LogEntry, Payload } from '../log/entry.ts';
import type { Affiliation, TopicConfig } from './topic-config.ts';

/**
 * Where topics live. Stores hold no XMPP rules (D2): rule code reads, decides purely, and asks for one
 * atomic step guarded by the tokens that its decision read; `stale` means read again and decide again.
 * Every method that changes something resolves after the change is durable (delivery.md §2.4).
 */

export interface TopicRecord {
  readonly node: string;
  readonly config: TopicConfig;
  /** Bare JID. */
  readonly creator: string;
  readonly createdMs: number;
  /** Random; changes with every configuration. */
  readonly configToken: string;
  /** Random; changes when an affiliation, the access model or another's subscription changes. */
  readonly accessToken: string;
  readonly head: EntryId;
}

/** The tokens that a decision read. A change is refused as stale when one of those given differs. */
export interface Guard {
  readonly configToken?: string;
  readonly accessToken?: string;
}

export const guardOf = (record: TopicRecord): Guard => ({ configToken: record.configToken, accessToken: record.accessToken });

export interface Subscription {
  /** Bare or full JID, exactly as notifications are addressed. */
  readonly jid: string;
  readonly state: 'subscribed' | 'pending';
  /** Entries after this one belong to the subscription. */
  readonly start: EntryId;
  readonly sinceMs: number;
}

export interface Item {
  readonly itemId: string;
  readonly publisher: string;
  readonly stampMs: number;
  /** The entry that published it. */
  readonly entry: EntryId;
  readonly payload?: Payload;
}

/** Recognises the same request sent again within 2 minutes (delivery.md §2.3): account, IQ id, topic, item id or none, payload digest. */
export type RequestKey = string;

export type Change =
  | {
      readonly kind: 'publish';
      readonly items: readonly { readonly itemId: string; readonly payload?: Payload }[];
      readonly publisher: string;
      readonly stampMs: number;
      readonly requestKey?: RequestKey;
    }
  /** Only the ids that exist are retracted. */
  | {
      readonly kind: 'retract';
      readonly itemIds: readonly string[];
      readonly publisher: string;
      readonly stampMs: number;
      readonly notify: boolean;
    }
  | { readonly kind: 'purge'; readonly publisher: string; readonly stampMs: number; readonly notify: boolean }
  | {
      readonly kind: 'configure';
      readonly config: TopicConfig;
      readonly publisher: string;
      readonly stampMs: number;
      readonly notify: boolean;
    }
  /** Leaves a tombstone (delivery.md §1.5). */
  | {
      readonly kind: 'delete';
      readonly publisher: string;
      readonly stampMs: number;
      readonly notify: boolean;
      readonly redirect?: string;
    }
  /** One 'access' entry and a new access token for the whole step. */
  | {
      readonly kind: 'access';
      readonly affiliations: ReadonlyMap<string, Affiliation>;
      /** `none` removes. A pending subscription that becomes subscribed starts at the head. */
      readonly subscriptions: ReadonlyMap<string, 'subscribed' | 'pending' | 'none'>;
      readonly publisher: string;
      readonly stampMs: number;
    }
  /** The account's own subscribe, request or unsubscribe: no entry, no new token. */
  | {
      readonly kind: 'own-subscription';
      readonly jid: string;
      readonly state: 'subscribed' | 'pending' | 'none';
      readonly stampMs: number;
    };

export type Committed =
  | {
      readonly kind: 'done';
      /** As appended, in order; empty for a change that logs nothing. */
      readonly entries: readonly LogEntry[];
      /** For retract: the ids that existed. For publish: ids evicted by max_items. */
      readonly itemIds: readonly string[];
      readonly record: TopicRecord;
    }
  /** A request recognised by its key: these are the entries that the first run made. Nothing was changed. */
  | { readonly kind: 'repeated'; readonly itemIds: readonly string[]; readonly entries: readonly EntryId[] };

export interface PageRequest {
  /** Most entries to return; 0 asks for the count alone. */
  readonly max: number;
  /** Continue after this key, exclusive; `unknown-key` when it never was one. */
  readonly after?: string;
  /** The page that ends before this key; '' = the last page. */
  readonly before?: string;
  /** Start at this position. */
  readonly index?: number;
}

export interface Page<T> {
  readonly entries: readonly T[];
  /** All that could be paged over. */
  readonly count: number;
  /** Position of the first entry of this page. */
  readonly index: number;
}

export interface TopicStore {
  record(node: string): Promise<TopicRecord | undefined>;
  /** What is left of a deleted topic while its tombstone lasts. */
  tombstone(node: string): Promise<{ readonly head: EntryId; readonly redirect?: string } | undefined>;
  create(
    node: string,
    first: {
      readonly config: TopicConfig;
      readonly creator: string;
      readonly stampMs: number;
      readonly affiliations: ReadonlyMap<string, Affiliation>;
    },
  ): Promise<TopicRecord | 'exists'>;
  /** One atomic step. `gone`: there is no such topic. */
  commit(node: string, guard: Guard, change: Change): Promise<Committed | 'stale' | 'gone'>;

  affiliation(node: string, account: string): Promise<Affiliation>;
  /** Without `none`; in order of JID. */
  affiliations(node: string): Promise<ReadonlyMap<string, Affiliation>>;
  /** All subscriptions of one account (its bare JID and its full JIDs) at one topic. */
  subscriptionsOf(node: string, account: string): Promise<readonly Subscription[]>;
  subscriptions(node: string): Promise<readonly Subscription[]>;
  countSubscriptions(node: string): Promise<number>;
  /** Topics where the account has, or may have, a subscription, request or affiliation: a superset (delivery.md §2.7). */
  topicsOf(account: string): Promise<readonly string[]>;

  /** Retained items in the order in which they were published. `unknown-key`: the page's `after` or `before` is no retained item. */
  items(node: string, page: PageRequest): Promise<Page<Item> | 'unknown-key'>;
  /** Those of `itemIds` that are retained, in the order asked. */
  itemsById(node: string, itemIds: readonly string[]): Promise<readonly Item[]>;
  /** Node names in lexical order of their UTF-8 bytes. A key need not be a topic's name: paging goes on from its place. */
  topics(page: PageRequest, visible: (node: string) => boolean): Promise<Page<string>>;
}
