import type { EntryId, LogEntry, TopicRecord } from '@xmpp-grid/pubsub';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Bells } from '../../../packages/pubsub/src/store/redis/bells.ts';
import { Following } from '../../../packages/pubsub/src/store/redis/following.ts';
import { redisKeys } from '../../../packages/pubsub/src/store/redis/keys.ts';
import { config, OWNER, T0 } from '../../support/topics.ts';

const NODE = 'grid/sightings';
const CHANNEL = redisKeys('xg:').bell(NODE);
const REPLY_MS = 7;
const START: EntryId = { seq: 0, uid: '' };

type Step =
  | { readonly kind: 'append'; readonly own: boolean; readonly fate: 'now' | 'later' | 'lost' | 'twice' | 'bare' }
  | { readonly kind: 'late'; readonly which: number }
  | { readonly kind: 'failover'; readonly dropped: number; readonly isTold: boolean }
  | { readonly kind: 'reconnect' }
  | { readonly kind: 'wait'; readonly ms: number };

const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        kind: fc.constant('append' as const),
        own: fc.boolean(),
        fate: fc.constantFrom('now' as const, 'later' as const, 'lost' as const, 'twice' as const, 'bare' as const),
      }),
    },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('late' as const), which: fc.nat(20) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('failover' as const),
        dropped: fc.integer({ min: 1, max: 4 }),
        isTold: fc.boolean(),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('reconnect' as const) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 60 }) }) },
  ),
  { maxLength: 60 },
);

/** One topic's log. */
class FakeLog {
  entries: LogEntry[] = [];
  #made = 0;

  get head(): EntryId {
    const last = this.entries.at(-1);
    return last ? { seq: last.seq, uid: last.uid } : START;
  }

  get record(): TopicRecord {
    const tokens = { configToken: 'c', accessToken: 'a' };
    return { node: NODE, config: config(), creator: OWNER, createdMs: T0, ...tokens, head: this.head };
  }

  append(): LogEntry {
    this.#made += 1;
    const { seq, uid } = this.head;
    const entry: LogEntry = {
      seq: seq + 1,
      uid: `u${this.#made}`,
      prevUid: uid,
      kind: 'published',
      stampMs: T0,
      accessToken: 'a',
      itemId: `item ${this.#made}`,
      publisher: OWNER,
      isWithdrawn: false,
      notify: true,
    };
    this.entries.push(entry);
    return entry;
  }

  page(after: EntryId, maxEntries: number) {
    return { entries: this.entries.slice(after.seq, after.seq + maxEntries), firstSeq: 1, head: this.head };
  }
}

/** What it was when it was asked for, by the time that it comes. */
const slowly = <T>(reply: T): Promise<T> => new Promise((resolve) => setTimeout(() => resolve(reply), REPLY_MS));

function bellFor({ seq, uid, prevUid, itemId }: LogEntry, carries: boolean): Buffer {
  const fields = ['u', uid, 'q', prevUid, 'k', 'published', 's', String(T0), 'a', 'a', 'p', OWNER, 'n', '1', 'i', itemId];
  return Buffer.from(
    `${JSON.stringify(['c', 'a', String(seq), uid, carries && [[String(seq), ...fields]], carries && [[-1, '']]])}\n`,
  );
}

describe('following a topic whose bells go astray (delivery.md §1.3, §3)', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('hands every entry on once and in order, says each fork, and ends at the head', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (plan) => {
        const log = new FakeLog();
        let at = START;
        let forks = 0;
        const broken: string[] = [];
        const following = new Following({
          bells: { subscribe: async () => undefined, unsubscribe: async () => undefined } as unknown as Bells,
          keys: redisKeys('xg:'),
          headCheckMs: 5_000,
          record: () => slowly(log.record),
          heads: (nodes) => slowly(nodes.map(() => log.head)),
          readLog: (_node, after, maxEntries) => slowly(log.page(after, maxEntries)),
          emit: ({ entries }) => {
            for (const { seq, uid, prevUid } of entries) {
              if (seq !== at.seq + 1 || prevUid !== at.uid) broken.push(`${seq} ${uid} after ${at.seq} ${at.uid}`);
              at = { seq, uid };
            }
          },
          forked: (_node, head) => {
            forks += 1;
            at = head;
          },
          failed: (error) => broken.push(String(error)),
        });
        try {
          const opened = following.follow(NODE);
          await vi.advanceTimersByTimeAsync(2 * REPLY_MS);
          await opened;
          const late: Buffer[] = [];
          let failovers = 0;
          for (const step of plan) {
            switch (step.kind) {
              case 'append': {
                const entry = log.append();
                if (step.own) following.own(NODE, [entry], log.record);
                const bell = bellFor(entry, step.fate !== 'bare');
                if (step.fate === 'later') late.push(bell);
                else if (step.fate !== 'lost') following.ring(CHANNEL, bell);
                if (step.fate === 'twice') following.ring(CHANNEL, bell);
                break;
              }
              case 'late': {
                const [bell] = late.splice(step.which % Math.max(1, late.length), 1);
                if (bell) following.ring(CHANNEL, bell);
                break;
              }
              case 'failover':
                // What a bell on its way says of the log before it is no longer true; a new connection brings none of them.
                late.length = 0;
                log.entries = log.entries.slice(0, Math.max(0, log.entries.length - step.dropped));
                failovers += 1;
                if (step.isTold) following.missed([CHANNEL]);
                break;
              case 'reconnect':
                late.length = 0;
                following.missed([CHANNEL]);
                break;
              case 'wait':
                await vi.advanceTimersByTimeAsync(step.ms);
                break;
            }
          }
          await vi.advanceTimersByTimeAsync(12_000);
          expect(broken).toEqual([]);
          expect(at).toEqual(log.head);
          expect(forks).toBeLessThanOrEqual(failovers);
        } finally {
          following.close();
        }
      }),
      { numRuns: 300 },
    );
  });
});
