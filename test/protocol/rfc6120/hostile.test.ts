import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RawClient } from '../../support/raw-client.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';

/**
 * Hostile bytes before and after login: each ends its own stream with the error that RFC 6120 names, costs bounded
 * memory, and touches nobody else (G-057; RFC 6120 §11, §13.12).
 */

let grid: TestInstance;
let bystander: RawClient;
beforeAll(async () => {
  grid = await startTestInstance({ role: 'demo' });
  bystander = await grid.login('bystander');
  await grid.addPlatform('attacker');
});
afterAll(async () => {
  await grid.stop();
});

const MiB = 1_048_576;
const deep = (levels: number) => '<a>'.repeat(levels);
const attributes = (count: number) => Array.from({ length: count }, (_, i) => `a${i}='x'`).join(' ');

const HOSTILE: [string, string | Buffer, string][] = [
  ['a comment', '<message><!-- x --></message>', 'restricted-xml'],
  ['a DTD', "<!DOCTYPE lolz [<!ENTITY lol 'lol'>]>", 'restricted-xml'],
  ['a processing instruction', "<?xml-stylesheet href='x'?>", 'restricted-xml'],
  ["an entity of one's own", '<message>&lol;</message>', 'restricted-xml'],
  ['an entity in an attribute', "<message to='&lol;'/>", 'restricted-xml'],
  ['a reference to U+0000', '<message>&#0;</message>', 'not-well-formed'],
  ['U+0001 as it is', '<message>\u0001</message>', 'not-well-formed'],
  ['an unbound prefix', '<x:message/>', 'not-well-formed'],
  ['the same attribute twice', "<message to='a' to='b'/>", 'not-well-formed'],
  ['the same attribute by two prefixes', "<message xmlns:a='urn:x' xmlns:b='urn:x' a:q='1' b:q='2'/>", 'not-well-formed'],
  ['an attribute without quotes', '<message to=a/>', 'not-well-formed'],
  ['] ] > in text', '<message>]]></message>', 'not-well-formed'],
  ['< in an attribute', "<message to='<'/>", 'not-well-formed'],
  ['xmlns:xml bound elsewhere', "<message xmlns:xml='urn:x'/>", 'not-well-formed'],
  ['crossed tags', '<message><a></message></a>', 'not-well-formed'],
  ['an overlong UTF-8 sequence', Buffer.from([0x3c, 0x61, 0x3e, 0xc0, 0xaf]), 'not-well-formed'],
  ['a surrogate in UTF-8', Buffer.from([0x3c, 0x61, 0x3e, 0xed, 0xa0, 0x80]), 'not-well-formed'],
  ['a lone continuation byte', Buffer.from([0x3c, 0x61, 0x3e, 0x80]), 'not-well-formed'],
  ['10,000 levels', deep(10_000), 'policy-violation'],
  ['a 1 MiB attribute', `<message to='${'x'.repeat(MiB)}'/>`, 'policy-violation'],
  ['10,000 attributes', `<message ${attributes(10_000)}/>`, 'policy-violation'],
  ['a name of 10,000 bytes', `<${'n'.repeat(10_000)}/>`, 'policy-violation'],
  ['text without end', `<message><body>${'x'.repeat(6 * MiB)}`, 'policy-violation'],
  ['elements without end', `<message>${'<a/>'.repeat(2 * MiB)}`, 'policy-violation'],
  [
    '10,000 levels inside a payload',
    `<iq type='set' id='1' to='broker.localhost'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n'><item>${deep(10_000)}`,
    'policy-violation',
  ],
];

async function sendInPieces(client: RawClient, bytes: string | Buffer): Promise<void> {
  const all = Buffer.from(bytes);
  for (let at = 0; at < all.length && !client.isClosed; at += 65_536) {
    const piece = all.subarray(at, at + 65_536);
    if (!client.socket.write(piece)) {
      await new Promise<void>((resolve) => {
        const done = () => {
          client.socket.off('drain', done);
          client.socket.off('close', done);
          resolve();
        };
        client.socket.once('drain', done);
        client.socket.once('close', done);
      });
    }
  }
}

describe('after login', () => {
  it.each(HOSTILE)('%s', async (_name, bytes, condition) => {
    const client = await grid.login('attacker');
    await sendInPieces(client, bytes);
    expect(await client.streamError()).toBe(condition);
    await bystander.marker();
  });
});

describe('before login', () => {
  it.each(HOSTILE)('%s', async (_name, bytes, condition) => {
    const client = await grid.connect({ directTls: true });
    await client.openStream();
    await sendInPieces(client, bytes);
    // Whatever is well-formed and small enough to be read is no SASL either.
    expect([condition, 'not-authorized', 'policy-violation']).toContain(await client.streamError());
    await bystander.marker();
  });
});

describe('slowly', () => {
  it('a publish byte by byte is the same publish', async () => {
    const client = await grid.login('attacker');
    const pubsub = "xmlns='http://jabber.org/protocol/pubsub'";
    await client.iq('set', `<pubsub ${pubsub}><create node='slow'/></pubsub>`, grid.broker);
    const publish = `<iq type='set' id='slow' to='${grid.broker}'><pubsub ${pubsub}><publish node='slow'><item id='i'><r xmlns='urn:r'>é</r></item></publish></pubsub></iq>`;
    for (const byte of Buffer.from(publish)) client.socket.write(Buffer.from([byte]));
    const answer = await client.next((element) => element.attrs.id === 'slow');
    expect(answer.attrs.type).toBe('result');
    await client.close();
  });

  it('memory comes back after 300 streams that never end their stanza', async () => {
    const before = rssAfterGc();
    for (let round = 0; round < 3; round++) {
      const clients = await Promise.all(Array.from({ length: 100 }, () => grid.connect()));
      for (const client of clients)
        client.send(
          `<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'><message>${'x'.repeat(9_000)}`,
        );
      await bystander.marker();
      for (const client of clients) client.kill();
    }
    await expect.poll(async () => (await grid.admin.sessionList({})).length).toBeGreaterThan(0);
    await bystander.marker();
    // Client and server share this process: 300 streams × 10 KiB on both ends must not stay.
    expect(rssAfterGc() - before).toBeLessThan(64 * MiB);
  });
});

function rssAfterGc(): number {
  (globalThis as { gc?: () => void }).gc?.();
  return process.memoryUsage().rss;
}
