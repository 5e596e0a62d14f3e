import type { EntryRef, Redeliverable } from './ports.ts';

/**
 * What was sent under stream management and not yet acknowledged, in the order in which it was sent
 * (XEP-0198 §4). Log entries are kept as references to be read again, everything else as bytes.
 * Counts are unsigned 32 bit and wrap (§4: "reset from 2^32-1 back to zero").
 */
export class AckQueue {
  /** Parallel arrays: a fan-out adds to a thousand queues at once and allocates nothing in doing so. */
  #what: (EntryRef | Buffer)[] = [];
  #owners: (Redeliverable | undefined)[] = [];
  #first = 0;
  /** Count of the oldest unacknowledged stanza minus one: the peer's last `h`. */
  #acknowledged = 0;
  #stanzaBytes = 0;

  get length(): number {
    return this.#what.length - this.#first;
  }

  /** Bytes of those that are not log entries. */
  get stanzaBytes(): number {
    return this.#stanzaBytes;
  }

  /** How many stanzas were sent since the start, modulo 2^32. */
  get sent(): number {
    return (this.#acknowledged + this.length) >>> 0;
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  pushEntry(owner: Redeliverable, ref: EntryRef): void {
    this.#what.push(ref);
    this.#owners.push(owner);
  }

  pushStanza(bytes: Buffer): void {
    this.#what.push(bytes);
    this.#owners.push(undefined);
    this.#stanzaBytes += bytes.length;
  }

  /** Whether an entry of that topic is unacknowledged. */
  holds(topic: string): boolean {
    return this.#what.some((what, i) => i >= this.#first && !Buffer.isBuffer(what) && what.topic === topic);
  }

  /** Whether `h` names something that was sent and not acknowledged before. */
  canAcknowledge(h: number): boolean {
    return (h - this.#acknowledged) >>> 0 <= this.length;
  }

  /**
   * Takes everything up to `h` out and calls `acknowledged` once per owner with the newest entry of each topic.
   * Only after `canAcknowledge(h)`.
   */
  acknowledge(h: number, acknowledged: (owner: Redeliverable, refs: readonly EntryRef[]) => void): void {
    const count = (h - this.#acknowledged) >>> 0;
    if (count === 0) return;
    const newest = new Map<Redeliverable, Map<string, EntryRef>>();
    for (let i = 0; i < count; i++) {
      const what = this.#what[this.#first + i] as EntryRef | Buffer;
      const owner = this.#owners[this.#first + i];
      if (owner === undefined) {
        this.#stanzaBytes -= (what as Buffer).length;
      } else {
        const topics = newest.get(owner) ?? new Map<string, EntryRef>();
        newest.set(owner, topics);
        topics.set((what as EntryRef).topic, what as EntryRef);
      }
    }
    this.#first += count;
    this.#acknowledged = h;
    if (this.#first === this.#what.length) {
      this.#what = [];
      this.#owners = [];
      this.#first = 0;
    } else if (this.#first > 1_024) {
      this.#what.splice(0, this.#first);
      this.#owners.splice(0, this.#first);
      this.#first = 0;
    }
    for (const [owner, topics] of newest) acknowledged(owner, [...topics.values()]);
  }

  /** Begins where another queue of the same session stood: the peer's last `h` was `acknowledged`. Only while empty. */
  continueAt(acknowledged: number): void {
    this.#acknowledged = acknowledged;
  }

  /** Everything unacknowledged, oldest first. */
  all(): { readonly what: EntryRef | Buffer; readonly owner: Redeliverable | undefined }[] {
    const all = [];
    for (let i = this.#first; i < this.#what.length; i++) {
      all.push({ what: this.#what[i] as EntryRef | Buffer, owner: this.#owners[i] });
    }
    return all;
  }

  /** Empties the queue for sending again: the count goes on from the last `h` (delivery.md §6.2). */
  takeAll(): { readonly what: EntryRef | Buffer; readonly owner: Redeliverable | undefined }[] {
    const all = this.all();
    this.#what = [];
    this.#owners = [];
    this.#first = 0;
    this.#stanzaBytes = 0;
    return all;
  }
}
