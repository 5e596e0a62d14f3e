import { createConnection } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RawClient } from '../../support/raw-client.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';

/** RFC 6120 §5 to §7: STARTTLS, SASL, resource binding. */

let grid: TestInstance;
beforeAll(async () => {
  grid = await startTestInstance();
  await grid.addPlatform('p');
});
afterAll(async () => {
  await grid.stop();
});

async function secured(): Promise<RawClient> {
  const client = await grid.connect();
  await client.openStream();
  await client.startTls();
  return client;
}

describe('STARTTLS, §5', () => {
  it('§5.4.3.1 lets no byte through that came in the clear behind <starttls/>', async () => {
    const client = await grid.connect();
    await client.openStream();
    client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><iq type='set' id='evil'/>");
    await client.next((element) => element.name === 'failure', '<failure/>');
    await client.closed();
    expect(client.received).not.toContain('proceed');
    expect(client.received).not.toContain('evil');
  });

  it('§6.5.4 refuses SASL in the clear with encryption-required (G-045, C-006)', async () => {
    const client = await grid.connect();
    await client.openStream();
    client.auth('SCRAM-SHA-256', 'biwsbj1wLHI9YQ==');
    const failure = await client.next((element) => element.name === 'failure');
    expect(failure.getChild('encryption-required')).toBeDefined();
    client.kill();
  });

  it('§5.4.3.3 a new stream with a new id follows the handshake (C-051, C-052)', async () => {
    const client = await grid.connect();
    await client.openStream();
    const first = client.header?.attrs.id;
    const features = await client.startTls();
    expect(client.header?.attrs.id).not.toBe(first);
    expect(features.getChild('starttls')).toBeUndefined();
    expect(features.getChild('mechanisms')).toBeDefined();
    client.kill();
  });

  it.each(['TLSv1', 'TLSv1.1'] as const)('G-075 refuses %s', async (version) => {
    const error = await new Promise<Error>((resolve) => {
      const socket = connectTls({
        host: '127.0.0.1',
        port: grid.directTlsPort,
        ca: grid.certificates.ca.certificate,
        servername: 'localhost',
        minVersion: version,
        maxVersion: version,
        ciphers: 'DEFAULT@SECLEVEL=0',
      });
      socket.on('error', resolve);
    });
    expect(error.message).toMatch(/protocol|version|ECONNRESET/i);
  });

  it('G-076 speaks TLS 1.3 when the client can, and 1.2 when it must', async () => {
    const modern = await secured();
    expect(modern.tlsSocket.getProtocol()).toBe('TLSv1.3');
    const older = await grid.connect({ tls: { maxVersion: 'TLSv1.2' } });
    await older.openStream();
    await older.startTls();
    expect(older.tlsSocket.getProtocol()).toBe('TLSv1.2');
    modern.kill();
    older.kill();
  });

  it('X-038 direct TLS takes a client with ALPN and one without', async () => {
    for (const tls of [{ ALPNProtocols: ['xmpp-client'] }, { ALPNProtocols: [] }]) {
      const client = await grid.connect({ directTls: true, tls });
      expect((await client.openStream()).getChild('mechanisms')).toBeDefined();
      client.kill();
    }
  });

  it('ends a connection that sends rubbish instead of a handshake, and no other', async () => {
    const rubbish = createConnection({ host: '127.0.0.1', port: grid.directTlsPort });
    rubbish.write('GET / HTTP/1.1\r\n\r\n');
    await new Promise((resolve) => rubbish.once('close', resolve));
    const client = await grid.login('p');
    await client.marker();
    await client.close();
  });
});

