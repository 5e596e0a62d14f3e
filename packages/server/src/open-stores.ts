import type { Logger } from '@xmpp-grid/stream';
import type { Config } from './config.ts';
import { ConfigError } from './config-load.ts';
import type { Stores } from './stores.ts';

/**
 * Opens the store that the configuration names.
 * Each kind is loaded when it is used: an instance on Redis needs no lmdb.
 *
 * @throws StoreError | StoreFormatError | RedisRefused | ConfigError
 */
export async function openStores(config: Config, log: Logger): Promise<Stores> {
  if (config.store.kind === 'redis') {
    throw new ConfigError(['store.kind: redis is not there yet']);
  }
  const { openEmbeddedStores } = await import('./stores-embedded.ts');
  return await openEmbeddedStores(config, log);
}
