export * from './access/decide.ts';
export * from './access/may-hear.ts';
export * from './access/policy.ts';
export * from './broker.ts';
export { Delivery, type DeliveryDeps, type DeliveryStats } from './delivery/delivery.ts';
export type { RenderConfiguration } from './delivery/event.ts';
export * from './delivery/interest-port.ts';
export * from './delivery/metrics.ts';
export { type DeliveryCluster, INTEREST } from './delivery/neighbours.ts';
export * from './errors.ts';
export * from './log/entry.ts';
export * from './metrics.ts';
export * from './node/node-config.ts';
export {
  EmbeddedTopicStore,
  type EmbeddedTopicStoreOptions,
  openEmbeddedTopicStore,
} from './store/embedded/embedded-topic-store.ts';
export { ENVIRONMENT_OPTIONS } from './store/embedded/environment.ts';
export * from './store/housekeeping.ts';
export * from './store/log-reader.ts';
export * from './store/log-retention.ts';
export * from './store/position-store.ts';
export { openRedisTopicStore, RedisTopicStore, type RedisTopicStoreOptions } from './store/redis/redis-topic-store.ts';
export * from './store/store-error.ts';
export * from './store/topic-config.ts';
export * from './store/topic-store.ts';
export type { BrokerLimits, BrokerLog } from './verbs/deps.ts';
