import type { LogEntry, RedisTopicStore } from '@xmpp-grid/pubsub';
import { GenericContainer, getContainerRuntimeClient, type StartedTestContainer } from 'testcontainers';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { nextPrefix, openStore } from '../../support/redis-store.ts';
import { describeTopicStore } from '../../support/store-conformance.ts';
import { create, publishMany } from '../../support/topics.ts';

/** The servers that we promise to work on, each as its makers ship it, wherever a container engine answers. */

const IMAGES = ['redis:7.0', 'redis:7.4', 'redis:8', 'valkey/valkey:8', 'valkey/valkey:9'];
const PULL_MS = 300_000;

const whyNot = await getContainerRuntimeClient().then(
  () => undefined,
  (error: Error) => error.message,
);
if (whyNot !== undefined) console.warn(`SKIPPED: no container engine answers, so ${IMAGES.join(', ')} are not tested: ${whyNot}`);

describe.skipIf(whyNot !== undefined).each(IMAGES)('%s', (image) => {
  let container: StartedTestContainer;
  const servers = () => ({
    kind: 'standalone' as const,
    url: `redis://${container.getHost()}:${container.getMappedPort(6379)}`,
  });
  beforeAll(async () => {
    container = await new GenericContainer(image).withExposedPorts(6379).start();
  }, PULL_MS);
  afterAll(async () => {
    await container?.stop();
  });

  describeTopicStore(image, async (retention) => {
    const prefix = nextPrefix();
    const open = () => openStore(servers(), { prefix, ...(retention ? { retention } : {}) });
    let opened = await open();
    return {
      store: opened.store,
      async reopen() {
        await opened.close();
        opened = await open();
        return opened.store;
      },
      destroy: () => opened.close(),
    };
  });

  it('two instances hear every entry once and in order', async () => {
    const prefix = nextPrefix();
    const opened = [await openStore(servers(), { prefix }), await openStore(servers(), { prefix })];
    const [one, two] = opened.map(({ store }) => store) as [RedisTopicStore, RedisTopicStore];
    const heard: LogEntry[] = [];
    two.onEntries(({ entries }) => heard.push(...entries));
    await create(one, 'topic');
    await two.follow('topic');
    await Promise.all([publishMany(one, 'topic', 100), publishMany(two, 'topic', 100, 100)]);
    await vi.waitUntil(() => heard.length >= 200, { timeout: 10_000 });
    expect(heard.map(({ seq }) => seq)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
    for (const each of opened) await each.close();
  });
});
