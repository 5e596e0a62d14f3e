import type { Logger } from '@xmpp-grid/stream';
import type { Config } from './config.ts';
import type { Stores } from './stores.ts';

/**
 * Opens the store that the configuration names. Waits for Redis until it answers or `signal` ends the wait.
 * Each kind is loaded when it is used: an instance on Redis needs no lmdb.
 *
 * @throws StoreError | StoreFormatError | RedisRefused | ConfigError
 */
export async function openStores(config: Config, log: Logger, signal?: AbortSignal): Promise<Stores> {
  if (config.store.kind === 'redis') {
    const { openRedisStores } = await import('./stores-redis.ts');
    return await openRedisStores(config, log, signal);
  }
  const { openEmbeddedStores } = await import('./stores-embedded.ts');
  return await openEmbeddedStores(config, log);
}
