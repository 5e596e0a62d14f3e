import type { Logger } from '../../observe/log.ts';
import {
  INBOX_MAX_BYTES,
  INBOX_MAX_ENTRIES,
  type Inboxes,
  type InboxHandler,
  type InboxLimits,
  type InboxMessage,
  inboxBytes,
  type OpenInbox,
  type SendOutcome,
} from '../inbox.ts';
import { BlockingReader, parseEntries, type RedisEntry, readBehind } from './blocking-reader.ts';
import type { RedisConnections } from './connections.ts';
import { type StreamKeys, streamKeys } from './keys.ts';
import { asAnswer, streamScript } from './scripts.ts';

const MAKE = streamScript('make-inbox-2');
const SEND = streamScript('send-inbox-2');
const HANDLE = streamScript('handle-inbox-2');
const REMOVE = streamScript('remove-inbox-2');

/** Handled at a time before they are taken out: what may come twice after a crash. */
const PAGE = 64;
const BLOCK_MS = 1_000;

export class RedisInboxes implements Inboxes {
  readonly #redis: RedisConnections;
  readonly #keys: StreamKeys;
  readonly #log: Logger;
  readonly #maxEntries: number;
  readonly #maxBytes: number;

  constructor(redis: RedisConnections, log: Logger, limits: InboxLimits = {}) {
    this.#redis = redis;
    this.#keys = streamKeys(redis.settings.keyPrefix);
    this.#log = log;
    this.#maxEntries = limits.maxEntries ?? INBOX_MAX_ENTRIES;
    this.#maxBytes = limits.maxBytes ?? INBOX_MAX_BYTES;
  }

  async send(instanceId: string, { kind, body }: InboxMessage): Promise<SendOutcome> {
    const args = [kind, body, String(this.#maxEntries), String(this.#maxBytes)];
    const reply = await this.#redis.runDurably(SEND, this.#both(instanceId), args);
    return asAnswer(SEND, ['sent', 'full', 'no-such-instance'], reply)[0];
  }

  async open(instanceId: string, handle: InboxHandler, mayHandle: () => boolean): Promise<OpenInbox> {
    const key = this.#keys.inbox(instanceId);
    await this.#make(instanceId);
    let after = '0-0';
    const reader = new BlockingReader({
      redis: this.#redis,
      blockMs: BLOCK_MS,
      log: this.#log,
      what: 'the inbox',
      round: async (client, read) => {
        const page = await read(readBehind(client, key, after, PAGE, BLOCK_MS));
        if (page.length === 0) {
          // A failover may have lost an inbox that was made just before it; one that waits for its cleaner stays as it is.
          if (mayHandle() && !reader.isClosed) {
            if (await this.#make(instanceId)) after = '0-0';
          }
          return;
        }
        const handled: RedisEntry[] = [];
        for (const entry of page) {
          if (reader.isClosed || !mayHandle()) break;
          try {
            await handle(messageOf(entry));
          } catch (error) {
            this.#log.error(
              { err: error, kind: messageOf(entry).kind },
              'a message of the inbox could not be handled; it is dropped',
            );
          }
          handled.push(entry);
          after = entry.id;
        }
        if (handled.length > 0) await this.#takeOut(instanceId, handled);
        // Not to be handled now, perhaps later: a pause, or the next read returns the same at once.
        else await new Promise((resolve) => setTimeout(resolve, 50));
      },
    });
    return { close: () => reader.close() };
  }

  async clean(deadId: string, route: InboxHandler, signal: AbortSignal): Promise<void> {
    const key = this.#keys.inbox(deadId);
    // One round per page, and one more for each that came in between: bounded by the inbox's own bound.
    for (;;) {
      signal.throwIfAborted();
      const page = parseEntries(await this.#redis.ask((client) => client.xrange(key, '-', '+', 'COUNT', PAGE)));
      for (const entry of page) {
        signal.throwIfAborted();
        await route(messageOf(entry));
        await this.#takeOut(deadId, [entry]);
      }
      if (page.length > 0) continue;
      const reply = await this.#redis.run(REMOVE, this.#both(deadId), []);
      if (asAnswer(REMOVE, ['removed', 'not-empty'], reply)[0] === 'removed') return;
    }
  }

  /** Returns whether it was not there. */
  async #make(instanceId: string): Promise<boolean> {
    const reply = await this.#redis.run(MAKE, this.#both(instanceId), []);
    return asAnswer(MAKE, ['made', 'there'], reply)[0] === 'made';
  }

  async #takeOut(instanceId: string, entries: readonly RedisEntry[]): Promise<void> {
    const args = entries.flatMap((entry) => [entry.id, String(inboxBytes(messageOf(entry)))]);
    asAnswer(HANDLE, ['handled'], await this.#redis.run(HANDLE, this.#both(instanceId), args));
  }

  #both(instanceId: string): readonly string[] {
    return [this.#keys.inbox(instanceId), this.#keys.inboxBytes(instanceId)];
  }
}

const messageOf = ({ fields }: RedisEntry): InboxMessage => ({ kind: fields.get('k') ?? '', body: fields.get('b') ?? '' });
