import { parseArgs } from 'node:util';
import { openRedisTopicStore, type RedisTopicStore, type TopicConfig } from '@xmpp-grid/pubsub';
import { RedisConnections } from '@xmpp-grid/stream';
import { pino } from 'pino';
import { startRedis } from '../test/support/start-redis.ts';

/**
 * What topics weigh in Redis: bytes per subscription, per retained item and per log entry, as the server counts them
 * (used_memory, its own overhead and fragmentation of its allocator's size classes included).
 *
 *   node --conditions=development bench/redis-memory.ts --subscriptions 1000000 --topics 100 --items 20000
 */

const { values } = parseArgs({
  options: {
    subscriptions: { type: 'string', default: '1000000' },
    topics: { type: 'string', default: '100' },
    items: { type: 'string', default: '20000' },
    payload: { type: 'string', default: '1400' },
  },
});
const [subscriptions, topics, items, payloadBytes] = [
  Number(values.subscriptions),
  Number(values.topics),
  Number(values.items),
  Number(values.payload),
] as const;

const CONFIG: TopicConfig = {
  title: 'Sightings',
  description: '',
  type: 'urn:ietf:params:xml:ns:iodef-2.0',
  accessModel: 'whitelist',
  publishModel: 'publishers',
  persistItems: true,
  maxItems: 1_000_000,
  maxPayloadSize: 65_536,
  deliverPayloads: true,
  notificationType: 'normal',
  notifyConfig: false,
  notifyDelete: true,
  notifyRetract: false,
  sendLastPublishedItem: 'never',
};
const OWNER = 'owner@grid.example';
/** Commits under way at once. */
const AT_ONCE = 1_000;

const redis = await startRedis({ isOwn: true });
const connections = await RedisConnections.open(
  { servers: { kind: 'standalone', url: redis.url }, keyPrefix: 'xg:', durability: { kind: 'memory' }, commandTimeoutMs: 60_000 },
  { log: pino({ level: 'silent' }) },
);
const store = await openRedisTopicStore({ connections, log: pino({ level: 'warn' }) });

const usedBytes = async () =>
  Number(/used_memory:(\d+)/.exec(String(await connections.ask((client) => client.info('memory'))))?.[1]);
const bytesOf = async (key: string) => Number(await connections.call('MEMORY', 'USAGE', key, 'SAMPLES', 0));

async function inTurns(count: number, step: (i: number) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < count; from += AT_ONCE) {
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - from) }, (_, i) => step(from + i)));
  }
}

const make = (to: RedisTopicStore, node: string) =>
  to.create(node, { config: CONFIG, creator: OWNER, stampMs: Date.now(), affiliations: new Map([[OWNER, 'owner']]) });
const topicOf = (i: number) => `grid/topic-${i}`;

console.log(`Redis at ${redis.url}; ${process.version}`);
await inTurns(topics, (i) => make(store, topicOf(i)));
const before = await usedBytes();
const startMs = performance.now();
// Each account subscribes to ten topics: a platform has several interests.
await inTurns(subscriptions, (i) =>
  store.commit(
    topicOf(i % topics),
    {},
    {
      kind: 'own-subscription',
      jid: `platform-${Math.floor(i / topics)}-${Math.floor((i % topics) / 10)}@grid.example`,
      state: 'subscribed',
      stampMs: Date.now(),
    },
  ),
);
const tookS = (performance.now() - startMs) / 1_000;
const after = await usedBytes();
console.log(`${subscriptions} subscriptions of ${subscriptions / 10} accounts to ${topics} topics, in ${tookS.toFixed(0)} s`);
console.log(`bytes a subscription, its place in the account's index included: ${((after - before) / subscriptions).toFixed(0)}`);
console.log(`used_memory: ${(after / 2 ** 20).toFixed(0)} MiB`);

await make(store, 'grid/items');
const bytes = Buffer.alloc(payloadBytes, 'x');
const beforeItems = await usedBytes();
await inTurns(items, (i) =>
  store.commit(
    'grid/items',
    {},
    {
      kind: 'publish',
      items: [{ itemId: `item-${i}-of-some-length`, payload: { bytes } }],
      publisher: OWNER,
      stampMs: Date.now(),
    },
  ),
);
const afterItems = await usedBytes();
const key = (noun: string) => `xg:{t:grid/items}:${noun}`;
const [retained, order, log] = [await bytesOf(key('items')), await bytesOf(key('order')), await bytesOf(key('log'))];
console.log(`${items} items of ${payloadBytes} bytes`);
console.log(`bytes a retained item: ${((retained + order) / items).toFixed(0)}; a log entry: ${(log / items).toFixed(0)}`);
console.log(`both as used_memory counts them: ${((afterItems - beforeItems) / items).toFixed(0)}`);

await store.close();
connections.close();
await redis.stop();
