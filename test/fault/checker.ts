/**
 * Knows every acknowledged publish and every delivery of every consumer, and holds them against each other and against the
 * log as it stands at the end (delivery.md §1, README.md here: P1 to P5).
 *
 * The log is what an auditor receives who subscribed before the first publish and was away until the end.
 */

/** One event as a consumer received it. */
export interface Delivery {
  readonly node: string;
  readonly seq: number;
  /** The entry's number and random id, `SEQ-UID`. */
  readonly entryId: string;
  readonly itemId: string;
  readonly messageId: string;
  readonly atMs: number;
  /** Which of its sessions received it; a resumed session is the same one. */
  readonly incarnation: number;
}

export interface Received {
  readonly itemId: string;
  readonly messageId: string;
  readonly firstAtMs: number;
  readonly firstIncarnation: number;
  lastAtMs: number;
  lastIncarnation: number;
}

/** What one consumer received of one topic, each entry once, in order of arrival. */
class TopicView {
  readonly entries = new Map<string, Received>();
  readonly items = new Set<string>();
  readonly order: { readonly entryId: string; readonly seq: number }[] = [];
}

export interface CheckReport {
  readonly acknowledged: number;
  readonly deliveries: number;
  /** Acknowledged, and not in the log at the end. */
  readonly vanished: number;
  /** (consumer, entry of the log) pairs that never arrived. */
  readonly missing: number;
  readonly outOfOrder: number;
  readonly repeated: number;
  /** Repeats within one session, resumed or not: never promised to anybody. */
  readonly repeatedInSession: number;
  /** Of the repeats, the longest time from the first arrival to the fault that broke that session, ms. */
  readonly oldestRepeatMs: number;
  /** Received, and not in the log at the end: a failover took the entry back (delivery.md §1.3). */
  readonly phantoms: number;
  /** Two entries of the log with one item: a retry was taken for a new publish (§2.3). */
  readonly doubled: number;
  readonly gaps: number;
  /** Every fault in words, the first hundred. */
  readonly faults: readonly string[];
}

const MAX_FAULTS = 100;

export class Checker {
  readonly #acknowledged = new Map<string, { readonly node: string; readonly atMs: number }>();
  readonly #sentAtMs = new Map<string, number>();
  readonly #views = new Map<string, Map<string, TopicView>>();
  /** When each session of each consumer lost its connection for good. */
  readonly #breaks = new Map<string, number[]>();
  readonly #begins: number[] = [];
  readonly #faults: string[] = [];
  #deliveries = 0;
  #repeated = 0;
  #repeatedInSession = 0;
  #oldestRepeatMs = 0;
  #outOfOrder = 0;
  #gaps = 0;

  /** First time that a publish was sent. */
  sent(itemId: string, atMs: number): void {
    if (!this.#sentAtMs.has(itemId)) this.#sentAtMs.set(itemId, atMs);
  }

  sentAtMs(itemId: string): number | undefined {
    return this.#sentAtMs.get(itemId);
  }

  /** The Broker answered a publish with a result. */
  acknowledged(node: string, itemId: string, atMs: number): void {
    if (this.#acknowledged.has(itemId)) this.#fault(`${itemId} was acknowledged twice`);
    this.#acknowledged.set(itemId, { node, atMs });
  }

  get acknowledgedCount(): number {
    return this.#acknowledged.size;
  }

  get deliveryCount(): number {
    return this.#deliveries;
  }

  /** A consumer that must receive all of these topics. */
  expect(consumer: string, nodes: readonly string[]): void {
    const views = this.#views.get(consumer) ?? new Map<string, TopicView>();
    this.#views.set(consumer, views);
    for (const node of nodes) if (!views.has(node)) views.set(node, new TopicView());
  }

  delivered(consumer: string, delivery: Delivery): void {
    this.#deliveries++;
    const view = this.#views.get(consumer)?.get(delivery.node);
    if (view === undefined) {
      this.#fault(`${consumer} got ${delivery.node}/${delivery.entryId} without a subscription`);
      return;
    }
    const known = view.entries.get(delivery.entryId);
    if (known !== undefined) {
      this.#takeRepeat(consumer, known, delivery);
      return;
    }
    view.entries.set(delivery.entryId, {
      itemId: delivery.itemId,
      messageId: delivery.messageId,
      firstAtMs: delivery.atMs,
      firstIncarnation: delivery.incarnation,
      lastAtMs: delivery.atMs,
      lastIncarnation: delivery.incarnation,
    });
    view.items.add(delivery.itemId);
    view.order.push({ entryId: delivery.entryId, seq: delivery.seq });
  }

  #takeRepeat(consumer: string, known: Received, delivery: Delivery): void {
    const { node, entryId } = delivery;
    this.#repeated++;
    // delivery.md §1.2: the same ids whenever it is sent again.
    if (known.itemId !== delivery.itemId || known.messageId !== delivery.messageId) {
      this.#fault(
        `${consumer} cannot tell that ${node}/${entryId} is a repeat: ${known.messageId} came as ${delivery.messageId}`,
      );
    }
    if (known.lastIncarnation === delivery.incarnation) {
      this.#repeatedInSession++;
      this.#fault(`${consumer} got ${node}/${entryId} again within session ${delivery.incarnation}`);
    }
    const brokeAtMs = this.#breaks.get(consumer)?.[known.firstIncarnation - 1];
    if (brokeAtMs !== undefined) {
      const begins = this.#begins.findLast((atMs) => atMs <= brokeAtMs) ?? brokeAtMs;
      this.#oldestRepeatMs = Math.max(this.#oldestRepeatMs, begins - known.firstAtMs);
    }
    known.lastAtMs = delivery.atMs;
    known.lastIncarnation = delivery.incarnation;
  }

