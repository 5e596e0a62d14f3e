import { type Logger, type RedisConnections, type RedisValue, type Script, StoreUnavailable } from '@xmpp-grid/stream';
import type { EntryId, LogEntry } from '../../log/entry.ts';
import { accountOf, nodeKey } from '../embedded/keys.ts';
import { digestOf, RECENT_MS } from '../embedded/recent-requests.ts';
import { newToken } from '../embedded/tokens.ts';
import { TopicNames } from '../embedded/topic-names.ts';
import type { HousekeepingShare } from '../housekeeping.ts';
import type { Appended, LogPage, LogReader } from '../log-reader.ts';
import { DEFAULT_RETENTION, type LogRetention } from '../log-retention.ts';
import type { PositionStore, PositionUpdate } from '../position-store.ts';
import { StoreFull } from '../store-error.ts';
import { type Affiliation, isCachingOff, type TopicConfig } from '../topic-config.ts';
import type { Change, Committed, Guard, Item, Page, PageRequest, Subscription, TopicRecord, TopicStore } from '../topic-store.ts';
import { AccountIndex } from './account-index.ts';
import { Bells } from './bells.ts';
import { Following } from './following.ts';
import { Housekeeping } from './housekeeping.ts';
import { type RedisKeys, redisKeys } from './keys.ts';
import { Netstrings } from './netstrings.ts';
import { entryOf, itemOf, list, logPageOf, number, subscriptionsOf, text } from './records.ts';
import { SCRIPTS } from './scripts.ts';

export interface RedisTopicStoreOptions {
  /** This instance's connections. The store opens some of its own through them and closes those alone. */
  readonly connections: RedisConnections;
  readonly retention?: Partial<LogRetention>;
  /** Told of what went wrong and is tried again: connections, catching up, housekeeping, listeners that threw. */
  readonly log: Logger;
  /** Least time between two comparisons of a followed topic's head; 5,000 if absent (delivery.md §3.3). */
  readonly headCheckMs?: number;
}

/** Entries trimmed in one step: a publish pays for what it displaces and some more, never for a whole log. */
const MAX_TRIM = 1_000;
/** delivery.md §2.2. */
const MAX_BELL_BYTES = 16 << 10;
/** Log entries looked at in one step of the erasure of withdrawn payloads. */
const ERASE_STEP = 1_000;
const NAMES_STEP = 5_000;
const SCAN_STEP = 1_000;
/** How long a topic waits to be followed while a connection comes back. */
const SUBSCRIBE_TIMEOUT_MS = 4_000;
/** Configurations held by token, about 1 KiB each. */
const MAX_CONFIGS = 10_000;

/** Least time between two log lines about failures. */
const SAY_MS = 1_000;

type Configured = Pick<TopicRecord, 'config' | 'creator' | 'createdMs'>;
type Listener = (appended: Appended) => void;

/**
 * Topics, their logs and positions in a Redis that many instances share. Nothing is owned by an instance: every change is one
 * script, guarded by the tokens of its decision, so a late command of a paused instance is harmless (delivery.md §2.1).
 *
 * Changes resolve when they are durable as configured. `onEntries` tells of entries of topics that this instance follows or
 * appended to itself. What a bell of another instance brings is in the primary's log and as durable as `fsync` or `memory`
 * makes it, but may be ahead of the replicas: a failover can take it back (delivery.md §1.3).
 */
