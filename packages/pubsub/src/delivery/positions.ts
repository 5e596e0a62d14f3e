import type { EntryId } from '../log/entry.ts';
import type { PositionUpdate } from '../store/position-store.ts';
import type { Subscriber } from './cursor.ts';
import type { Feed } from './feed.ts';

export interface PositionStep {
  readonly update: PositionUpdate;
  /** Nothing to write: the store knows it all. */
  readonly isEmpty: boolean;
  /** Subscribers without a cursor, settled by this step: of no interest once it is durable. */
  readonly parting: readonly Subscriber[];
}

/** Takes what its cursors have acknowledged into the subscriber; returns the sum. */
export function acknowledgedBy(subscriber: Subscriber): EntryId {
  for (const cursor of subscriber.cursors) {
    const { settled } = cursor;
    if (settled.seq > subscriber.acknowledged.seq) subscriber.acknowledged = settled;
  }
  return subscriber.acknowledged;
}

/**
 * What has to be written for one topic (delivery.md §5.3): own numbers of those that lag or left, delegation of those that
 * caught up, and the watermark for all that stay delegated. Undefined when the store knows it all.
 */
export function decidePositions(feed: Feed, instance: string): PositionStep | undefined {
  const settle = new Map<string, EntryId>();
  const delegate = new Map<string, EntryId>();
  const parting: Subscriber[] = [];
  const keptUp: Subscriber[] = [];
  const floor = Math.max(feed.headTwoAgo.seq, feed.watermark?.seq ?? 0);
  let lowest: EntryId | undefined;
  for (const subscriber of feed.subscribers.values()) {
    const acknowledged = acknowledgedBy(subscriber);
    if (!subscriber.isDurable) {
      if (subscriber.cursors.size === 0) parting.push(subscriber);
      continue;
    }
    const hasLeft = subscriber.cursors.size === 0;
    if (hasLeft) parting.push(subscriber);
    if (hasLeft || feed.parting.has(subscriber.jid) || acknowledged.seq < floor) {
      if (subscriber.isDelegated || acknowledged.seq > subscriber.storedSeq) settle.set(subscriber.jid, acknowledged);
      continue;
    }
    keptUp.push(subscriber);
    if (!lowest || acknowledged.seq < lowest.seq) lowest = acknowledged;
  }
  for (const subscriber of keptUp) {
    if (!subscriber.isDelegated) delegate.set(subscriber.jid, subscriber.acknowledged);
  }
  const watermark = lowest && lowest.seq > (feed.watermark?.seq ?? 0) ? lowest : undefined;
  const isEmpty = settle.size === 0 && delegate.size === 0 && watermark === undefined;
  if (isEmpty && parting.length === 0) return undefined;
  return { update: { instance, settle, delegate, ...(watermark ? { watermark } : {}) }, isEmpty, parting };
}

/** The step is durable, but for the positions of those JIDs that were refused. */
export function positionsWritten(feed: Feed, { update }: PositionStep, refused: ReadonlySet<string>): void {
  if (update.watermark) feed.watermark = update.watermark;
  const written = (places: ReadonlyMap<string, EntryId>, isDelegated: boolean) => {
    for (const [jid, { seq }] of places) {
      const subscriber = feed.subscribers.get(jid);
      if (!subscriber || refused.has(jid)) continue;
      subscriber.isDelegated = isDelegated;
      subscriber.storedSeq = Math.max(subscriber.storedSeq, seq);
    }
  };
  written(update.settle, false);
  written(update.delegate, true);
}
