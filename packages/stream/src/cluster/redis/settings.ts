import type { ConnectionOptions } from 'node:tls';

export interface RedisAddress {
  readonly host: string;
  readonly port: number;
}

/** Where Redis is. A `rediss:` URL asks for TLS; a user and a password in it are used unless the settings name others. */
export type RedisServers =
  | { readonly kind: 'standalone'; readonly url: string }
  | {
      readonly kind: 'sentinel';
      /** Name of the primary that the Sentinels watch. */
      readonly name: string;
      readonly sentinels: readonly RedisAddress[];
      readonly username?: string;
      readonly password?: string;
    }
  | { readonly kind: 'cluster'; readonly nodes: readonly RedisAddress[] };

/**
 * When a change counts as durable (delivery.md §2.4). `memory`: at once, lost with the primary. `fsync`: on the primary's
 * disk. `replicas`: held by that many replicas.
 */
export type Durability =
  | { readonly kind: 'memory' }
  | { readonly kind: 'fsync' }
  | { readonly kind: 'replicas'; readonly count: number };

export interface RedisSettings {
  readonly servers: RedisServers;
  readonly username?: string;
  readonly password?: string;
  /** Database number; Cluster has only 0. */
  readonly db?: number;
  /** TLS to every server, Sentinels too. */
  readonly tls?: ConnectionOptions;
  /** Put before every key. */
  readonly keyPrefix: string;
  /** `auto`: one replica where the primary has any, else its disk where it writes each command there, else refused. */
  readonly durability: Durability | 'auto';
  /** After this long without an answer a command has failed, ms. Default 5,000. */
  readonly commandTimeoutMs?: number;
  /** How long WAIT may take before the outcome counts as unknown, ms. Default 2,000. */
  readonly replicaTimeoutMs?: number;
}

/** Redis is there and must not be used as it is: its message says what to change. The program ends with it. */
export class RedisRefused extends Error {
  override readonly name = 'RedisRefused';
}
