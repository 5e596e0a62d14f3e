import type { LocalCluster } from './local-cluster.ts';
import { publishRate, type Snapshot, spellStates, spellStatus } from './snapshot.ts';

/** Often enough to see a failover happen; the looks of three instances cost 1 % of a core. */
const INTERVAL_MS = 2_000;
/** Where lines stay: say that all is as it was, now and then. */
const QUIET_MS = 60_000;

export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/**
 * Shows how the cluster does: on a terminal in one line at the bottom that is written over, elsewhere in plain lines, one whenever
 * who is ready or primary changes.
 */
export class StatusLine {
  readonly #cluster: Pick<LocalCluster, 'snapshot'>;
  readonly #output: Output;
  readonly #timer: NodeJS.Timeout;
  #last: Snapshot | undefined;
  #told = { states: '', atMs: 0 };
  #shown = '';
  #isLooking = false;
  #isClosed = false;

  constructor(cluster: Pick<LocalCluster, 'snapshot'>, output: Output) {
    this.#cluster = cluster;
    this.#output = output;
    this.#timer = setInterval(() => void this.look(), INTERVAL_MS);
  }

  /** Takes a look now and shows it. */
  async look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const now = await this.#cluster.snapshot();
      if (this.#isClosed) return;
      const text = spellStatus(now, this.#last === undefined ? 0 : publishRate(this.#last, now));
      this.#last = now;
      if (this.#output.isTTY === true) this.#replace(text);
      else this.#tellChange(text, spellStates(now), now.atMs);
    } finally {
      this.#isLooking = false;
    }
  }

  /** A line that stays, above the status. */
  say(text: string): void {
    if (this.#output.isTTY === true) this.#output.write(`\r\x1b[2K${text}\n${this.#shown}`);
    else this.#output.write(`${text}\n`);
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    if (this.#shown !== '') this.#output.write('\n');
    this.#shown = '';
  }

  #replace(text: string): void {
    // A longer line would wrap, and only its last row be written over.
    this.#shown = `  ${text}`.slice(0, (this.#output.columns ?? 80) - 1);
    this.#output.write(`\r\x1b[2K${this.#shown}`);
  }

  #tellChange(text: string, states: string, atMs: number): void {
    if (states === this.#told.states && atMs - this.#told.atMs < QUIET_MS) return;
    this.#told = { states, atMs };
    this.#output.write(`${text}\n`);
  }
}
