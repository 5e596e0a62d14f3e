import { EmbeddedAccountStore } from '@xmpp-grid/auth';
import { openEmbeddedTopicStore } from '@xmpp-grid/pubsub';
import {
  EmbeddedControlLog,
  EmbeddedInboxes,
  EmbeddedInstanceTable,
  EmbeddedOfflineMessages,
  EmbeddedResumeStates,
  EmbeddedSessionRegistry,
  type Logger,
} from '@xmpp-grid/stream';
import { clusterSecret } from './cluster-secret.ts';
import type { Config } from './config.ts';
import { openStore } from './store-environment.ts';
import type { Stores } from './stores.ts';

/**
 * The store of one instance: an lmdb environment in its data directory. What only other instances would ask for lives in the
 * process.
 *
 * @throws StoreError | StoreFormatError
 */
export async function openEmbeddedStores(config: Config, log: Logger): Promise<Stores> {
  const environment = await openStore(config.dataDir);
  const { root } = environment;
  try {
    const topics = openEmbeddedTopicStore(root, { retention: config.retention });
    return {
      accounts: new EmbeddedAccountStore(
        root.openDB<string, string>('accounts', { encoding: 'string', keyEncoding: 'ordered-binary' }),
      ),
      topics,
      instances: new EmbeddedInstanceTable(),
      inboxes: new EmbeddedInboxes(log),
      control: new EmbeddedControlLog(log),
      resumeStates: new EmbeddedResumeStates(),
      sessionRegistry: () => new EmbeddedSessionRegistry(),
      offlineMessages: (domain, exists) => new EmbeddedOfflineMessages(root, domain, exists),
      secret: () => clusterSecret(root),
      onPrimaryChanged: () => () => undefined,
      isWritable: () => environment.isWritable(),
      async close() {
        await topics.close();
        await environment.release();
      },
    };
  } catch (error) {
    await environment.release();
    throw error;
  }
}
