import type { InstanceState, InstanceTable } from '../instances.ts';

/** The table in one process. Its instance stays the only one; tests put several into one table. */
export class EmbeddedInstanceTable implements InstanceTable {
  readonly #states = new Map<string, InstanceState>();
  /** When each cleaning ends, monotonic ms. */
  readonly #until = new Map<string, number>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  async beat(id: string, counter: number, how: 'join' | 'beat'): Promise<ReadonlyMap<string, InstanceState> | 'fenced'> {
    const own = this.#states.get(id);
    if (how === 'beat' ? own?.kind !== 'live' : own !== undefined) return 'fenced';
    this.#states.set(id, { kind: 'live', counter });
    return new Map(this.#states);
  }

  async markDead(id: string, counter: number | undefined): Promise<boolean> {
    const state = this.#states.get(id);
    if (state?.kind !== 'live' || (counter !== undefined && state.counter !== counter)) return false;
    this.#states.set(id, { kind: 'dead' });
    return true;
  }

  async claimCleaning(id: string, by: string, forMs: number): Promise<'yours' | 'theirs' | 'gone'> {
    const state = this.#states.get(id);
    if (state === undefined) return 'gone';
    if (state.kind === 'live') return 'theirs';
    if (state.kind === 'cleaning' && state.by !== by && (this.#until.get(id) ?? 0) > this.#now()) return 'theirs';
    this.#states.set(id, { kind: 'cleaning', by });
    this.#until.set(id, this.#now() + forMs);
    return 'yours';
  }

  async finishCleaning(id: string, by: string): Promise<boolean> {
    const state = this.#states.get(id);
    if (state === undefined) return true;
    if (state.kind !== 'cleaning' || state.by !== by) return false;
    this.#states.delete(id);
    this.#until.delete(id);
    return true;
  }

  async goneOf(ids: readonly string[]): Promise<ReadonlySet<string>> {
    return new Set(ids.filter((id) => this.#states.get(id)?.kind !== 'live'));
  }
}
