/** What one instance changes, the consumers on another one see: whole instances on one Redis, raw clients (delivery.md §2.6, §6, §8.1). */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RawClient } from '../../support/raw-client.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';
import { hasRedis, startRedis, type TestRedis } from '../../support/start-redis.ts';
import { until } from '../../support/until.ts';

const PUBSUB = 'http://jabber.org/protocol/pubsub';
const SM = 'urn:xmpp:sm:3';

describe.skipIf(!hasRedis())('consumers on several instances over one Redis', () => {
  let redis: TestRedis;
  let here: TestInstance;
  let there: TestInstance;
  let owner: RawClient;
  let topics = 0;
  beforeAll(async () => {
    redis = await startRedis();
    const settings = {
      'store.kind': 'redis',
      'redis.nodes': [`${redis.host}:${redis.port}`],
      'redis.durability': 'memory',
      'redis.keyPrefix': `across-${process.pid}-${Date.now()}:`,
    };
    [here, there] = (await Promise.all([startTestInstance({ settings }), startTestInstance({ settings })])) as [
      TestInstance,
      TestInstance,
    ];
    for (const name of ['owner', 'consumer', 'other']) await here.addPlatform(name);
    owner = await at(here, 'owner');
  });
  afterAll(async () => {
    await here?.stop();
    await there?.stop();
    await redis?.stop();
  });

  const at = async (instance: TestInstance, name: string, resource = 'r'): Promise<RawClient> => {
    const client = await instance.connect();
    await client.openStream();
    await client.startTls();
    await client.scram(name, name);
    await client.bind(resource);
    client.send('<presence/>');
    return client;
  };
  const must = async (client: RawClient, child: string, ns = PUBSUB): Promise<void> => {
    const answer = await client.iq('set', `<pubsub xmlns='${ns}'>${child}</pubsub>`, here.broker);
    expect(answer.attrs.type, String(answer)).toBe('result');
  };
  const own = (child: string) => must(owner, child, `${PUBSUB}#owner`);
  const publish = (node: string, ...ids: string[]) =>
    Promise.all(
      ids.map((id) => must(owner, `<publish node='${node}'><item id='${id}'><a xmlns='urn:example:t'/></item></publish>`)),
    );
  const affiliate = (node: string, name: string, affiliation: string) =>
    own(`<affiliations node='${node}'><affiliation jid='${name}@localhost' affiliation='${affiliation}'/></affiliations>`);
  const subscription = (verb: 'subscribe' | 'unsubscribe', node: string, name: string) =>
    `<${verb} node='${node}' jid='${name}@localhost'/>`;
  const topic = async (...members: string[]): Promise<string> => {
    topics += 1;
    const node = `topic-${topics}`;
    await must(owner, `<create node='${node}'/>`);
    for (const name of members) await affiliate(node, name, 'member');
    return node;
  };
  const isEvent = (text: string) => (element: { name: string }) => element.name === 'message' && String(element).includes(text);
  const nextItem = (client: RawClient, id: string) => client.next(isEvent(`<item id="${id}"`), `item ${id}`);
  /** Ids of the items of a topic that a client was sent, in order. */
  const items = (client: RawClient, node: string) =>
    [...client.received.matchAll(new RegExp(`<items node=["']${node}["']><item id=["']([^"']+)["']`, 'g'))].map(([, id]) => id);
  const subscribed = async (node: string) => (await here.admin.topicShow({ node })).subscribers.map(({ jid }) => jid);

  it('two resources at two instances each get every event; what one subscribes and ends counts for both (G-010, G-034)', async () => {
    const node = await topic('consumer');
    const [a, b] = [await at(here, 'consumer', 'a'), await at(there, 'consumer', 'b')];
    await must(a, subscription('subscribe', node, 'consumer'));
    await publish(node, '1', '2', '3');
    for (const client of [a, b]) await nextItem(client, '3');
    await must(a, subscription('unsubscribe', node, 'consumer'));
    // Told by its inbox: some time after the answer. From then on nothing of the topic comes.
    const marked = await topic('consumer');
    await must(b, subscription('subscribe', marked, 'consumer'));
    await publish(node, '4');
    await publish(marked, 'marker');
    for (const client of [a, b]) {
      await nextItem(client, 'marker');
      expect(items(client, node)).toEqual(['1', '2', '3']);
      await client.close();
    }
  });

  it('who becomes an outcast on one instance gets nothing more on the other (G-027, §8.1)', async () => {
    const node = await topic('consumer', 'other');
    const [cut, witness] = [await at(there, 'consumer'), await at(there, 'other')];
    await must(cut, subscription('subscribe', node, 'consumer'));
    await must(witness, subscription('subscribe', node, 'other'));
    await publish(node, 'before');
    for (const client of [cut, witness]) await nextItem(client, 'before');
    await affiliate(node, 'consumer', 'outcast');
    await publish(node, 'after');
    await nextItem(witness, 'after');
    await cut.next(isEvent(`subscription="none"`), 'the word that the subscription ended');
    await cut.marker();
    expect(items(cut, node)).toEqual(['before']);
    expect(await subscribed(node)).toEqual(['other@localhost']);
    for (const client of [cut, witness]) await client.close();
  });

  it('a request that an owner approves on one instance is served on the other (XEP-0060 §8.6)', async () => {
    const node = await topic();
    const consumer = await at(there, 'consumer');
    const answer = await consumer.iq(
      'set',
      `<pubsub xmlns='${PUBSUB}'>${subscription('subscribe', node, 'consumer')}</pubsub>`,
      here.broker,
    );
    expect(String(answer)).toContain('pending');
    await owner.next(isEvent('subscribe_authorization'), 'the request');
    owner.send(
      `<message to='${here.broker}'><x xmlns='jabber:x:data' type='submit'>` +
        `<field var='FORM_TYPE' type='hidden'><value>${PUBSUB}#subscribe_authorization</value></field>` +
        `<field var='pubsub#node'><value>${node}</value></field>` +
        `<field var='pubsub#subscriber_jid'><value>consumer@localhost</value></field>` +
        `<field var='pubsub#allow'><value>true</value></field></x></message>`,
    );
    await until('the subscription stands', async () => (await subscribed(node)).length === 1);
    await publish(node, 'granted');
    await nextItem(consumer, 'granted');
    await consumer.close();
  });

  it('configuration and deletion reach the other instance in their place among the events (XEP-0060 §8.2, §8.4)', async () => {
    const node = await topic('consumer');
    const consumer = await at(there, 'consumer');
    await must(consumer, subscription('subscribe', node, 'consumer'));
    await publish(node, '1');
    await own(
      `<configure node='${node}'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>${PUBSUB}#node_config</value></field>` +
        `<field var='pubsub#notify_config'><value>1</value></field></x></configure>`,
    );
    await publish(node, '2');
    await own(`<delete node='${node}'/>`);
    await must(owner, `<create node='${node}'/>`);
    await affiliate(node, 'consumer', 'member');
    await must(consumer, subscription('subscribe', node, 'consumer'));
    await publish(node, 'anew');
    await nextItem(consumer, 'anew');
    const ofTopic = new RegExp(
      `<items node=["']${node}["']><item id=["']([^"']+)["']|<(configuration|delete) node=["']${node}`,
      'g',
    );
    const order = [...consumer.received.matchAll(ofTopic)].map(([, id, what]) => id ?? what);
    expect(order).toEqual(['1', 'configuration', '2', 'delete', 'anew']);
    await consumer.close();
  });

  const enable = async (client: RawClient): Promise<string> => {
    client.send(`<enable xmlns='${SM}' resume='true'/>`);
    const enabled = await client.next((element) => element.name === 'enabled', '<enabled/>');
    return String(enabled.attrs.id);
  };
  const resume = async (instance: TestInstance, name: string, previd: string, h: number): Promise<RawClient> => {
    const client = await instance.connect();
    await client.openStream();
    await client.startTls();
    await client.scram(name, name);
    client.send(`<resume xmlns='${SM}' previd='${previd}' h='${h}'/>`);
    const answer = await client.next((element) => element.name === 'resumed' || element.name === 'failed', '<resumed/>');
    expect(answer.name, String(answer)).toBe('resumed');
    return client;
  };
  /** Stanzas that a client counts (XEP-0198 §4). */
  const counted = (client: RawClient, from: number) =>
    (client.received.slice(from).match(/<(message|presence|iq)[ >]/g) ?? []).length;

  it('a session that is resumed at another instance gets each event exactly once (M-01)', async () => {
    const node = await topic('consumer');
    const first = await at(here, 'consumer');
    await must(first, subscription('subscribe', node, 'consumer'));
    await first.marker();
    const from = first.received.length;
    const id = await enable(first);
    await publish(node, '1', '2', '3');
    await nextItem(first, '3');
    // Two of three counted; the third is on its way again.
    const h = counted(first, from) - 1;
    first.kill();
    await publish(node, '4', '5');
    const second = await resume(there, 'consumer', id, h);
    await publish(node, '6');
    await nextItem(second, '6');
    expect(items(second, node)).toEqual(['3', '4', '5', '6']);
    second.send(`<a xmlns='${SM}' h='${h + 4}'/>`);
    await second.close();
    const third = await at(here, 'consumer');
    await publish(node, '7');
    await nextItem(third, '7');
    expect(items(third, node)).toEqual(['7']);
    await third.close();
  });

  it('an instance that stops hands its sessions over: nothing lost, nothing repeated, with stream management or without (M-01, S-27)', async () => {
    const node = await topic('consumer', 'other');
    const [resuming, plain] = [await at(there, 'consumer'), await at(there, 'other')];
    await must(resuming, subscription('subscribe', node, 'consumer'));
    await must(plain, subscription('subscribe', node, 'other'));
    await resuming.marker();
    const from = resuming.received.length;
    const id = await enable(resuming);
    await publish(node, '1', '2');
    for (const client of [resuming, plain]) await nextItem(client, '2');
    resuming.send(`<a xmlns='${SM}' h='${counted(resuming, from)}'/>`);
    const stopped = there.stop();
    // Without stream management: the answers to the pings behind the events.
    const answering = (async () => {
      for (;;) {
        const ping = await plain.next((element) => element.name === 'iq' && element.getChild('ping') !== undefined, 'a ping');
        plain.send(`<iq type='result' id='${ping.attrs.id}' to='${ping.attrs.from}'/>`);
      }
    })().catch(() => undefined); // the stream ended
    await Promise.all([resuming.closed(), plain.closed()]);
    const h = counted(resuming, from);
    await publish(node, '3');
    const [resumed, again] = [await resume(here, 'consumer', id, h), await at(here, 'other')];
    await publish(node, '4');
    for (const client of [resumed, again]) {
      await nextItem(client, '4');
      expect(items(client, node)).toEqual(['3', '4']);
      await client.close();
    }
    await stopped;
    await answering;
  });
});
