import type { Database, RootDatabase } from 'lmdb';
import type { EntryId, EntryKind, LogEntry, Payload } from '../../log/entry.ts';
import type { Appended, LogPage, LogReader } from '../log-reader.ts';
import { DEFAULT_RETENTION, type LogRetention } from '../log-retention.ts';
import type { PositionStore, PositionUpdate } from '../position-store.ts';
import { StoreFormatError, StoreFull } from '../store-error.ts';
import { type Affiliation, isCachingOff, type TopicConfig } from '../topic-config.ts';
import type { Change, Committed, Guard, Item, Page, PageRequest, Subscription, TopicRecord, TopicStore } from '../topic-store.ts';
import {
  accountAtTopicKey,
  accountKey,
  accountOf,
  accountTopicKey,
  endOf,
  entryKey,
  nameKey,
  nodeKey,
  nodeOfAccountTopic,
  positionKey,
  seqOf,
  subscriptionKey,
  topicKey,
  watermarkKey,
  watermarksKey,
} from './keys.ts';
import { digestOf, RECENT_MS, RecentRequests } from './recent-requests.ts';
import {
  ENTRY_BYTES,
  entryOf,
  FORMAT,
  headOf,
  isWithdrawn,
  payloadOf,
  recordOf,
  type StoredEntry,
  type StoredItem,
  type StoredNumbers,
  type StoredPosition,
  type StoredSubscription,
  type StoredTombstone,
  type StoredTopic,
} from './records.ts';
import { newToken } from './tokens.ts';
import { TopicNames } from './topic-names.ts';
import { WriteQueue } from './write-queue.ts';

export interface EmbeddedTopicStoreOptions {
  readonly retention?: Partial<LogRetention>;
  /** Told of a listener of `onEntries` that threw; the entries are stored and other listeners hear them. */
  readonly onListenerError?: (error: unknown) => void;
}

/** Entries trimmed in one step: a publish pays for what it displaces and some more, never for a whole log. */
const MAX_TRIM = 1_000;
/** Entries looked at for requests of an earlier process. */
const MAX_RECENT_SCAN = 10_000;
/** Topics looked at in one step of the housekeeping. */
const SWEEP_STEP = 50;

type Records<T> = Database<T, Buffer>;

interface Step {
  readonly outcome: Committed | 'stale' | 'gone';
  readonly appended?: Appended;
  readonly recent?: {
    readonly topicId: number;
    readonly digest: string;
    readonly stampMs: number;
    readonly itemIds: readonly string[];
  };
}

/**
 * Topics, their logs and positions in one lmdb environment: the adapter of a single process, which is the only writer.
 * What is visible is durable (see `environment.ts`); a crash at any moment leaves the last commit.
 */
export class EmbeddedTopicStore implements TopicStore, LogReader, PositionStore {
  readonly #queue: WriteQueue;
  readonly #retention: LogRetention;
  readonly #onListenerError: (error: unknown) => void;
  readonly #meta: Records<number>;
  readonly #topics: Records<StoredTopic>;
  readonly #tombstones: Records<StoredTombstone>;
  readonly #log: Records<StoredEntry>;
  /** Payload of an entry, while the log or a retained item refers to it: stored once. */
  readonly #payloads: Records<Buffer>;
  readonly #items: Records<StoredItem>;
  /** (topic, seq) → item id: retained items in order. */
  readonly #order: Records<string>;
  readonly #affiliations: Records<{ readonly j: string; readonly a: Affiliation }>;
  readonly #subscriptions: Records<StoredSubscription>;
  /** (account, node) → token. */
  readonly #accountTopics: Records<string>;
  readonly #positions: Records<StoredPosition>;
  readonly #names: TopicNames;
  readonly #recent = new RecentRequests();
  /** Publishes with a request key on their way to the disk. */
  readonly #underWay = new Map<string, Promise<unknown>>();
  readonly #bells = new Set<(appended: Appended) => void>();
  #sweepFrom: Buffer | undefined;

