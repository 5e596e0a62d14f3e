import type { SessionPort } from '@xmpp-grid/stream';
import type { EntryId } from '../log/entry.ts';
import type { LogPage } from '../store/log-reader.ts';
import type { TopicRecord } from '../store/topic-store.ts';
import type { Feed } from './feed.ts';
import type { Slot } from './ring.ts';

/** One subscribed JID at one followed topic; its sessions of this instance have cursors. */
export interface Subscriber {
  readonly jid: string;
  /** Keeps a position in the store: a bare JID at a topic that does not start at the head (delivery.md §4.1, §9.2). */
  readonly isDurable: boolean;
  /** Acknowledged by at least one of its sessions; never steps back. */
  acknowledged: EntryId;
  /** In the store its position is this instance's watermark. */
  isDelegated: boolean;
  /** What the store has as its own number, as far as this instance wrote it. */
  storedSeq: number;
  readonly cursors: Set<Cursor>;
}

/** A page of the log made ready to be handed to all that read at this place. */
export interface SlotPage {
  readonly slots: readonly Slot[];
  readonly firstSeq: LogPage['firstSeq'];
  readonly head: EntryId;
}

/** What delivery knows of one session. */
export interface Receiver {
  readonly port: SessionPort;
  /** Bare and full JID. */
  readonly account: string;
  readonly fullJid: string;
  /** The role that it was judged by. */
  role: string;
  receivesBare: boolean;
  /** Its account's rights changed and are being read: nothing is handed to it meanwhile (delivery.md §8.2). */
  isHeld: boolean;
  /** When delivery started; Infinity before. */
  startedMs: number;
  isEnded: boolean;
  /** By `Cursor.key`. */
  readonly cursors: Map<string, Cursor>;
  /** Of these, those that are not live: looked at when the session can take more. */
  readonly waiting: Set<Cursor>;
  /** By `Cursor.key`: cursors that ended with the deletion of their topic, until that was acknowledged. */
  readonly ended: Map<string, EndedCursor>;
  readonly loading: Map<string, Loading>;
  /** By `Cursor.key`: where a session that was resumed here stood on another instance, until its cursor is opened. */
  restored: Map<string, Place>;
}

/** Where a session stands on a topic. */
export interface Place {
  /** Everything up to here was handed over, or is no business of the consumer. */
  readonly at: EntryId;
  readonly sentSeq: number;
  acknowledged: EntryId;
  /** `Cursor.doubtfulSeq` */
  readonly doubtfulSeq: number;
  /** The topic was deleted after this place, and the session is owed the news: what the topic was. */
  readonly deleted?: TopicRecord | undefined;
}

export interface EndedCursor {
  readonly node: string;
  readonly jid: string;
  readonly record: TopicRecord;
  readonly seq: number;
  readonly prefix: Buffer;
}

/** A look at one topic for one session that is under way. */
export interface Loading {
  done: Promise<void>;
  /** Something changed meanwhile: look again. */
  again: boolean;
  /** The first look of a session: also at what the account was not told of. */
  isStart: boolean;
}

/**
 * Where one session stands on one topic for one subscription (design D9). The cursor decides what comes next: an entry is
 * handed only to a cursor that stands at its predecessor.
 */
export class Cursor {
  readonly receiver: Receiver;
  readonly feed: Feed;
  readonly subscriber: Subscriber;
  readonly prefix: Buffer;
  /** Names it towards stream management: the node, or for a full JID node and JID. */
  readonly key: string;
  /** The entry at which it stands: everything up to it was handed over or is no business of this consumer. */
  at: EntryId;
  /** At the head, served by the fan-out; else catching up. */
  isLive = false;
  /** Place in the feed's list of live cursors. */
  liveIndex = -1;
  /** The newest entry handed to the session. */
  sentSeq = 0;
  acknowledged: EntryId;
  /** Of entries up to here some were handed over that the log does not have any more; an acknowledgement may be meant for them. */
  doubtfulSeq = 0;
  /** Where it found nothing in the log although there should have been something. */
  stuckSeq = -1;
  /** A task of the slices, or a page on its way, belongs to it. */
  isQueued = false;
  page: SlotPage | undefined;
  /** The next entry ended the consumer's streams three times in a row: it is not sent again. */
  setsAside = false;
  isClosed = false;

  constructor(receiver: Receiver, feed: Feed, subscriber: Subscriber, prefix: Buffer, key: string, at: EntryId) {
    this.receiver = receiver;
    this.feed = feed;
    this.subscriber = subscriber;
    this.prefix = prefix;
    this.key = key;
    this.at = at;
    this.acknowledged = at;
  }

  /**
   * The session receives nothing for a bare JID while it is unavailable or of negative priority (delivery.md §4.1), and
   * nothing at all while it is judged.
   */
  get isSuspended(): boolean {
    return this.receiver.isHeld || (!this.receiver.receivesBare && this.subscriber.jid === this.receiver.account);
  }

  /** What came after `place` is not in the log any more. */
  goBack(place: EntryId): void {
    if (this.sentSeq > place.seq) this.doubtfulSeq = Math.max(this.doubtfulSeq, this.sentSeq);
    this.at = place;
    this.sentSeq = Math.min(this.sentSeq, place.seq);
    if (this.acknowledged.seq >= place.seq) this.acknowledged = place;
  }

  /** `Place.deleted` */
  get deleted(): TopicRecord | undefined {
    return this.at.seq < this.feed.deletedSeq ? this.feed.record : undefined;
  }

  /** Everything up to here is acknowledged; what was filtered out counts as acknowledged (delivery.md §5.2). */
  get settled(): EntryId {
    return this.sentSeq <= this.acknowledged.seq ? this.at : this.acknowledged;
  }
}
