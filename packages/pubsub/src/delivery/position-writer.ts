import type { Logger } from '@xmpp-grid/stream';
import type { PositionStore } from '../store/position-store.ts';
import type { Cursor } from './cursor.ts';
import type { Feed } from './feed.ts';
import { decidePositions, type PositionStep, positionsWritten } from './positions.ts';

/** Positions of topics whose figures moved are written this often (delivery.md §5.3). */
const ROUND_MS = 1_000;
/** A topic stays in the rounds this long after its last movement, so that laggards of the last entries show. */
const ROUNDS_AFTER_MOVE = 3;

export interface PositionWriterDeps {
  readonly positions: PositionStore;
  instanceId(): string;
  /** False: nothing is written (delivery.md §7.2). */
  mayServe(): boolean;
  /** The store does not have a place that consumers passed. */
  forked(feed: Feed): void;
  /** The store refused what a cursor acknowledged: its subscription is over, or its place is not the log's. */
  refused(cursor: Cursor): void;
  /** Nobody is left at the topic, and the store knows all. */
  deserted(feed: Feed): void;
  readonly log: Logger;
}

/**
 * Writes what consumers acknowledged, one step at a time for each topic (delivery.md §5.3). Owns the list of topics whose
 * figures moved; what is not written when the process dies is sent again.
 */
export class PositionWriter {
  readonly #deps: PositionWriterDeps;
  /** Topics whose figures moved, with the rounds they stay in. */
  readonly #moved = new Map<Feed, number>();
  readonly #writing = new Map<Feed, Promise<void>>();
  /** Feeds that sessions have left since their last step began. */
  readonly #parted = new Set<Feed>();
  readonly #timer: NodeJS.Timeout;
  #isClosing = false;

  constructor(deps: PositionWriterDeps) {
    this.#deps = deps;
    this.#timer = setInterval(() => void this.round(), ROUND_MS);
    this.#timer.unref();
  }

  /** Something about the positions at this topic changed. */
  moved(feed: Feed): void {
    this.#moved.set(feed, ROUNDS_AFTER_MOVE);
  }

  /** One round: every topic whose figures moved, one step each. Never rejects. */
  async round(): Promise<void> {
    if (!this.#mayWrite) return;
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

  /**
   * A session left the topic. At once, for the next one of the account may start on another instance; those that leave
   * meanwhile share the next step.
   */
  left(feed: Feed): void {
    if (this.#parted.has(feed)) return;
    this.#parted.add(feed);
    void this.#write(feed);
  }

  /** Resolves when these cursors' subscribers have their own numbers in the store. Never rejects. */
  async settle(cursors: Iterable<Cursor>): Promise<void> {
    const steps: Promise<void>[] = [];
    for (const { feed, subscriber } of cursors) {
      feed.parting.add(subscriber.jid);
      steps.push(this.#write(feed));
    }
    await Promise.all(steps);
  }

  /** Writes what is left and stops. Merged by maximum, so that even one who should not write does no harm. */
  async close(): Promise<void> {
    this.#isClosing = true;
    clearInterval(this.#timer);
    await Promise.all(this.#writing.values());
    await this.round();
  }

  get #mayWrite(): boolean {
    return this.#isClosing || this.#deps.mayServe();
  }

  /** Each step is decided from what is known when its turn comes. */
  #write(feed: Feed): Promise<void> {
    const before = this.#writing.get(feed);
    const writing = (before ?? Promise.resolve()).then(() => this.#writeOnce(feed));
    this.#writing.set(feed, writing);
    return writing.finally(() => {
      if (this.#writing.get(feed) === writing) this.#writing.delete(feed);
    });
  }

  async #writeOnce(feed: Feed): Promise<void> {
    this.#parted.delete(feed);
    if (!this.#mayWrite || feed.isHeldFor('forked')) {
      this.moved(feed);
      return;
    }
    const { epoch } = feed;
    const step = decidePositions(feed, this.#deps.instanceId());
    feed.parting.clear();
    if (step) {
      try {
        const written = step.isEmpty ? 'gone' : await this.#deps.positions.update(feed.node, step.update);
        this.#written(feed, epoch, step, new Set(written === 'gone' ? [] : written.refused));
      } catch (error) {
        this.#deps.log.error({ err: error, node: feed.node }, 'could not write positions; trying again');
        this.moved(feed);
        return;
      }
    }
    if (feed.cursors.size > 0 || feed.subscribers.size > 0) return;
    this.#moved.delete(feed);
    this.#deps.deserted(feed);
  }

  #written(feed: Feed, epoch: number, step: PositionStep, refused: ReadonlySet<string>): void {
    // What was found out meanwhile counts: it is written again.
    if (feed.epoch !== epoch) return;
    if (refused.has('')) {
      this.#deps.forked(feed);
      return;
    }
    positionsWritten(feed, step, refused);
    for (const subscriber of step.parting) {
      if (subscriber.cursors.size === 0) feed.subscribers.delete(subscriber.jid);
    }
    for (const jid of refused) {
      for (const cursor of feed.subscribers.get(jid)?.cursors ?? []) this.#deps.refused(cursor);
    }
  }
}
