import { createHash } from 'node:crypto';
import type { EntryId } from '../../log/entry.ts';

/** delivery.md §2.3. */
export const RECENT_MS = 120_000;
/** 2 minutes of 1,500 publishes a second, about 60 MiB at the very most. Beyond it the oldest are forgotten. */
const MAX_RECENT = 180_000;

export interface RecentRequest {
  readonly stampMs: number;
  readonly itemIds: readonly string[];
  readonly entries: readonly EntryId[];
}

/** What the log keeps of a request key. */
export const digestOf = (requestKey: string): string => createHash('sha256').update(requestKey).digest('base64url').slice(0, 22);

/**
 * Publishes of the last two minutes by request. Lives in memory; the digest in the log's entries brings it back after a
 * restart, so nothing more is written per publish.
 */
export class RecentRequests {
  readonly #requests = new Map<string, RecentRequest>();
  readonly #loaded = new Set<number>();

  find(topicId: number, digest: string, nowMs: number): RecentRequest | undefined {
    const found = this.#requests.get(`${topicId} ${digest}`);
    return found && found.stampMs > nowMs - RECENT_MS ? found : undefined;
  }

  add(topicId: number, digest: string, request: RecentRequest): void {
    const key = `${topicId} ${digest}`;
    this.#requests.delete(key);
    this.#requests.set(key, request);
    for (const [oldest, { stampMs }] of this.#requests) {
      if (this.#requests.size <= MAX_RECENT && stampMs > request.stampMs - RECENT_MS) break;
      this.#requests.delete(oldest);
    }
  }

  /** True once per topic: its log has to be read for what an earlier process accepted. */
  mustLoad(topicId: number): boolean {
    if (this.#loaded.has(topicId)) return false;
    this.#loaded.add(topicId);
    return true;
  }
}
