import { type AccountStore, EmbeddedAccountStore } from '@xmpp-grid/auth';
import { type EmbeddedTopicStore, openEmbeddedTopicStore } from '@xmpp-grid/pubsub';
import type { RootDatabase } from 'lmdb';
import type { Config } from './config.ts';

/** The accounts of an environment. */
export function openAccounts(root: RootDatabase): AccountStore {
  return new EmbeddedAccountStore(root.openDB<string, string>('accounts', { encoding: 'string', keyEncoding: 'ordered-binary' }));
}

/** The topics of an environment, with the retention of the configuration. @throws StoreFormatError */
export function openTopics(root: RootDatabase, config: Config): EmbeddedTopicStore {
  return openEmbeddedTopicStore(root, { retention: config.retention });
}
