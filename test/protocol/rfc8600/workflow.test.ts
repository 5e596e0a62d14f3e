import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RawClient } from '../../support/raw-client.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';

/** RFC 8600 §2 to §4: who is who, what a Platform does, and that both interfaces share one stream. */

let grid: TestInstance;
let provider: RawClient;
let consumer: RawClient;
beforeAll(async () => {
  grid = await startTestInstance({ role: 'demo' });
  provider = await grid.login('provider');
  consumer = await grid.login('consumer', { resource: 'one' });
});
afterAll(async () => {
  await grid.stop();
});

const PUBSUB = "xmlns='http://jabber.org/protocol/pubsub'";
const CONFIGURE = (fields: Record<string, string>) =>
  `<configure><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#node_config</value></field>${Object.entries(
    fields,
  )
    .map(([name, value]) => `<field var='pubsub#${name}'><value>${value}</value></field>`)
    .join('')}</x></configure>`;
const IODEF = 'urn:ietf:params:xml:ns:iodef-2.0';

const create = (node: string, fields: Record<string, string> = {}) =>
  provider.iq('set', `<pubsub ${PUBSUB}><create node='${node}'/>${CONFIGURE(fields)}</pubsub>`, grid.broker);
const publish = (node: string, id: string, payload: string) =>
  provider.iq(
    'set',
    `<pubsub ${PUBSUB}><publish node='${node}'><item id='${id}'>${payload}</item></publish></pubsub>`,
    grid.broker,
  );

describe('terms, §2', () => {
  it('a Topic takes one type of payload and refuses every other (G-001, P-U36, P-N29)', async () => {
    await create('typed', { type: IODEF });
    const refused = await publish('typed', 'a', "<foo xmlns='urn:x'/>");
    expect(refused.getChild('error')?.attrs.type).toBe('modify');
    expect(refused.getChild('error')?.getChild('bad-request')).toBeDefined();
    expect(refused.getChild('error')?.getChild('invalid-payload', 'http://jabber.org/protocol/pubsub#errors')).toBeDefined();
    expect((await publish('typed', 'b', `<IODEF-Document xmlns='${IODEF}' version='2.00'/>`)).attrs.type).toBe('result');
  });

  it('the Broker is found from the Controller by disco alone (G-002, X-001, X-016)', async () => {
    const items = await consumer.iq('get', "<query xmlns='http://jabber.org/protocol/disco#items'/>", grid.domain);
    const jid = items.getChild('query')?.getChildren('item')[0]?.attrs.jid as string;
    const info = await consumer.iq('get', "<query xmlns='http://jabber.org/protocol/disco#info'/>", jid);
    const query = info.getChild('query');
    expect(query?.getChildren('identity').map(({ attrs }) => `${attrs.category}/${attrs.type}`)).toContain('pubsub/service');
    const features = query?.getChildren('feature').map(({ attrs }) => attrs.var) ?? [];
    expect(features).toContain('http://jabber.org/protocol/rsm');
    expect(features).toContain('http://jabber.org/protocol/pubsub#publish');
  });
});

describe('one stream, §3 and §4', () => {
  it('carries control and data, each counted apart (G-003, G-004, G-009)', async () => {
    const client = await grid.login('both');
    const metrics = async () => (await fetch(`http://127.0.0.1:${grid.httpPort}/metrics`)).text();
    const count = (text: string, op: string) =>
      Number(new RegExp(`xmppgrid_stanza_seconds_count\\{op="${op}"\\} (\\d+)`).exec(text)?.[1] ?? 0);
    const before = await metrics();
    await client.iq('set', `<pubsub ${PUBSUB}><create node='both'/></pubsub>`, grid.broker);
    await client.iq('set', `<pubsub ${PUBSUB}><subscribe node='both' jid='both@localhost'/></pubsub>`, grid.broker);
    await client.iq(
      'set',
      `<pubsub ${PUBSUB}><publish node='both'><item id='1'><x xmlns='urn:x'/></item></publish></pubsub>`,
      grid.broker,
    );
    await client.nextMessage();
    await client.iq('get', `<pubsub ${PUBSUB}><items node='both'/></pubsub>`, grid.broker);
    const after = await metrics();
    for (const op of ['create', 'subscribe', 'publish', 'items']) expect(count(after, op) - count(before, op), op).toBe(1);
    await client.close();
  });

  it('finds topics by the namespaces they carry (G-023, G-025, P-N07, P-N28)', async () => {
    await create('found', { type: IODEF, title: 'Found by type', description: 'for whoever looks' });
    const list = await consumer.iq('get', "<query xmlns='http://jabber.org/protocol/disco#items'/>", grid.broker);
    const matching: string[] = [];
    for (const item of list.getChild('query')?.getChildren('item') ?? []) {
      const info = await consumer.iq(
        'get',
        `<query xmlns='http://jabber.org/protocol/disco#info' node='${item.attrs.node}'/>`,
        grid.broker,
      );
      const form = info.getChild('query')?.getChild('x', 'jabber:x:data');
      const value = (name: string) =>
        form
          ?.getChildren('field')
          .find(({ attrs }) => attrs.var === name)
          ?.getChildText('value');
      expect(value('FORM_TYPE')).toBe('http://jabber.org/protocol/pubsub#meta-data');
      if (value('pubsub#type') !== IODEF) continue;
      matching.push(item.attrs.node as string);
      if (item.attrs.node === 'found') {
        expect(item.attrs.name).toBe('Found by type');
        expect([value('pubsub#title'), value('pubsub#description')]).toEqual(['Found by type', 'for whoever looks']);
      }
    }
    expect(matching).toContain('found');
    expect(matching).not.toContain('both');
  });
});

describe('who is told, XEP-0060 §12.3 and §14.4', () => {
  it('only the JID that subscribed: a full JID is that resource alone (P-B36)', async () => {
    await create('narrow');
    const two = await grid.login('consumer', { resource: 'two' });
    await consumer.iq('set', `<pubsub ${PUBSUB}><subscribe node='narrow' jid='${consumer.jid}'/></pubsub>`, grid.broker);
    await publish('narrow', '1', "<x xmlns='urn:x'/>");
    const message = await consumer.nextMessage();
    expect(message.attrs.to).toBe(consumer.jid);
    await two.marker();
    expect(two.inbox.filter((element) => element.name === 'message')).toHaveLength(0);
    await two.close();
  });

  it('neither presence nor addresses leak by disco, errors or events (P-B44, C-087)', async () => {
    consumer.received = '';
    await publish('narrow', '2', "<x xmlns='urn:x'/>");
    await consumer.nextMessage();
    for (const to of ['provider@localhost', 'provider@localhost/guess', 'nobody@localhost', grid.broker, grid.domain]) {
      await consumer.iq('get', "<query xmlns='http://jabber.org/protocol/disco#info'/>", to);
    }
    expect(consumer.received).not.toContain('127.0.0.1');
    expect(consumer.received).not.toContain('<presence');
    expect(consumer.received).not.toContain(provider.jid); // the publisher is named by its bare JID, never by its session
  });
});
