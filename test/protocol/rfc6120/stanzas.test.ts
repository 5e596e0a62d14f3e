import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Element, RawClient } from '../../support/raw-client.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';

/** RFC 6120 §8 and §10: what a stanza must be, and where it goes. C-015 to C-034, C-071 to C-073, C-081. */

let grid: TestInstance;
let romeo: RawClient;
let juliet: RawClient;
beforeAll(async () => {
  grid = await startTestInstance();
  romeo = await grid.login('romeo', { resource: 'orchard' });
  juliet = await grid.login('juliet', { resource: 'balcony' });
});
afterAll(async () => {
  await grid.stop();
});

const PING = "<ping xmlns='urn:xmpp:ping'/>";
const condition = (stanza: Element) => {
  const error = stanza.getChild('error');
  return `${error?.attrs.type} ${error?.getChildElements()[0]?.name}`;
};

describe('IQ rules, §8.2.3', () => {
  it.each([
    ['no child (C-028)', "<iq type='get' id='ID' to='localhost'/>", 'modify bad-request'],
    ['two children (C-028)', `<iq type='get' id='ID' to='localhost'>${PING}${PING}</iq>`, 'modify bad-request'],
    ['no type (C-031)', `<iq id='ID' to='localhost'>${PING}</iq>`, 'modify bad-request'],
    ['an unknown type (C-031)', `<iq type='ask' id='ID' to='localhost'>${PING}</iq>`, 'modify bad-request'],
    [
      'an unknown payload (C-027, §8.4)',
      "<iq type='get' id='ID' to='localhost'><x xmlns='urn:x'/></iq>",
      'cancel service-unavailable',
    ],
    [
      'an unknown payload for the account (§10.3.3)',
      "<iq type='get' id='ID'><x xmlns='urn:x'/></iq>",
      'cancel service-unavailable',
    ],
    [
      'a full JID that is not there (§10.5.4)',
      `<iq type='get' id='ID' to='juliet@localhost/gone'>${PING}</iq>`,
      'cancel service-unavailable',
    ],
    [
      "somebody else's bare JID (§13.11)",
      `<iq type='get' id='ID' to='juliet@localhost'>${PING}</iq>`,
      'cancel service-unavailable',
    ],
    [
      'an account that does not exist (§10.5.3.1)',
      `<iq type='get' id='ID' to='nobody@localhost'>${PING}</iq>`,
      'cancel service-unavailable',
    ],
    [
      'a domain that is not ours (§10.4.3)',
      `<iq type='get' id='ID' to='elsewhere.example'>${PING}</iq>`,
      'cancel remote-server-not-found',
    ],
    ['an address that is none (§8.3.3.8)', `<iq type='get' id='ID' to='@localhost'>${PING}</iq>`, 'modify jid-malformed'],
  ])('%s', async (_name, xml, want) => {
    const id = romeo.newId();
    romeo.send(xml.replace('ID', id));
    const answer = await romeo.next((element) => element.attrs.id === id);
    expect(answer.attrs.type).toBe('error');
    expect(condition(answer)).toBe(want);
    expect(answer.getChildren('error')).toHaveLength(1); // C-024
    await romeo.marker();
    expect(romeo.inbox.filter((element) => element.attrs.id === id)).toHaveLength(0); // C-030: exactly one answer
  });

  it('§8.1.3 an IQ without id gets bad-request (C-029)', async () => {
    romeo.send(`<iq type='get' to='localhost'>${PING}</iq>`);
    const answer = await romeo.next((element) => element.name === 'iq' && element.attrs.id === undefined);
    expect(condition(answer)).toBe('modify bad-request');
  });

  it('§8.3.1 never answers a result or an error (C-026)', async () => {
    romeo.send("<iq type='result' id='r1' to='localhost'/><iq type='error' id='r2' to='localhost'><error type='cancel'/></iq>");
    await romeo.marker();
    expect(romeo.inbox).toHaveLength(0);
  });
});

