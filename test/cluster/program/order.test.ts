/** One order for every consumer on every instance, without a hole, and the same for whoever reads later. */
import type { Element } from 'ltx';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RawClient } from '../../support/raw-client.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';
import { hasRedis, startRedis, type TestRedis } from '../../support/start-redis.ts';
import { until } from '../../support/until.ts';

const PUBSUB = 'http://jabber.org/protocol/pubsub';
const PUBLISHERS = 6;
const CONSUMERS = 24;
const EACH = 60;

describe.skipIf(!hasRedis())('three instances on one Redis', () => {
  let redis: TestRedis;
  const instances: TestInstance[] = [];
  beforeAll(async () => {
    redis = await startRedis();
    const settings = {
      'store.kind': 'redis',
      'redis.nodes': [`${redis.host}:${redis.port}`],
      'redis.durability': 'memory',
      'redis.keyPrefix': 'order:',
      'log.level': 'warn',
    };
    for (let i = 0; i < 3; i++) instances.push(await startTestInstance({ settings }));
    const names = [...Array(PUBLISHERS).keys()].map((i) => `p${i}`).concat([...Array(CONSUMERS).keys()].map((i) => `c${i}`));
    for (const name of [...names, 'late']) await instances[0]?.addPlatform(name, { role: 'demo' });
  }, 60_000);
  afterAll(async () => {
    for (const each of instances) await each.stop();
    await redis?.stop();
  });

  const at = async (index: number, name: string): Promise<RawClient> => {
    const instance = instances[index % instances.length] as TestInstance;
    return await RawClient.login({
      port: instance.port,
      domain: instance.domain,
      ca: instance.certificates.ca.certificate,
      user: name,
      password: name,
      resource: 'r',
    });
  };
  const must = async (client: RawClient, type: 'get' | 'set', child: string): Promise<Element> => {
    const answer = await client.iq(type, child, 'broker.localhost');
    expect(answer.attrs.type, String(answer)).toBe('result');
    return answer;
  };
  const eventsOf = (client: RawClient): { item: string; seq: number }[] =>
    client.inbox
      .filter((element) => element.name === 'message' && element.getChild('event') !== undefined)
      .map((message) => ({
        item: message.getChild('event')?.getChild('items')?.getChild('item')?.attrs.id as string,
        seq: Number(String(message.getChild('stanza-id')?.attrs.id).split('-')[0]),
      }));

  it('every consumer has the same order without a hole; retrieval has it too (S-28, M-03, G-012, S-20, S-21)', async () => {
    const publishers = await Promise.all([...Array(PUBLISHERS).keys()].map((i) => at(i, `p${i}`)));
    const options = `<configure><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>${PUBSUB}#node_config</value></field><field var='pubsub#publish_model'><value>open</value></field></x></configure>`;
    await must(publishers[0] as RawClient, 'set', `<pubsub xmlns='${PUBSUB}'><create node='order'/>${options}</pubsub>`);
    let consumers = await Promise.all([...Array(CONSUMERS).keys()].map((i) => at(i + 1, `c${i}`)));
    for (const [i, consumer] of consumers.entries())
      await must(consumer, 'set', `<pubsub xmlns='${PUBSUB}'><subscribe node='order' jid='c${i}@localhost'/></pubsub>`);

    const total = PUBLISHERS * EACH;
    const before = consumers.map(() => [] as { item: string; seq: number }[]);
    await Promise.all([
      ...publishers.map(async (publisher, p) => {
        for (let i = 0; i < EACH; i++) {
          const item = `<item id='${p}-${i}'><a xmlns='urn:example:t'/></item>`;
          await must(publisher, 'set', `<pubsub xmlns='${PUBSUB}'><publish node='order'>${item}</publish></pubsub>`);
        }
      }),
      // Half way each consumer goes, after it acknowledged what it has, and comes back to another instance.
      (async () => {
        await until('half of it arrived', () => consumers.every((consumer) => eventsOf(consumer).length >= total / 2));
        consumers = await Promise.all(
          consumers.map(async (consumer, i) => {
            await consumer.close();
            before[i] = eventsOf(consumer);
            return await at(i + 2, `c${i}`);
          }),
        );
      })(),
    ]);
    const lasts = () => consumers.map((consumer) => eventsOf(consumer).at(-1)?.seq ?? 0);
    await until('all of it arrived', () => new Set(lasts()).size === 1 && (lasts()[0] as number) >= total);

    const orders = consumers.map((consumer, i) => {
      // What was not acknowledged when it went is repeated, recognisably.
      const seen = new Map<number, string>();
      for (const { seq, item } of [...(before[i] ?? []), ...eventsOf(consumer)]) {
        expect(seen.get(seq) ?? item).toBe(item);
        seen.set(seq, item);
      }
      return [...seen];
    });
    const [first = []] = orders;
    expect(first.map(([seq]) => seq)).toEqual(first.map((_, i) => (first[0]?.[0] ?? 0) + i));
    expect(first).toHaveLength(total);
    for (const order of orders) expect(order).toEqual(first);
    for (let p = 0; p < PUBLISHERS; p++) {
      const own = first.map(([, item]) => item).filter((item) => item.startsWith(`${p}-`));
      expect(own).toEqual(Array.from({ length: EACH }, (_, i) => `${p}-${i}`)); // what one publisher sent stays in its order
    }

    const late = await at(0, 'late');
    await must(late, 'set', `<pubsub xmlns='${PUBSUB}'><subscribe node='order' jid='late@localhost'/></pubsub>`);
    const retrieved: string[] = [];
    for (let after = ''; retrieved.length < total; ) {
      const page = `<set xmlns='http://jabber.org/protocol/rsm'><max>100</max>${after === '' ? '' : `<after>${after}</after>`}</set>`;
      const answer = await must(late, 'get', `<pubsub xmlns='${PUBSUB}'><items node='order'/>${page}</pubsub>`);
      const pubsub = answer.getChild('pubsub');
      const items = pubsub?.getChild('items')?.getChildren('item') ?? [];
      expect(items).not.toHaveLength(0);
      retrieved.push(...items.map((item) => String(item.attrs.id)));
      after = pubsub?.getChild('set')?.getChildText('last') ?? '';
    }
    expect(retrieved).toEqual(first.map(([, item]) => item));
  }, 60_000);
});
