/** What happened when, for the report of a run that failed. */
export class Timeline {
  readonly #startedMs = performance.now();
  readonly #lines: string[] = [];
  readonly #tallies = new Map<string, number>();
  readonly #follow: ((line: string) => void) | undefined;
  #dropped = 0;

  /** `follow` hears of each line at once. */
  constructor(follow?: (line: string) => void) {
    this.#follow = follow;
  }

  /** Ms since the run began. */
  now(): number {
    return performance.now() - this.#startedMs;
  }

  /** Counts what happens to many at once; told as one line before whatever comes next. */
  tally(text: string): void {
    this.#tallies.set(text, (this.#tallies.get(text) ?? 0) + 1);
  }

  note(text: string): void {
    this.#tell();
    this.#add(text);
  }

  #tell(): void {
    const tallies = [...this.#tallies];
    this.#tallies.clear();
    for (const [text, count] of tallies) this.#add(`${count} × ${text}`);
  }

  #add(text: string): void {
    const line = `${String(Math.round(this.now())).padStart(7)} ms  ${text}`;
    this.#follow?.(line);
    if (this.#lines.length >= MAX_LINES) {
      this.#dropped++;
      return;
    }
    this.#lines.push(line);
  }

  toString(): string {
    this.#tell();
    return [...this.#lines, ...(this.#dropped > 0 ? [`… and ${this.#dropped} more`] : [])].join('\n');
  }
}

const MAX_LINES = 400;
