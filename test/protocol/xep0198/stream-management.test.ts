import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RawClient } from '../../support/raw-client.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';

/** XEP-0198 on one instance: counts, acknowledgements, resumption (X-028, G-050, G-059). */

let grid: TestInstance;
let sender: RawClient;
beforeAll(async () => {
  grid = await startTestInstance();
  sender = await grid.login('sender');
});
afterAll(async () => {
  await grid.stop();
});

const SM = 'urn:xmpp:sm:3';

async function enabled(name: string): Promise<{ client: RawClient; id: string }> {
  const client = await grid.login(name, { resource: 'r' });
  client.send(`<enable xmlns='${SM}' resume='true'/>`);
  const reply = await client.next((element) => element.name === 'enabled');
  return { client, id: reply.attrs.id as string };
}

/** A stream of the account up to the point where it may resume or bind. */
async function authenticated(name: string): Promise<RawClient> {
  const client = await grid.connect();
  await client.openStream();
  await client.startTls();
  const features = await client.scram(name, name);
  expect(features.getChild('sm')?.attrs.xmlns).toBe(SM);
  return client;
}

describe('acknowledgements, XEP-0198 §4', () => {
  it('counts what the client sent and was handled', async () => {
    const { client } = await enabled('counter');
    client.send(
      `<message to='${sender.jid}'><body>1</body></message><message to='${sender.jid}'><body>2</body></message><r xmlns='${SM}'/>`,
    );
    expect((await client.next((element) => element.name === 'a')).attrs.h).toBe('2');
    await client.close();
  });

  it('§6 ends the stream when more is acknowledged than was sent', async () => {
    const { client } = await enabled('liar');
    client.send(`<a xmlns='${SM}' h='9'/>`);
    const error = await client.next((element) => element.name === 'stream:error');
    expect(error.getChild('undefined-condition')).toBeDefined();
    expect(error.getChild('handled-count-too-high')?.attrs).toMatchObject({ h: '9', 'send-count': '0' });
    await client.closed();
  });

  it('§3 refuses a second enable, and one before bind', async () => {
    const { client } = await enabled('twice');
    client.send(`<enable xmlns='${SM}'/>`);
    expect((await client.next((element) => element.name === 'failed')).getChild('unexpected-request')).toBeDefined();
    await client.close();
    const early = await authenticated('twice');
    early.send(`<enable xmlns='${SM}'/>`);
    expect((await early.next((element) => element.name === 'failed')).getChild('unexpected-request')).toBeDefined();
    early.kill();
  });

  it('asks for acknowledgement behind what it sends', async () => {
    const { client } = await enabled('asked');
    sender.send(`<message to='${client.jid}'><body>x</body></message>`);
    await client.nextMessage();
    await client.next((element) => element.name === 'r');
    await client.close();
  });
});

describe('resumption, XEP-0198 §5', () => {
  it('sends again exactly what was not acknowledged, in order, and goes on', async () => {
    const { client, id } = await enabled('phoenix');
    for (let i = 1; i <= 5; i++) sender.send(`<message to='${client.jid}' id='m${i}'><body>${i}</body></message>`);
    for (let i = 1; i <= 5; i++) await client.nextMessage();
    client.kill();
    await sender.marker();
    for (let i = 6; i <= 8; i++) sender.send(`<message to='${client.jid}' id='m${i}'><body>${i}</body></message>`);
    await sender.marker();
    const again = await authenticated('phoenix');
    again.send(`<resume xmlns='${SM}' previd='${id}' h='3'/>`);
    const resumed = await again.next((element) => element.name === 'resumed');
    expect(resumed.attrs).toMatchObject({ previd: id, h: '0' });
    for (let i = 4; i <= 8; i++) expect((await again.nextMessage()).attrs.id).toBe(`m${i}`);
    sender.send(`<message to='${client.jid}' id='live'><body>live</body></message>`);
    expect((await again.nextMessage()).attrs.id).toBe('live');
    again.send(`<a xmlns='${SM}' h='9'/>`);
    again.jid = client.jid;
    await again.marker();
    expect(again.inbox.filter((element) => element.name === 'message')).toHaveLength(0);
    await again.close();
  });

  it('takes a session whose old stream still stands: the old one ends with conflict', async () => {
    const { client, id } = await enabled('mover');
    const again = await authenticated('mover');
    again.send(`<resume xmlns='${SM}' previd='${id}' h='0'/>`);
    await again.next((element) => element.name === 'resumed');
    expect(await client.streamError()).toBe('conflict');
    await again.marker();
    await again.close();
  });

  it.each([
    ['an id that never was', async () => ({ name: 'lost', id: 'AAAAAAAAAAAAAAAAAAAAAA' })],
    [
      "another account's id (G-059)",
      async () => {
        const { client, id } = await enabled('victim');
        client.kill();
        return { name: 'thief', id };
      },
    ],
    [
      'a session that was closed in order (§7)',
      async () => {
        const { client, id } = await enabled('closer');
        await client.close();
        return { name: 'closer', id };
      },
    ],
  ])('answers item-not-found for %s, and the client may bind', async (_name, prepare) => {
    const { name, id } = await prepare();
    await grid.addPlatform(name);
    const client = await authenticated(name);
    client.send(`<resume xmlns='${SM}' previd='${id}' h='0'/>`);
    expect((await client.next((element) => element.name === 'failed')).getChild('item-not-found')).toBeDefined();
    await client.bind();
    await client.close();
  });
});
