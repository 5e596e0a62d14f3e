import type { Account, Endpoint } from './client.ts';
import type { CommandUses } from './redis-info.ts';

/** Processes whose CPU time is measured together. */
export interface Measured {
  readonly pids: readonly number[];
  /** Redis that works for them, if any: counted apart. */
  readonly redisPids?: readonly number[];
}

/** The server that a run measures: one instance, or several that share a Redis. */
export interface ServerUnderTest extends Measured {
  readonly name: string;
  readonly instances: readonly InstanceUnderTest[];
  /** Only where the instances share one. */
  readonly redis?: RedisUnderTest;
  /** Accounts that may do everything on any topic; as many as were asked for. */
  readonly accounts: readonly Account[];
  stop(): Promise<void>;
}

export interface InstanceUnderTest {
  readonly pid: number;
  readonly endpoint: Endpoint;
  /** Runs the garbage collector and tells what the heap holds; undefined where the server has none that can be asked. */
  collectGarbage?(): Promise<HeapUse>;
  /** Samples where its time goes until the returned function is called, which resolves with a `.cpuprofile`. */
  startProfile?(): Promise<() => Promise<string>>;
}

/** The Redis of a run: one server, a primary and its replica, or the primaries of a Cluster. */
export interface RedisUnderTest {
  readonly pids: readonly number[];
  /** What each command did so far, inside scripts too, over all primaries (INFO commandstats). */
  commandUses(): Promise<CommandUses>;
  /** Memory in bytes, without the buffers of clients and of the append-only file, over all primaries. */
  usedMemory(): Promise<number>;
  /** How many connections hear what is published on the sharded channels whose names end so. */
  listeners(channelEnd: string): Promise<number>;
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
