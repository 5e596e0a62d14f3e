import type { EntryRef } from '@xmpp-grid/stream';
import type { EntryId, LogEntry } from '../log/entry.ts';
import type { TopicRecord } from '../store/topic-store.ts';
import type { EventEncoder } from './event.ts';

/** delivery.md §4.3. */
const MAX_ENTRIES = 256;
const MAX_BYTES = 262_144;
const MAX_TOTAL_BYTES = 67_108_864;
/** Entry, references and the frame of an event around its payload. */
const SLOT_BYTES = 768;

/** One entry on its way to many: encoded at most once per variant, and named by one shared reference. */
export class Slot {
  readonly entry: LogEntry;
  readonly ref: EntryRef;
  /** Consumers see nothing of it: not told of, or withdrawn, perhaps since it was read. */
  isSkipped: boolean;
  readonly bytes: number;
  readonly #record: TopicRecord;
  readonly #encoder: EventEncoder;
  #live: Buffer | undefined;
  #delayed: Buffer | undefined;

  constructor(entry: LogEntry, record: TopicRecord, encoder: EventEncoder) {
    this.entry = entry;
    this.ref = { topic: record.node, seq: entry.seq, uid: entry.uid };
    this.isSkipped = !entry.notify || entry.kind === 'access' || entry.isWithdrawn;
    // The payload, and one variant of the event around it.
    this.bytes = SLOT_BYTES + 2 * (entry.payload?.bytes.length ?? 0);
    this.#record = record;
    this.#encoder = encoder;
  }

  /** Its payload was never stored and is not at hand: whoever should get it is owed a gap (delivery.md §9.2). */
  get isLost(): boolean {
    return this.entry.isTransient === true && this.entry.payload === undefined && this.#record.config.deliverPayloads;
  }

  get live(): Buffer {
    this.#live ??= this.#encoder.body(this.entry, this.#record, false);
    return this.#live;
  }

  get delayed(): Buffer {
    this.#delayed ??= this.#encoder.body(this.entry, this.#record, true);
    return this.#delayed;
  }

  /** `entry` takes back what this one published (delivery.md §1.4). */
  withdrawnBy(entry: LogEntry): void {
    if (this.entry.kind !== 'published' || this.entry.seq >= entry.seq) return;
    const all = entry.kind === 'purged' || entry.kind === 'deleted';
    const isRetraction = entry.kind === 'retracted' && entry.isEviction !== true;
    if (all || (isRetraction && entry.itemId === this.entry.itemId)) this.isSkipped = true;
  }
}

/** The last entries of one followed topic, without holes. */
export class Ring {
  #slots: Slot[] = [];
  #first = 0;
  bytes = 0;

  /** `slot` follows the newest, or the ring was cleared. */
  push(slot: Slot): void {
    if (this.#slots.length === 0) this.#first = slot.entry.seq;
    this.#slots.push(slot);
    this.bytes += slot.bytes;
    while (this.#slots.length > MAX_ENTRIES || (this.bytes > MAX_BYTES && this.#slots.length > 1)) this.#drop();
  }

  get(seq: number): Slot | undefined {
    return this.#slots[seq - this.#first];
  }

  /** All that it has, and what the oldest says of the one before it; in order. */
  places(): readonly EntryId[] {
    const [oldest] = this.#slots;
    if (!oldest) return [];
    const before = { seq: oldest.entry.seq - 1, uid: oldest.entry.prevUid };
    const all = this.#slots.map(({ entry: { seq, uid } }) => ({ seq, uid }));
    return [before, ...all];
  }

  withdraw(entry: LogEntry): void {
    for (const slot of this.#slots) slot.withdrawnBy(entry);
  }

  clear(): void {
    this.#slots = [];
    this.bytes = 0;
  }

  #drop(): void {
    this.bytes -= this.#slots.shift()!.bytes;
    this.#first += 1;
  }
}

/** Keeps all rings together within 64 MiB: the topic that heard nothing for the longest time gives its entries up. */
export class RingBudget {
  readonly #rings = new Map<Ring, number>();
  #bytes = 0;

  pushed(ring: Ring): void {
    this.#bytes += ring.bytes - (this.#rings.get(ring) ?? 0);
    this.#rings.delete(ring);
    this.#rings.set(ring, ring.bytes);
    for (const [oldest, bytes] of this.#rings) {
      if (this.#bytes <= MAX_TOTAL_BYTES || oldest === ring) return;
      oldest.clear();
      this.#rings.delete(oldest);
      this.#bytes -= bytes;
    }
  }

  dropped(ring: Ring): void {
    this.#bytes -= this.#rings.get(ring) ?? 0;
    this.#rings.delete(ring);
  }
}
