/**
 * What instances tell each other: stanzas for a session there, a session that was displaced, a resumption to hand over
 * (delivery.md §7.3). The kinds and bodies are the sender's and the handler's business.
 */
export interface InboxMessage {
  readonly kind: string;
  readonly body: string;
}

/** `no-such-instance`: it is gone, route again. `full`: it does not keep up; answer with a `wait` error. */
export type SendOutcome = 'sent' | 'no-such-instance' | 'full';

/**
 * Handles one message. Messages come in the order in which they were sent, the next one when this has resolved. Must never
 * wait for another inbox's answer: two instances would wait for each other.
 */
export type InboxHandler = (message: InboxMessage) => void | Promise<void>;

/**
 * One bounded queue per instance. Owner is the instance: it makes it, reads it and takes out what it has handled. Everybody
 * sends. When the owner dies the cleaner takes what is left; an entry that was being handled then may come twice.
 *
 * Every method throws StoreUnavailable when the store cannot be reached.
 */
export interface Inboxes {
  /** Resolves `sent` when the message is durable. */
  send(instanceId: string, message: InboxMessage): Promise<SendOutcome>;
  /**
   * Makes this instance's inbox and handles what comes. `mayHandle` is asked before each message: false (a fenced instance)
   * leaves it there. A handler that rejects is logged, and its message is gone: it would fail again.
   */
  open(instanceId: string, handle: InboxHandler, mayHandle: () => boolean): Promise<OpenInbox>;
  /**
   * Hands what a dead instance left to `route`, in order, and removes the inbox. Safe to do again when it was interrupted;
   * rejects when `route` does, keeping that message and those behind it.
   */
  clean(deadId: string, route: InboxHandler, signal: AbortSignal): Promise<void>;
}

export interface OpenInbox {
  /** Stops reading, after the message in hand. What is left is the cleaner's. */
  close(): Promise<void>;
}

export interface InboxLimits {
  /** Default 10,000. */
  readonly maxEntries?: number;
  /** Default 16 MiB. */
  readonly maxBytes?: number;
}

export const INBOX_MAX_ENTRIES = 10_000;
export const INBOX_MAX_BYTES = 16_777_216;

export const inboxBytes = ({ kind, body }: InboxMessage): number => Buffer.byteLength(kind) + Buffer.byteLength(body);
