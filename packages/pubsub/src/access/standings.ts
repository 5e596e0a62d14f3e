import type { Affiliation } from '../store/topic-config.ts';
import type { TopicRecord } from '../store/topic-store.ts';

/** What was read of a topic and of an account's place in it. The record's tokens name both: while they stand, so does this. */
export interface Standing {
  readonly record: TopicRecord;
  /** As an owner set it. */
  readonly stored: Affiliation;
}

/** A few hundred bytes each: every publisher of a large instance at some topics. */
const MAX_STANDINGS = 20_000;

/**
 * What the last publish of an account at a topic read, so that the next one need not ask the store before it changes it
 * (design D5: a publish is one script call). May be out of date: good only for a step that is guarded by the record's tokens,
 * and never for a refusal. Bounded; the oldest go first.
 */
export class Standings {
  readonly #held = new Map<string, Standing>();
  readonly #max: number;

  constructor(max = MAX_STANDINGS) {
    this.#max = max;
  }

  get(node: string, account: string): Standing | undefined {
    return this.#held.get(keyOf(node, account));
  }

  keep(node: string, account: string, standing: Standing): void {
    const key = keyOf(node, account);
    this.#held.delete(key); // the newest is the last
    this.#held.set(key, standing);
    if (this.#held.size <= this.#max) return;
    const [oldest] = this.#held.keys();
    if (oldest !== undefined) this.#held.delete(oldest);
  }

  forget(node: string, account: string): void {
    this.#held.delete(keyOf(node, account));
  }
}

/** A bare JID has no space (RFC 7622 §3.3.1). */
const keyOf = (node: string, account: string): string => `${account} ${node}`;
