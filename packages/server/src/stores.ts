import type { AccountStore } from '@xmpp-grid/auth';
import type { HousekeepingShare, LogReader, PositionStore, TopicStore } from '@xmpp-grid/pubsub';
import type {
  ControlLog,
  Inboxes,
  InstanceJudge,
  InstanceTable,
  JID,
  OfflineMessages,
  ResumeStates,
  SessionRegistry,
} from '@xmpp-grid/stream';

/** The topics of a store, and what keeps them in order. */
export interface Topics extends TopicStore, LogReader, PositionStore {
  /**
   * Looks at up to `maxTopics` topics from where the last call ended: trims what is too old, forgets tombstones that are.
   *
   * @throws StoreUnavailable; the next call goes on
   */
  sweep(nowMs: number, maxTopics: number, share?: HousekeepingShare): Promise<void>;
  close(): Promise<void>;
}

/**
 * Everything that lasts or is shared between instances, on one kind of store. `stores-embedded.ts` and `stores-redis.ts`
 * make it; nothing above knows which.
 */
export interface Stores {
  readonly accounts: AccountStore;
  readonly topics: Topics;
  readonly instances: InstanceTable;
  readonly inboxes: Inboxes;
  readonly control: ControlLog;
  readonly resumeStates: ResumeStates;
  sessionRegistry(instances: InstanceJudge): SessionRegistry;
  offlineMessages(domain: string, exists: (account: JID) => Promise<boolean>): OfflineMessages;
  /** The secret behind the salts of accounts that do not exist: made once, the same for all instances. */
  secret(): Promise<Buffer>;
  /**
   * Calls `changed` when what this instance wrote last may be gone, by a failover (delivery.md §3.4). Returns how to stop it.
   */
  onPrimaryChanged(changed: () => void): () => void;
  /** False after a write failed, until one succeeds. */
  isWritable(): boolean;
  /** Ends every use; what was acknowledged is durable. */
  close(): Promise<void>;
}
