import type { ChildProcess } from 'node:child_process';
import cluster from 'node:cluster';
import type { Config } from '../config.ts';
import { MAX_ALIVE_LAG_MS, type Verdict } from '../health.ts';
import type { LifecycleState } from '../observe/metrics.ts';
import { type Exit, RestartingProcess, type RestartPolicy } from '../supervise/restarting-process.ts';
import { type Addresses, type FromWorker, type ToWorker, WORKER_NUMBER } from './messages.ts';

/** A worker that is slower to tell its metrics is left out of the scrape: Prometheus itself waits 10 s. */
const SCRAPE_TIMEOUT_MS = 3_000;
/** Beats come every second; a worker that missed three serves nobody well. */
const BEHIND_MS = 3_500;
const DISCONNECTED: NodeJS.ErrnoException['code'] = 'ERR_IPC_CHANNEL_CLOSED';

export interface WorkerOptions {
  readonly number: number;
  /** As the worker runs it. */
  readonly config: Config;
  /** It could not start, and ends with this exit code; `died` follows. */
  failed(lines: readonly string[], exitCode: number): void;
  /** `retryInMs`: when it is started again. */
  died(exit: Exit, retryInMs: number): void;
  /** It stood still for so long that it is ended and started again. */
  stuck(silentMs: number): void;
  readonly policy?: RestartPolicy;
}

/** One worker as its parent sees it, through all its lives. */
export class WorkerProcess {
  readonly number: number;
  readonly #options: WorkerOptions;
  readonly #process: RestartingProcess;
  readonly #scrapes = new Map<number, (text: string) => void>();
  #beat: { readonly state: LifecycleState; readonly ready: Verdict; readonly atMs: number } | undefined;
  #watchdog: NodeJS.Timeout | undefined;
  #lastScrape = 0;
  #serving: ((addresses: Addresses) => void) | undefined;

  constructor(options: WorkerOptions) {
    this.number = options.number;
    this.#options = options;
    this.#process = new RestartingProcess({
      launch: () => this.#launch(),
      died: (exit, retryInMs) => {
        this.#beat = undefined;
        options.died(exit, retryInMs);
      },
      ...(options.policy === undefined ? {} : { policy: options.policy }),
    });
  }

  get pid(): number | undefined {
    return this.#process.child?.pid;
  }

  get restarts(): number {
    return this.#process.restarts;
  }

  /** Starts it, and again whenever it ends; resolves with where it listens once it has begun to serve. */
  start(): Promise<Addresses> {
    return new Promise((resolve) => {
      this.#serving = resolve;
      this.#process.start();
      this.#watchdog = setInterval(() => this.#watch(), BEHIND_MS);
      this.#watchdog.unref();
    });
  }

  /** `away`: there is no process now, or it stands still. */
  state(): LifecycleState | 'away' {
    if (this.#process.child === undefined || this.#silentMs() > BEHIND_MS) return 'away';
    return this.#beat?.state ?? 'starting';
  }

  ready(): Verdict {
    const state = this.state();
    if (this.#beat === undefined || state === 'away') return { ok: false, reasons: [state] };
    return this.#beat.ready;
  }

  /** Its metrics; empty when it does not answer in time. */
  metrics(): Promise<string> {
    const child = this.#process.child;
    if (child === undefined || this.#beat === undefined) return Promise.resolve('');
    const id = ++this.#lastScrape;
    return new Promise((resolve) => {
      const settle = (text: string) => {
        clearTimeout(timer);
        this.#scrapes.delete(id);
        resolve(text);
      };
      const timer = setTimeout(() => settle(''), SCRAPE_TIMEOUT_MS);
      this.#scrapes.set(id, settle);
      tell(child, { kind: 'scrape', id });
    });
  }

  async stop(graceMs: number): Promise<void> {
    clearInterval(this.#watchdog);
    await this.#process.stop('SIGTERM', graceMs);
  }

  kill(): void {
    this.#process.kill();
  }

  #launch(): ChildProcess {
    const child = cluster.fork({ [WORKER_NUMBER]: String(this.number) }).process;
    child.on('message', (message: FromWorker) => this.#heard(child, message));
    return child;
  }

  #heard(child: ChildProcess, message: FromWorker): void {
    switch (message.kind) {
      case 'hello':
        tell(child, { kind: 'run', config: this.#options.config });
        return;
      case 'failed':
        this.#options.failed(message.lines, message.exitCode);
        return;
      case 'serving':
        this.#serving?.(message.addresses);
        return;
      case 'beat':
        if (child === this.#process.child) this.#beat = { state: message.state, ready: message.ready, atMs: performance.now() };
        return;
      case 'metrics':
        this.#scrapes.get(message.id)?.(message.text);
        return;
    }
  }

  /** 0 before its first word. */
  #silentMs(): number {
    return this.#beat === undefined ? 0 : performance.now() - this.#beat.atMs;
  }

  /** What /livez would tell a supervisor of a single instance is done here, for this worker alone. */
  #watch(): void {
    const silentMs = this.#silentMs();
    if (silentMs <= MAX_ALIVE_LAG_MS) return;
    this.#options.stuck(silentMs);
    this.#process.kill();
  }
}

function tell(child: ChildProcess, message: ToWorker): void {
  child.send(message, (error: NodeJS.ErrnoException | null) => {
    // Its end is on its way as an event of its own.
    if (error !== null && error.code !== DISCONNECTED && error.code !== 'EPIPE') child.emit('error', error);
  });
}