export class RedisTopicStore implements TopicStore, LogReader, PositionStore {
  readonly #connections: RedisConnections;
  readonly #log: Logger;
  readonly #keys: RedisKeys;
  readonly #retention: LogRetention;
  readonly #bells: Bells;
  readonly #following: Following;
  readonly #index: AccountIndex;
  readonly #housekeeping: Housekeeping;
  readonly #listeners = new Set<Listener>();
  readonly #forkListeners = new Set<(node: string, head: EntryId) => void>();
  readonly #primaryListeners = new Set<(nodes: readonly string[]) => void>();
  /** A configuration token names one configuration for ever. */
  readonly #configs = new Map<string, Configured>();
  readonly #background = new Set<Promise<void>>();
  #names: { readonly version: string; readonly names: TopicNames } | undefined;
  #loadingNames: Promise<TopicNames> | undefined;
  readonly #stopWatching: () => void;
  #failures = 0;
  #saidAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: RedisTopicStoreOptions) {
    const { connections } = options;
    this.#connections = connections;
    this.#log = options.log;
    this.#keys = redisKeys(connections.settings.keyPrefix);
    this.#retention = { ...DEFAULT_RETENTION, ...options.retention };
    const failed = (error: unknown) => this.#failed(error);
    this.#bells = new Bells({
      connections,
      timeoutMs: SUBSCRIBE_TIMEOUT_MS,
      heard: (channel, message) => this.#following.ring(channel, message),
      heardAgain: (channels) => this.#following.missed(channels),
      failed,
    });
    this.#following = new Following({
      bells: this.#bells,
      keys: this.#keys,
      headCheckMs: options.headCheckMs ?? 5_000,
      record: (node) => this.record(node),
      heads: (nodes) => Promise.all(nodes.map((node) => this.head(node))),
      readLog: (...args) => this.readLog(...args),
      emit: (appended) => this.#emit(appended),
      forked: (node, head) => this.#tell(this.#forkListeners, (forked) => forked(node, head)),
      failed,
    });
    this.#index = new AccountIndex(connections, this.#keys);
    this.#housekeeping = new Housekeeping({
      connections,
      keys: this.#keys,
      retention: this.#retention,
      index: this.#index,
      maxTrim: MAX_TRIM,
      namesFrom: (from, max) => this.#namesFrom(from, max),
      dropName: (node) => this.#dropName(node),
      erase: (node) => this.#erase(node),
    });
    this.#stopWatching = connections.onPrimaryChanged((holds) => this.#primaryChanged(holds));
  }

  /** Ends its own connections. Changes under way end as they do: let them end first. */
  async close(): Promise<void> {
    await Promise.all(this.#background);
    this.#stopWatching();
    this.#following.close();
    this.#bells.close();
  }

  // Asking Redis

  /** Reads go to the primary. */
  #ask(command: string, ...args: RedisValue[]): Promise<unknown> {
    return this.#connections.call(command, ...args);
  }

  async #askScript(script: Script, keys: readonly string[], args: readonly RedisValue[]): Promise<readonly unknown[]> {
    return list(await this.#connections.read(script, keys, args));
  }

  async #texts(key: string, ...fields: string[]): Promise<readonly (string | undefined)[]> {
    const values = list(await this.#ask('HMGET', key, ...fields));
    return values.map((value) => (value === null ? undefined : text(value)));
  }

  /** Durable when it resolves. A topic's changes are answered in the order of its log. */
  async #run(script: Script, keys: readonly string[], args: readonly RedisValue[]): Promise<readonly unknown[]> {
    try {
      return list(await this.#connections.runDurably(script, keys, args));
    } catch (error) {
      throw isFull(error) ? new StoreFull('memory', 'Redis takes no more writes', { cause: error }) : error;
    }
  }

  /** Said at most once a second: while Redis is away every topic that is followed may fail. */
  #failed(error: unknown): void {
    this.#failures += 1;
    if (performance.now() - this.#saidAtMs < SAY_MS) return;
    this.#log.warn({ err: error, failures: this.#failures }, 'something about topics failed in Redis; trying again');
    this.#saidAtMs = performance.now();
    this.#failures = 0;
  }

  /** For what need not be waited for. */
  #inBackground(work: Promise<void>): void {
    const done = work.catch((error: unknown) => this.#failed(error)).finally(() => this.#background.delete(done));
    this.#background.add(done);
  }

  // Topics

  async record(node: string): Promise<TopicRecord | undefined> {
    if (!nodeKey(node)) return undefined;
    const key = this.#keys.topic(node);
    const [configToken, accessToken, seq, uid, ...configured] = await this.#texts(
      key,
      ...['ct', 'at', 'seq', 'uid', 'config', 'creator', 'created'],
    );
    if (configToken === undefined) return undefined;
    const head = { seq: Number(seq), uid: uid ?? '' };
    return { node, ...this.#configured(configToken, configured), configToken, accessToken: accessToken ?? '', head };
  }

  #configured(token: string, [config, creator, created]: readonly (string | undefined)[]): Configured {
    const known = this.#configs.get(token);
    if (known) return known;
    if (config === undefined) throw new Error('a topic without configuration in Redis');
    const configured = { config: JSON.parse(config) as TopicConfig, creator: creator ?? '', createdMs: Number(created) };
    this.#hold(token, configured);
    return configured;
  }

  #hold(token: string, configured: Configured): void {
    this.#configs.set(token, configured);
    if (this.#configs.size <= MAX_CONFIGS) return;
    const [oldest] = this.#configs.keys();
    if (oldest !== undefined) this.#configs.delete(oldest);
  }

  async tombstone(node: string): Promise<{ readonly head: EntryId; readonly redirect?: string } | undefined> {
    if (!nodeKey(node)) return undefined;
    const [dead, seq, uid, redirect] = await this.#texts(this.#keys.topic(node), 'dead', 'seq', 'uid', 'redirect');
    if (dead === undefined) return undefined;
    const head = { seq: Number(seq), uid: uid ?? '' };
    return redirect === undefined ? { head } : { head, redirect };
  }

  /** @throws RangeError for a node that is empty or over 1,023 bytes; StoreFull; StoreUnavailable */
  async create(
    node: string,
    first: {
      readonly config: TopicConfig;
      readonly creator: string;
      readonly stampMs: number;
      readonly affiliations: ReadonlyMap<string, Affiliation>;
    },
  ): Promise<TopicRecord | 'exists'> {
    if (!nodeKey(node)) throw new RangeError('a node name has 1 to 1,023 bytes');
    const { config, creator, stampMs } = first;
    const affiliations = [...first.affiliations].filter(([, affiliation]) => affiliation !== 'none');
    const accounts = affiliations.map(([account]) => account);
    await this.#name('add', node);
    const announced = await this.#index.announce(accounts, node);
    const configToken = newToken();
    const accessToken = newToken();
    const { topic, log, affiliations: rights, subscriptions } = this.#keys;
    const [word, seq, uid] = await this.#run(
      SCRIPTS.createTopic,
      [topic(node), log(node), rights(node), subscriptions(node)],
      [configToken, accessToken, stampMs, creator, ...configArgs(config), ...affiliations.flat()],
    );
    // A deletion that came between may have taken the name and the index away: each looks again after the other wrote.
    await this.#name('add', node);
    if (text(word) === 'exists') {
      await this.#index.drop(announced, node); // else they would be told at a login that the topic was deleted
      return 'exists';
    }
    await this.#index.confirm(accounts, node);
    const configured = { config, creator, createdMs: stampMs };
    this.#hold(configToken, configured);
    return { node, ...configured, configToken, accessToken, head: { seq: number(seq), uid: text(uid) } };
  }

  /** @throws StoreFull: nothing was changed; StoreUnavailable, whose outcome says whether that is known */
  async commit(node: string, guard: Guard, change: Change): Promise<Committed | 'stale' | 'gone'> {
    if (!nodeKey(node)) return 'gone';
    const { gaining, losing } = accountsOf(change);
    const announced = await this.#index.announce(gaining, node);
    const { script, keys, args } = this.#call(node, change);
    const notify = change.kind === 'publish' || ('notify' in change && change.notify) ? 1 : 0;
    const publisher = change.kind === 'own-subscription' ? change.jid : change.publisher;
    const known = guard.configToken !== undefined && this.#configs.has(guard.configToken) ? guard.configToken : '';
    const common = [guard.configToken ?? '', guard.accessToken ?? '', known, newToken(), change.stampMs, publisher, notify];
    const reply = await this.#run(script, keys, [...common, MAX_BELL_BYTES, ...args]);
    const committed = this.#committed(node, change, reply);
    if (committed === 'stale' || committed === 'gone' || committed.kind === 'repeated') {
      await this.#index.drop(announced, node);
      return committed;
    }

    await this.#index.confirm(gaining, node);
    const cleared = change.kind === 'delete' ? list(reply[8]).map(text) : losing;
    await this.#afterwards(node, change, cleared);
    return committed;
  }

  #committed(node: string, change: Change, reply: readonly unknown[]): Committed | 'stale' | 'gone' {
    const word = text(reply[0]);
    switch (word) {
      case 'stale':
      case 'gone':
        return word;
      case 'full':
        throw new StoreFull('topic-bytes', `the log of the topic holds ${text(reply[1])} bytes that may not be trimmed yet`);
      case 'repeated':
        return repeatedOf(reply[1]);
      case 'done':
        break;
      default:
        throw new Error(`an unexpected reply of Redis: ${word}`);
    }
    const [, ct, at, seq, uid, made, itemIds, configured] = reply;
    const payloads = change.kind === 'publish' ? change.items.map((item) => item.payload) : [];
    const entries = list(made).map((each, i): LogEntry => {
      const [number_, ...fields] = list(each);
      const entry = entryOf(number(number_), fields);
      const payload = payloads[i];
      return payload ? { ...entry, payload } : entry;
    });
    const configToken = text(ct);
    const record: TopicRecord = {
      node,
      ...this.#configured(configToken, list(configured).map(text)),
      configToken,
      accessToken: text(at),
      head: { seq: number(seq), uid: text(uid) },
    };
    if (entries.length > 0 && !this.#following.own(node, entries, record)) this.#emit({ node, entries, record });
    return { kind: 'done', entries, itemIds: list(itemIds).map(text), record };
  }

  /** The script of a change, its keys, and its arguments after the common ones. */
  #call(node: string, change: Change): { script: Script; keys: readonly string[]; args: readonly RedisValue[] } {
    const { topic, log, bell, items, order, recent, affiliations, subscriptions, positions, marks } = this.#keys;
    const common = [topic(node), log(node), bell(node)];
    const withItems = [...common, items(node), order(node)];
    const withRights = [affiliations(node), subscriptions(node), positions(node)];
    switch (change.kind) {
      case 'publish': {
        const { maxAgeMs, maxEntries, maxBytes, minAgeMs } = this.#retention;
        const windows = [0, -1, 1].map((shift) => recent(node, change.stampMs, shift));
        const digest = change.requestKey === undefined ? '' : digestOf(change.requestKey);
        const published = change.items.flatMap(({ itemId, payload }) => [
          ...[itemId, payload ? '1' : '0', payload?.bytes ?? ''],
          payload?.lang === undefined ? '' : `+${payload.lang}`,
        ]);
        const args = [maxAgeMs, maxEntries, maxBytes, minAgeMs, MAX_TRIM, digest, RECENT_MS, ...published];
        return { script: SCRIPTS.publish, keys: [...withItems, ...windows], args };
      }
      case 'retract':
        return { script: SCRIPTS.retract, keys: withItems, args: change.itemIds };
      case 'purge':
        return { script: SCRIPTS.purge, keys: withItems, args: [] };
      case 'configure':
        return { script: SCRIPTS.configure, keys: withItems, args: [newToken(), newToken(), ...configArgs(change.config)] };
      case 'delete': {
        const redirect = change.redirect === undefined ? '' : `+${change.redirect}`;
        return {
          script: SCRIPTS.deleteTopic,
          keys: [...withItems, ...withRights, marks(node)],
          args: [this.#retention.maxAgeMs, redirect],
        };
      }
      case 'access': {
        const subscribers = [...change.subscriptions].flatMap(([jid, state]) => [...splitJid(jid), state]);
        const args = [newToken(), change.affiliations.size, ...[...change.affiliations].flat(), ...subscribers];
        return { script: SCRIPTS.changeAccess, keys: [...common, ...withRights], args };
      }
      case 'own-subscription': {
        const args = [...splitJid(change.jid), change.state];
        return { script: SCRIPTS.setSubscription, keys: [...common, ...withRights], args };
      }
    }
  }

  /** The change is durable: what follows from it elsewhere may fail, and is made good by housekeeping. */
  async #afterwards(node: string, change: Change, cleared: readonly string[]): Promise<void> {
    try {
      await this.#index.drop(cleared, node);
      if (change.kind === 'delete') {
        await this.#dropName(node);
      }
    } catch (error) {
      this.#failed(error);
    }
    if (change.kind === 'purge' || change.kind === 'delete' || change.kind === 'configure') this.#inBackground(this.#erase(node));
  }

  async #erase(node: string): Promise<void> {
    const keys = [this.#keys.topic(node), this.#keys.log(node)];
    while (Number(await this.#connections.runDurably(SCRIPTS.eraseWithdrawn, keys, [ERASE_STEP])) === 1);
  }

  async forgetTopic(account: string, node: string): Promise<void> {
    if (nodeKey(node)) await this.#index.drop([account], node);
  }

  topicsOf(account: string): Promise<readonly string[]> {
    return this.#index.topicsOf(account);
  }

  // Affiliations and subscriptions

  async affiliation(node: string, account: string): Promise<Affiliation> {
    if (!nodeKey(node)) return 'none';
    const [found] = await this.#texts(this.#keys.affiliations(node), account);
    return (found as Affiliation | undefined) ?? 'none';
  }

  async affiliations(node: string): Promise<ReadonlyMap<string, Affiliation>> {
    const all = await this.#scan(this.#keys.affiliations(node));
    return new Map([...all].sort(([a], [b]) => (a < b ? -1 : 1)) as [string, Affiliation][]);
  }

  async subscriptionsOf(node: string, account: string): Promise<readonly Subscription[]> {
    if (!nodeKey(node)) return [];
    const [found] = await this.#texts(this.#keys.subscriptions(node), account);
    return found === undefined ? [] : [...subscriptionsOf(account, found)].sort(byJid);
  }

  /** Read in steps: what changes meanwhile may be in it or not. */
  async subscriptions(node: string): Promise<readonly Subscription[]> {
    const all = await this.#scan(this.#keys.subscriptions(node));
    return [...all].flatMap(([account, value]) => subscriptionsOf(account, value)).sort(byJid);
  }

  async countSubscriptions(node: string): Promise<number> {
    const [count] = await this.#texts(this.#keys.topic(node), 'subs');
    return Number(count ?? 0);
  }

  async #scan(key: string): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    let cursor = '0';
    do {
      const [next, some] = list(await this.#ask('HSCAN', key, cursor, 'COUNT', SCAN_STEP));
      const flat = list(some);
      for (let i = 0; i + 1 < flat.length; i += 2) found.set(text(flat[i]), text(flat[i + 1]));
      cursor = text(next);
    } while (cursor !== '0');
    return found;
  }

  // Items and lists

  async items(node: string, { max, after, before, index }: PageRequest): Promise<Page<Item> | 'unknown-key'> {
    if (!nodeKey(node)) return { entries: [], count: 0, index: 0 };
    const [place, key] =
      after !== undefined
        ? (['after', after] as const)
        : before === undefined
          ? (['index', String(index ?? 0)] as const)
          : ([before === '' ? 'last' : 'before', before] as const);
    const keys = [this.#keys.order(node), this.#keys.items(node)];
    const [word, count, from, found] = await this.#askScript(SCRIPTS.pageItems, keys, [place, key, max]);
    if (text(word) === 'unknown-key') return 'unknown-key';
    const flat = list(found);
    const entries: Item[] = [];
    for (let i = 0; i + 1 < flat.length; i += 2) entries.push(itemOf(text(flat[i]), flat[i + 1] as Buffer));
    return { entries, count: number(count), index: number(from) };
  }

  async itemsById(node: string, itemIds: readonly string[]): Promise<readonly Item[]> {
    if (!nodeKey(node) || itemIds.length === 0) return [];
    const values = list(await this.#ask('HMGET', this.#keys.items(node), ...itemIds));
    return itemIds.flatMap((itemId, i) => (Buffer.isBuffer(values[i]) ? [itemOf(itemId, values[i])] : []));
  }

  /**
   * Pages over a copy of all names in memory, about 100 bytes a topic; one short command says whether it is still the list. A
   * list that another instance changed is read again, 5,000 names a command.
   */
  async topics(page: PageRequest, visible: (node: string) => boolean): Promise<Page<string>> {
    return (await this.#currentNames()).page(page, visible);
  }

  async #currentNames(): Promise<TopicNames> {
    const raw = await this.#ask('GET', this.#keys.topicsVersion);
    const version = raw === null ? '' : text(raw);
    if (this.#names?.version === version) return this.#names.names;
    // One that began before this look may have read an older list.
    await this.#loadingNames?.catch(() => undefined);
    if (this.#names?.version === version) return this.#names.names;
    this.#loadingNames ??= this.#loadNames(version).finally(() => {
      this.#loadingNames = undefined;
    });
    return this.#loadingNames;
  }

  async #loadNames(version: string): Promise<TopicNames> {
    const all: string[] = [];
    for (let from = '-'; ; ) {
      const some = await this.#namesFrom(from, NAMES_STEP);
      all.push(...some);
      if (some.length < NAMES_STEP) break;
      from = `(${some.at(-1)}`;
    }
    const names = new TopicNames(all);
    this.#names = { version, names };
    return names;
  }

  async #dropName(node: string): Promise<void> {
    await this.#name('remove', node);
    // Created again meanwhile: both look after they wrote.
    if (await this.record(node)) await this.#name('add', node);
  }

  async #namesFrom(from: string, max: number): Promise<readonly string[]> {
    return list(await this.#ask('ZRANGEBYLEX', this.#keys.topics, from, '+', 'LIMIT', 0, max)).map(text);
  }

  async #name(what: 'add' | 'remove', node: string): Promise<void> {
    const version = newToken();
    const [word, before] = await this.#run(
      SCRIPTS.nameTopic,
      [this.#keys.topics, this.#keys.topicsVersion],
      [what, node, version],
    );
    const held = this.#names;
    if (text(word) === 'same' || !held) return;
    if (held.version !== text(before)) return;
    if (what === 'add') held.names.add(node);
    else held.names.remove(node);
    this.#names = { version, names: held.names };
  }

  // LogReader

  async head(node: string): Promise<EntryId | undefined> {
    if (!nodeKey(node)) return undefined;
    const [seq, uid] = await this.#texts(this.#keys.topic(node), 'seq', 'uid');
    return seq === undefined ? undefined : { seq: Number(seq), uid: uid ?? '' };
  }

  async readLog(node: string, after: EntryId, maxEntries: number, maxBytes: number): Promise<LogPage | 'gone'> {
    if (!nodeKey(node)) return 'gone';
    const keys = [this.#keys.topic(node), this.#keys.log(node)];
    const reply = await this.#askScript(SCRIPTS.readLog, keys, [after.seq, maxEntries, maxBytes]);
    return text(reply[0]) === 'gone' ? 'gone' : logPageOf(reply);
  }

  async entry(node: string, id: EntryId): Promise<LogEntry | undefined> {
    const page = await this.readLog(node, { seq: id.seq - 1, uid: '' }, 1, 0);
    const entry = page === 'gone' ? undefined : page.entries[0];
    return entry?.seq === id.seq && entry.uid === id.uid ? entry : undefined;
  }

  onEntries(bell: Listener): () => void {
    this.#listeners.add(bell);
    return () => this.#listeners.delete(bell);
  }

  #emit(appended: Appended): void {
    this.#tell(this.#listeners, (listener) => listener(appended));
  }

  #tell<L>(listeners: ReadonlySet<L>, call: (listener: L) => void): void {
    for (const listener of listeners) {
      try {
        call(listener);
      } catch (error) {
        this.#log.error({ err: error }, 'a listener of topics failed');
      }
    }
  }

  #primaryChanged(holds: (key: string) => boolean): void {
    const nodes = [...this.#following.nodes].filter((node) => holds(this.#keys.topic(node)));
    if (nodes.length === 0) return;
    this.#following.missed(nodes.map((node) => this.#keys.bell(node)));
    this.#tell(this.#primaryListeners, (changed) => changed(nodes));
  }

  onFork(forked: (node: string, head: EntryId) => void): () => void {
    this.#forkListeners.add(forked);
    return () => this.#forkListeners.delete(forked);
  }

  onPrimaryChanged(changed: (nodes: readonly string[]) => void): () => void {
    this.#primaryListeners.add(changed);
    return () => this.#primaryListeners.delete(changed);
  }

  async follow(node: string): Promise<TopicRecord | undefined> {
    return nodeKey(node) ? this.#following.follow(node) : undefined;
  }

  unfollow(node: string): Promise<void> {
    return this.#following.unfollow(node);
  }

  // PositionStore

  async position(node: string, jid: string): Promise<EntryId | undefined> {
    if (!nodeKey(node)) return undefined;
    const keys = [this.#keys.subscriptions(node), this.#keys.positions(node), this.#keys.marks(node)];
    const [seq, uid] = await this.#askScript(SCRIPTS.readPosition, keys, splitJid(jid));
    return seq === undefined ? undefined : { seq: number(seq), uid: text(uid) };
  }

  async update(node: string, update: PositionUpdate): Promise<{ readonly refused: readonly string[] } | 'gone'> {
    if (!nodeKey(node)) return 'gone';
    const { instance, settle, delegate, watermark } = update;
    const places = [...settle, ...delegate].flatMap(([jid, { seq, uid }]) => [...splitJid(jid), seq, uid]);
    const { topic, log, subscriptions, positions, marks } = this.#keys;
    const keys = [topic(node), log(node), subscriptions(node), positions(node), marks(node)];
    const args = [instance, watermark?.seq ?? '', watermark?.uid ?? '', settle.size, ...places];
    const [word, refused] = await this.#run(SCRIPTS.updatePositions, keys, args);
    return text(word) === 'gone' ? 'gone' : { refused: list(refused).map(text) };
  }

  /**
   * Trims logs by age, finishes the erasure of withdrawn payloads, forgets watermarks of dead instances that the log was
   * trimmed past and names that a broken creation left, for the next `maxTopics` topics in turn; a pass over all begins at
   * most once a minute. Adds what an account's index misses, some accounts at a time. Safe from several instances at once.
   * Tombstones expire by themselves. Without a share everything is this instance's, and no instance counts as dead.
   *
   * @throws StoreUnavailable; the next call goes on
   */
  sweep(nowMs: number, maxTopics: number, share?: HousekeepingShare): Promise<void> {
    return this.#housekeeping.sweep(nowMs, maxTopics, share);
  }
}