  /** The connection of a session is gone; called again when it is resumed and lost again. */
  broke(consumer: string, incarnation: number, atMs: number): void {
    const breaks = this.#breaks.get(consumer) ?? [];
    breaks[incarnation - 1] = atMs;
    this.#breaks.set(consumer, breaks);
  }

  /** The Broker told of entries that the consumer will not get. */
  gap(consumer: string, text: string): void {
    this.#gaps++;
    this.#fault(`${consumer} was told of a gap: ${text}`);
  }

  has(consumer: string, node: string, itemId: string): boolean {
    return this.#views.get(consumer)?.get(node)?.items.has(itemId) === true;
  }

  /** Item ids of a topic as a consumer received them, each entry once. */
  itemsOf(consumer: string, node: string): string[] {
    const view = this.#views.get(consumer)?.get(node);
    return (view?.order ?? []).map(({ entryId }) => view?.entries.get(entryId)?.itemId as string);
  }

  /** What a consumer received last of a topic. */
  lastItemOf(consumer: string, node: string): string | undefined {
    const view = this.#views.get(consumer)?.get(node);
    const last = view?.order.at(-1);
    return last === undefined ? undefined : view?.entries.get(last.entryId)?.itemId;
  }

  /** Everything that a consumer received, each entry once, by topic in order of arrival. */
  deliveriesOf(consumer: string): Delivery[] {
    return [...(this.#views.get(consumer) ?? [])].flatMap(([node, { order, entries }]) =>
      order.map(({ entryId, seq }) => {
        const { itemId, messageId, firstAtMs, firstIncarnation } = entries.get(entryId) as Received;
        return { node, seq, entryId, itemId, messageId, atMs: firstAtMs, incarnation: firstIncarnation };
      }),
    );
  }

  /** Something breaks now: what consumers repeat is measured from here, where their sessions break later. */
  faultBegins(atMs: number): void {
    this.#begins.push(atMs);
  }

  /** When a consumer first received an event that was published after `sinceMs`; undefined: not yet. */
  firstSince(consumer: string, sinceMs: number): number | undefined {
    let first: number | undefined;
    for (const view of this.#views.get(consumer)?.values() ?? []) {
      for (const { itemId, firstAtMs } of view.entries.values()) {
        const sent = this.#sentAtMs.get(itemId);
        if (sent !== undefined && sent >= sinceMs && (first === undefined || firstAtMs < first)) first = firstAtMs;
      }
    }
    return first;
  }

  /** Something else went wrong. */
  fault(text: string): void {
    this.#fault(text);
  }

  /** The faults up to now, for a run that breaks off. */
  soFar(): Pick<CheckReport, 'faults'> {
    return { faults: this.#faults };
  }

  #fault(text: string): void {
    if (this.#faults.length < MAX_FAULTS) this.#faults.push(text);
  }

  /** Judges everything, when no more is under way. `auditor` was expected for every topic and has received all. */
  report(auditor: string): CheckReport {
    const log = this.#views.get(auditor);
    if (log === undefined) throw new Error('the auditor was never expected');
    const { vanished, doubled } = this.#checkLog(log);
    let missing = 0;
    let phantoms = 0;
    for (const [consumer, views] of this.#views) {
      for (const [node, view] of views) {
        const truth = log.get(node)?.entries;
        if (truth === undefined) throw new Error(`the auditor knows nothing of ${node}`);
        let last = 0;
        for (const { entryId, seq } of view.order) {
          const entry = truth.get(entryId);
          if (entry === undefined) {
            phantoms++;
            continue; // no place in the order that counts
          }
          if (entry.itemId !== view.entries.get(entryId)?.itemId) this.#fault(`${consumer}: ${node}/${entryId} has another item`);
          if (seq <= last) {
            this.#outOfOrder++;
            this.#fault(`${consumer} got ${node}/${entryId} after number ${last}`);
          }
          last = Math.max(last, seq);
        }
        for (const [entryId, { itemId }] of truth) {
          if (view.entries.has(entryId)) continue;
          missing++;
          this.#fault(
            `${consumer} never got ${node}/${entryId} (${itemId}, sent at ${Math.round(this.#sentAtMs.get(itemId) ?? -1)} ms)`,
          );
        }
      }
    }
    return {
      acknowledged: this.#acknowledged.size,
      deliveries: this.#deliveries,
      vanished,
      missing,
      outOfOrder: this.#outOfOrder,
      repeated: this.#repeated,
      repeatedInSession: this.#repeatedInSession,
      oldestRepeatMs: this.#oldestRepeatMs,
      phantoms,
      doubled,
      gaps: this.#gaps,
      faults: this.#faults,
    };
  }

  #checkLog(log: ReadonlyMap<string, TopicView>): { vanished: number; doubled: number } {
    let vanished = 0;
    let doubled = 0;
    const inLog = new Map<string, Set<string>>();
    for (const [node, { entries }] of log) {
      const items = new Set<string>();
      for (const [entryId, { itemId }] of entries) {
        if (items.has(itemId)) {
          doubled++;
          this.#fault(`${node} has ${itemId} twice, again as ${entryId}`);
        }
        items.add(itemId);
      }
      inLog.set(node, items);
    }
    for (const [itemId, { node, atMs }] of this.#acknowledged) {
      if (inLog.get(node)?.has(itemId) === true) continue;
      vanished++;
      this.#fault(`${itemId} was acknowledged at ${Math.round(atMs)} ms and is not in the log of ${node}`);
    }
    return { vanished, doubled };
  }
}
