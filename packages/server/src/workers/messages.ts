import type { Config } from '../config.ts';
import type { Verdict } from '../health.ts';
import type { RunningProgram } from '../main.ts';
import type { LifecycleState } from '../observe/metrics.ts';

/** Where a worker's shared listeners are. */
export type Addresses = RunningProgram['addresses'];

/** What parent and worker say to each other over their channel. */
export type ToWorker =
  /** Once, in answer to `hello`. */
  | { readonly kind: 'run'; readonly config: Config }
  /** Answered by `metrics` with the same number. */
  | { readonly kind: 'scrape'; readonly id: number };

export type FromWorker =
  | { readonly kind: 'hello' }
  /** It cannot start, for these reasons, and ends with this exit code. */
  | { readonly kind: 'failed'; readonly lines: readonly string[]; readonly exitCode: number }
  | { readonly kind: 'serving'; readonly addresses: Addresses }
  /** Once a second and at each change of state; a worker without beats is stuck. */
  | { readonly kind: 'beat'; readonly state: LifecycleState; readonly ready: Verdict }
  | { readonly kind: 'metrics'; readonly id: number; readonly text: string };

/** Environment variable that makes a process a worker; its value is the worker's number, from 1. */
export const WORKER_NUMBER = 'XMPP_GRID_WORKER';

export const BEAT_MS = 1_000;
