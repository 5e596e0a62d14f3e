/** What verbs work with, handed in by the broker. */
import type { Outbound } from '@xmpp-grid/stream';
import type { BrokerAudit, TopicPolicy } from '../access/policy.ts';
import type { Standings } from '../access/standings.ts';
import type { InterestPort } from '../delivery/interest-port.ts';
import type { BrokerMetrics } from '../metrics.ts';
import type { ConfigLimits, NodeConfigForm, Profile } from '../node/node-config.ts';
import type { TopicConfig } from '../store/topic-config.ts';
import type { TopicStore } from '../store/topic-store.ts';

export interface BrokerLimits extends ConfigLimits {
  /** Most entries on one page of any list; a list asked for without RSM is cut here. */
  readonly pageEntries: number;
  /** Most payload bytes in one answer with items; an answer carries one item at least. Far below the 1 MiB of direct stanzas that a session may have queued. */
  readonly pageBytes: number;
  /** Most subscriptions and requests of one account, over all topics and resources. */
  readonly subscriptionsPerAccount: number;
  /** Most of them at one topic: one for the bare JID and one per resource. */
  readonly subscriptionsPerAccountAndTopic: number;
}

export interface BrokerLog {
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface VerbDeps {
  /** The Broker's own address; `from` of what it sends. */
  readonly domain: string;
  readonly profile: Profile;
  /** Configuration of a topic created without one. */
  readonly defaults: TopicConfig;
  readonly limits: BrokerLimits;
  readonly form: NodeConfigForm;
  readonly store: TopicStore;
  readonly standings: Standings;
  readonly interest: InterestPort;
  readonly policy: TopicPolicy;
  readonly outbound: Outbound;
  readonly audit: BrokerAudit;
  readonly log: BrokerLog;
  readonly metrics: BrokerMetrics;
  /** ms since the epoch. */
  readonly now: () => number;
  /** 128 random bits, 32 lower-case hex digits. */
  readonly randomId: () => string;
}