describe('SASL, §6', () => {
  it('offers the mechanisms in order of preference, with the bindings of XEP-0440 (C-009, G-080 to G-082, A-021)', async () => {
    const client = await grid.connect();
    await client.openStream();
    const features = await client.startTls();
    const mechanisms = features
      .getChild('mechanisms')
      ?.getChildElements()
      .map((element) => element.text());
    expect(mechanisms).toEqual(['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256']);
    const types = features
      .getChild('sasl-channel-binding')
      ?.getChildElements()
      .map((element) => element.attrs.type);
    expect(types).toContain('tls-exporter');
    expect(types).toContain('tls-server-end-point');
    expect(features.getChild('limits')?.getChildText('max-bytes')).toBe('10240');
    client.kill();
  });

  it.each(['SCRAM-SHA-256', 'SCRAM-SHA-256-PLUS'])(
    '%s logs in and the stream restarts (C-008, A-011, A-019)',
    async (mechanism) => {
      const client = await grid.login('p', { mechanism, resource: mechanism });
      expect(client.jid).toBe(`p@localhost/${mechanism}`);
      await client.close();
    },
  );

  it('§6.3.1 not-authorized for a stanza before login (C-007)', async () => {
    const client = await secured();
    client.send("<iq type='get' id='x'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>");
    expect(await client.streamError()).toBe('not-authorized');
  });

  it.each<[string, (client: RawClient) => void, string]>([
    ['§6.5.1 aborted', (c) => c.send("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"), 'aborted'],
    ['§6.5.6 incorrect-encoding', (c) => c.auth('SCRAM-SHA-256', '***'), 'incorrect-encoding'],
    ['§6.5.8 invalid-mechanism', (c) => c.auth('PLAIN', 'AHAAcA=='), 'invalid-mechanism'],
    ['§6.5.9 malformed-request', (c) => c.auth('SCRAM-SHA-256', Buffer.from('nonsense').toString('base64')), 'malformed-request'],
    [
      '§6.5.7 invalid-authzid',
      (c) => c.auth('SCRAM-SHA-256', Buffer.from('n,a=other@localhost,n=p,r=abc').toString('base64')),
      'invalid-authzid',
    ],
  ])('%s (C-006)', async (_name, send, condition) => {
    const client = await secured();
    send(client);
    let failure = await client.next((element) => element.name === 'failure' || element.name === 'challenge');
    if (failure.name === 'challenge') {
      // The authzid is judged only once the proof holds, so that nothing is told to strangers: a wrong proof says no more.
      client.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>Yz1iaXdzLHI9eCxwPUFBQUE=</response>");
      failure = await client.next((element) => element.name === 'failure');
      expect(['not-authorized', 'malformed-request', condition]).toContain(failure.getChildElements()[0]?.name);
    } else expect(failure.getChildElements()[0]?.name).toBe(condition);
    client.kill();
  });

  it('§6.4.5 allows retries, then ends the stream with policy-violation (C-069)', async () => {
    const client = await secured();
    for (let attempt = 0; attempt < 3; attempt++) await expect(client.scram('p', 'wrong')).rejects.toThrow('not-authorized');
    expect(await client.streamError()).toBe('policy-violation');
  });

  it('§6.4.5 a retry that is right gets in', async () => {
    const client = await secured();
    await expect(client.scram('p', 'wrong')).rejects.toThrow('not-authorized');
    await client.scram('p', 'p');
    await client.bind();
    await client.close();
  });

  it('§13.11 answers unknown and known accounts alike, with a stable salt (C-086)', async () => {
    const challenges: string[] = [];
    for (const user of ['nobody', 'nobody', 'p']) {
      const client = await secured();
      client.auth('SCRAM-SHA-256', Buffer.from(`n,,n=${user},r=abcdef`).toString('base64'));
      const text = Buffer.from((await client.next((element) => element.name === 'challenge')).text(), 'base64').toString();
      challenges.push(text.replace(/^r=[^,]*,/, ''));
      client.kill();
    }
    expect(challenges[0]).toBe(challenges[1]);
    const shape = (text?: string) => text?.replace(/s=([^,]*)/, (_all, salt: string) => `s=${salt.length}`);
    expect(shape(challenges[0])).toBe(shape(challenges[2]));
    const client = await secured();
    await expect(client.scram('nobody', 'x')).rejects.toThrow('not-authorized');
    client.kill();
  });

  it('§6.5.2 account-disabled only for who proves the password', async () => {
    await grid.addPlatform('off');
    await grid.admin.platformDisable({ name: 'off' });
    const client = await secured();
    await expect(client.scram('off', 'wrong')).rejects.toThrow('not-authorized');
    await expect(client.scram('off', 'off')).rejects.toThrow('account-disabled');
    client.kill();
  });

  it('disabling a platform ends its live streams with not-authorized (S-02)', async () => {
    const client = await grid.login('cut');
    const { endedStreams } = await grid.admin.platformDisable({ name: 'cut' });
    expect(endedStreams).toBe(1);
    expect(await client.streamError()).toBe('not-authorized');
  });

  it('§13.12 refuses more than 10 KiB before login', async () => {
    const client = await secured();
    client.send(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>${'A'.repeat(12_000)}</auth>`);
    expect(await client.streamError()).toBe('policy-violation');
  });
});

describe('resource binding, §7', () => {
  async function loggedIn(): Promise<RawClient> {
    const client = await secured();
    const features = await client.scram('p', 'p');
    expect(features.getChild('bind')?.getChild('required')).toBeDefined();
    return client;
  }

  it('§7.6 makes a resource that nobody guesses (C-001, C-004)', async () => {
    const resources = new Set<string>();
    for (let i = 0; i < 5; i++) {
      const client = await loggedIn();
      const resource = (await client.bind()).split('/')[1] as string;
      expect(resource.length).toBeGreaterThanOrEqual(16);
      resources.add(resource);
      await client.close();
    }
    expect(resources.size).toBe(5);
  });

  it("§7.7.1 takes the client's resource, prepared by RFC 7622", async () => {
    const client = await loggedIn();
    expect(await client.bind('balcony 1')).toBe('p@localhost/balcony 1');
    await client.close();
  });

  it('§7.7.2.1 bad-request for a resource that cannot be', async () => {
    const client = await loggedIn();
    const reply = await client.iq('set', "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>\u0378</resource></bind>");
    expect(reply.getChild('error')?.getChild('bad-request')).toBeDefined();
    await client.bind('fine');
    await client.close();
  });

  it('§7.7.2.2 a new stream takes the resource, the old one ends with conflict (C-070)', async () => {
    const first = await grid.login('p', { resource: 'same' });
    const second = await grid.login('p', { resource: 'same' });
    expect(await first.streamError()).toBe('conflict');
    await second.marker();
    await second.close();
  });

  it("§7.6.2.1 resource-constraint beyond the role's resources (C-080)", async () => {
    await grid.addPlatform('many');
    const clients: RawClient[] = [];
    for (let i = 0; i < 10; i++) clients.push(await grid.login('many'));
    const late = await grid.connect();
    await late.openStream();
    await late.startTls();
    await late.scram('many', 'many');
    const reply = await late.iq('set', "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>");
    expect(reply.getChild('error')?.attrs.type).toBe('wait');
    expect(reply.getChild('error')?.getChild('resource-constraint')).toBeDefined();
    late.kill();
    for (const client of clients) await client.close();
  });

  it.each([
    ['a message before bind', "<message to='p@localhost'/>"],
    ['presence before bind', '<presence/>'],
    ['another IQ before bind', "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"],
  ])('§7.1 not-authorized for %s (C-002)', async (_name, xml) => {
    const client = await loggedIn();
    client.send(xml);
    expect(await client.streamError()).toBe('not-authorized');
  });

  it('§7.3.2 expects no new header after bind (C-003)', async () => {
    const client = await grid.login('p');
    client.send(
      "<stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
    );
    client.send('</stream:stream>');
    // Inside the stream it is an element like any other, and no stanza.
    expect(await client.streamError()).toBe('unsupported-stanza-type');
  });

  it("XEP-0478 announces the role's stanza size after login", async () => {
    const client = await secured();
    const features = await client.scram('p', 'p');
    expect(features.getChild('limits')?.getChildText('max-bytes')).toBe('524288');
    client.kill();
  });
});
