/** Holds one consumer's stream against what it must be: from each source 1, 2, 3 … without hole and without repetition. */
export class SequenceCheck {
  readonly #next = new Map<number, number>();

  /** The number that should come next from a source. */
  expected(source: number): number {
    return this.#next.get(source) ?? 1;
  }

  /**
   * Takes one event. `gap`: events before it are missing or come later; `repeat`: it came before, or comes late.
   * After a gap the numbers go on from there, so that one loss counts once.
   */
  take(source: number, seq: number): 'expected' | 'gap' | 'repeat' {
    const expected = this.expected(source);
    if (seq < expected) return 'repeat';
    this.#next.set(source, seq + 1);
    return seq === expected ? 'expected' : 'gap';
  }
}
