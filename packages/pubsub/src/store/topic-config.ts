/** A topic's configuration as plain data. The form (labels, types, parsing) is `node/node-config.ts`. */

export const ACCESS_MODELS = ['authorize', 'whitelist', 'open'] as const;
export type AccessModel = (typeof ACCESS_MODELS)[number];
export const PUBLISH_MODELS = ['publishers', 'subscribers', 'open'] as const;
export type PublishModel = (typeof PUBLISH_MODELS)[number];
export const NOTIFICATION_TYPES = ['normal', 'headline', 'chat'] as const;
export type NotificationType = (typeof NOTIFICATION_TYPES)[number];

export interface TopicConfig {
  readonly title: string;
  readonly description: string;
  /** Namespace that payload roots must have; '' = any (pubsub#type). */
  readonly type: string;
  readonly accessModel: AccessModel;
  readonly publishModel: PublishModel;
  readonly persistItems: boolean;
  /** Most retained items; ≥ 1. */
  readonly maxItems: number;
  /** Bytes; ≥ 1. */
  readonly maxPayloadSize: number;
  readonly deliverPayloads: boolean;
  readonly notificationType: NotificationType;
  readonly notifyConfig: boolean;
  readonly notifyDelete: boolean;
  readonly notifyRetract: boolean;
  /** Other values come with the last-published feature. */
  readonly sendLastPublishedItem: 'never';
}

/** No payload of such a topic is stored anywhere (delivery.md §9.2). */
export const isCachingOff = (config: TopicConfig): boolean => !config.persistItems && config.sendLastPublishedItem === 'never';

export const AFFILIATIONS = ['owner', 'publisher', 'publish-only', 'member', 'none', 'outcast'] as const;
export type Affiliation = (typeof AFFILIATIONS)[number];