  constructor(root: RootDatabase, options: EmbeddedTopicStoreOptions) {
    this.#retention = { ...DEFAULT_RETENTION, ...options.retention };
    this.#onListenerError = options.onListenerError ?? (() => undefined);
    const records = <T>(name: string): Records<T> =>
      root.openDB<T, Buffer>(`pubsub.${name}`, { encoding: 'json', keyEncoding: 'binary' });
    this.#meta = records('meta');
    this.#topics = records('topics');
    checkFormat(this.#meta, this.#topics);
    this.#tombstones = records('tombstones');
    this.#log = records('log');
    this.#payloads = root.openDB<Buffer, Buffer>('pubsub.payloads', { encoding: 'binary', keyEncoding: 'binary' });
    this.#items = records('items');
    this.#order = records('order');
    this.#affiliations = records('affiliations');
    this.#subscriptions = records('subscriptions');
    this.#accountTopics = records('account-topics');
    this.#positions = records('positions');
    this.#names = new TopicNames([...this.#topics.getKeys({})].map((key) => key.toString()));
    this.#queue = new WriteQueue(root);
  }

  /** Takes no more changes and resolves when those under way are durable. The environment stays open. */
  close(): Promise<void> {
    return this.#queue.close();
  }

  // Topics

  async record(node: string): Promise<TopicRecord | undefined> {
    const topic = this.#topic(node);
    return topic && recordOf(node, topic);
  }

  async tombstone(node: string): Promise<{ readonly head: EntryId; readonly redirect?: string } | undefined> {
    const key = nodeKey(node);
    const stone = key && this.#tombstones.get(key);
    if (!stone) return undefined;
    return stone.redirect === undefined ? { head: headOf(stone) } : { head: headOf(stone), redirect: stone.redirect };
  }

  /** @throws RangeError for a node that is empty or over 1,023 bytes; StoreFull */
  async create(
    node: string,
    first: {
      readonly config: TopicConfig;
      readonly creator: string;
      readonly stampMs: number;
      readonly affiliations: ReadonlyMap<string, Affiliation>;
    },
  ): Promise<TopicRecord | 'exists'> {
    const key = nodeKey(node);
    if (!key) throw new RangeError('a node name has 1 to 1,023 bytes');
    const step = (): TopicRecord | 'exists' => {
      if (this.#topics.doesExist(key)) return 'exists';
      const stone = this.#tombstones.get(key);
      const topic: StoredTopic = {
        ...(stone ? numbersOf(stone) : this.#newNumbers(first.stampMs)),
        config: first.config,
        creator: first.creator,
        createdMs: first.stampMs,
        configToken: newToken(),
        accessToken: newToken(),
        itemCount: 0,
        subscriptionCount: 0,
      };
      if (stone) this.#tombstones.remove(key);
      this.#topics.put(key, topic);
      for (const [account, affiliation] of first.affiliations) this.#setAffiliation(topic, node, account, affiliation);
      return recordOf(node, topic);
    };
    return this.#queue.run(step, (result) => {
      if (result !== 'exists') this.#names.add(node);
    });
  }

  /** @throws StoreFull when the topic's log or the disk has no room; nothing was changed then */
  async commit(node: string, guard: Guard, change: Change): Promise<Committed | 'stale' | 'gone'> {
    if (change.kind !== 'publish' || change.requestKey === undefined) return this.#commit(node, guard, change, undefined);
    const digest = digestOf(change.requestKey);
    const key = `${node}\u0000${digest}`;
    // The same request twice at once: the second waits for what becomes of the first.
    for (let first = this.#underWay.get(key); first; first = this.#underWay.get(key)) await first;
    const committing = this.#commit(node, guard, change, digest);
    const settled = committing.then(
      () => undefined,
      () => undefined,
    );
    this.#underWay.set(key, settled);
    try {
      return await committing;
    } finally {
      this.#underWay.delete(key);
    }
  }

  async #commit(node: string, guard: Guard, change: Change, digest: string | undefined): Promise<Committed | 'stale' | 'gone'> {
    const key = nodeKey(node);
    if (!key) return 'gone';
    const known = digest === undefined ? undefined : this.#topics.get(key);
    if (known && this.#recent.mustLoad(known.id)) this.#loadRecent(known, change.stampMs);
    const { outcome } = await this.#queue.run(
      () => this.#step(key, node, guard, change, digest),
      (step) => this.#committed(node, change, step),
    );
    return outcome;
  }

  #committed(node: string, change: Change, { outcome, appended, recent }: Step): void {
    if (outcome === 'stale' || outcome === 'gone' || outcome.kind === 'repeated') return;
    if (change.kind === 'delete') this.#names.remove(node);
    if (recent) {
      const entries = outcome.entries.filter((e) => e.kind === 'published').map(({ seq, uid }) => ({ seq, uid }));
      this.#recent.add(recent.topicId, recent.digest, { stampMs: recent.stampMs, itemIds: recent.itemIds, entries });
    }
    if (!appended) return;
    for (const bell of this.#bells) {
      try {
        bell(appended);
      } catch (error) {
        this.#onListenerError(error);
      }
    }
  }

  #step(key: Buffer, node: string, guard: Guard, change: Change, digest: string | undefined): Step {
    const topic = this.#topics.get(key);
    if (!topic) return { outcome: 'gone' };
    if (digest !== undefined) {
      const first = this.#recent.find(topic.id, digest, change.stampMs);
      if (first) return { outcome: { kind: 'repeated', itemIds: first.itemIds, entries: first.entries } };
    }
    if (guard.configToken !== undefined && guard.configToken !== topic.configToken) return { outcome: 'stale' };
    if (guard.accessToken !== undefined && guard.accessToken !== topic.accessToken) return { outcome: 'stale' };

