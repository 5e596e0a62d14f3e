import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Change,
  type Committed,
  type EmbeddedTopicStore,
  type EmbeddedTopicStoreOptions,
  ENVIRONMENT_OPTIONS,
  type LogEntry,
  openEmbeddedTopicStore,
  type TopicConfig,
  type TopicStore,
} from '@xmpp-grid/pubsub';
import { open } from 'lmdb';

export const config = (changed: Partial<TopicConfig> = {}): TopicConfig => ({
  title: 'Sightings',
  description: '',
  type: 'urn:ietf:params:xml:ns:iodef-2.0',
  accessModel: 'whitelist',
  publishModel: 'publishers',
  persistItems: true,
  maxItems: 1_000,
  maxPayloadSize: 65_536,
  deliverPayloads: true,
  notificationType: 'normal',
  notifyConfig: false,
  notifyDelete: true,
  notifyRetract: false,
  sendLastPublishedItem: 'never',
  ...changed,
});

export const OWNER = 'owner@grid.example';
export const T0 = Date.UTC(2024, 0, 1);

export const payload = (text: string, lang?: string) => {
  const bytes = Buffer.from(`<r xmlns='urn:example'>${text}</r>`);
  return lang === undefined ? { bytes } : { bytes, lang };
};

type Publish = Extract<Change, { kind: 'publish' }>;

export const publication = (itemIds: readonly string[], more: Partial<Publish> = {}): Publish => ({
  kind: 'publish',
  items: itemIds.map((itemId) => ({ itemId, payload: payload(itemId) })),
  publisher: OWNER,
  stampMs: T0,
  ...more,
});

export const create = async (store: TopicStore, node: string, changed: Partial<TopicConfig> = {}) => {
  const created = await store.create(node, {
    config: config(changed),
    creator: OWNER,
    stampMs: T0,
    affiliations: new Map([[OWNER, 'owner']]),
  });
  if (created === 'exists') throw new Error(`${node} exists`);
  return created;
};

/** Commits without a guard; anything but `done` fails the test. */
export const commit = async (store: TopicStore, node: string, change: Change): Promise<Extract<Committed, { kind: 'done' }>> => {
  const committed = await store.commit(node, {}, change);
  if (typeof committed === 'string' || committed.kind !== 'done') throw new Error(`commit: ${JSON.stringify(committed)}`);
  return committed;
};

export const publish = async (store: TopicStore, node: string, ...itemIds: string[]): Promise<readonly LogEntry[]> =>
  (await commit(store, node, publication(itemIds))).entries;

/** Publishes items one by one, but does not wait for each: many share a commit. */
export const publishMany = (store: TopicStore, node: string, count: number, from = 0): Promise<unknown> =>
  Promise.all(Array.from({ length: count }, (_, i) => publish(store, node, `item ${from + i}`)));

export const subscribe = (store: TopicStore, node: string, jid: string) =>
  commit(store, node, { kind: 'own-subscription', jid, state: 'subscribed', stampMs: T0 });

export interface StoreUnderTest {
  store: EmbeddedTopicStore;
  /** Closes and opens the same data again. */
  reopen(options?: EmbeddedTopicStoreOptions): Promise<EmbeddedTopicStore>;
  destroy(): Promise<void>;
}

/** A store in a directory of its own. */
export function temporaryStore(options: EmbeddedTopicStoreOptions = {}): StoreUnderTest {
  const directory = mkdtempSync(join(tmpdir(), 'topics-'));
  // Without the disk's own pace: no test of these cuts the power.
  const openRoot = () => open({ ...ENVIRONMENT_OPTIONS, noSync: true, path: join(directory, 'data.mdb') });
  let root = openRoot();
  const under: StoreUnderTest = {
    store: openEmbeddedTopicStore(root, options),
    async reopen(others = options) {
      await under.store.close();
      await root.close();
      root = openRoot();
      under.store = openEmbeddedTopicStore(root, others);
      return under.store;
    },
    async destroy() {
      await under.store.close();
      await root.close();
      rmSync(directory, { recursive: true });
    },
  };
  return under;
}
