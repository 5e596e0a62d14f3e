/** A process that publishes as fast as it can and tells its parent of each entry once it was acknowledged. */
import { ENVIRONMENT_OPTIONS, openEmbeddedTopicStore } from '@xmpp-grid/pubsub';
import { open } from 'lmdb';
import { create, publish } from './topics.ts';

const store = openEmbeddedTopicStore(open({ ...ENVIRONMENT_OPTIONS, path: process.argv[2]! }));
await create(store, 'killed', { maxItems: 1_000_000 });
const publisher = async (name: string): Promise<never> => {
  for (let i = 0; ; i += 1) {
    for (const { seq, uid } of await publish(store, 'killed', `${name}-${i}`)) process.send?.([seq, uid]);
  }
};
await Promise.all(Array.from({ length: 16 }, (_, i) => publisher(`p${i}`)));
