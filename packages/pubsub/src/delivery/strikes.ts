/** Ends of a stream that an entry may have caused; after an orderly end nobody is suspected. */
const SUSPICIOUS = new Set(['connection-lost', 'protocol-error', 'malformed-xml', 'stanza-too-big']);
/** Three ends in a row with the same entry first in line (delivery.md §4.5). */
const MAX_STRIKES = 3;
/** Consumers with a broken end at the moment; beyond it the oldest suspicion is forgotten. */
const MAX_SUSPECTS = 10_000;

interface Suspicion {
  /** The consumer had acknowledged everything up to here, and had been handed more. */
  readonly afterSeq: number;
  count: number;
}

/**
 * Finds the entry that its consumer never survives: without this it would be the first thing sent at every login, for
 * ever. Kept in memory: after a restart three more ends are needed.
 */
export class Strikes {
  readonly #suspicions = new Map<string, Suspicion>();

  /** A session ended. `handedSeq`: the newest entry it was handed. */
  ended(node: string, jid: string, afterSeq: number, handedSeq: number, why: string): void {
    const key = `${node}\u0000${jid}`;
    const known = this.#suspicions.get(key);
    this.#suspicions.delete(key);
    if (handedSeq <= afterSeq || !SUSPICIOUS.has(why)) return;
    this.#suspicions.set(key, { afterSeq, count: known?.afterSeq === afterSeq ? known.count + 1 : 1 });
    if (this.#suspicions.size <= MAX_SUSPECTS) return;
    for (const oldest of this.#suspicions.keys()) {
      this.#suspicions.delete(oldest);
      return;
    }
  }

  /** Whether the first entry after `afterSeq` has to be set aside for this consumer. Asked once: it forgets. */
  isOut(node: string, jid: string, afterSeq: number): boolean {
    const key = `${node}\u0000${jid}`;
    const known = this.#suspicions.get(key);
    if (!known || known.afterSeq !== afterSeq || known.count < MAX_STRIKES) return false;
    this.#suspicions.delete(key);
    return true;
  }
}
