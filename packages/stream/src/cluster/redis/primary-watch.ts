import { Redis } from 'ioredis';
import type { Logger } from '../../observe/log.ts';
import { parseInfo } from './checks.ts';
import type { RedisClient } from './clients.ts';
import { slotOf } from './slot.ts';

/** Whether a key is kept by a primary that changed. */
export type Holds = (key: string) => boolean;

/** A failover takes seconds to be decided; it is seen within this time after that. */
const CHECK_MS = 1_000;
const SLOTS = 16_384;

/**
 * Notices that keys are kept by another history than before: a replica was promoted, a primary came back empty, a slot
 * moved. Each primary names its history by its replication id (delivery.md §3.4). A slot that only moved counts too: whoever
 * checks then checks in vain.
 */
export class PrimaryWatch {
  readonly #client: RedisClient;
  readonly #log: Logger;
  readonly #listeners = new Set<(holds: Holds) => void>();
  /** Replication id by slot; one where there is one primary. Undefined until it was told. */
  #ids: readonly (string | undefined)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isChecking = false;

  constructor(client: RedisClient, log: Logger) {
    this.#client = client;
    this.#log = log;
  }

  /** Watches from the first listener on. Returns how to stop it. */
  onChanged(listener: (holds: Holds) => void): () => void {
    this.#listeners.add(listener);
    if (this.#timer === undefined) {
      this.#timer = setInterval(() => void this.check(), CHECK_MS).unref();
      void this.check();
    }
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#listeners.clear();
  }

  /** One look at all primaries. Never rejects: one that does not answer is asked next time. */
  async check(): Promise<void> {
    if (this.#isChecking) return;
    this.#isChecking = true;
    try {
      const before = this.#ids;
      const now = await this.#look(before);
      this.#ids = now;
      const changed = new Set<number>();
      for (const [slot, id] of now.entries()) {
        if (before[slot] !== undefined && id !== before[slot]) changed.add(slot);
      }
      if (changed.size === 0) return;
      const isOne = this.#client instanceof Redis;
      this.#log.warn({ slots: isOne ? undefined : changed.size }, 'a primary of Redis is another than before');
      for (const listener of this.#listeners) listener((key) => isOne || changed.has(slotOf(key)));
    } finally {
      this.#isChecking = false;
    }
  }

  async #look(before: readonly (string | undefined)[]): Promise<readonly (string | undefined)[]> {
    const client = this.#client;
    if (client instanceof Redis) return [(await this.#idOf(client)) ?? before[0]];
    const ids = new Map<string, string | undefined>();
    await Promise.all(
      client.nodes('master').map(async (node) => {
        ids.set(`${node.options.host}:${node.options.port}`, await this.#idOf(node));
      }),
    );
    return Array.from({ length: SLOTS }, (_, slot) => ids.get(client.slots[slot]?.[0] ?? '') ?? before[slot]);
  }

  async #idOf(server: Redis): Promise<string | undefined> {
    try {
      const info = parseInfo(await server.info('replication'));
      return info.get('role') === 'master' ? info.get('master_replid') : undefined;
    } catch (error) {
      this.#log.debug({ err: (error as Error).message }, 'a primary did not tell its replication id');
      return undefined;
    }
  }
}
