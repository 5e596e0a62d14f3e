/** Deletions that happened while a session was on its way to this instance: the log tells of them (delivery.md §1.5, §6.2). */
import type { EntryId, LogEntry } from '../log/entry.ts';
import type { LogReader } from '../store/log-reader.ts';
import type { TopicRecord } from '../store/topic-store.ts';

const PAGE_ENTRIES = 256;
const PAGE_BYTES = 262_144;

export interface Deletion {
  readonly entry: LogEntry;
  /** Between the place and the deletion the rights of somebody changed, nobody knows any more whose. */
  readonly isAfterAccess: boolean;
}

/** The first deletion after a place, also when there is a topic of that name again: its numbers go on in the same log. */
export async function deletionAfter(node: string, place: EntryId, reader: LogReader): Promise<Deletion | undefined> {
  let isAfterAccess = false;
  for (let after = place; ; ) {
    const page = await reader.readLog(node, after, PAGE_ENTRIES, PAGE_BYTES);
    if (page === 'gone') return undefined;
    for (const entry of page.entries) {
      if (entry.kind === 'deleted') return { entry, isAfterAccess };
      if (entry.kind === 'access') isAfterAccess = true;
    }
    const last = page.entries.at(-1);
    if (!last || last.seq >= page.head.seq) return undefined;
    after = last;
  }
}

/** A deleted topic of which nothing is known but its last entry: enough to tell of that one. */
export const recordOfDeleted = (node: string, { entry }: Deletion): TopicRecord => ({
  node,
  config: {
    title: '',
    description: '',
    type: '',
    accessModel: 'whitelist',
    publishModel: 'publishers',
    persistItems: true,
    maxItems: 1,
    maxPayloadSize: 1,
    deliverPayloads: false,
    notificationType: 'normal',
    notifyConfig: false,
    notifyDelete: true,
    notifyRetract: false,
    sendLastPublishedItem: 'never',
  },
  creator: '',
  createdMs: 0,
  configToken: '',
  accessToken: entry.accessToken,
  head: entry,
});
