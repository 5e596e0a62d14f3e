/** Something that stopped because the instance may not serve. */
export interface Stopped {
  /** The instance serves again. */
  opened(): void;
}

/** How often a closed gate is looked at while somebody waits, ms. */
const LOOK_MS = 25;

/**
 * Whether this instance may serve at all: it is not past its lease and knows the latest changes (delivery.md §7.2 (c), (d)).
 * While closed no stanza is handled and nothing is written; what was under way goes on when it opens.
 */
export class Gate {
  readonly #mayServe: () => boolean;
  readonly #stopped = new Set<Stopped>();
  #timer: NodeJS.Timeout | undefined;
  #closedMs = 0;

  constructor(mayServe: () => boolean) {
    this.#mayServe = mayServe;
  }

  get isOpen(): boolean {
    if (this.#mayServe()) return true;
    this.#closedMs = performance.now();
    return false;
  }

  /** Until when it was seen closed, on the monotonic clock, ms; 0 for never. Until then peers were silent or unanswered by our doing. */
  get closedMs(): number {
    return this.#closedMs;
  }

  /** Tells `stopped` once, when the gate is open again. */
  wait(stopped: Stopped): void {
    this.#stopped.add(stopped);
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref();
  }

  opened(): Promise<void> {
    return new Promise((resolve) => this.wait({ opened: resolve }));
  }

  #look(): void {
    if (!this.isOpen) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    const all = [...this.#stopped];
    this.#stopped.clear();
    for (const each of all) each.opened();
  }
}

/** For streams outside a cluster. */
export const ALWAYS_OPEN = new Gate(() => true);
