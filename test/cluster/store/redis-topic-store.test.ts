import { openRedisTopicStore, type RedisTopicStoreOptions } from '@xmpp-grid/pubsub';
import { afterAll, beforeAll, describe } from 'vitest';
import { hasRedis, startRedis, type TestRedis } from '../../support/start-redis.ts';
import { describeTopicStore } from '../../support/store-conformance.ts';

let prefixes = 0;
function nextPrefix(): string {
  prefixes += 1;
  return `test-${process.pid}-${Date.now()}-${prefixes}:`;
}

describe.skipIf(!hasRedis())('over one Redis', () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.stop());

  const options = (more: Partial<RedisTopicStoreOptions> = {}): RedisTopicStoreOptions => ({
    redis: { host: redis.host, port: redis.port },
    prefix: nextPrefix(),
    durability: 'memory',
    ...more,
  });

  describeTopicStore('redis', async (retention) => {
    const chosen = options(retention ? { retention } : {});
    let store = await openRedisTopicStore(chosen);
    return {
      store,
      async reopen() {
        await store.close();
        store = await openRedisTopicStore(chosen);
        return store;
      },
      destroy: () => store.close(),
    };
  });
});