/** Whether Redis refused a write for want of room. */
const isFull = (error: unknown): boolean =>
  error instanceof StoreUnavailable && error.outcome === 'not-done' && /^(?:OOM|MISCONF)\b/.test((error.cause as Error).message);

const byJid = (a: Subscription, b: Subscription): number => (a.jid < b.jid ? -1 : 1);

const flag = (value: boolean): string => (value ? '1' : '0');

const configArgs = (config: TopicConfig): readonly (string | number)[] => [
  JSON.stringify(config),
  config.accessModel,
  config.maxItems,
  flag(config.notifyRetract),
  flag(config.persistItems),
  flag(isCachingOff(config)),
];

/** Bare JID, and the resource with its slash or ''. */
function splitJid(jid: string): readonly [string, string] {
  const account = accountOf(jid);
  return [account, jid.slice(account.length)];
}

/** Accounts that a change involves in the topic, and those that it may end the involvement of. */
function accountsOf(change: Change): { readonly gaining: readonly string[]; readonly losing: readonly string[] } {
  const gaining = new Set<string>();
  const losing = new Set<string>();
  const sort = (jid: string, isNone: boolean) => (isNone ? losing : gaining).add(accountOf(jid));
  if (change.kind === 'own-subscription') sort(change.jid, change.state === 'none');
  if (change.kind === 'access') {
    for (const [account, affiliation] of change.affiliations) sort(account, affiliation === 'none');
    for (const [jid, state] of change.subscriptions) sort(jid, state === 'none');
  }
  return { gaining: [...gaining], losing: [...losing] };
}

function repeatedOf(value: unknown): Committed {
  const fields = new Netstrings(Buffer.from(value as string));
  fields.next();
  const entries: EntryId[] = [];
  const itemIds: string[] = [];
  while (!fields.isAtEnd) {
    entries.push({ seq: Number(fields.text()), uid: fields.text() });
    itemIds.push(fields.text());
  }
  return { kind: 'repeated', itemIds, entries };
}

/**
 * Opens the topics in a Redis whose data format was checked (`checkDataFormat`).
 *
 * @throws StoreUnavailable when Redis does not answer
 */
export async function openRedisTopicStore(options: RedisTopicStoreOptions): Promise<RedisTopicStore> {
  const store = new RedisTopicStore(options);
  try {
    await store.topics({ max: 0 }, () => true);
  } catch (error) {
    await store.close();
    throw error;
  }
  return store;
}