    const entries: LogEntry[] = [];
    const itemIds = this.#apply(key, node, topic, change, digest, entries);
    if (change.kind !== 'delete') this.#topics.put(key, topic);
    const record = recordOf(node, topic);
    const outcome: Committed = { kind: 'done', entries, itemIds, record };
    if (entries.length === 0) return { outcome };
    const appended: Appended = { node, entries, record };
    if (digest === undefined || change.kind !== 'publish') return { outcome, appended };
    const recent = { topicId: topic.id, digest, stampMs: change.stampMs, itemIds: change.items.map((item) => item.itemId) };
    return { outcome, appended, recent };
  }

  /** Returns `Committed.itemIds`. */
  #apply(
    key: Buffer,
    node: string,
    topic: StoredTopic,
    change: Change,
    digest: string | undefined,
    entries: LogEntry[],
  ): readonly string[] {
    switch (change.kind) {
      case 'publish':
        return this.#publish(topic, change, digest, entries);
      case 'retract':
        return this.#retract(topic, change, entries);
      case 'purge': {
        this.#withdrawAll(topic);
        entries.push(this.#append(topic, 'purged', change));
        return [];
      }
      case 'configure': {
        const before = topic.config;
        topic.config = change.config;
        topic.configToken = newToken();
        if (before.accessModel !== change.config.accessModel) topic.accessToken = newToken();
        // From here on no payload of it may be anywhere (delivery.md §9.2).
        if (isCachingOff(change.config) && !isCachingOff(before)) this.#withdrawAll(topic);
        entries.push(this.#append(topic, 'configured', change));
        return this.#evict(topic, change, entries);
      }
      case 'delete': {
        this.#withdrawAll(topic);
        const { publisher, stampMs, notify, redirect } = change;
        const fields = redirect === undefined ? { publisher, stampMs, notify } : { publisher, stampMs, notify, redirect };
        entries.push(this.#append(topic, 'deleted', fields));
        this.#bury(key, node, topic, change.stampMs, redirect);
        return [];
      }
      case 'access': {
        topic.accessToken = newToken();
        entries.push(this.#append(topic, 'access', { ...change, notify: false }));
        for (const [account, affiliation] of change.affiliations) this.#setAffiliation(topic, node, account, affiliation);
        for (const [jid, state] of change.subscriptions) this.#setSubscription(topic, node, jid, state, change.stampMs);
        return [];
      }
      case 'own-subscription':
        this.#setSubscription(topic, node, change.jid, change.state, change.stampMs);
        return [];
    }
  }

  // Log

  #newNumbers(stampMs: number): StoredNumbers {
    const idKey = Buffer.from('next-topic-id');
    const id = this.#meta.get(idKey) ?? 1;
    this.#meta.put(idKey, id + 1);
    return { id, seq: 0, uid: '', stampMs, firstSeq: 1, firstMs: stampMs, logBytes: 0, withdrawnSeq: 0 };
  }

  #append(
    topic: StoredTopic,
    kind: EntryKind,
    fields: {
      readonly publisher: string;
      readonly stampMs: number;
      readonly notify: boolean;
      readonly itemId?: string;
      readonly payload?: Payload;
      readonly redirect?: string;
      readonly digest?: string | undefined;
      readonly previousSeq?: number | undefined;
      readonly isEviction?: boolean;
    },
  ): LogEntry {
    const { payload } = fields;
    const isTransient = payload !== undefined && isCachingOff(topic.config);
    const stored: StoredEntry = {
      u: newToken(),
      q: topic.uid,
      k: kind,
      s: Math.max(fields.stampMs, topic.stampMs),
      a: topic.accessToken,
      ...(fields.itemId === undefined ? {} : { i: fields.itemId }),
      p: fields.publisher,
      ...(fields.redirect === undefined ? {} : { r: fields.redirect }),
      n: fields.notify ? 1 : 0,
      ...(payload && !isTransient ? { b: payload.bytes.length } : {}),
      ...(payload?.lang === undefined || isTransient ? {} : { l: payload.lang }),
      ...(isTransient ? { t: 1 as const } : {}),
      ...(fields.isEviction ? { e: 1 as const } : {}),
      ...(fields.digest === undefined ? {} : { h: fields.digest }),
      ...(fields.previousSeq === undefined ? {} : { v: fields.previousSeq }),
    };
    if (topic.firstSeq > topic.seq) topic.firstMs = stored.s;
    topic.seq += 1;
    topic.uid = stored.u;
    topic.stampMs = stored.s;
    topic.logBytes += ENTRY_BYTES + (stored.b ?? 0);
    const at = entryKey(topic.id, topic.seq);
    this.#log.put(at, stored);
    if (payload && !isTransient) this.#payloads.put(at, payload.bytes);
    const entry = entryOf(topic, topic.seq, stored, payload?.bytes);
    // The bell carries a transient payload with its language; the log has neither.
    return isTransient && payload ? { ...entry, payload } : entry;
  }

  /** Removes the oldest entries that are past the retention and older than its minimum age. */
  #trim(topic: StoredNumbers, nowMs: number, neededEntries: number, neededBytes: number): void {
    const { maxAgeMs, maxBytes, maxEntries, minAgeMs } = this.#retention;
    for (let trimmed = 0; trimmed < MAX_TRIM && topic.firstSeq <= topic.seq; trimmed += 1) {
      const isPast =
        topic.firstMs <= nowMs - maxAgeMs ||
        topic.seq - topic.firstSeq + 1 + neededEntries > maxEntries ||
        topic.logBytes + neededBytes > maxBytes;
      if (!isPast || topic.firstMs > nowMs - minAgeMs) return;
      const at = entryKey(topic.id, topic.firstSeq);
      const stored = this.#log.get(at);
      this.#log.remove(at);
      if (!this.#order.doesExist(at)) this.#payloads.remove(at);
      topic.logBytes -= ENTRY_BYTES + (stored && !isWithdrawn(topic, topic.firstSeq, stored) ? (stored.b ?? 0) : 0);
      topic.firstSeq += 1;
      const next = topic.firstSeq <= topic.seq ? this.#log.get(entryKey(topic.id, topic.firstSeq)) : undefined;
      if (next) topic.firstMs = next.s;
    }
  }

  #publish(
    topic: StoredTopic,
    change: Change & { kind: 'publish' },
    digest: string | undefined,
    entries: LogEntry[],
  ): readonly string[] {
    const isKept = !isCachingOff(topic.config);
    let needed = 0;
    for (const { payload } of change.items) needed += ENTRY_BYTES + (isKept ? (payload?.bytes.length ?? 0) : 0);
    this.#trim(topic, change.stampMs, change.items.length, needed);
    if (topic.logBytes + needed > this.#retention.maxBytes) {
      throw new StoreFull('topic-bytes', `the log of the topic holds ${topic.logBytes} bytes that may not be trimmed yet`);
    }
    const { publisher, stampMs } = change;
    for (const { itemId, payload } of change.items) {
      const itemKey = nameKey(topic.id, itemId);
      const previous = topic.config.persistItems ? this.#items.get(itemKey) : undefined;
      const previousSeq = previous && previous.q >= topic.firstSeq ? previous.q : undefined;
      const entry = this.#append(topic, 'published', {
        publisher,
        stampMs,
        notify: true,
        itemId,
        digest,
        previousSeq,
        ...(payload ? { payload } : {}),
      });
      entries.push(entry);
      if (!topic.config.persistItems) continue;
      // XEP-0060 §12.9: the same item id overwrites; the item then stands where it was published last.
      if (previous) this.#dropItem(topic, previous);
      this.#items.put(itemKey, {
        i: itemId,
        p: publisher,
        s: entry.stampMs,
        q: entry.seq,
        u: entry.uid,
        ...(payload ? { b: 1 as const } : {}),
        ...(payload?.lang === undefined ? {} : { l: payload.lang }),
      });
      this.#order.put(entryKey(topic.id, entry.seq), itemId);
      topic.itemCount += 1;
    }
    return this.#evict(topic, change, entries);
  }

  /** Takes one retained item out; what the log has of it stays. */
  #dropItem(topic: StoredTopic, item: StoredItem): void {
    const at = entryKey(topic.id, item.q);
    this.#order.remove(at);
    this.#items.remove(nameKey(topic.id, item.i));
    if (item.q < topic.firstSeq) this.#payloads.remove(at);
    topic.itemCount -= 1;
  }

  /** max_items: the oldest items go, their log entries stay (delivery.md §1.4). Returns their ids. */
  #evict(
    topic: StoredTopic,
    change: { readonly publisher: string; readonly stampMs: number },
    entries: LogEntry[],
  ): readonly string[] {
    const surplus = topic.itemCount - topic.config.maxItems;
    if (surplus <= 0) return [];
    const prefix = topicKey(topic.id);
    const itemIds = [...this.#order.getRange({ start: prefix, end: endOf(prefix), limit: surplus })].map(({ value }) => value);
    const { publisher, stampMs } = change;
    for (const itemId of itemIds) {
      this.#dropItem(topic, this.#items.get(nameKey(topic.id, itemId))!);
      if (topic.config.notifyRetract)
        entries.push(this.#append(topic, 'retracted', { publisher, stampMs, notify: true, itemId, isEviction: true }));
    }
    return itemIds;
  }

  #retract(topic: StoredTopic, change: Change & { kind: 'retract' }, entries: LogEntry[]): readonly string[] {
    const retracted: string[] = [];
    for (const itemId of change.itemIds) {
      const item = this.#items.get(nameKey(topic.id, itemId));
      if (!item) continue;
      this.#dropItem(topic, item);
      this.#withdraw(topic, item.q);
      entries.push(this.#append(topic, 'retracted', { ...change, itemId }));
      retracted.push(itemId);
    }
    return retracted;
  }

  /** Withdraws an entry and those that the same item had before it, as far as the log has them. */
  #withdraw(topic: StoredTopic, newest: number): void {
    for (let seq: number | undefined = newest; seq !== undefined && seq >= topic.firstSeq; ) {
      const at = entryKey(topic.id, seq);
      const stored: StoredEntry | undefined = this.#log.get(at);
      if (!stored || isWithdrawn(topic, seq, stored)) return;
      this.#log.put(at, { ...stored, w: 1 });
      this.#payloads.remove(at);
      topic.logBytes -= stored.b ?? 0;
      seq = stored.v;
    }
  }

  /** No item is retained and no payload of the log is left; its numbers stay. */
  #withdrawAll(topic: StoredTopic): void {
    removeAll(this.#items, topicKey(topic.id));
    removeAll(this.#order, topicKey(topic.id));
    removeAll(this.#payloads, topicKey(topic.id));
    topic.itemCount = 0;
    topic.withdrawnSeq = topic.seq;
    topic.logBytes = (topic.seq - topic.firstSeq + 1) * ENTRY_BYTES;
  }

  /** Leaves a tombstone. Accounts with a subscription keep the topic in their index until they were told (delivery.md §1.5). */
  #bury(key: Buffer, node: string, topic: StoredTopic, deletedMs: number, redirect: string | undefined): void {
    const prefix = topicKey(topic.id);
    const subscribers = new Set<string>();
    for (const { value } of this.#subscriptions.getRange({ start: prefix, end: endOf(prefix) }))
      subscribers.add(accountOf(value.j));
    for (const { value } of this.#affiliations.getRange({ start: prefix, end: endOf(prefix) })) {
      if (!subscribers.has(value.j)) this.#accountTopics.remove(accountTopicKey(value.j, node));
    }
    removeAll(this.#subscriptions, prefix);
    removeAll(this.#affiliations, prefix);
    removeAll(this.#positions, prefix);
    this.#topics.remove(key);
    this.#tombstones.put(key, { ...numbersOf(topic), deletedMs, ...(redirect === undefined ? {} : { redirect }) });
  }

  #loadRecent(topic: StoredTopic, nowMs: number): void {
    const found = new Map<string, { stampMs: number; itemIds: string[]; entries: EntryId[] }>();
    const prefix = topicKey(topic.id);
    // In reverse lmdb starts at the first key below `start`.
    for (const { key, value } of this.#log.getRange({
      start: endOf(prefix),
      end: prefix,
      reverse: true,
      limit: MAX_RECENT_SCAN,
    })) {
      if (value.s <= nowMs - RECENT_MS) break;
      if (value.h === undefined || value.i === undefined) continue;
      const request = found.get(value.h) ?? { stampMs: value.s, itemIds: [], entries: [] };
      request.itemIds.unshift(value.i);
      request.entries.unshift({ seq: seqOf(key), uid: value.u });
      found.set(value.h, request);
    }
    for (const [digest, request] of [...found].reverse()) this.#recent.add(topic.id, digest, request);
  }

  // Affiliations and subscriptions

  #setAffiliation(topic: StoredTopic, node: string, account: string, affiliation: Affiliation): void {
    const key = nameKey(topic.id, account);
    if (affiliation === 'none') this.#affiliations.remove(key);
    else this.#affiliations.put(key, { j: account, a: affiliation });
    this.#index(topic, node, account);
  }

  #setSubscription(
    topic: StoredTopic,
    node: string,
    jid: string,
    state: 'subscribed' | 'pending' | 'none',
    stampMs: number,
  ): void {
    const account = accountOf(jid);
    const key = subscriptionKey(topic.id, account, jid);
    const before = this.#subscriptions.get(key);
    if (state === 'none') {
      this.#subscriptions.remove(key);
      this.#positions.remove(positionKey(topic.id, jid));
    } else if (before?.s !== state) {
      // What was published before the subscription took effect does not belong to it.
      this.#subscriptions.put(key, { j: jid, s: state, q: topic.seq, u: topic.uid, t: stampMs });
    }
    topic.subscriptionCount += Number(state === 'subscribed') - Number(before?.s === 'subscribed');
    this.#index(topic, node, account);
  }

  /** The index and the topic change in one transaction here, so it is exact; the interface promises a superset. */
  #index(topic: StoredNumbers, node: string, account: string): void {
    const key = accountTopicKey(account, node);
    if (this.#isInvolved(topic, account)) this.#accountTopics.put(key, newToken());
    else this.#accountTopics.remove(key);
  }

  #isInvolved(topic: StoredNumbers, account: string): boolean {
    if (this.#affiliations.doesExist(nameKey(topic.id, account))) return true;
    const prefix = accountAtTopicKey(topic.id, account);
    return [...this.#subscriptions.getKeys({ start: prefix, end: endOf(prefix), limit: 1 })].length > 0;
  }

  async affiliation(node: string, account: string): Promise<Affiliation> {
    const topic = this.#topic(node);
    return (topic && this.#affiliations.get(nameKey(topic.id, account))?.a) ?? 'none';
  }

  async affiliations(node: string): Promise<ReadonlyMap<string, Affiliation>> {
    const topic = this.#topic(node);
    if (!topic) return new Map();
    const prefix = topicKey(topic.id);
    const all = [...this.#affiliations.getRange({ start: prefix, end: endOf(prefix) })].map(({ value }) => value);
    return new Map(all.sort((x, y) => (x.j < y.j ? -1 : 1)).map(({ j, a }) => [j, a]));
  }

  async subscriptionsOf(node: string, account: string): Promise<readonly Subscription[]> {
    const topic = this.#topic(node);
    return topic ? this.#subscriptionsUnder(accountAtTopicKey(topic.id, account)) : [];
  }

  async subscriptions(node: string): Promise<readonly Subscription[]> {
    const topic = this.#topic(node);
    return topic ? this.#subscriptionsUnder(topicKey(topic.id)) : [];
  }

  #subscriptionsUnder(prefix: Buffer): readonly Subscription[] {
    const found = [...this.#subscriptions.getRange({ start: prefix, end: endOf(prefix) })];
    return found
      .map(({ value }) => ({ jid: value.j, state: value.s, start: { seq: value.q, uid: value.u }, sinceMs: value.t }))
      .sort((x, y) => (x.jid < y.jid ? -1 : 1));
  }

  async countSubscriptions(node: string): Promise<number> {
    return this.#topic(node)?.subscriptionCount ?? 0;
  }

  async topicsOf(account: string): Promise<readonly string[]> {
    const prefix = accountKey(account);
    return [...this.#accountTopics.getKeys({ start: prefix, end: endOf(prefix) })].map(nodeOfAccountTopic);
  }

  // Items and lists

  async items(node: string, page: PageRequest): Promise<Page<Item> | 'unknown-key'> {
    const topic = this.#topic(node);
    if (!topic) return { entries: [], count: 0, index: 0 };
    const start = topicKey(topic.id);
    const end = endOf(start);
    const count = topic.itemCount;
    const key = page.after ?? (page.before === '' ? undefined : page.before);
    const known = key === undefined ? undefined : this.#items.get(nameKey(topic.id, key));
    if (key !== undefined && !known) return 'unknown-key';
    const position = known ? this.#order.getKeysCount({ start, end: entryKey(topic.id, known.q) }) : count;
    let index: number;
    let limit = page.max;
    if (page.after !== undefined) index = position + 1;
    else if (page.before !== undefined) {
      index = Math.max(0, position - page.max);
      limit = position - index;
    } else index = page.index ?? 0;
    if (limit === 0) return { entries: [], count, index: Math.min(index, count) };
    const from = page.after !== undefined && known ? entryKey(topic.id, known.q + 1) : start;
    const offset = page.after !== undefined ? 0 : index;
    const ids = [...this.#order.getRange({ start: from, end, offset, limit })].map(({ value }) => value);
    return { entries: ids.flatMap((itemId) => this.#item(topic, itemId) ?? []), count, index: Math.min(index, count) };
  }

  async itemsById(node: string, itemIds: readonly string[]): Promise<readonly Item[]> {
    const topic = this.#topic(node);
    return topic ? itemIds.flatMap((itemId) => this.#item(topic, itemId) ?? []) : [];
  }

  #item(topic: StoredTopic, itemId: string): Item | undefined {
    const item = this.#items.get(nameKey(topic.id, itemId));
    if (!item) return undefined;
    const bytes = item.b ? this.#payloads.get(entryKey(topic.id, item.q)) : undefined;
    return {
      itemId,
      publisher: item.p,
      stampMs: item.s,
      entry: { seq: item.q, uid: item.u },
      ...(bytes ? { payload: payloadOf(bytes, item.l) } : {}),
    };
  }

  async topics(page: PageRequest, visible: (node: string) => boolean): Promise<Page<string>> {
    return this.#names.page(page, visible);
  }

  // LogReader

  async head(node: string): Promise<EntryId | undefined> {
    const numbers = this.#numbers(node);
    return numbers && headOf(numbers);
  }

  async readLog(node: string, after: EntryId, maxEntries: number, maxBytes: number): Promise<LogPage | 'gone'> {
    const numbers = this.#numbers(node);
    if (!numbers) return 'gone';
    const entries: LogEntry[] = [];
    let bytes = 0;
    const last = Math.min(numbers.seq, Math.max(after.seq, numbers.firstSeq - 1) + maxEntries);
    for (let seq = Math.max(after.seq + 1, numbers.firstSeq); seq <= last; seq += 1) {
      const entry = this.#entry(numbers, seq);
      if (!entry) throw new Error(`the log of topic ${numbers.id} has no entry ${seq}`);
      bytes += entry.payload?.bytes.length ?? 0;
      if (bytes > maxBytes && entries.length > 0) break;
      entries.push(entry);
    }
    return { entries, firstSeq: numbers.firstSeq, head: headOf(numbers) };
  }

  async entry(node: string, id: EntryId): Promise<LogEntry | undefined> {
    const numbers = this.#numbers(node);
    const entry = numbers && this.#entry(numbers, id.seq);
    return entry?.uid === id.uid ? entry : undefined;
  }

  #entry(numbers: StoredNumbers, seq: number): LogEntry | undefined {
    const at = entryKey(numbers.id, seq);
    const stored = this.#log.get(at);
    if (!stored) return undefined;
    const hasPayload = stored.b !== undefined && !isWithdrawn(numbers, seq, stored);
    return entryOf(numbers, seq, stored, hasPayload ? this.#payloads.get(at) : undefined);
  }

  onEntries(bell: (appended: Appended) => void): () => void {
    this.#bells.add(bell);
    return () => this.#bells.delete(bell);
  }

  /** The only writer hears every topic anyway. */
  follow(node: string): Promise<TopicRecord | undefined> {
    return this.record(node);
  }

  async unfollow(): Promise<void> {}

  /** Never: what was told of is on the disk. */
  onFork(): () => void {
    return () => undefined;
  }

  /** Never: there is one process, and what it wrote is on the disk. */
  onPrimaryChanged(): () => void {
    return () => undefined;
  }

  // PositionStore

  async position(node: string, jid: string): Promise<EntryId | undefined> {
    const topic = this.#topic(node);
    const subscription = topic && this.#subscriptions.get(subscriptionKey(topic.id, accountOf(jid), jid));
    if (!subscription) return undefined;
    let position: EntryId = { seq: subscription.q, uid: subscription.u };
    const own = this.#positions.get(positionKey(topic.id, jid));
    if (!own) return position;
    if (own.q > position.seq) position = { seq: own.q, uid: own.u };
    for (const instance of own.d ?? []) {
      const watermark = this.#positions.get(watermarkKey(topic.id, instance));
      if (watermark && watermark.q > position.seq) position = { seq: watermark.q, uid: watermark.u };
    }
    return position;
  }

  async update(node: string, update: PositionUpdate): Promise<{ readonly refused: readonly string[] } | 'gone'> {
    const key = nodeKey(node);
    if (!key) return 'gone';
    return this.#queue.run(() => {
      const topic = this.#topics.get(key);
      if (!topic) return 'gone';
      return { refused: this.#updatePositions(topic, update) };
    });
  }

  #updatePositions(topic: StoredTopic, { instance, settle, delegate, watermark }: PositionUpdate): string[] {
    const atWatermark = watermarkKey(topic.id, instance);
    const before = this.#positions.get(atWatermark);
    if (watermark && !this.#isOfLog(topic, watermark)) return [''];
    const now = watermark && watermark.seq > (before?.q ?? 0) ? { q: watermark.seq, u: watermark.uid } : before;
    if (now && now !== before) this.#positions.put(atWatermark, now);

    const refused: string[] = [];
    const write = (jid: string, acknowledged: EntryId, isDelegated: boolean) => {
      const subscribed = this.#subscriptions.get(subscriptionKey(topic.id, accountOf(jid), jid));
      if (subscribed?.s !== 'subscribed' || !this.#isOfLog(topic, acknowledged)) {
        refused.push(jid);
        return;
      }
      const at = positionKey(topic.id, jid);
      const old = this.#positions.get(at);
      const own = old && old.q >= acknowledged.seq ? { q: old.q, u: old.u } : { q: acknowledged.seq, u: acknowledged.uid };
      const d = (old?.d ?? []).filter((other) => {
        // A delegation whose watermark says no more than the number itself has served its time.
        return other !== instance && (this.#positions.get(watermarkKey(topic.id, other))?.q ?? 0) > own.q;
      });
      if (isDelegated) d.push(instance);
      this.#positions.put(at, d.length === 0 ? own : { ...own, d });
    };
    for (const [jid, acknowledged] of settle) write(jid, acknowledged, false);
    for (const [jid, acknowledged] of delegate) write(jid, acknowledged, acknowledged.seq >= (now?.q ?? 0));
    return refused;
  }

  /** What the log no longer holds cannot be compared; to stand there means to have missed what was trimmed, no more. */
  #isOfLog(topic: StoredNumbers, { seq, uid }: EntryId): boolean {
    if (seq > topic.seq) return false;
    if (seq < topic.firstSeq) return true;
    return this.#log.get(entryKey(topic.id, seq))?.u === uid;
  }

  async forgetTopic(account: string, node: string): Promise<void> {
    const key = nodeKey(node);
    if (!key) return;
    await this.#queue.run(() => {
      const topic = this.#topics.get(key);
      if (topic && this.#isInvolved(topic, account)) return;
      this.#accountTopics.remove(accountTopicKey(account, node));
    });
  }

  // Housekeeping

  /**
   * Trims logs by age, drops tombstones and what only they kept, forgets watermarks that the log was trimmed past, for
   * the next `maxTopics` topics in turn. Called about once a second.
   */
  async sweep(nowMs: number, maxTopics: number): Promise<void> {
    for (let left = maxTopics; left > 0; left -= SWEEP_STEP) {
      const limit = Math.min(left, SWEEP_STEP);
      const from = this.#sweepFrom;
      const keys = [...this.#topics.getKeys(from ? { start: from, limit } : { limit })];
      const stones = [...this.#tombstones.getKeys(from ? { start: from, limit } : { limit })];
      // Both lists are walked in one order; what lies past the shorter step comes next time.
      const ends = [keys, stones].filter((list) => list.length === limit).map((list) => list.at(-1)!);
      const end = ends.sort(Buffer.compare)[0];
      const within = (key: Buffer) => !end || Buffer.compare(key, end) <= 0;
      await this.#queue.run(() => {
        for (const key of keys.filter(within)) this.#sweepTopic(key, nowMs);
        for (const key of stones.filter(within)) this.#sweepTombstone(key, nowMs);
      });
      this.#sweepFrom = end && Buffer.concat([end, Buffer.of(0)]);
      if (!end) return;
    }
  }

  #sweepTopic(key: Buffer, nowMs: number): void {
    const topic = this.#topics.get(key);
    if (!topic) return;
    const { firstSeq } = topic;
    this.#trim(topic, nowMs, 0, 0);
    if (topic.firstSeq === firstSeq) return;
    this.#topics.put(key, topic);
    const prefix = watermarksKey(topic.id);
    for (const { key: at, value } of [...this.#positions.getRange({ start: prefix, end: endOf(prefix) })]) {
      if (value.q < topic.firstSeq - 1) this.#positions.remove(at);
    }
  }

  #sweepTombstone(key: Buffer, nowMs: number): void {
    const stone = this.#tombstones.get(key);
    if (!stone || stone.deletedMs > nowMs - this.#retention.maxAgeMs) return;
    removeAll(this.#log, topicKey(stone.id));
    this.#tombstones.remove(key);
  }

  #topic(node: string): StoredTopic | undefined {
    const key = nodeKey(node);
    return key && this.#topics.get(key);
  }

  #numbers(node: string): StoredNumbers | undefined {
    const key = nodeKey(node);
    return key && (this.#topics.get(key) ?? this.#tombstones.get(key));
  }
}

function numbersOf({ id, seq, uid, stampMs, firstSeq, firstMs, logBytes, withdrawnSeq }: StoredNumbers): StoredNumbers {
  return { id, seq, uid, stampMs, firstSeq, firstMs, logBytes, withdrawnSeq };
}

function removeAll<T>(database: Records<T>, prefix: Buffer): void {
  for (const key of [...database.getKeys({ start: prefix, end: endOf(prefix) })]) database.remove(key);
}

function checkFormat(meta: Records<number>, topics: Records<StoredTopic>): void {
  const key = Buffer.from('format');
  const found = meta.get(key);
  if (found === FORMAT) return;
  if (found !== undefined) {
    throw new StoreFormatError(
      `the data directory holds topics in format ${found}, this version reads format ${FORMAT}: start the version that wrote them, or move the directory away to begin anew`,
    );
  }
  if (topics.getKeysCount({ limit: 1 }) > 0) {
    throw new StoreFormatError(
      'the data directory holds topics without a format record: it is damaged, restore it from a backup',
    );
  }
  meta.putSync(key, FORMAT);
}

/**
 * Opens the embedded store in the environment that `openEnvironment` made; it opens its named databases there.
 *
 * @throws StoreFormatError when the data is of another version or damaged
 */
export function openEmbeddedTopicStore(root: RootDatabase, options: EmbeddedTopicStoreOptions = {}): EmbeddedTopicStore {
  return new EmbeddedTopicStore(root, options);
}
