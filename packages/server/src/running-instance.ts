import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import type { AdminOperations } from './admin/operations.ts';
import type { Config } from './config.ts';
import type { ProgramLogger } from './observe/log.ts';
import type { LifecycleState } from './observe/metrics.ts';
import type { Stores } from './stores.ts';
import type { TlsCredentials } from './tls-files.ts';

/** What the program hands to an instance; the program opened it and closes it after `stop`. */
export interface InstanceDeps {
  readonly stores: Stores;
  readonly tls: TlsCredentials;
  readonly log: ProgramLogger;
  readonly registry: Registry;
  /** Where the program around the instance stands. */
  state(): LifecycleState;
  /** Version of the program, for XEP-0092 and status. */
  readonly version: string;
}

/** One instance that serves. `startInstance(config, deps)` in `instance.ts` makes it; the program around it is `main.ts`. */
export interface RunningInstance {
  /** Random, made at start, and again when the instance was past its lease; never reused. */
  readonly instanceId: string;
  /** False while it is past its lease or cannot confirm the control log: it serves nobody then (delivery.md §7.2). */
  mayServe(): boolean;
  readonly addresses: { readonly starttls?: AddressInfo; readonly directTls?: AddressInfo; readonly http?: AddressInfo };
  readonly admin: AdminOperations;
  /** Ends every stream in order and closes the listeners; resolves once all is durable, after `graceMs` at the latest. */
  stop(reason: 'drain', graceMs: number): Promise<void>;
}

/** Either everything listens, or it throws and nothing is left open. */
export type StartInstance = (config: Config, deps: InstanceDeps) => Promise<RunningInstance>;
