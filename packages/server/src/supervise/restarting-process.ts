import type { ChildProcess } from 'node:child_process';

/** How soon a process that ended is started again. */
export interface RestartPolicy {
  /** Wait before the first restart; doubles with each further one. */
  readonly firstDelayMs: number;
  /** Longest wait: a process that can never start costs one start in this time, no more. */
  readonly maxDelayMs: number;
  /** A process that lived this long has proved itself: the waits begin anew. */
  readonly settledMs: number;
}

/** 0.5 s: ports and leases of the old one are free by then. 30 s: an operator who repairs the cause does not wait long. */
export const RESTART_POLICY: RestartPolicy = { firstDelayMs: 500, maxDelayMs: 30_000, settledMs: 60_000 };

/** The wait before the next start after `failures` short lives in a row (0: none so far). */
export function restartDelayMs(policy: RestartPolicy, failures: number): number {
  return Math.min(policy.maxDelayMs, policy.firstDelayMs * 2 ** Math.min(failures, 30));
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly livedMs: number;
}

export interface RestartingProcessOptions {
  /** Starts it; called again after each end. */
  launch(): ChildProcess;
  /** It ended and was not asked to; `retryInMs` until the next start. */
  died?(exit: Exit, retryInMs: number): void;
  readonly policy?: RestartPolicy;
}

/**
 * One process that is started again whenever it ends, until `stop`. Owner of the process and of the wait between two lives.
 */
export class RestartingProcess {
  readonly #options: RestartingProcessOptions;
  readonly #policy: RestartPolicy;
  #child: ChildProcess | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  #restarts = 0;
  #isStopping = false;
  #whenGone: (() => void)[] = [];

  constructor(options: RestartingProcessOptions) {
    this.#options = options;
    this.#policy = options.policy ?? RESTART_POLICY;
  }

  /** Undefined: it waits for its next start, or was stopped. */
  get child(): ChildProcess | undefined {
    return this.#child;
  }

  /** Starts after the first. */
  get restarts(): number {
    return this.#restarts;
  }

  start(): void {
    const startedMs = performance.now();
    const child = this.#options.launch();
    this.#child = child;
    let isOver = false;
    const over = (code: number | null, signal: NodeJS.Signals | null) => {
      if (isOver) return;
      isOver = true;
      this.#child = undefined;
      for (const resolve of this.#whenGone.splice(0)) resolve();
      if (!this.#isStopping) this.#again({ code, signal, livedMs: performance.now() - startedMs });
    };
    child.once('exit', over);
    child.once('error', () => {
      if (child.pid === undefined) over(127, null); // it could not be started at all
    });
  }

  #again(exit: Exit): void {
    if (exit.livedMs >= this.#policy.settledMs) this.#failures = 0;
    const delayMs = restartDelayMs(this.#policy, this.#failures++);
    this.#options.died?.(exit, delayMs);
    this.#timer = setTimeout(() => {
      this.#restarts++;
      this.start();
    }, delayMs);
  }

  /** Ends it for good: the signal, and SIGKILL after `graceMs`. Resolves when it is gone. */
  async stop(signal: NodeJS.Signals, graceMs: number): Promise<void> {
    this.#isStopping = true;
    clearTimeout(this.#timer);
    const child = this.#child;
    if (child === undefined) return;
    const gone = new Promise<void>((resolve) => this.#whenGone.push(resolve));
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
    await gone;
    clearTimeout(timer);
  }

  /** Ends it at once; unless it is being stopped, it is started again. */
  kill(): void {
    this.#child?.kill('SIGKILL');
  }
}
