/** The examples of RFC 8600 §5 and §6, in the order of the text, between two platforms and a running instance. */
import { OpaqueElement, serialize } from '@xmpp-grid/stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rfc8600 } from '../../support/examples.ts';
import type { RawClient } from '../../support/raw-client.ts';
import { canonical, parse } from '../../support/stanzas.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';

let grid: TestInstance;
/** `datasource` in the RFC. */
let provider: RawClient;
/** `xmpp-grid-client` in the RFC. */
let consumer: RawClient;

beforeAll(async () => {
  grid = await startTestInstance({ role: 'demo' }); // a role that approves: Figure 2 shows no approval by a person
  provider = await grid.login('datasource', { resource: 'F12C2EFC9BB0' });
  consumer = await grid.login('xmpp-grid-client', { resource: '2EBE702A97D6' });
});
afterAll(async () => {
  await grid.stop();
});

/** The RFC has two organisations behind one Broker; here both are accounts of one Controller. */
const example = (file: string): string =>
  rfc8600(file)
    .replaceAll('broker.security-grid.example', grid.broker)
    .replaceAll('@mile-host.example', `@${grid.domain}`)
    .replaceAll('@provider.example', `@${grid.domain}`)
    .trim();

async function replay(client: RawClient, xml: string) {
  const { id } = parse(xml).attrs;
  client.send(xml);
  return await client.next((element) => element.attrs.id === id, `the answer to ${xml}`);
}

const lines = (stanza: Parameters<typeof canonical>[0]): string[] => canonical(stanza).split('\n');

describe('RFC 8600 §6 and §5', () => {
  it('§6: a Provider creates a Topic (G-026)', async () => {
    expect(canonical(await replay(provider, example('05-s6-create-node-request')))).toBe(
      canonical(example('07-s6-create-node-result')),
    );
    const deletion = `<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><delete node='MILEHost'/></pubsub>`;
    expect((await provider.iq('set', deletion, grid.broker)).attrs.type).toBe('result');
  });

  it('§6: and configures it as the RFC shows (G-027)', async () => {
    const title = `<field var='pubsub#title'><value>MILE Host Data</value></field>`;
    const type = `<field var='pubsub#type'><value>urn:ietf:params:xml:ns:iodef-2.0</value></field>`;
    const configure = example('06-s6-node-configure-form').replace('</x>', `${title}${type}</x>`);
    const request = example('05-s6-create-node-request').replace(
      `<create node='MILEHost'/>`,
      `<create node='MILEHost'/>${configure}`,
    );
    expect(canonical(await replay(provider, request))).toBe(canonical(example('07-s6-create-node-result')));
  });

  it('§5: a Platform finds the Topics (G-016, G-021)', async () => {
    const configure = example('06-s6-node-configure-form').replace(
      '</x>',
      `<field var='pubsub#title'><value>Endpoint Posture Information</value></field></x>`,
    );
    const created = await provider.iq(
      'set',
      `<pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='NEA1'/>${configure}</pubsub>`,
      grid.broker,
    );
    expect(created.attrs.type).toBe('result');
    // In order of their names, where the RFC has them in no order that it explains.
    const answer = await replay(consumer, example('01-s5-disco-items-request'));
    expect(lines(answer).sort()).toEqual(lines(example('02-s5-disco-items-result')).sort());
  });

  it('§5: and what each is for: pubsub#type (G-023, G-024)', async () => {
    const answer = lines(await replay(consumer, example('03-s5-disco-info-request')));
    expect(answer[0]).toBe(lines(example('04-s5-disco-info-result'))[0]);
    for (const line of lines(example('04-s5-disco-info-result'))) {
      // The identity has a name in addition, which XEP-0030 §3.1 leaves open.
      if (line.includes('identity'))
        expect(answer.some((each) => each.includes(`identity category='pubsub' name='MILE Host Data' type='leaf'`))).toBe(true);
      else expect(answer).toContain(line);
    }
  });

  it('§6: a Consumer subscribes (G-032)', async () => {
    expect(canonical(await replay(consumer, example('08-s6-subscribe-request')))).toBe(
      canonical(example('09-s6-subscribe-result')),
    );
  });

  it('§6: the Provider publishes, the Consumer receives the document byte for byte (G-033, G-034)', async () => {
    const request = example('10-s6-publish-request');
    expect((await replay(provider, request)).attrs.type).toBe('result');
    const message = await consumer.nextMessage('the event of RFC 8600 §6');
    const document = request.slice(request.indexOf('<IODEF-Document'), request.indexOf('</item>')).trim();
    expect(consumer.received).toContain(document);

    // The example's event with what differs by definition: ids, the address subscribed, and what our service adds.
    const id = message.attrs.id as string;
    const want = example('11-s6-event-notification')
      .replace(/to='[^']*'/, `to='xmpp-grid-client@${grid.domain}'`) // XEP-0060 §12.3: the subscribed JID only
      .replace('37B3921D-4F7F-450F-A589-56119A88BC2E', id)
      .replace(
        `<item id='iah37s61s964gquqy47aksbx9453ks77'>`,
        `<item id='8bh1g27skbga47fh9wk7' publisher='datasource@${grid.domain}'>`,
      )
      .replace(
        '</message>',
        `<stanza-id xmlns='urn:xmpp:sid:0' by='${grid.broker}' id='${id.slice(id.indexOf('.') + 1)}'/></message>`,
      );
    expect(canonical(message)).toBe(canonical(want));
  });

  it('§6: what is published while the Consumer is away comes when it is back, once, stamped (G-035)', async () => {
    // Behind events the Broker pings; the answer is what a client without XEP-0198 acknowledges with (delivery.md §5.2).
    const ping = await consumer.next((element) => element.getChild('ping') !== undefined, 'the ping behind the event');
    consumer.send(`<iq type='result' id='${ping.attrs.id}' to='${ping.attrs.from}'/>`);
    await consumer.close();
    const request = example('10-s6-publish-request')
      .replace('8bh1g27skbga47fh9wk7', 'while-away')
      .replace(/id='2A17D283[^']*'/, `id='second'`);
    expect((await replay(provider, request)).attrs.type).toBe('result');
    consumer = await grid.login('xmpp-grid-client', { resource: '2EBE702A97D6' });
    consumer.send('<presence/>');
    const message = await consumer.nextMessage('the event that was missed');
    expect(message.getChild('event')?.getChild('items')?.getChild('item')?.attrs.id).toBe('while-away');
    expect(message.getChild('delay', 'urn:xmpp:delay')?.attrs.from).toBe(grid.broker);
    expect(message.getChild('delay', 'urn:xmpp:delay')?.attrs.stamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
    await consumer.marker();
    expect(consumer.inbox.filter(({ name }) => name === 'message').map((each) => serialize(each))).toEqual([]);
  });

  it('§6: and the document can be retrieved, still the same bytes', async () => {
    const document = example('10-s6-publish-request').match(/<IODEF-Document[\s\S]*<\/IODEF-Document>/)![0];
    consumer.received = '';
    const answer = await consumer.iq(
      'get',
      `<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='MILEHost'><item id='8bh1g27skbga47fh9wk7'/></items></pubsub>`,
      grid.broker,
    );
    expect(answer.attrs.type).toBe('result');
    expect(consumer.received).toContain(document);
    expect(answer.getChild('pubsub')!.getChild('items')!.getChild('item')!.getChildElements()[0]).not.toBeInstanceOf(
      OpaqueElement,
    ); // read by an ordinary client
  });
});
