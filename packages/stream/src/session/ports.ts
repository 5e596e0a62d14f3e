import type { Element } from 'ltx';
import type { JID } from '../jid.ts';

/**
 * What services above see of a bound session. The session itself (`session.ts`) is the only implementation.
 */

/** Names one entry of a log that its owner can read again: XEP-0198 keeps this instead of the bytes. */
export interface EntryRef {
  readonly topic: string;
  readonly seq: number;
  readonly uid: string;
}

/**
 * Owns what a session acknowledges late: told what was acknowledged, asked to send the rest again.
 *
 * @see delivery.md §5.2, §6.1
 */
export interface Redeliverable {
  /** The client has taken everything up to these entries; one per topic, the newest. */
  acknowledged(session: SessionPort, refs: readonly EntryRef[]): void;
  /**
   * Reads one entry again for a resumed session. Undefined: it was withdrawn, or the session may not have it any more; skip
   * it. For one that was trimmed: the message that tells of the gap.
   */
  encodeAgain(session: SessionPort, ref: EntryRef): Promise<{ readonly prefix: Buffer; readonly body: Buffer } | undefined>;
}

/** Keeps where each session stands in the logs, and gives that on when a session moves to another instance. */
export interface EntryKeeper extends Redeliverable {
  /**
   * What the next instance needs to go on with this session's entries: text of at most 1 MiB. Nothing more is sent to the
   * session and nothing acknowledged until `ended` follows, or `writable` because it could not be given on. Changes nothing.
   */
  leave(session: SessionPort): string;
  /**
   * Takes on a session that comes from another instance, with what was given there: in place of `bound` and `started`.
   * The session is not writable until `resumed`; before that `encodeAgain` is asked for what is not acknowledged.
   * When it rejects the session cannot be resumed, and `ended` follows.
   */
  arrive(session: SessionPort, kept: string): Promise<void>;
  /** Makes durable what a session has acknowledged that ends now, before its client can log in elsewhere. Never rejects. */
  settle(session: SessionPort): Promise<void>;
}

/** A session that can be handed stanzas. Everything here is synchronous; nothing throws once the session has ended. */
export interface SessionPort {
  /** Random, unique per process start. */
  readonly id: string;
  /** Full JID. */
  readonly jid: JID;
  readonly role: string;
  /** False once the stream has ended and can no longer resume. */
  readonly isAlive: boolean;
  /**
   * May take one more log entry: connected (not hibernating), outbox below its high-water mark,
   * fewer than 1,000 unacknowledged stanzas under stream management.
   */
  readonly isWritable: boolean;
  /** Largest stanza the peer announced by XEP-0478; Infinity when it announced none. */
  readonly peerMaxStanzaBytes: number;
  /**
   * Queues one log entry. `prefix` is this subscriber's part of the encoding (`<message to=… id='TAG.`),
   * `body` the part shared by all. Never refuses: callers ask `isWritable` first.
   */
  sendEntry(prefix: Buffer, body: Buffer, owner: Redeliverable, ref: EntryRef): void;
  /**
   * The session may no longer hear of a topic (`EntryRef.topic`): nothing of it that has not been handed to the socket
   * leaves (delivery.md §8.1). Where that cannot be taken back alone, as counts would not fit, the stream ends and the
   * session may be resumed.
   */
  withdraw?(topic: string): void;
  /** Queues a stanza that belongs to no log; over 1 MiB of such bytes the stream ends (`slow-consumer`). */
  sendStanza(stanza: Element | Buffer): void;
}

/** How much a session is a receiver of bare-JID traffic. @see delivery.md §4.1 */
export interface Availability {
  /** Never sent presence, or sent available presence with priority ≥ 0. */
  readonly receivesBare: boolean;
}

/** Told about every bound session of this instance, in order, on the event loop. */
export interface SessionObserver {
  /** A resource was bound. Delivery has not started. */
  bound(session: SessionPort): void;
  /** The first of `<enabled/>`, initial presence, first pubsub request, 1 s after bind (delivery.md §4.2). Once per session. */
  started(session: SessionPort): void;
  /** Available presence or its priority changed. */
  availabilityChanged(session: SessionPort, now: Availability): void;
  /** The session can take entries again after `isWritable` was false. */
  writable(session: SessionPort): void;
  /**
   * A session was resumed on a new stream: unacknowledged entries have been sent again. Its rights are those of the new login
   * (delivery.md §6.2).
   */
  resumed(session: SessionPort): void;
  /** The session is over and cannot resume. */
  ended(session: SessionPort, why: string): void;
}
