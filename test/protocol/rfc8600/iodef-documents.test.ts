import { readdirSync, readFileSync } from 'node:fs';
import { XmlDocument } from 'libxml2-wasm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RawClient } from '../../support/raw-client.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';

/** RFC 8600 §6 with every IODEF document of RFC 7970, RFC 8274 and RFC 7203: what goes in comes out (G-033, G-042, design D3). */

const DIRECTORY = new URL('../../fixtures/iodef/', import.meta.url);
const FILES = readdirSync(DIRECTORY).filter((name) => name.endsWith('.xml'));
const PUBSUB = "xmlns='http://jabber.org/protocol/pubsub'";

/** What RFC 6120 §11.1 does not allow in a stream: the XML declaration and comments. */
const bare = (text: string) =>
  text
    .replace(/^<\?xml[^>]*\?>\s*/, '')
    .replace(/<!--[\s\S]*?-->/g, '')
    .trim();

let grid: TestInstance;
let provider: RawClient;
let consumer: RawClient;
const ids = { next: 0 };

beforeAll(async () => {
  grid = await startTestInstance({ role: 'demo' });
  provider = await grid.login('provider');
  consumer = await grid.login('consumer');
  for (const node of ['v1', 'v2']) {
    await provider.iq('set', `<pubsub ${PUBSUB}><create node='${node}'/></pubsub>`, grid.broker);
    const answer = await consumer.iq(
      'set',
      `<pubsub ${PUBSUB}><subscribe node='${node}' jid='consumer@localhost'/></pubsub>`,
      grid.broker,
    );
    expect(answer.getChild('pubsub')?.getChild('subscription')?.attrs.subscription).toBe('subscribed');
  }
});
afterAll(async () => {
  await grid.stop();
});

async function publish(item: string, attributes = ''): Promise<string> {
  const id = `doc-${ids.next++}`;
  consumer.received = '';
  const answer = await provider.iq(
    'set',
    `<pubsub ${PUBSUB}><publish node='v2'><item id='${id}'${attributes}>${item}</item></publish></pubsub>`,
    grid.broker,
  );
  expect(answer.attrs.type).toBe('result');
  await consumer.next(
    (element) => element.name === 'message' && element.getChild('event')?.getChild('items')?.getChild('item')?.attrs.id === id,
  );
  return consumer.received;
}

/** Canonical XML of the payload inside the event that was received. */
function canonical(text: string): string {
  using document = XmlDocument.fromString(text);
  return document.canonicalizeToString();
}

describe('IODEF documents', () => {
  it('finds the nine of the specifications', () => {
    expect(FILES).toHaveLength(9);
  });

  it.each(FILES)('%s arrives byte for byte', async (file) => {
    const document = bare(readFileSync(new URL(file, DIRECTORY), 'utf8'));
    expect(await publish(document)).toContain(document);
    const items = await consumer.iq(
      'get',
      `<pubsub ${PUBSUB}><items node='v2'><item id='doc-${ids.next - 1}'/></items></pubsub>`,
      grid.broker,
    );
    expect(items.attrs.type).toBe('result');
    expect(consumer.received.split(document)).toHaveLength(3); // once as an event, once retrieved
  });

  it.each(FILES.filter((file) => readFileSync(new URL(file, DIRECTORY), 'utf8').includes('<!--')))(
    '§11.1 of RFC 6120: %s as it stands gets restricted-xml',
    async (file) => {
      const client = await grid.login('commenter', { role: 'demo' });
      const document = readFileSync(new URL(file, DIRECTORY), 'utf8').replace(/^<\?xml[^>]*\?>\s*/, '');
      client.send(
        `<iq type='set' id='x' to='${grid.broker}'><pubsub ${PUBSUB}><publish node='v2'><item>${document}</item></publish></pubsub></iq>`,
      );
      expect(await client.streamError()).toBe('restricted-xml');
    },
  );

  it('a payload that takes its namespaces from the stanza stands by itself, canonically equal (delivery.md §4.7)', async () => {
    const inner = "<i:IODEF-Document version='2.00'><i:Incident purpose='reporting'/></i:IODEF-Document>";
    const received = await publish(inner, " xmlns:i='urn:ietf:params:xml:ns:iodef-2.0'");
    const sent = /<i:IODEF-Document.*<\/i:IODEF-Document>/s.exec(received)?.[0] as string;
    expect(sent).toContain("xmlns:i='urn:ietf:params:xml:ns:iodef-2.0'");
    // In scope where it stood: the default namespace of <item/> and the prefix.
    const standing = inner.replace('<i:IODEF-Document', `<i:IODEF-Document ${PUBSUB} xmlns:i='urn:ietf:params:xml:ns:iodef-2.0'`);
    expect(canonical(sent)).toBe(canonical(standing));
  });

  it('an inherited xml:lang travels on the message, never into the payload (delivery.md §4.7)', async () => {
    const document = bare(readFileSync(new URL('rfc7970-7.1-minimal.xml', DIRECTORY), 'utf8')).replace(' xml:lang="en"', '');
    const received = await publish(document, " xml:lang='de'");
    expect(received).toContain(document);
    expect(received).toMatch(/<message[^>]* xml:lang=['"]de['"]/);
  });
});
