import { RedisAccountStore, redisClusterSecret } from '@xmpp-grid/auth';
import { openRedisTopicStore } from '@xmpp-grid/pubsub';
import {
  checkDataFormat,
  type Logger,
  RedisConnections,
  RedisControlLog,
  RedisInboxes,
  RedisInstanceTable,
  RedisOfflineMessages,
  RedisResumeStates,
  RedisSessionRegistry,
} from '@xmpp-grid/stream';
import type { Config } from './config.ts';
import { claimDataDir } from './data-dir.ts';
import { redisSettings } from './redis-settings.ts';
import type { Stores } from './stores.ts';
import { VERSION } from './version.ts';

/**
 * The store that any number of instances share. Waits for Redis until it answers; the data directory keeps only what is this
 * instance's own.
 *
 * @throws RedisRefused | StoreFormatError | StoreError | ConfigError; AbortError when `signal` ends the wait
 */
export async function openRedisStores(config: Config, log: Logger, signal?: AbortSignal): Promise<Stores> {
  await claimDataDir(config.dataDir);
  const redis = await RedisConnections.open(redisSettings(config), { log, ...(signal === undefined ? {} : { signal }) });
  try {
    await checkDataFormat(redis, `xmpp-grid ${VERSION}`);
    const topics = await openRedisTopicStore({
      connections: redis,
      retention: config.retention,
      log,
    });
    return {
      accounts: new RedisAccountStore(redis),
      topics,
      instances: new RedisInstanceTable(redis),
      inboxes: new RedisInboxes(redis, log),
      control: new RedisControlLog(redis, log),
      resumeStates: new RedisResumeStates(redis),
      sessionRegistry: (instances) => new RedisSessionRegistry(redis, instances),
      offlineMessages: (domain, exists) => new RedisOfflineMessages(redis, domain, exists),
      secret: () => redisClusterSecret(redis),
      onPrimaryChanged: (changed) => redis.onPrimaryChanged(changed),
      isWritable: () => true, // heartbeats are writes: an instance that cannot write is past its lease
      async close() {
        await topics.close();
        redis.close();
      },
    };
  } catch (error) {
    redis.close();
    throw error;
  }
}
