import type { Availability, EntryKeeper, EntryRef, Logger, SessionObserver, SessionPort } from '@xmpp-grid/stream';
import { mayHear, mayRoleHear } from '../access/may-hear.ts';
import type { TopicPolicy } from '../access/policy.ts';
import type { EntryId } from '../log/entry.ts';
import type { Appended, LogReader } from '../store/log-reader.ts';
import type { PositionStore } from '../store/position-store.ts';
import type { Subscription, TopicRecord, TopicStore } from '../store/topic-store.ts';
import { Cursor, type Loading, type Place, type Receiver } from './cursor.ts';
import { deletionAfter, recordOfDeleted } from './deletions.ts';
import { EventEncoder, eventPrefix, type RenderConfiguration, subscriptionTag } from './event.ts';
import { Feed, type FeedContext, type Hold, isAnotherUid } from './feed.ts';
import { healFork } from './fork.ts';
import type { InterestPort } from './interest-port.ts';
import { type DeliveryCluster, interestOf, Neighbours } from './neighbours.ts';
import { PageCache } from './page-cache.ts';
import { placesOfText, placesText } from './places.ts';
import { PositionWriter } from './position-writer.ts';
import { acknowledgedBy } from './positions.ts';
import { RingBudget, Slot } from './ring.ts';
import { Slices } from './slices.ts';
import { Strikes } from './strikes.ts';

/** How long a failed look at the store rests. */
const RETRY_MS = 1_000;
/** How often an instance that may not serve asks whether it may again. */
const SERVE_MS = 20;
/** Sessions that are looked at again at a time. */
const SESSIONS_AT_ONCE = 8;
/** Topics that are looked at for one session at a time. */
const LOOKS_AT_ONCE = 16;

export interface DeliveryDeps {
  readonly topics: TopicStore & LogReader & PositionStore;
  /** Random, never reused. Another one after each fencing (delivery.md §7.2). */
  readonly instanceId: string | (() => string);
  /** False: hand nothing out and write no positions, the lease or the head of the control log is in doubt (delivery.md §7.2). */
  readonly mayServe?: () => boolean;
  /** The other instances. Absent: there are none. */
  readonly cluster?: DeliveryCluster;
  /** The Broker's domain: what events come from. */
  readonly domain: string;
  readonly log: Logger;
  readonly policy: TopicPolicy;
  readonly renderConfiguration?: RenderConfiguration;
}

/** What delivery is doing, for metrics. */
export interface DeliveryStats {
  readonly followedTopics: number;
  readonly cursors: number;
  /** Of these, at the head of their topic. */
  readonly liveCursors: number;
  /** Since the start: consumers told of a gap. */
  readonly gaps: number;
}

/**
 * Brings topics' events to the sessions of this instance, and keeps what they acknowledged (designs D4, D5, D8, D9;
 * delivery.md §4, §5). Owns interest, cursors and unwritten positions; when the process dies, the store's positions are at
 * most some seconds behind, and the next session of each account goes on from there.
 */
export class Delivery implements SessionObserver, EntryKeeper, InterestPort {
  readonly #deps: DeliveryDeps;
  readonly #encoder: EventEncoder;
  readonly #pages: PageCache;
  readonly #context: FeedContext;
  readonly #receivers = new Map<SessionPort, Receiver>();
  readonly #accounts = new Map<string, Set<Receiver>>();
  readonly #feeds = new Map<string, Feed>();
  /** Feeds of topics as they were until they were deleted, for sessions from elsewhere that are owed the news; never followed. */
  readonly #deleted = new Set<Feed>();
  /** Topics that are about to be followed: their head is being read. */
  readonly #following = new Map<string, { readonly feed: Promise<Feed | undefined>; readonly heard: Appended[] }>();
  readonly #neighbours: Neighbours | undefined;
  readonly #positions: PositionWriter;
  /** What has to be done, or done again, for feeds that are held. */
  readonly #held: Record<Hold, Set<Feed>> = { judging: new Set(), forked: new Set() };
  readonly #stopListening: readonly (() => void)[];
  readonly #strikes = new Strikes();
  /** Accounts and topics of which a session is being told that they have parted: the account's next one is not told again. */
  readonly #telling = new Set<string>();
  #waitingToServe: NodeJS.Timeout | undefined;
  #isClosed = false;
  #gaps = 0;

