import type { Account, Endpoint } from './client.ts';

/** The server that a run measures. */
export interface ServerUnderTest {
  readonly name: string;
  readonly pid: number;
  readonly endpoint: Endpoint;
  /** Accounts that may do everything on any topic; as many as were asked for. */
  readonly accounts: readonly Account[];
  /** Runs the garbage collector and tells what the heap holds; undefined where the server has none that can be asked. */
  collectGarbage?(): Promise<HeapUse>;
  stop(): Promise<void>;
}

/** Bytes, as `process.memoryUsage()` of the server tells after a collection. */
export interface HeapUse {
  readonly heapUsed: number;
  readonly external: number;
  readonly arrayBuffers: number;
}

export interface ServerNeeds {
  readonly accounts: number;
  /** How accounts log in. */
  readonly credential: 'password' | 'certificate';
}
