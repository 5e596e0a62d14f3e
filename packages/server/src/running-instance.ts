import type { AddressInfo } from 'node:net';
import type { RootDatabase } from 'lmdb';
import type { Registry } from 'prom-client';
import type { AdminOperations } from './admin/operations.ts';
import type { Config } from './config.ts';
import type { ProgramLogger } from './observe/log.ts';
import type { TlsCredentials } from './tls-files.ts';

/** What the program hands to an instance; the program opened it and closes it after `stop`. */
export interface InstanceDeps {
  /** The store's environment; each adapter takes its own named databases (`openAccounts`, `openTopics` in `stores.ts`). */
  readonly root: RootDatabase;
  readonly tls: TlsCredentials;
  readonly log: ProgramLogger;
  readonly registry: Registry;
  /** Version of the program, for XEP-0092 and status. */
  readonly version: string;
}

/** One instance that serves. `startInstance(config, deps)` in `instance.ts` makes it; the program around it is `main.ts`. */
export interface RunningInstance {
  /** Random, made at start, never reused. */
  readonly instanceId: string;
  readonly addresses: { readonly starttls?: AddressInfo; readonly directTls?: AddressInfo; readonly http?: AddressInfo };
  readonly admin: AdminOperations;
  /** Ends every stream in order and closes the listeners; resolves once all is durable, after `graceMs` at the latest. */
  stop(reason: 'drain', graceMs: number): Promise<void>;
}

/** Either everything listens, or it throws and nothing is left open. */
export type StartInstance = (config: Config, deps: InstanceDeps) => Promise<RunningInstance>;
