import { type EntryRef, JID, type Redeliverable, type SessionPort } from '@xmpp-grid/stream';
import type { Element } from 'ltx';

export interface Received {
  readonly text: string;
  /** Undefined for a stanza that belongs to no log. */
  readonly ref?: EntryRef;
}

/** A session without a socket: keeps what it was handed, and acknowledges and blocks when told to. */
export class FakeSession implements SessionPort {
  readonly id: string;
  readonly jid: JID;
  role: string;
  readonly received: Received[] = [];
  peerMaxStanzaBytes = Number.POSITIVE_INFINITY;
  isAlive = true;
  /** How many more entries it takes. */
  room = Number.POSITIVE_INFINITY;
  /** Topics to which it lost the right, in order. */
  readonly withdrawn: string[] = [];
  #owner: Redeliverable | undefined;
  #unacknowledged: EntryRef[] = [];

  constructor(jid: string, role = 'analyst') {
    this.jid = JID.parse(jid);
    this.id = `session of ${jid}`;
    this.role = role;
  }

  get isWritable(): boolean {
    return this.isAlive && this.room > 0;
  }

  sendEntry(prefix: Buffer, body: Buffer, owner: Redeliverable, ref: EntryRef): void {
    if (!this.isWritable) throw new Error('handed an entry without asking');
    this.room -= 1;
    this.received.push({ text: prefix.toString() + body.toString(), ref });
    this.#owner = owner;
    this.#unacknowledged.push(ref);
  }

  withdraw(topic: string): void {
    this.withdrawn.push(topic);
  }

  /** What another instance sent, and this session was sent again when it was resumed. */
  owes(owner: Redeliverable, ref: EntryRef): void {
    this.#owner = owner;
    this.#unacknowledged.push(ref);
  }

  sendStanza(stanza: Element | Buffer): void {
    this.received.push({ text: stanza.toString() });
  }

  get unacknowledged(): readonly EntryRef[] {
    return this.#unacknowledged;
  }

  /** Acknowledges the first `count` entries that are not acknowledged yet, as XEP-0198 does: the newest of each topic. */
  acknowledge(count = Number.POSITIVE_INFINITY): void {
    const newest = new Map<string, EntryRef>();
    for (const ref of this.#unacknowledged.splice(0, count)) newest.set(ref.topic, ref);
    if (newest.size > 0) this.#owner?.acknowledged(this, [...newest.values()]);
  }

  /** What a resumed stream would send again. */
  async again(): Promise<string[]> {
    const all = await Promise.all(this.#unacknowledged.map((ref) => this.#owner?.encodeAgain(this, ref)));
    return all.flatMap((again) => (again ? [again.prefix.toString() + again.body.toString()] : []));
  }

  /** Numbers of the entries of a topic, in the order received. */
  seqs(topic: string): number[] {
    return this.received.flatMap(({ ref }) => (ref?.topic === topic ? [ref.seq] : []));
  }
}
