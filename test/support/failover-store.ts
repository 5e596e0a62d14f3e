import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Appended,
  type DeliveryDeps,
  type EmbeddedTopicStore,
  ENVIRONMENT_OPTIONS,
  openEmbeddedTopicStore,
} from '@xmpp-grid/pubsub';
import { open, type RootDatabase } from 'lmdb';

type Topics = DeliveryDeps['topics'];

/** A store with a replica that can stay behind and be promoted: two real embedded stores, one copied from the other. */
export interface FailoverStore {
  /** What delivery uses: whichever store is the primary. */
  readonly topics: Topics;
  /** The primary itself. */
  readonly primary: EmbeddedTopicStore;
  /** From now on the replica hears nothing: it stays as the primary is at this moment. */
  cutReplica(): Promise<void>;
  /** The replica becomes the primary; what was written since `cutReplica` is gone. Nobody is told. */
  promote(): void;
  /** Tells delivery of a fork, as the adapter over Redis does when it finds one. */
  tellFork(node: string): Promise<void>;
  /** Tells delivery that these topics have another primary. */
  tellPrimaryChanged(nodes: readonly string[]): void;
  close(): Promise<void>;
}

export function failoverStore(): FailoverStore {
  const directory = mkdtempSync(join(tmpdir(), 'failover-'));
  const bells = new Set<(appended: Appended) => void>();
  const forks = new Set<(node: string, head: { seq: number; uid: string }) => void>();
  const changes = new Set<(nodes: readonly string[]) => void>();
  const opened: { readonly root: RootDatabase; readonly store: EmbeddedTopicStore }[] = [];
  let copies = 0;

  const openAt = (path: string) => {
    const root = open({ ...ENVIRONMENT_OPTIONS, noSync: true, path });
    const one = { root, store: openEmbeddedTopicStore(root) };
    one.store.onEntries((appended) => {
      if (one === current) for (const bell of bells) bell(appended);
    });
    opened.push(one);
    return one;
  };
  let current: (typeof opened)[number] = openAt(join(directory, 'data-0.mdb'));
  const listen =
    <L>(listeners: Set<L>) =>
    (listener: L) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    };
  const own: Partial<Topics> = { onEntries: listen(bells), onFork: listen(forks), onPrimaryChanged: listen(changes) };
  const topics = new Proxy({} as Topics, {
    get(_, name) {
      const value: unknown = Reflect.get(own, name) ?? Reflect.get(current.store, name);
      return typeof value === 'function' && !Reflect.has(own, name) ? value.bind(current.store) : value;
    },
  });
  return {
    topics,
    get primary() {
      return current.store;
    },
    async cutReplica() {
      copies += 1;
      await current.root.backup(join(directory, `data-${copies}.mdb`), false);
    },
    promote() {
      current = openAt(join(directory, `data-${copies}.mdb`));
    },
    async tellFork(node) {
      const head = await current.store.head(node);
      if (!head) throw new Error(`there is no topic ${node}`);
      for (const forked of forks) forked(node, head);
    },
    tellPrimaryChanged(nodes) {
      for (const changed of changes) changed(nodes);
    },
    async close() {
      for (const { root, store } of opened) {
        await store.close();
        await root.close();
      }
      rmSync(directory, { recursive: true });
    },
  };
}
