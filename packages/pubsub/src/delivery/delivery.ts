import type { Availability, EntryRef, Logger, Redeliverable, SessionObserver, SessionPort } from '@xmpp-grid/stream';
import { effectiveAffiliation, maySubscriptionStand } from '../access/decide.ts';
import type { TopicPolicy } from '../access/policy.ts';
import type { EntryId } from '../log/entry.ts';
import type { Appended, LogReader } from '../store/log-reader.ts';
import type { PositionStore } from '../store/position-store.ts';
import type { Subscription, TopicRecord, TopicStore } from '../store/topic-store.ts';
import { Cursor, type Loading, type Receiver } from './cursor.ts';
import { EventEncoder, eventPrefix, type RenderConfiguration, subscriptionTag } from './event.ts';
import { Feed, type FeedContext } from './feed.ts';
import type { InterestPort } from './interest-port.ts';
import { PageCache } from './page-cache.ts';
import { acknowledgedBy, decidePositions, positionsWritten } from './positions.ts';
import { RingBudget, Slot } from './ring.ts';
import { Slices } from './slices.ts';
import { Strikes } from './strikes.ts';

/** Positions of topics whose figures moved are written this often (delivery.md §5.3). */
const POSITIONS_MS = 1_000;
/** A topic stays in the rounds this long after its last movement, so that laggards of the last entries show. */
const ROUNDS_AFTER_MOVE = 3;
/** Sessions that end within this time are written in one step for each topic. */
const SETTLE_MS = 50;
/** How long a failed look at the store rests. */
const RETRY_MS = 1_000;

