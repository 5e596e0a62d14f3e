/** Two whole instances on one Redis, as a platform sees them: one grid, whichever instance it reached. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RawClient } from '../../support/raw-client.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';
import { hasRedis, startRedis, type TestRedis } from '../../support/start-redis.ts';

const PUBSUB = 'http://jabber.org/protocol/pubsub';

describe.skipIf(!hasRedis())('two instances on one Redis', () => {
  let redis: TestRedis;
  let here: TestInstance;
  let there: TestInstance;
  beforeAll(async () => {
    redis = await startRedis();
    const settings = {
      'store.kind': 'redis',
      'redis.nodes': [`${redis.host}:${redis.port}`],
      'redis.durability': 'memory',
      'redis.keyPrefix': 'two-instances:',
    };
    [here, there] = (await Promise.all([startTestInstance({ settings }), startTestInstance({ settings })])) as [
      TestInstance,
      TestInstance,
    ];
    for (const name of ['provider', 'consumer', 'third']) await here.addPlatform(name, { role: 'demo' });
  });
  afterAll(async () => {
    await here?.stop();
    await there?.stop();
    await redis?.stop();
  });

  const at = async (instance: TestInstance, name: string, resource = 'r'): Promise<RawClient> => {
    return await instance.connect().then(async (client) => {
      await client.openStream();
      await client.startTls();
      await client.scram(name, name);
      await client.bind(resource);
      return client;
    });
  };
  const must = async (client: RawClient, type: 'get' | 'set', child: string): Promise<void> => {
    const answer = await client.iq(type, child, here.broker);
    expect(answer.attrs.type, String(answer)).toBe('result');
  };
  const publish = (client: RawClient, node: string, id: string) =>
    must(
      client,
      'set',
      `<pubsub xmlns='${PUBSUB}'><publish node='${node}'><item id='${id}'><a xmlns='urn:example:t'/></item></publish></pubsub>`,
    );
  const nextEvent = (client: RawClient, id: string) =>
    client.next((element) => element.name === 'message' && String(element).includes(`id="${id}"`), `the event ${id}`);

  it('an event published on one reaches a consumer on the other, while it is there and when it comes back (S-20, M-02)', async () => {
    const provider = await at(here, 'provider');
    const consumer = await at(there, 'consumer');
    await must(provider, 'set', `<pubsub xmlns='${PUBSUB}'><create node='t1'/></pubsub>`);
    await must(consumer, 'set', `<pubsub xmlns='${PUBSUB}'><subscribe node='t1' jid='consumer@localhost'/></pubsub>`);
    await publish(provider, 't1', 'first');
    await nextEvent(consumer, 'first');
    await consumer.close();
    await publish(provider, 't1', 'second');
    const again = await at(here, 'consumer'); // on the other instance
    await nextEvent(again, 'second');
    await again.close();
    await provider.close();
  });

  it('a message to a full JID and to a bare JID finds the session on the other instance (RFC 6121 §8.5)', async () => {
    const sender = await at(here, 'provider');
    const receiver = await at(there, 'third');
    for (const to of ['third@localhost/r', 'third@localhost']) {
      sender.send(`<message to='${to}' type='chat'><body>to ${to}</body></message>`);
      const got = await receiver.next((element) => element.name === 'message', `a message to ${to}`);
      expect(got.getChildText('body')).toBe(`to ${to}`);
    }
    const answer = sender.iq('get', `<query xmlns='urn:example:ask'/>`, 'third@localhost/r');
    const asked = await receiver.next((element) => element.name === 'iq', 'a request');
    receiver.send(`<iq type='result' id='${asked.attrs.id}' to='${asked.attrs.from}'/>`);
    expect((await answer).attrs.type).toBe('result');
    await sender.close();
    await receiver.close();
  });

  it('a resource bound on one instance displaces the session that has it on the other (RFC 6120 §7.7.2.2)', async () => {
    const first = await at(here, 'third', 'same');
    const second = await at(there, 'third', 'same');
    const error = await first.next((element) => element.name === 'stream:error', 'the stream error');
    expect(String(error)).toContain('conflict');
    await first.closed();
    await second.close();
  });

  it('an account that is disabled on one instance is cut off on the other, and gets nothing published meanwhile (G-038)', async () => {
    const provider = await at(here, 'provider');
    const consumer = await at(there, 'consumer');
    await here.admin.platformDisable({ name: 'consumer' });
    await consumer.closed();
    await publish(provider, 't1', 'third');
    await here.admin.platformEnable({ name: 'consumer' });
    await publish(provider, 't1', 'fourth');
    const back = await at(there, 'consumer');
    await nextEvent(back, 'fourth');
    expect(back.received).not.toContain("'third'");
    expect(back.received).not.toContain('id="third"');
    await back.close();
    await provider.close();
  });

  it('a password that is rotated on one instance ends the session on the other; the subscription stays (delivery.md §8.3)', async () => {
    const provider = await at(here, 'provider');
    const consumer = await at(there, 'consumer');
    await here.addPlatform('consumer', { role: 'demo' }); // the same words, other keys
    expect(await consumer.streamError()).toBe('reset');
    await publish(provider, 't1', 'fifth');
    const back = await at(here, 'consumer');
    await nextEvent(back, 'fifth');
    await back.close();
    await provider.close();
  });
});
