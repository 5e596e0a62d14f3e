import { openRedisTopicStore, type RedisTopicStore, type RedisTopicStoreOptions } from '@xmpp-grid/pubsub';
import { type Durability, RedisConnections, type RedisServers, type RedisSettings } from '@xmpp-grid/stream';
import { pino } from 'pino';
import type { TestRedis } from './start-redis.ts';

let prefixes = 0;

/** A prefix that no other test uses. */
export function nextPrefix(): string {
  prefixes += 1;
  return `test-${process.pid}-${Date.now()}-${prefixes}:`;
}

export const quiet = pino({ level: 'silent' });

export type StoreOptions = Omit<Partial<RedisTopicStoreOptions>, 'connections'> & {
  readonly prefix?: string;
  readonly durability?: Durability;
  readonly settings?: Partial<RedisSettings>;
};

/** A topic store with the connections of its instance. */
export interface OpenedStore {
  readonly store: RedisTopicStore;
  readonly connections: RedisConnections;
  readonly prefix: string;
  close(): Promise<void>;
}

export const standalone = (redis: TestRedis): RedisServers => ({ kind: 'standalone', url: redis.url });

/** Opens a topic store as one instance does, with connections of its own. */
export async function openStore(servers: RedisServers, options: StoreOptions = {}): Promise<OpenedStore> {
  const { prefix = nextPrefix(), durability = { kind: 'memory' }, settings, ...more } = options;
  const connections = await RedisConnections.open(
    { servers, keyPrefix: prefix, durability, ...settings },
    { log: quiet, retryMs: 20 },
  );
  try {
    const store = await openRedisTopicStore({ connections, log: quiet, ...more });
    const close = async () => {
      await store.close();
      connections.close();
    };
    return { store, connections, prefix, close };
  } catch (error) {
    connections.close();
    throw error;
  }
}