  constructor(deps: DeliveryDeps) {
    this.#deps = deps;
    this.#encoder = new EventEncoder(deps.domain, deps.renderConfiguration);
    this.#pages = new PageCache(deps.topics, this.#encoder);
    this.#context = {
      owner: this,
      encoder: this.#encoder,
      slices: new Slices((error) => deps.log.error({ err: error }, 'a slice of delivery failed')),
      pages: this.#pages,
      rings: new RingBudget(),
      gap: (cursor, from, to) => this.#gap(cursor, from, to),
      ended: (cursor) => this.#ended(cursor),
      judge: (feed) => void this.#hold(feed, 'judging'),
      forked: (feed) => this.#feedForked(feed),
      mayServe: () => this.#mayServe(),
      moved: (feed) => this.#positions.moved(feed),
      failed: (error, feed) => deps.log.error({ err: error, node: feed.node }, 'reading the log failed; trying again'),
    };
    this.#neighbours = deps.cluster && new Neighbours(deps.cluster, deps.log);
    this.#stopListening = [
      deps.topics.onEntries((appended) => this.#hear(appended)),
      deps.topics.onFork((node) => this.#forked(node)),
      deps.topics.onPrimaryChanged((nodes) => this.#primaryChanged(nodes)),
    ];
    this.#positions = new PositionWriter({
      positions: deps.topics,
      instanceId: () => this.#instanceId,
      mayServe: () => deps.mayServe?.() ?? true,
      forked: (feed) => void this.#hold(feed, 'forked'),
      refused: (cursor) => this.#lookLater(cursor.receiver, cursor.feed.node),
      deserted: (feed) => this.#drop(feed),
      log: deps.log,
    });
  }

  stats(): DeliveryStats {
    let cursors = 0;
    let liveCursors = 0;
    for (const feed of this.#allFeeds) {
      cursors += feed.cursors.size;
      liveCursors += feed.liveCount;
    }
    return { followedTopics: this.#feeds.size, cursors, liveCursors, gaps: this.#gaps };
  }

  /** Whether a message id was made for this subscription (XEP-0060 §12.4). */
  isNotificationFor(messageId: string, node: string, subscribedJid: string): boolean {
    return messageId.startsWith(`${subscriptionTag(node, subscribedJid)}.`);
  }

  /** Writes what every consumer acknowledged and stops. Sessions are expected to have ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#waitingToServe);
    this.#neighbours?.close();
    for (const stop of this.#stopListening) stop();
    for (const receiver of [...this.#receivers.values()]) this.ended(receiver.port, 'drain');
    await this.#positions.close();
  }

  // What the instance tells

  /**
   * This instance has a new id after fencing, and its sessions are claimed under it: delegations go on under the new id, and
   * all sessions are looked at again, since what others told the former one is lost (delivery.md §7.2).
   */
  rejoined(): void {
    for (const feed of this.#allFeeds) {
      feed.forgetStored();
      feed.goOn();
    }
    const receivers = [...this.#receivers.values()].filter(isStarted).values();
    const look = async () => {
      for (const receiver of receivers) {
        await this.#untilDone(() => this.#judgeReceiver(receiver), { jid: receiver.fullJid });
      }
    };
    for (let i = 0; i < SESSIONS_AT_ONCE; i += 1) void look();
  }

  #mayServe(): boolean {
    const { mayServe } = this.#deps;
    if (!mayServe || mayServe()) return true;
    this.#waitingToServe ??= setTimeout(() => {
      this.#waitingToServe = undefined;
      if (!this.#mayServe()) return;
      for (const feed of this.#allFeeds) feed.goOn();
    }, SERVE_MS).unref();
    return false;
  }

  get #allFeeds(): readonly Feed[] {
    return [...this.#feeds.values(), ...this.#deleted];
  }

  // SessionObserver

  bound(session: SessionPort): void {
    this.#add(session);
  }

  #add(session: SessionPort): Receiver {
    const fullJid = session.jid.toString();
    const account = session.jid.bare.toString();
    const receiver: Receiver = {
      port: session,
      account,
      fullJid,
      role: session.role,
      receivesBare: true,
      isHeld: false,
      startedMs: Number.POSITIVE_INFINITY,
      isEnded: false,
      cursors: new Map(),
      waiting: new Set(),
      ended: new Map(),
      loading: new Map(),
      restored: NOTHING_RESTORED,
    };
    this.#receivers.set(session, receiver);
    const receivers = this.#accounts.get(account);
    if (receivers) receivers.add(receiver);
    else this.#accounts.set(account, new Set([receiver]));
    return receiver;
  }

  started(session: SessionPort): void {
    const receiver = this.#receivers.get(session);
    if (!receiver || isStarted(receiver)) return;
    receiver.startedMs = Date.now();
    void this.#loadAll(receiver);
  }

  availabilityChanged(session: SessionPort, { receivesBare }: Availability): void {
    const receiver = this.#receivers.get(session);
    if (!receiver || receiver.receivesBare === receivesBare) return;
    receiver.receivesBare = receivesBare;
    for (const cursor of receiver.cursors.values()) {
      if (cursor.subscriber.jid !== receiver.account) continue;
      if (!receivesBare) {
        cursor.feed.suspend(cursor);
        continue;
      }
      // delivery.md §9.2: what such a topic said meanwhile was for those that were there.
      if (cursor.feed.startsAtHead) cursor.at = cursor.feed.head;
      cursor.feed.wake(cursor);
    }
  }

  writable(session: SessionPort): void {
    const receiver = this.#receivers.get(session);
    if (!receiver) return;
    for (const cursor of [...receiver.waiting]) {
      if (!session.isWritable) return;
      cursor.feed.wake(cursor);
    }
  }

  resumed(session: SessionPort): void {
    const receiver = this.#receivers.get(session);
    if (!receiver) return;
    if (receiver.role === session.role) this.writable(session);
    else void this.#judgeReceivers([receiver]);
  }

  ended(session: SessionPort, why: string): void {
    const receiver = this.#receivers.get(session);
    if (!receiver) return;
    receiver.isEnded = true;
    this.#receivers.delete(session);
    const receivers = this.#accounts.get(receiver.account);
    receivers?.delete(receiver);
    if (receivers?.size === 0) this.#accounts.delete(receiver.account);
    for (const cursor of [...receiver.cursors.values()]) {
      const { feed, subscriber, acknowledged, sentSeq } = cursor;
      if (subscriber.isDurable) this.#strikes.ended(feed.node, subscriber.jid, acknowledged.seq, sentSeq, why);
      this.#close(cursor);
    }
  }

  // EntryKeeper

  /** Where a session stands, for the instance where it goes on: what `arrive` takes. `ended` follows. */
  leave(session: SessionPort): string {
    const receiver = this.#receivers.get(session);
    return receiver ? placesText(receiver) : '';
  }

  /**
   * Takes on a session from another instance where it stood there, in place of `bound` and `started`: what was handed over
   * there is not handed over here again. The session sends again itself what is not acknowledged.
   *
   * @throws SyntaxError or TypeError for a text that is none of ours
   */
  async arrive(session: SessionPort, kept: string): Promise<void> {
    const { places, ended } = placesOfText(kept);
    const receiver = this.#add(session);
    if (places.size > 0) receiver.restored = places;
    for (const [key, jid, seq, record] of ended) {
      receiver.ended.set(key, { node: record.node, jid, record, seq, prefix: eventPrefix(record.node, jid) });
    }
    this.started(session);
  }

  /**
   * Resolves when what the session acknowledged is in the store: before its stream is closed in an orderly stop, so that
   * wherever its client logs in next, nothing is repeated (delivery.md §5.4). Never rejects; what cannot be written is logged.
   */
  async settle(session: SessionPort): Promise<void> {
    await this.#positions.settle(this.#receivers.get(session)?.cursors.values() ?? []);
  }

  // InterestPort

  async changed(node: string, account: string): Promise<void> {
    await Promise.all([this.#lookForAll(node, account), this.#neighbours?.tell(node, account)]);
  }

  async told(node: string, account: string): Promise<void> {
    try {
      await this.#deps.topics.forgetTopic(account, node);
    } catch (error) {
      // The account is told once more at its next login.
      this.#deps.log.warn({ err: error, account, node }, 'could not note that an account was told of a deletion');
    }
  }

  /**
   * Another instance changed something for sessions that are here: the body of its `interest` message. Returns at once; the
   * look is repeated until it succeeds, since the message is gone.
   *
   * @throws SyntaxError or TypeError for a body that is none of ours
   */
  interestHeard(body: string): void {
    const { node, account } = interestOf(body);
    void this.#untilDone(() => this.#lookForAll(node, account), { node, jid: account });
  }

  async #lookForAll(node: string, account: string): Promise<void> {
    const receivers = [...(this.#accounts.get(account) ?? [])];
    await Promise.all(receivers.filter(isStarted).map((receiver) => this.#look(receiver, node, false)));
  }

  /** Tries until it succeeds, or this instance stops. */
  async #untilDone(work: () => Promise<void>, about: object): Promise<void> {
    while (!this.#isClosed) {
      try {
        await work();
        return;
      } catch (error) {
        this.#deps.log.error({ err: error, ...about }, 'sessions could not be judged again; trying once more');
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref());
      }
    }
  }

  // Rights, delivery.md §8.2, §8.3

  /**
   * The account's rights may have changed. A session of another role gets nothing until it was judged again at every topic;
   * for the others what was missed is made good: a subscription that begins or ends here and that nobody told of. Never
   * rejects; while the store cannot be read it goes on trying.
   */
  async rejudgeAccount(account: string): Promise<void> {
    const receivers = [...(this.#accounts.get(account) ?? [])].filter(isStarted);
    if (receivers.length === 0) return;
    await this.#judgeReceivers(receivers.filter((receiver) => receiver.role !== receiver.port.role));
    await this.#untilDone(() => this.#compareWithIndex(account, receivers), { jid: account });
  }

  async #judgeReceivers(receivers: readonly Receiver[]): Promise<void> {
    // One that is held already is being judged, until its role stays as it is.
    const others = receivers.filter(({ isHeld }) => !isHeld);
    for (const receiver of others) receiver.isHeld = true;
    for (const receiver of others) {
      do await this.#untilDone(() => this.#judgeReceiver(receiver), { jid: receiver.fullJid });
      while (receiver.role !== receiver.port.role && !receiver.isEnded);
      receiver.isHeld = false;
      for (const cursor of receiver.cursors.values()) cursor.feed.wake(cursor);
    }
  }

  async #judgeReceiver(receiver: Receiver): Promise<void> {
    receiver.role = receiver.port.role;
    const nodes = new Set(receiver.isEnded ? [] : await this.#deps.topics.topicsOf(receiver.account));
    for (const { feed } of receiver.cursors.values()) nodes.add(feed.node);
    await this.#lookAtAll(receiver, [...nodes], false);
  }

  async #compareWithIndex(account: string, receivers: readonly Receiver[]): Promise<void> {
    const index = new Set(await this.#deps.topics.topicsOf(account));
    for (const receiver of receivers) {
      const open = new Set([...receiver.cursors.values()].map(({ feed }) => feed.node));
      const missed = [...index].filter((node) => !open.has(node));
      const over = [...open].filter((node) => !index.has(node));
      await this.#lookAtAll(receiver, [...missed, ...over], false);
    }
  }

  /** Some at a time, and others have their turn in between: many topics on an embedded store are read without a pause. */
  async #lookAtAll(receiver: Receiver, nodes: readonly string[], isStart: boolean): Promise<void> {
    for (let from = 0; from < nodes.length && !receiver.isEnded; from += LOOKS_AT_ONCE) {
      if (from > 0) await new Promise((resolve) => setImmediate(resolve));
      await Promise.all(nodes.slice(from, from + LOOKS_AT_ONCE).map((node) => this.#look(receiver, node, isStart)));
    }
  }

  async #skip({ node, head }: TopicRecord, jid: string): Promise<void> {
    const { topics } = this.#deps;
    const position = await topics.position(node, jid);
    if (!position || position.seq >= head.seq) return;
    await topics.update(node, { instance: this.#instanceId, settle: new Map([[jid, head]]), delegate: new Map() });
  }

  get #instanceId(): string {
    const { instanceId } = this.#deps;
    return typeof instanceId === 'string' ? instanceId : instanceId();
  }

  // Redeliverable

  acknowledged(session: SessionPort, refs: readonly EntryRef[]): void {
    const receiver = this.#receivers.get(session);
    if (!receiver) return;
    for (const ref of refs) {
      const cursor = receiver.cursors.get(ref.topic);
      if (cursor) {
        if (ref.seq <= cursor.doubtfulSeq) this.#acknowledgeDoubtful(cursor, ref);
        else this.#acknowledge(cursor, ref);
        continue;
      }
      const place = receiver.restored.get(ref.topic);
      if (place) {
        const isDoubtful = ref.seq <= place.doubtfulSeq; // what comes after it will count
        if (!isDoubtful && ref.seq > place.acknowledged.seq && ref.seq <= place.sentSeq) place.acknowledged = ref;
        continue;
      }
      const ended = receiver.ended.get(ref.topic);
      if (!ended || ref.seq < ended.seq) continue;
      receiver.ended.delete(ref.topic);
      void this.told(ended.node, receiver.account);
    }
  }

  #acknowledge(cursor: Cursor, ref: EntryRef): void {
    if (ref.seq <= cursor.acknowledged.seq || ref.seq > cursor.sentSeq) return;
    cursor.acknowledged = ref;
    this.#positions.moved(cursor.feed);
  }

  /** It may be meant for an entry of the same number that a failover dropped. */
  #acknowledgeDoubtful(cursor: Cursor, ref: EntryRef): void {
    const held = cursor.feed.ring.get(ref.seq);
    if (held) {
      if (held.entry.uid === ref.uid) this.#acknowledge(cursor, ref);
      return;
    }
    this.#deps.topics.entry(cursor.feed.node, ref).then(
      (entry) => {
        if (entry) this.#acknowledge(cursor, ref);
      },
      (error: unknown) => {
        // What comes after it is acknowledged as well some time, or it is sent again.
        this.#deps.log.warn({ err: error, node: cursor.feed.node }, 'an acknowledgement could not be compared with the log');
      },
    );
  }

  async encodeAgain(
    session: SessionPort,
    ref: EntryRef,
  ): Promise<{ readonly prefix: Buffer; readonly body: Buffer } | undefined> {
    const receiver = this.#receivers.get(session);
    // From another instance: its right to the topic is read first.
    if (receiver?.restored.has(ref.topic)) await this.#look(receiver, nodeOfKey(ref.topic), false);
    const cursor = receiver?.cursors.get(ref.topic);
    if (cursor) {
      const { feed, prefix, subscriber } = cursor;
      const held = feed.ring.get(ref.seq);
      const slot = held?.entry.uid === ref.uid ? held : await this.#readAgain(feed.node, feed.record, ref);
      if (slot === 'lost' || (slot?.isLost && !slot.isSkipped)) {
        this.#countGap(cursor, ref.seq, ref.seq);
        return { prefix: this.#encoder.gap(feed.node, subscriber.jid, ref.seq, ref.seq), body: NOTHING };
      }
      return slot && !slot.isSkipped ? { prefix, body: slot.delayed } : undefined;
    }
    const ended = receiver?.ended.get(ref.topic);
    // Without either the session lost its right, or the subscription is over: nothing of it is sent again.
    const slot = ended && (await this.#readAgain(ended.node, ended.record, ref));
    return !ended || !slot || slot === 'lost' || slot.isSkipped || slot.isLost
      ? undefined
      : { prefix: ended.prefix, body: slot.delayed };
  }

  /** `lost`: retention has passed it. Undefined: the log never had it, or a failover dropped it. */
  async #readAgain(node: string, record: TopicRecord, ref: EntryRef): Promise<Slot | 'lost' | undefined> {
    const page = await this.#deps.topics.readLog(node, { seq: ref.seq - 1, uid: '' }, 1, 0);
    if (page === 'gone') return undefined;
    const [entry] = page.entries;
    if (page.firstSeq > ref.seq) return 'lost';
    return entry?.seq === ref.seq && entry.uid === ref.uid ? new Slot(entry, record, this.#encoder) : undefined;
  }

  // Interest

  async #loadAll(receiver: Receiver): Promise<void> {
    try {
      await this.#lookAtAll(receiver, await this.#deps.topics.topicsOf(receiver.account), true);
      // Another session may have heard of a deletion, after which the index does not name the topic.
      const others = new Set([...receiver.restored.keys()].map(nodeOfKey));
      await this.#lookAtAll(receiver, [...others], false);
    } catch (error) {
      this.#deps.log.error({ err: error, jid: receiver.fullJid }, 'could not load the subscriptions of a session; trying again');
      setTimeout(() => {
        if (!receiver.isEnded) void this.#loadAll(receiver);
      }, RETRY_MS).unref();
    }
  }

  /**
   * Looks at one topic for one session: subscriptions and rights as they are now, cursors to match. One look at a time;
   * a wish that comes meanwhile makes it look once more (delivery.md §2.6: the writer wrote before it asked).
   */
  #look(receiver: Receiver, node: string, isStart: boolean): Promise<void> {
    const under = receiver.loading.get(node);
    if (under) {
      under.again = true;
      under.isStart ||= isStart;
      return under.done;
    }
    const loading: Loading = { done: Promise.resolve(), again: true, isStart };
    receiver.loading.set(node, loading);
    loading.done = this.#lookUntilSettled(receiver, node, loading).finally(() => receiver.loading.delete(node));
    return loading.done;
  }

  async #lookUntilSettled(receiver: Receiver, node: string, loading: Loading): Promise<void> {
    while (loading.again && !receiver.isEnded) {
      loading.again = false;
      await this.#lookOnce(receiver, node, loading);
    }
  }

  async #lookOnce(receiver: Receiver, node: string, loading: Loading): Promise<void> {
    const { topics } = this.#deps;
    const heardSeq = this.#feeds.get(node)?.head.seq ?? 0;
    // First: a change of rights after it has another token.
    const record = await topics.record(node);
    const [subscriptions, affiliation] = await Promise.all([
      topics.subscriptionsOf(node, receiver.account),
      topics.affiliation(node, receiver.account),
    ]);
    if (receiver.restored.size > 0) await this.#openDeleted(receiver, node, subscriptions);
    if (receiver.isEnded) return;
    // An affiliation is reason enough to be in the index.
    const hasDeparted = subscriptions.length === 0 && (!record || affiliation === 'none');
    if (loading.isStart && hasDeparted) await this.#tellDeparted(receiver, node, record);
    loading.isStart = false;
    // A deleted topic's cursors end with its last entry, when they come to it.
    if (!record) {
      dropRestored(receiver, node, new Set());
      return;
    }
    const wanted = subscriptions.filter(
      ({ jid, state }) => state === 'subscribed' && (jid === receiver.account || jid === receiver.fullJid),
    );
    const open = [...receiver.cursors.values()].filter(({ feed }) => feed.node === node);
    const mayReceive = mayHear(this.#deps.policy, receiver.port.role, affiliation, record);
    const kept = new Set(mayReceive ? wanted.map(({ jid }) => cursorKey(node, jid, receiver)) : []);
    dropRestored(receiver, node, kept);
    for (const cursor of open) {
      if (cursor.isClosed || kept.has(cursor.key)) continue;
      // Subscribed to a topic that was deleted, and created again under the same name: ends with the deletion (§1.5).
      if (cursor.at.seq < cursor.feed.deletedSeq) continue;
      this.#close(cursor);
      // delivery.md §8.1: what has not left yet stays here.
      if (!mayReceive) receiver.port.withdraw?.(cursor.key);
    }
    if (!mayReceive) {
      for (const { jid } of wanted) {
        // delivery.md §8.3: whatever is published until it may hear the topic again is never delivered.
        if (jid === receiver.account) await this.#skip(record, jid);
      }
      return;
    }
    for (const subscription of wanted) {
      if (receiver.cursors.has(cursorKey(node, subscription.jid, receiver))) continue;
      await this.#open(receiver, record, subscription);
      if (receiver.isEnded) return;
    }
    // Judged by what was read before the feed heard of a change of rights: judge again.
    const feed = this.#feeds.get(node);
    // A log that ends before what was heard earlier than it was read is not the one that was heard.
    if (feed && record.head.seq < heardSeq && record.head.seq < feed.head.seq) void this.#hold(feed, 'forked');
    else if (feed && record.head.seq < feed.head.seq && record.accessToken !== feed.accessToken) loading.again = true;
  }

  async #open(receiver: Receiver, record: TopicRecord, subscription: Subscription): Promise<void> {
    const { node } = record;
    const { jid, start, sinceMs } = subscription;
    const isBare = jid === receiver.account;
    const stored = isBare ? await this.#deps.topics.position(node, jid) : start;
    const key = cursorKey(node, jid, receiver);
    const restored = await this.#restoredPlace(receiver, node, key);
    let feed = await this.#follow(node);
    // Without a cursor it may have been dropped in the same turn.
    while (feed && this.#feeds.get(node) !== feed) feed = await this.#follow(node);
    if (!feed || !stored || receiver.isEnded || receiver.cursors.has(key)) {
      // Followed for nobody, perhaps.
      if (feed?.cursors.size === 0) this.#positions.left(feed);
      return;
    }
    const isDurable = isBare && !feed.startsAtHead;
    let subscriber = feed.subscribers.get(jid);
    if (!subscriber) {
      subscriber = { jid, isDurable, acknowledged: stored, isDelegated: false, storedSeq: stored.seq, cursors: new Set() };
      feed.subscribers.set(jid, subscriber);
    }
    let at = later(stored, start);
    if (restored) at = later(restored.at, start);
    // Written by this instance a moment ago, or not yet.
    else if (isDurable) at = later(at, acknowledgedBy(subscriber));
    // delivery.md §4.1, §9.2: nothing is kept from before the session.
    else if (sinceMs < receiver.startedMs) at = later(feed.head, start);
    // A store that was set back to an older state: go on from what there is.
    if (at.seq > feed.head.seq && at.seq > record.head.seq) at = later(feed.head, start);
    const cursor = new Cursor(receiver, feed, subscriber, eventPrefix(node, jid), key, at);
    cursor.setsAside = isDurable && this.#strikes.isOut(node, jid, at.seq);
    this.#start(cursor, restored);
  }

  #start(cursor: Cursor, restored: Place | undefined): void {
    const { receiver, feed, key } = cursor;
    if (restored) {
      cursor.sentSeq = restored.sentSeq;
      cursor.acknowledged = restored.acknowledged;
      cursor.doubtfulSeq = restored.doubtfulSeq;
    }
    receiver.restored.delete(key);
    receiver.cursors.set(key, cursor);
    feed.add(cursor);
    this.#positions.moved(feed);
  }

  /**
   * Restored places of a topic that was deleted since: their cursors go on to that entry, as they would have where they come
   * from, and end with it, also when there is a topic of that name again (delivery.md §1.5, §6.2).
   */
  async #openDeleted(receiver: Receiver, node: string, subscriptions: readonly Subscription[]): Promise<void> {
    for (const key of [...receiver.restored.keys()]) {
      if (nodeOfKey(key) !== node) continue;
      const place = await this.#restoredPlace(receiver, node, key);
      const jid = key === node ? receiver.account : receiver.fullJid;
      const subscription = subscriptions.find((each) => each.jid === jid);
      // A deletion ends all subscriptions.
      if (!place || (subscription && subscription.start.seq <= place.at.seq)) continue;
      const deletion = await deletionAfter(node, place.at, this.#deps.topics);
      if (receiver.isEnded) return;
      if (!deletion || receiver.restored.get(key) !== place || !mayRoleHear(this.#deps.policy, receiver.port.role, node))
        continue;
      // Where it comes from that was not known yet. Its right may have ended before (delivery.md §8.3).
      if (!place.deleted && (deletion.isAfterAccess || !deletion.entry.notify)) continue;
      const { seq, uid, prevUid } = deletion.entry;
      const feed = new Feed(place.deleted ?? recordOfDeleted(node, deletion), { seq, uid }, this.#context);
      feed.deletedSeq = seq;
      const at = place.deleted ? place.at : { seq: seq - 1, uid: prevUid };
      const subscriber = {
        jid,
        isDurable: false,
        acknowledged: at,
        isDelegated: false,
        storedSeq: 0,
        cursors: new Set<Cursor>(),
      };
      feed.subscribers.set(jid, subscriber);
      this.#deleted.add(feed);
      this.#start(new Cursor(receiver, feed, subscriber, eventPrefix(node, jid), key, at), place);
    }
  }

  /** Where the session stood on another instance, if the log still has that place. */
  async #restoredPlace(receiver: Receiver, node: string, key: string): Promise<Place | undefined> {
    const place = receiver.restored.get(key);
    if (!place || place.at.seq === 0) return place;
    const page = await this.#deps.topics.readLog(node, { seq: place.at.seq - 1, uid: '' }, 1, 0);
    const [entry] = page === 'gone' ? [] : page.entries;
    const isDropped =
      page === 'gone' || page.head.seq < place.at.seq || (entry?.seq === place.at.seq && isAnotherUid(entry.uid, place.at.uid));
    if (!isDropped) return place;
    receiver.restored.delete(key);
    return undefined;
  }

  /** Follow: hear the bells, then read the head; what rang between is taken after it (delivery.md §3.1). */
  #follow(node: string): Feed | Promise<Feed | undefined> {
    const feed = this.#feeds.get(node);
    if (feed) return feed;
    const under = this.#following.get(node);
    if (under) return under.feed;
    const heard: Appended[] = [];
    const following = this.#startFollowing(node, heard).finally(() => this.#following.delete(node));
    this.#following.set(node, { feed: following, heard });
    return following;
  }

  async #startFollowing(node: string, heard: Appended[]): Promise<Feed | undefined> {
    const record = await this.#deps.topics.follow(node);
    if (!record) return undefined;
    const feed = new Feed(record, record.head, this.#context);
    this.#feeds.set(node, feed);
    for (const appended of heard) feed.take(appended.entries, appended.record);
    return feed;
  }

  #forked(node: string): void {
    const feed = this.#feeds.get(node);
    if (feed) void this.#hold(feed, 'forked');
  }

  #feedForked(feed: Feed): void {
    if (!this.#deleted.has(feed)) {
      void this.#hold(feed, 'forked');
      return;
    }
    // A failover dropped the deletion itself: the topic is there as it was.
    for (const cursor of [...feed.cursors]) {
      this.#close(cursor);
      this.#lookLater(cursor.receiver, feed.node);
    }
  }

  /** A primary that was a replica may lack what this instance wrote last (delivery.md §3.4). */
  #primaryChanged(nodes: readonly string[]): void {
    for (const node of nodes) this.#feeds.get(node)?.forgetStored();
  }

  #hear({ node, entries, record }: Appended): void {
    const feed = this.#feeds.get(node);
    if (feed) feed.take(entries, record);
    else this.#following.get(node)?.heard.push({ node, entries, record });
  }

  /**
   * Nobody gets a further entry of the topic before what it is held for is done: each session judged again when rights changed
   * (delivery.md §8.1), or cursors set back after a fork (§1.3).
   */
  async #hold(feed: Feed, why: Hold): Promise<void> {
    const due = this.#held[why];
    due.add(feed);
    if (feed.isHeldFor(why)) return;
    feed.hold(why);
    while (due.delete(feed) && !this.#isClosed) {
      try {
        if (why === 'judging') await this.#judge(feed);
        else await this.#heal(feed);
      } catch (error) {
        this.#deps.log.error({ err: error, node: feed.node, why }, 'a topic waits: the store could not be read; trying again');
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref());
        due.add(feed);
      }
    }
    feed.release(why);
  }

  async #judge(feed: Feed): Promise<void> {
    const receivers = new Set([...feed.cursors].map((cursor) => cursor.receiver));
    await Promise.all([...receivers].map((receiver) => this.#look(receiver, feed.node, false)));
  }

  async #heal(feed: Feed): Promise<void> {
    const before = feed.head;
    await healFork(feed, this.#deps.topics);
    this.#deps.log.warn(
      { node: feed.node, heard: before, head: feed.head },
      'entries that were delivered are not in the log any more, a failover dropped them; consumers go on from the log',
    );
    // Rights may have been dropped with them.
    void this.#hold(feed, 'judging');
  }

  /**
   * The index names a topic without a subscription: it was deleted while the account was away, and perhaps there is another of
   * that name, or a change of an unknown outcome left the entry (delivery.md §1.5).
   */
  async #tellDeparted(receiver: Receiver, node: string, record: TopicRecord | undefined): Promise<void> {
    const { topics } = this.#deps;
    // Told on the instance that it comes from, and sent again; or about to be told.
    if ([...receiver.ended.values()].some((ended) => ended.node === node)) return;
    if ([...receiver.cursors.values()].some(({ feed }) => feed.node === node)) return;
    const { account, port } = receiver;
    const telling = `${account}\u0000${node}`;
    if (this.#telling.has(telling)) return;
    this.#telling.add(telling);
    try {
      const stone = record ? undefined : await topics.tombstone(node);
      if (receiver.isEnded) return;
      if (mayRoleHear(this.#deps.policy, port.role, node)) {
        if (record) port.sendStanza(this.#encoder.subscriptionOver(node, account, record.head));
        else port.sendStanza(this.#encoder.deletedMeanwhile(node, account, stone?.head, stone?.redirect));
      }
      await topics.forgetTopic(account, node);
    } finally {
      this.#telling.delete(telling);
    }
  }

  // Cursors

  #close(cursor: Cursor): void {
    acknowledgedBy(cursor.subscriber);
    cursor.receiver.cursors.delete(cursor.key);
    cursor.feed.close(cursor);
    if (cursor.subscriber.cursors.size === 0) this.#positions.left(cursor.feed);
  }

  #ended(cursor: Cursor): void {
    const { feed, receiver, subscriber } = cursor;
    const { key, prefix, sentSeq, at } = cursor;
    if (sentSeq === at.seq) {
      receiver.ended.set(key, { node: feed.node, jid: subscriber.jid, record: feed.record, seq: at.seq, prefix });
    }
    this.#close(cursor);
    // The name may be a new topic by now, to which the account has subscribed already.
    this.#lookLater(receiver, feed.node);
  }

  #lookLater(receiver: Receiver, node: string): void {
    void this.#untilDone(() => this.#look(receiver, node, false), { jid: receiver.fullJid, node });
  }

  #gap(cursor: Cursor, from: number, to: number): void {
    const { receiver, feed, subscriber } = cursor;
    this.#countGap(cursor, from, to);
    receiver.port.sendStanza(this.#encoder.gap(feed.node, subscriber.jid, from, to));
  }

  #countGap({ receiver, feed }: Cursor, from: number, to: number): void {
    this.#gaps += 1;
    this.#deps.log.warn({ jid: receiver.fullJid, node: feed.node, from, to }, 'a consumer was told of a gap');
  }

  /** Nobody is left: the topic is not followed any more. */
  #drop(feed: Feed): void {
    if (this.#deleted.delete(feed)) return;
    if (this.#feeds.get(feed.node) !== feed) return;
    this.#feeds.delete(feed.node);
    this.#context.rings.dropped(feed.ring);
    this.#deps.topics.unfollow(feed.node).catch((error: unknown) => {
      // Its bells are heard in vain until the connection to the store is a new one.
      this.#deps.log.warn({ err: error, node: feed.node }, 'could not stop following a topic');
    });
  }

  /** One round of the positions: what happens once a second. Never rejects. */
  writePositions(): Promise<void> {
    return this.#positions.round();
  }
}

const NOTHING = Buffer.alloc(0);
/** Shared by all sessions that began here; nothing is ever put in. */
const NOTHING_RESTORED: Map<string, Place> = new Map();

const later = (a: EntryId, b: EntryId): EntryId => (b.seq > a.seq ? b : a);

/** Events for a full JID are told apart from those for the account, which the same session may get as well. */
const cursorKey = (node: string, jid: string, receiver: Receiver): string =>
  jid === receiver.account ? node : `${node}\u0000${jid}`;

/** Places of a session that has no business at the topic any more. */
function dropRestored(receiver: Receiver, node: string, kept: ReadonlySet<string>): void {
  for (const key of receiver.restored.keys()) {
    if (nodeOfKey(key) === node && !kept.has(key)) receiver.restored.delete(key);
  }
}

const nodeOfKey = (key: string): string => key.split('\u0000', 1)[0]!;

const isStarted = (receiver: Receiver): boolean => receiver.startedMs !== Number.POSITIVE_INFINITY;
