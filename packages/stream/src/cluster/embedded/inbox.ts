import { setTimeout as sleep } from 'node:timers/promises';
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

/** Until a fenced instance is asked again whether it may handle messages. */
const NOT_NOW_MS = 50;

interface Box {
  readonly queue: InboxMessage[];
  bytes: number;
  /** Undefined once its reader has closed. */
  wake: (() => void) | undefined;
}

/** Inboxes in one process: an instance can write to itself, and after a re-join to what its former id left. */
export class EmbeddedInboxes implements Inboxes {
  readonly #boxes = new Map<string, Box>();
  readonly #log: Logger;
  readonly #maxEntries: number;
  readonly #maxBytes: number;

  constructor(log: Logger, limits: InboxLimits = {}) {
    this.#log = log;
    this.#maxEntries = limits.maxEntries ?? INBOX_MAX_ENTRIES;
    this.#maxBytes = limits.maxBytes ?? INBOX_MAX_BYTES;
  }

  async send(instanceId: string, message: InboxMessage): Promise<SendOutcome> {
    const box = this.#boxes.get(instanceId);
    if (box === undefined) return 'no-such-instance';
    const bytes = inboxBytes(message);
    if (box.queue.length >= this.#maxEntries || box.bytes + bytes > this.#maxBytes) return 'full';
    box.queue.push(message);
    box.bytes += bytes;
    box.wake?.();
    return 'sent';
  }

  async open(instanceId: string, handle: InboxHandler, mayHandle: () => boolean): Promise<OpenInbox> {
    const box: Box = this.#boxes.get(instanceId) ?? { queue: [], bytes: 0, wake: undefined };
    this.#boxes.set(instanceId, box);
    let running: Promise<void> | undefined;
    const run = async (): Promise<void> => {
      for (let message = box.queue[0]; message !== undefined && box.wake === wake; message = box.queue[0]) {
        if (!mayHandle()) {
          await sleep(NOT_NOW_MS);
          continue;
        }
        try {
          await handle(message);
        } catch (error) {
          this.#log.error({ err: error, kind: message.kind }, 'a message of the inbox could not be handled; it is dropped');
        }
        take(box);
      }
    };
    const wake = (): void => {
      // Never inside `send`: the handler may send, too.
      running ??= Promise.resolve()
        .then(run)
        .finally(() => {
          running = undefined;
          if (box.queue.length > 0 && box.wake === wake) wake(); // it came when the last round had just seen none
        });
    };
    box.wake = wake;
    wake();
    return {
      close: async () => {
        if (box.wake === wake) box.wake = undefined;
        await running;
      },
    };
  }

  async clean(deadId: string, route: InboxHandler, signal: AbortSignal): Promise<void> {
    const box = this.#boxes.get(deadId);
    if (box === undefined) return;
    for (let message = box.queue[0]; message !== undefined; message = box.queue[0]) {
      signal.throwIfAborted();
      await route(message);
      take(box);
    }
    this.#boxes.delete(deadId);
  }
}

function take(box: Box): void {
  const message = box.queue.shift();
  if (message !== undefined) box.bytes -= inboxBytes(message);
}