export interface DeliveryDeps {
  readonly topics: TopicStore & LogReader & PositionStore;
  /** Random per process start, never reused. */
  readonly instanceId: string;
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
export class Delivery implements SessionObserver, Redeliverable, InterestPort {
  readonly #deps: DeliveryDeps;
  readonly #encoder: EventEncoder;
  readonly #pages: PageCache;
  readonly #context: FeedContext;
  readonly #receivers = new Map<SessionPort, Receiver>();
  readonly #accounts = new Map<string, Set<Receiver>>();
  readonly #feeds = new Map<string, Feed>();
  /** Topics that are about to be followed: their head is being read. */
  readonly #following = new Map<string, { readonly feed: Promise<Feed | undefined>; readonly heard: Appended[] }>();
  /** Topics whose figures moved, with the rounds they stay in. */
  readonly #moved = new Map<Feed, number>();
  readonly #writing = new Map<Feed, Promise<void>>();
  readonly #rejudge = new Set<Feed>();
  readonly #stopListening: () => void;
  readonly #timer: NodeJS.Timeout;
  readonly #strikes = new Strikes();
  readonly #parted = new Set<Feed>();
  #settling: NodeJS.Timeout | undefined;
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
      judge: (feed) => void this.#judge(feed),
      moved: (feed) => this.#moved.set(feed, ROUNDS_AFTER_MOVE),
      failed: (error, feed) => deps.log.error({ err: error, node: feed.node }, 'reading the log failed; trying again'),
    };
    this.#stopListening = deps.topics.onEntries((appended) => this.#hear(appended));
    this.#timer = setInterval(() => void this.writePositions(), POSITIONS_MS);
    this.#timer.unref();
  }

  stats(): DeliveryStats {
    let cursors = 0;
    let liveCursors = 0;
    for (const feed of this.#feeds.values()) {
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
    clearInterval(this.#timer);
    this.#stopListening();
    for (const receiver of [...this.#receivers.values()]) this.ended(receiver.port, 'drain');
    clearTimeout(this.#settling);
    await Promise.all(this.#writing.values());
    await this.writePositions();
  }

  // SessionObserver

  bound(session: SessionPort): void {
    const fullJid = session.jid.toString();
    const account = session.jid.bare.toString();
    const receiver: Receiver = {
      port: session,
      account,
      fullJid,
      receivesBare: true,
      startedMs: Number.POSITIVE_INFINITY,
      isEnded: false,
      cursors: new Map(),
      waiting: new Set(),
      ended: new Map(),
      loading: new Map(),
    };
    this.#receivers.set(session, receiver);
    const receivers = this.#accounts.get(account);
    if (receivers) receivers.add(receiver);
    else this.#accounts.set(account, new Set([receiver]));
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
    this.writable(session);
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

  // InterestPort

  async changed(node: string, account: string): Promise<void> {
    const receivers = [...(this.#accounts.get(account) ?? [])];
    await Promise.all(receivers.filter(isStarted).map((receiver) => this.#look(receiver, node, false)));
  }

  // Redeliverable

  acknowledged(session: SessionPort, refs: readonly EntryRef[]): void {
    const receiver = this.#receivers.get(session);
    if (!receiver) return;
    for (const ref of refs) {
      const cursor = receiver.cursors.get(ref.topic);
      if (cursor) {
        if (ref.seq <= cursor.acknowledged.seq || ref.seq > cursor.sentSeq) continue;
        cursor.acknowledged = ref;
        this.#moved.set(cursor.feed, ROUNDS_AFTER_MOVE);
        continue;
      }
      const ended = receiver.ended.get(ref.topic);
      if (!ended || ref.seq < ended.seq) continue;
      receiver.ended.delete(ref.topic);
      this.#forget(receiver.account, ended.node);
    }
  }

  async encodeAgain(
    session: SessionPort,
    ref: EntryRef,
  ): Promise<{ readonly prefix: Buffer; readonly body: Buffer } | undefined> {
    const receiver = this.#receivers.get(session);
    const cursor = receiver?.cursors.get(ref.topic);
    if (cursor) {
      const { feed, prefix } = cursor;
      const held = feed.ring.get(ref.seq);
      if (held?.entry.uid === ref.uid) return held.isSkipped || held.isLost ? undefined : { prefix, body: held.delayed };
      const slot = await this.#readAgain(feed.node, feed.record, ref);
      return slot && { prefix, body: slot.delayed };
    }
    const ended = receiver?.ended.get(ref.topic);
    // Without either the session lost its right, or the subscription is over: nothing of it is sent again.
    const slot = ended && (await this.#readAgain(ended.node, ended.record, ref));
    return slot && { prefix: ended.prefix, body: slot.delayed };
  }

  async #readAgain(node: string, record: TopicRecord, ref: EntryRef): Promise<Slot | undefined> {
    const entry = await this.#deps.topics.entry(node, ref);
    if (!entry) return undefined;
    const slot = new Slot(entry, record, this.#encoder);
    return slot.isSkipped || slot.isLost ? undefined : slot;
  }

  // Interest

  async #loadAll(receiver: Receiver): Promise<void> {
    try {
      for (const node of await this.#deps.topics.topicsOf(receiver.account)) {
        if (receiver.isEnded) return;
        await this.#look(receiver, node, true);
      }
    } catch (error) {
      this.#deps.log.error({ err: error, jid: receiver.fullJid }, 'could not load the subscriptions of a session; trying again');
      setTimeout(() => void this.#loadAll(receiver), RETRY_MS).unref();
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
    const record = await topics.record(node);
    const subscriptions = await topics.subscriptionsOf(node, receiver.account);
    if (receiver.isEnded) return;
    if (loading.isStart && subscriptions.length === 0) await this.#tellDeparted(receiver, node, record);
    loading.isStart = false;
    // A deleted topic's cursors end with its last entry, when they come to it.
    if (!record) return;
    const wanted = subscriptions.filter(
      ({ jid, state }) => state === 'subscribed' && (jid === receiver.account || jid === receiver.fullJid),
    );
    const mayReceive = wanted.length > 0 && (await this.#mayReceive(receiver, record));
    if (receiver.isEnded) return;
    const kept = new Set(mayReceive ? wanted.map(({ jid }) => cursorKey(node, jid, receiver)) : []);
    for (const cursor of [...receiver.cursors.values()]) {
      if (cursor.feed.node !== node || kept.has(cursor.key)) continue;
      // Subscribed to a topic that was deleted, and created again under the same name: ends with the deletion (§1.5).
      if (cursor.at.seq < cursor.feed.deletedSeq) continue;
      this.#close(cursor);
    }
    if (!mayReceive) return;
    for (const subscription of wanted) {
      if (receiver.cursors.has(cursorKey(node, subscription.jid, receiver))) continue;
      await this.#open(receiver, record, subscription);
      if (receiver.isEnded) return;
    }
    // Judged by what was read before the feed heard of a change of rights: judge again.
    const feed = this.#feeds.get(node);
    if (feed && record.head.seq < feed.head.seq && record.accessToken !== feed.accessToken) loading.again = true;
  }

  async #open(receiver: Receiver, record: TopicRecord, subscription: Subscription): Promise<void> {
    const { node } = record;
    const { jid, start, sinceMs } = subscription;
    const isBare = jid === receiver.account;
    const stored = isBare ? await this.#deps.topics.position(node, jid) : start;
    const feed = await this.#follow(node);
    const key = cursorKey(node, jid, receiver);
    if (!feed || !stored || receiver.isEnded || receiver.cursors.has(key)) return;
    const isDurable = isBare && !feed.startsAtHead;
    let subscriber = feed.subscribers.get(jid);
    if (!subscriber) {
      subscriber = { jid, isDurable, acknowledged: stored, isDelegated: false, storedSeq: stored.seq, cursors: new Set() };
      feed.subscribers.set(jid, subscriber);
    }
    let at = later(stored, start);
    // Written by this instance a moment ago, or not yet.
    if (isDurable) at = later(at, acknowledgedBy(subscriber));
    // delivery.md §4.1, §9.2: nothing is kept from before the session.
    else if (sinceMs < receiver.startedMs) at = later(feed.head, start);
    // A store that was set back to an older state: go on from what there is.
    if (at.seq > feed.head.seq && at.seq > record.head.seq) at = later(feed.head, start);
    const cursor = new Cursor(receiver, feed, subscriber, eventPrefix(node, jid), key, at);
    cursor.setsAside = isDurable && this.#strikes.isOut(node, jid, at.seq);
    receiver.cursors.set(key, cursor);
    feed.add(cursor);
    this.#moved.set(feed, ROUNDS_AFTER_MOVE);
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

  #hear({ node, entries, record }: Appended): void {
    const feed = this.#feeds.get(node);
    if (feed) feed.take(entries, record);
    else this.#following.get(node)?.heard.push({ node, entries, record });
  }

  /** May the session still be told of this topic: its role's grant, and the account's standing there (D11). */
  async #mayReceive(receiver: Receiver, record: TopicRecord): Promise<boolean> {
    const { topics } = this.#deps;
    const { role } = receiver.port;
    if (!this.#mayHear(role, record.node)) return false;
    const affiliation = await topics.affiliation(record.node, receiver.account);
    const isApproved = this.#deps.policy.approves(role, record.node);
    return maySubscriptionStand(effectiveAffiliation(affiliation, isApproved), record.config.accessModel);
  }

  /** Rights changed: nobody gets a further entry of the topic before each session was judged again (delivery.md §8.1). */
  async #judge(feed: Feed): Promise<void> {
    this.#rejudge.add(feed);
    if (feed.isJudging) return;
    feed.isJudging = true;
    while (this.#rejudge.delete(feed)) {
      try {
        const receivers = new Set([...feed.cursors].map((cursor) => cursor.receiver));
        await Promise.all([...receivers].map((receiver) => this.#look(receiver, feed.node, false)));
      } catch (error) {
        this.#deps.log.error({ err: error, node: feed.node }, 'could not judge sessions again; the topic waits');
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref());
        this.#rejudge.add(feed);
      }
    }
    feed.judged();
  }

  /** Whether the role is told of the topic at all, whatever the subscription says (design D11). */
  #mayHear(role: string, node: string): boolean {
    const { policy } = this.#deps;
    return !policy.isHidden(role, node) && policy.decide(role, 'subscribe', node).verdict === 'allow';
  }

  /** The index names a topic without a subscription: it was deleted while the account was away (delivery.md §1.5). */
  async #tellDeparted(receiver: Receiver, node: string, record: TopicRecord | undefined): Promise<void> {
    const { topics } = this.#deps;
    // An affiliation is reason enough to be in the index.
    if (record && (await topics.affiliation(node, receiver.account)) !== 'none') return;
    const stone = await topics.tombstone(node);
    if (receiver.isEnded) return;
    if (this.#mayHear(receiver.port.role, node)) {
      receiver.port.sendStanza(this.#encoder.deletedMeanwhile(node, receiver.account, stone?.head, stone?.redirect));
    }
    await topics.forgetTopic(receiver.account, node);
  }

  #forget(account: string, node: string): void {
    this.#deps.topics.forgetTopic(account, node).catch((error: unknown) => {
      // The account is told once more at its next login.
      this.#deps.log.warn({ err: error, account, node }, 'could not note that an account was told of a deletion');
    });
  }

  // Cursors

  #close(cursor: Cursor): void {
    acknowledgedBy(cursor.subscriber);
    cursor.receiver.cursors.delete(cursor.key);
    cursor.feed.close(cursor);
    if (cursor.subscriber.cursors.size === 0) this.#settleSoon(cursor.feed);
  }

  #ended(cursor: Cursor): void {
    const { feed, receiver } = cursor;
    const { key, prefix, sentSeq, at } = cursor;
    if (sentSeq === at.seq) receiver.ended.set(key, { node: feed.node, record: feed.record, seq: at.seq, prefix });
    this.#close(cursor);
    // The name may be a new topic by now, to which the account has subscribed already.
    this.#look(receiver, feed.node, false).catch((error: unknown) => {
      this.#deps.log.error(
        { err: error, jid: receiver.fullJid, node: feed.node },
        'could not look at a topic after its deletion',
      );
    });
  }

  #gap(cursor: Cursor, from: number, to: number): void {
    const { receiver, feed, subscriber } = cursor;
    this.#gaps += 1;
    this.#deps.log.warn({ jid: receiver.fullJid, node: feed.node, from, to }, 'a consumer was told of a gap');
    receiver.port.sendStanza(this.#encoder.gap(feed.node, subscriber.jid, from, to));
  }

  // Positions

  /** Sessions that end together are written together. */
  #settleSoon(feed: Feed): void {
    this.#parted.add(feed);
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined;
      for (const parted of this.#parted) void this.#write(parted);
      this.#parted.clear();
    }, SETTLE_MS).unref();
  }

  /** One round of the positions: every topic whose figures moved, one step each. Never rejects. */
  async writePositions(): Promise<void> {
    const feeds = [...this.#moved];
    for (const [feed, rounds] of feeds) {
      if (rounds <= 1) this.#moved.delete(feed);
      else this.#moved.set(feed, rounds - 1);
    }
    await Promise.all(
      feeds.map(async ([feed]) => {
        await this.#write(feed);
        feed.headTwoAgo = feed.headOneAgo;
        feed.headOneAgo = feed.head;
      }),
    );
  }

  /** One step at a time for each topic; each is decided from what is known when its turn comes. */
  #write(feed: Feed): Promise<void> {
    const before = this.#writing.get(feed);
    const writing = (before ?? Promise.resolve()).then(() => this.#writeOnce(feed));
    this.#writing.set(feed, writing);
    return writing.finally(() => {
      if (this.#writing.get(feed) === writing) this.#writing.delete(feed);
    });
  }

  async #writeOnce(feed: Feed): Promise<void> {
    const step = decidePositions(feed, this.#deps.instanceId);
    if (step) {
      try {
        const written = await this.#deps.topics.update(feed.node, step.update);
        if (written !== 'gone' && written.refused.length > 0) {
          this.#deps.log.debug(
            { node: feed.node, refused: written.refused.length },
            'positions refused: their subscriptions are over',
          );
        }
        positionsWritten(feed, step);
        for (const subscriber of step.parting) {
          if (subscriber.cursors.size === 0) feed.subscribers.delete(subscriber.jid);
        }
      } catch (error) {
        this.#deps.log.error({ err: error, node: feed.node }, 'could not write positions; trying again');
        this.#moved.set(feed, ROUNDS_AFTER_MOVE);
        return;
      }
    }
    if (feed.cursors.size > 0 || feed.subscribers.size > 0 || this.#feeds.get(feed.node) !== feed) return;
    this.#feeds.delete(feed.node);
    this.#moved.delete(feed);
    this.#context.rings.dropped(feed.ring);
    this.#deps.topics.unfollow(feed.node).catch((error: unknown) => {
      // Its bells are heard in vain until the connection to the store is a new one.
      this.#deps.log.warn({ err: error, node: feed.node }, 'could not stop following a topic');
    });
  }
}

const later = (a: EntryId, b: EntryId): EntryId => (b.seq > a.seq ? b : a);

/** Events for a full JID are told apart from those for the account, which the same session may get as well. */
const cursorKey = (node: string, jid: string, receiver: Receiver): string =>
  jid === receiver.account ? node : `${node}\u0000${jid}`;

const isStarted = (receiver: Receiver): boolean => receiver.startedMs !== Number.POSITIVE_INFINITY;