describe('addresses, §8.1 and §10', () => {
  it('§8.1.2.1 stamps the full JID, whatever was left out (C-015, C-016, C-033)', async () => {
    romeo.send(`<message to='${juliet.jid}' id='m1' type='chat'><body>art thou not Romeo</body></message>`);
    const message = await juliet.nextMessage();
    expect(message.attrs).toMatchObject({ from: 'romeo@localhost/orchard', to: juliet.jid, id: 'm1', type: 'chat' });
    expect(message.getChildText('body')).toBe('art thou not Romeo');
  });

  it('§4.9.3.9 a foreign from ends the stream with invalid-from (C-017, G-059)', async () => {
    const mallory = await grid.login('mallory');
    mallory.send(`<message from='romeo@localhost/orchard' to='${juliet.jid}'><body>false</body></message>`);
    expect(await mallory.streamError()).toBe('invalid-from');
    await juliet.marker();
    expect(juliet.inbox).toHaveLength(0);
  });

  it('§10.3.1 a message without to goes to the own account (C-019)', async () => {
    romeo.send("<message id='self'><body>note</body></message>");
    expect((await romeo.nextMessage()).attrs.id).toBe('self');
  });

  it("§8.1.5 keeps xml:lang, and gives the stream's where there is none (C-022)", async () => {
    romeo.send(`<message to='${juliet.jid}' xml:lang='fr'><body>oui</body></message>`);
    expect((await juliet.nextMessage()).attrs['xml:lang']).toBe('fr');
    const german = await grid.connect();
    await german.openStream();
    await german.startTls();
    await grid.addPlatform('heinrich');
    await german.scram('heinrich', 'heinrich');
    german.kill();
  });

  it('G-005 an IQ between two platforms is routed and answered', async () => {
    romeo.send(`<iq type='get' id='q1' to='${juliet.jid}'>${PING}</iq>`);
    const request = await juliet.next((element) => element.name === 'iq' && element.attrs.id === 'q1');
    expect(request.attrs.from).toBe('romeo@localhost/orchard');
    juliet.send(`<iq type='result' id='q1' to='${request.attrs.from}'/>`);
    const result = await romeo.next((element) => element.attrs.id === 'q1');
    expect(result.attrs).toMatchObject({ type: 'result', from: juliet.jid });
  });

  it('§10.1 keeps the order between two entities (C-072)', async () => {
    const count = 2_000;
    for (let i = 0; i < count; i++) romeo.send(`<message to='${juliet.jid}' id='o${i}'><body>${i}</body></message>`);
    for (let i = 0; i < count; i++) expect((await juliet.nextMessage()).attrs.id).toBe(`o${i}`);
  });

  it('§4.9.3.24 unsupported-stanza-type for an element that is no stanza', async () => {
    const client = await grid.login('odd');
    client.send('<query/>');
    expect(await client.streamError()).toBe('unsupported-stanza-type');
  });
});

describe('presence, RFC 6121 §4 (C-034)', () => {
  it('§4.2 initial presence comes back, and other resources hear of it', async () => {
    const one = await grid.login('twin', { resource: 'one' });
    one.send('<presence/>');
    expect((await one.next((element) => element.name === 'presence')).attrs.from).toBe('twin@localhost/one');
    const two = await grid.login('twin', { resource: 'two' });
    two.send('<presence><priority>5</priority></presence>');
    expect((await one.next((element) => element.name === 'presence')).attrs.from).toBe('twin@localhost/two');
    await two.close();
    const gone = await one.next((element) => element.name === 'presence' && element.attrs.type === 'unavailable');
    expect(gone.attrs.from).toBe('twin@localhost/two');
    await one.close();
  });

  it('§4.6 directed presence reaches its target, and so does the end of it', async () => {
    juliet.send('<presence/>');
    await juliet.next((element) => element.name === 'presence');
    const nurse = await grid.login('nurse', { resource: 'n' });
    nurse.send(`<presence to='${juliet.jid}'/>`);
    expect((await juliet.next((element) => element.name === 'presence')).attrs.from).toBe('nurse@localhost/n');
    await nurse.close();
    expect((await juliet.next((element) => element.name === 'presence')).attrs.type).toBe('unavailable');
  });

  it('§4.7.2.3 bad-request for a priority out of range', async () => {
    romeo.send("<presence id='p1'><priority>200</priority></presence>");
    expect(condition(await romeo.next((element) => element.attrs.id === 'p1'))).toBe('modify bad-request');
  });
});

describe('sizes, §13.12 (C-081, XEP-0478)', () => {
  it('a stanza at the limit is handled, one over it is answered with policy-violation, and the stream lives', async () => {
    const client = await grid.login('big');
    client.send(`<message to='localhost' id='huge'><body>${'x'.repeat(600_000)}</body></message>`);
    const answer = await client.next((element) => element.attrs.id === 'huge');
    expect(answer.getChild('error')?.getChild('policy-violation')).toBeDefined();
    client.send(`<message to='${juliet.jid}' id='fits'><body>${'y'.repeat(9_000)}</body></message>`);
    expect((await juliet.nextMessage()).attrs.id).toBe('fits');
    await client.close();
  });

  it('beyond the hard limit the stream ends with policy-violation', async () => {
    const client = await grid.login('huge');
    client.send(`<message to='localhost' id='x'><body>${'x'.repeat(5_000_000)}`);
    expect(await client.streamError()).toBe('policy-violation');
  });
});
