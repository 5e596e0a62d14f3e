import type { Client } from './client.ts';
import { Latencies, type LatencyCounts } from './latency.ts';
import { SequenceCheck } from './sequence-check.ts';

/** What consumers received, and what was wrong with it. A run with any fault has failed. */
export interface ConsumerReport {
  readonly consumers: number;
  /** Events since the group was opened. */
  readonly events: number;
  /** Events since the last reset of the measures. */
  readonly measuredEvents: number;
  /** Bytes after TLS since the last reset. */
  readonly measuredBytes: number;
  /** Events that came with a number above the next expected one: something is missing or out of order. */
  readonly gaps: number;
  /** Events that came with a number below the next expected one: repeated or out of order. */
  readonly repeats: number;
  /** Streams that ended by themselves. */
  readonly lost: number;
  /** The first fault in words; '' without faults. */
  readonly firstFault: string;
  readonly latency: LatencyCounts;
}

/** Checks that each member receives each source's events 1, 2, 3 … in order, and measures how long they took. */
export class ConsumerGroup {
  readonly #members: Client[] = [];
  #latencies = new Latencies();
  #events = 0;
  #eventsAtReset = 0;
  #bytes = 0;
  #gaps = 0;
  #repeats = 0;
  #lost = 0;
  #firstFault = '';
  #waiting: { readonly events: number; readonly resolve: () => void } | undefined;

  get members(): readonly Client[] {
    return this.#members;
  }

  add(client: Client): void {
    this.#members.push(client);
    const name = client.bareJid || `socket ${this.#members.length}`;
    const sequences = new SequenceCheck();
    client.listen({
      event: (source, seq, sentAt, receivedAt) => {
        const expected = sequences.expected(source);
        const found = sequences.take(source, seq);
        if (found !== 'expected') this.#fault(found, `${name} got ${source}/${seq}, expected ${source}/${expected}`);
        this.#latencies.record(receivedAt - sentAt);
        this.#events += 1;
        if (this.#waiting !== undefined && this.#events >= this.#waiting.events) {
          const { resolve } = this.#waiting;
          this.#waiting = undefined;
          resolve();
        }
      },
      bytes: (count) => {
        this.#bytes += count;
      },
      lost: (why) => this.#fault('lost', `${name} lost its stream: ${why}`),
    });
  }

  /** Resolves once the whole group has received so many events since it was opened. One waiter at a time. */
  received(events: number): Promise<void> {
    if (this.#events >= events) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting = { events, resolve };
    });
  }

  /** Begins a measured stretch; expectations and faults stay. */
  reset(): void {
    this.#latencies = new Latencies();
    this.#eventsAtReset = this.#events;
    this.#bytes = 0;
  }

  report(): ConsumerReport {
    return {
      consumers: this.#members.length,
      events: this.#events,
      measuredEvents: this.#events - this.#eventsAtReset,
      measuredBytes: this.#bytes,
      gaps: this.#gaps,
      repeats: this.#repeats,
      lost: this.#lost,
      firstFault: this.#firstFault,
      latency: this.#latencies.counts(),
    };
  }

  #fault(kind: 'gap' | 'repeat' | 'lost', text: string): void {
    if (kind === 'gap') this.#gaps += 1;
    else if (kind === 'repeat') this.#repeats += 1;
    else this.#lost += 1;
    if (this.#firstFault === '') this.#firstFault = text;
  }
}
