import type { EntryId } from '../log/entry.ts';
import type { LogReader } from '../store/log-reader.ts';
import type { TopicRecord } from '../store/topic-store.ts';
import type { SlotPage } from './cursor.ts';
import type { EventEncoder } from './event.ts';
import { Slot } from './ring.ts';

const PAGE_ENTRIES = 64;
const PAGE_BYTES = 262_144;
/** 32 pages: 16 MiB with their encodings, but for pages of one large entry. */
const MAX_PAGES = 32;

/** Pages of logs, shared by all sessions that catch up at the same place (delivery.md §4.3). */
export class PageCache {
  readonly #reader: LogReader;
  readonly #encoder: EventEncoder;
  readonly #pages = new Map<string, Promise<SlotPage | 'gone'>>();

  constructor(reader: LogReader, encoder: EventEncoder) {
    this.#reader = reader;
    this.#encoder = encoder;
  }

  /** The entries after `after`. `generation` changes whenever something of the log was withdrawn. */
  read(record: TopicRecord, generation: number, after: EntryId): Promise<SlotPage | 'gone'> {
    const key = `${generation} ${after.seq} ${record.node}`;
    const known = this.#pages.get(key);
    if (known) return known;
    const page = this.#load(record, after);
    this.#pages.set(key, page);
    const forget = () => this.#pages.delete(key);
    // A page without entries says where the log stood, which is of no use to anybody later.
    page.then((read) => (read === 'gone' || read.slots.length === 0) && forget(), forget);
    for (const oldest of this.#pages.keys()) {
      if (this.#pages.size <= MAX_PAGES) break;
      this.#pages.delete(oldest);
    }
    return page;
  }

  async #load(record: TopicRecord, after: EntryId): Promise<SlotPage | 'gone'> {
    const page = await this.#reader.readLog(record.node, after, PAGE_ENTRIES, PAGE_BYTES);
    if (page === 'gone') return 'gone';
    const slots = page.entries.map((entry) => new Slot(entry, record, this.#encoder));
    return { slots, firstSeq: page.firstSeq, head: page.head };
  }
}
