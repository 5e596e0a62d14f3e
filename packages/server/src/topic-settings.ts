import type { BrokerLimits, TopicConfig } from '@xmpp-grid/pubsub';
import type { Config } from './config.ts';

/** The configuration of a topic that is created without one. */
export function topicDefaults({ topics }: Config): TopicConfig {
  const { defaults } = topics;
  return {
    title: '',
    description: '',
    type: '',
    accessModel: topics.defaultAccessModel,
    publishModel: 'publishers',
    persistItems: defaults.persistItems,
    maxItems: defaults.maxItems,
    maxPayloadSize: defaults.maxPayloadBytes,
    deliverPayloads: defaults.deliverPayloads,
    notificationType: 'normal', // XEP-0160 §3: kept for who is away, as RFC 8600 §6 demands
    notifyConfig: defaults.notifyConfig,
    notifyDelete: defaults.notifyDelete,
    notifyRetract: defaults.notifyRetract,
    sendLastPublishedItem: 'never',
  };
}

/** Bounds of the Broker's answers and tables. */
export function topicLimits({ topics }: Config): BrokerLimits {
  return {
    maxItems: topics.maxItems,
    maxPayloadBytes: topics.maxPayloadBytes,
    pageEntries: 100,
    pageBytes: 262_144, // a quarter of what a session may have queued besides events
    subscriptionsPerAccount: 10_000,
    subscriptionsPerAccountAndTopic: 20,
  };
}
