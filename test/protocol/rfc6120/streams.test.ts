import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RawClient } from '../../support/raw-client.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';

/** RFC 6120 §4: headers, errors and closing. C-036 to C-048, C-054 to C-065. */

let grid: TestInstance;
beforeAll(async () => {
  grid = await startTestInstance();
});
afterAll(async () => {
  await grid.stop();
});

const NS = "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'";
const open = (attributes: string) => `<?xml version='1.0'?><stream:stream ${attributes}>`;

async function connectAndSend(xml: string): Promise<RawClient> {
  const client = await grid.connect();
  client.send(xml);
  return client;
}

describe('stream headers, §4.7 and §4.8', () => {
  it('§4.7 answers from, id, version, xml:lang, and to only for a from (C-036, C-038, C-039, C-041)', async () => {
    const client = await grid.connect();
    await client.openStream("from='p@localhost' to='localhost' version='1.0' xml:lang='de'");
    expect(client.header?.attrs).toMatchObject({ from: 'localhost', to: 'p@localhost', version: '1.0', 'xml:lang': 'de' });
    expect(String(client.header?.attrs.id).length).toBeGreaterThanOrEqual(20);
    const plain = await grid.connect();
    await plain.openStream();
    expect(plain.header?.attrs.to).toBeUndefined();
    client.kill();
    plain.kill();
  });

  it('§4.7.3 never gives an id twice (C-040)', async () => {
    const ids = new Set<string>();
    for (let i = 0; i < 50; i++) {
      const client = await grid.connect();
      await client.openStream();
      ids.add(client.header?.attrs.id as string);
      client.kill();
    }
    expect(ids.size).toBe(50);
  });

  it('§5.3.1 offers STARTTLS alone, and required (C-050, A-001, G-074)', async () => {
    const client = await grid.connect();
    const features = await client.openStream();
    expect(features.getChildElements().map((child) => child.name)).toEqual(['starttls']);
    expect(features.getChild('starttls')?.getChild('required')).toBeDefined();
    client.kill();
  });

  it.each([
    [
      '§4.9.3.6 host-unknown for a domain that is not served (C-037)',
      open(`to='elsewhere.example' version='1.0' ${NS}`),
      'host-unknown',
    ],
    ['§4.9.3.25 unsupported-version without a version (C-042)', open(`to='localhost' ${NS}`), 'unsupported-version'],
    [
      '§4.8.1 invalid-namespace for another stream namespace (C-056)',
      open("to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='urn:x'"),
      'invalid-namespace',
    ],
    [
      '§4.8.2 invalid-namespace for another content namespace (C-054)',
      open("to='localhost' version='1.0' xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'"),
      'invalid-namespace',
    ],
    [
      '§4.8.5 bad-namespace-prefix for another prefix (C-057)',
      "<s:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'>",
      'bad-namespace-prefix',
    ],
    ['§4.9.3.1 bad-format for another root', `<stream:flow to='localhost' version='1.0' ${NS}>`, 'bad-format'],
    ['§11.1 restricted-xml for a comment (C-058)', `${open(`to='localhost' version='1.0' ${NS}`)}<!-- x -->`, 'restricted-xml'],
    ['§11.1 restricted-xml for a DTD (C-059)', "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]>", 'restricted-xml'],
    [
      '§11.1 restricted-xml for a processing instruction (C-060)',
      `${open(`to='localhost' version='1.0' ${NS}`)}<?php x?>`,
      'restricted-xml',
    ],
    [
      "§11.1 restricted-xml for an entity of one's own (C-061)",
      `${open(`to='localhost' version='1.0' ${NS}`)}<message>&foo;</message>`,
      'restricted-xml',
    ],
    ['§11.3 not-well-formed for crossed tags (C-062)', `${open(`to='localhost' version='1.0' ${NS}`)}<a></b>`, 'not-well-formed'],
    [
      '§11.3 not-well-formed for an unbound prefix (C-063)',
      `${open(`to='localhost' version='1.0' ${NS}`)}<x:a/>`,
      'not-well-formed',
    ],
    ['§11.6 unsupported-encoding (C-074)', "<?xml version='1.0' encoding='ISO-8859-1'?>", 'unsupported-encoding'],
    [
      '§4.9.3.12 not-authorized for a stanza before TLS (C-007, G-007)',
      `${open(`to='localhost' version='1.0' ${NS}`)}<message to='localhost'/>`,
      'not-authorized',
    ],
  ])('%s', async (_name, xml, condition) => {
    const client = await connectAndSend(xml);
    expect(await client.streamError()).toBe(condition);
    // §4.9.1.2: the error comes inside a stream of ours, which is closed behind it.
    expect(client.header?.attrs.from).toBe('localhost');
    expect(client.sawStreamClose).toBe(true);
  });

  it('§4.4 answers a closing tag with its own and ends the connection (C-065)', async () => {
    const client = await grid.connect();
    await client.openStream();
    client.send('</stream:stream>');
    await client.closed();
    expect(client.received.endsWith('</stream:stream>')).toBe(true);
  });

  it('§4.6.1 takes white space between stanzas (C-066)', async () => {
    const client = await grid.login('white');
    client.send('  \n \t ');
    await client.marker();
    await client.close();
  });

  it('G-006, §13.12 ends a stream whose header never ends', async () => {
    const client = await grid.connect();
    client.send(`<?xml version='1.0'?><stream:stream to='${'x'.repeat(20_000)}`);
    expect(await client.streamError()).toBe('policy-violation');
  });
});
