import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';

/** A topic is deleted and created again while a consumer's stream is broken (XEP-0060 §8.4.2, XEP-0198 §5, delivery.md §1.5). */

let grid: TestInstance;
beforeAll(async () => {
  grid = await startTestInstance({ role: 'demo' });
});
afterAll(async () => {
  await grid.stop();
});

const PUBSUB = "xmlns='http://jabber.org/protocol/pubsub'";
const OWNER = "xmlns='http://jabber.org/protocol/pubsub#owner'";

describe('deleted and created again while away', () => {
  it('the resumed session hears of the deletion once, and nothing of the new topic', async () => {
    const owner = await grid.login('polonius');
    const other = await grid.login('hamlet');
    await owner.iq('set', `<pubsub ${PUBSUB}><create node='b2'/></pubsub>`, grid.broker);
    const broken = await grid.login('horatio', { resource: 'r1' });
    broken.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    const id = (await broken.next((element) => element.name === 'enabled')).attrs.id as string;
    broken.kill();
    await expect
      .poll(async () => (await grid.admin.sessionList({})).find(({ jid }) => jid === broken.jid)?.remoteAddress)
      .toBe('');
    const second = await grid.login('horatio', { resource: 'r2' });
    const answer = await second.iq(
      'set',
      `<pubsub ${PUBSUB}><subscribe node='b2' jid='horatio@localhost'/></pubsub>`,
      grid.broker,
    );
    expect(answer.getChild('pubsub')?.getChild('subscription')?.attrs.subscription).toBe('subscribed');
    await owner.iq('set', `<pubsub ${OWNER}><delete node='b2'/></pubsub>`, grid.broker);
    expect((await second.nextMessage()).getChild('event')?.getChild('delete')?.attrs.node).toBe('b2');
    await other.iq('set', `<pubsub ${PUBSUB}><create node='b2'/></pubsub>`, grid.broker);
    await other.iq(
      'set',
      `<pubsub ${PUBSUB}><publish node='b2'><item id='new'><x xmlns='urn:x'/></item></publish></pubsub>`,
      grid.broker,
    );

    const again = await grid.connect();
    await again.openStream();
    await again.startTls();
    await again.scram('horatio', 'horatio');
    again.send(`<resume xmlns='urn:xmpp:sm:3' previd='${id}' h='0'/>`);
    await again.next((element) => element.name === 'resumed');
    expect((await again.nextMessage()).getChild('event')?.getChild('delete')?.attrs.node).toBe('b2');
    await again.marker();
    await second.marker();
    for (const client of [again, second]) expect(client.inbox.filter((element) => element.name === 'message')).toHaveLength(0);
    again.kill();
    await second.close();
  });
});
