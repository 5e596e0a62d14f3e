/** A process that publishes until the store refuses three times, then tells what was acknowledged and why it was refused. */
import { ENVIRONMENT_OPTIONS, openEmbeddedTopicStore, StoreFull } from '@xmpp-grid/pubsub';
import { open } from 'lmdb';
import { commit, create, payload, publication } from './topics.ts';

const root = open({ ...ENVIRONMENT_OPTIONS, path: process.argv[2]! });
const store = openEmbeddedTopicStore(root);
await create(store, 'full');
const acknowledged: [number, string][] = [];
const refusals: string[] = [];
while (refusals.length < 3) {
  try {
    const items = [{ itemId: `item ${acknowledged.length}`, payload: payload('x'.repeat(50_000)) }];
    for (const { seq, uid } of (await commit(store, 'full', publication([], { items }))).entries) acknowledged.push([seq, uid]);
  } catch (error) {
    refusals.push(error instanceof StoreFull ? `StoreFull ${error.what}` : String(error));
  }
}
process.stdout.write(JSON.stringify({ acknowledged, refusals }));
await store.close();
await root.close();
