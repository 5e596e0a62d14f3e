import { createConnection, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { createCertificateAuthority, issueServerCertificate } from '@xmpp-grid/auth';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RawClient } from '../../support/raw-client.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';
import { startTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts';

/** RFC 8600 §8.2: the threats that a server can answer, with a real attacker on the wire. */

let grid: TestInstance;
const proxies: TcpProxy[] = [];
beforeAll(async () => {
  grid = await startTestInstance({ role: 'demo', settings: { 'ping.intervalMs': 1_000, 'ping.timeoutMs': 1_000 } });
  await grid.addPlatform('p');
});
afterAll(async () => {
  for (const proxy of proxies) await proxy.close();
  await grid.stop();
});

async function proxied(): Promise<{ proxy: TcpProxy; client: RawClient }> {
  const proxy = await startTcpProxy(grid.port);
  proxies.push(proxy);
  return { proxy, client: await grid.login('p', { port: proxy.port }) };
}

const SECRET = 'MARKER-OF-A-SECRET-REPORT';

describe('network attacks, §8.2.1', () => {
  it('passive monitoring sees no stanza and no credential (G-045)', async () => {
    const { proxy, client } = await proxied();
    client.send(`<message to='${client.jid}'><body>${SECRET}</body></message>`);
    await client.nextMessage();
    const seen = Buffer.concat([...proxy.toServer, ...proxy.toClient]).toString('latin1');
    expect(seen).toContain('starttls'); // the negotiation itself is in the clear
    for (const word of [SECRET, 'SCRAM', 'p@localhost', '<message', '<auth']) expect(seen).not.toContain(word);
    await client.close();
  });

  it('modification in transit ends the stream, and no stanza is made of it (G-047)', async () => {
    const { proxy, client } = await proxied();
    const victim = await grid.login('victim');
    proxy.change = (chunk, direction) => {
      if (direction === 'to-client') return chunk;
      const changed = Buffer.from(chunk);
      changed[changed.length - 1] = (changed[changed.length - 1] as number) ^ 1;
      return changed;
    };
    client.send(`<message to='${victim.jid}'><body>${SECRET}</body></message>`);
    await client.closed();
    await victim.marker();
    expect(victim.inbox).toHaveLength(0);
    await victim.close();
  });

  it('replay of a captured session gets nowhere (G-048)', async () => {
    const { proxy, client } = await proxied();
    const victim = await grid.login('victim');
    client.send(`<message to='${victim.jid}' id='once'><body>x</body></message>`);
    await victim.nextMessage();
    await client.close();
    const replay = createConnection({ host: '127.0.0.1', port: grid.port });
    let answer = '';
    replay.on('data', (chunk) => {
      answer += chunk.toString('latin1');
    });
    replay.on('error', () => undefined);
    for (const chunk of proxy.toServer) replay.write(chunk);
    await closed(replay);
    await victim.marker();
    expect(victim.inbox.filter((element) => element.attrs.id === 'once')).toHaveLength(0);
    expect(answer).not.toContain('success');
    await victim.close();
  });

  it('insertion of bytes ends the connection (G-049)', async () => {
    const { proxy, client } = await proxied();
    proxy.inject(Buffer.from("<message to='p@localhost'><body>false</body></message>"));
    await client.closed();
  });

  it('blocking is noticed within the keepalive limit, and the events wait (G-050, C-066)', async () => {
    const { proxy, client } = await proxied();
    client.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    const id = (await client.next((element) => element.name === 'enabled')).attrs.id as string;
    proxy.blackHole();
    const sender = await grid.login('sender');
    sender.send(`<message to='${client.jid}' id='kept'><body>x</body></message>`);
    await expect
      .poll(async () => (await grid.admin.sessionList({})).find(({ jid }) => jid === client.jid)?.remoteAddress, {
        timeout: 10_000,
      })
      .toBe('');
    const again = await grid.connect();
    await again.openStream();
    await again.startTls();
    await again.scram('p', 'p');
    again.send(`<resume xmlns='urn:xmpp:sm:3' previd='${id}' h='0'/>`);
    await again.next((element) => element.name === 'resumed');
    expect((await again.next((element) => element.name === 'message')).attrs.id).toBe('kept');
    again.kill();
    sender.kill();
  });

  it('a man in the middle with a certificate of the same authority fails at the channel binding (G-051)', async () => {
    const { ca } = grid.certificates;
    const own = await issueServerCertificate(ca, { nowMs: Date.now(), days: 1, domains: ['localhost'] });
    const between = createTlsServer({ cert: own.certificate, key: own.key }, (client) => {
      const upstream = RawClient.connect({ port: grid.directTlsPort, domain: 'localhost', ca: ca.certificate, directTls: true });
      upstream.then((server) => {
        server.tlsSocket.on('data', (chunk) => client.write(chunk));
        client.on('data', (chunk) => server.tlsSocket.write(chunk));
        client.on('close', () => server.kill());
      });
      client.on('error', () => client.destroy());
    });
    await new Promise<void>((resolve) => between.listen(0, '127.0.0.1', resolve));
    const port = (between.address() as { port: number }).port;
    const client = await RawClient.connect({ port, domain: 'localhost', ca: ca.certificate, directTls: true });
    await client.openStream();
    await expect(client.scram('p', 'p', 'SCRAM-SHA-256-PLUS')).rejects.toThrow('not-authorized');
    client.kill();
    between.close();
  });

  it('a client refuses a server of another authority (G-051, G-079)', async () => {
    const other = await createCertificateAuthority('another authority', { nowMs: Date.now(), days: 1 });
    await expect(grid.connect({ directTls: true, ca: other.certificate })).rejects.toThrow(/certificate/);
  });
});

describe('a Platform without authorisation, §8.2.2', () => {
  it('can do nothing before login (G-053)', async () => {
    const client = await grid.connect({ directTls: true });
    await client.openStream();
    client.send(`<iq type='get' id='1' to='${grid.broker}'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>`);
    expect(await client.streamError()).toBe('not-authorized');
    expect(client.received).not.toContain('<item');
  });

  it('of a role without grants sees no topic and changes none (G-053, G-089)', async () => {
    const quiet = await startTestInstance({
      settings: {
        roles: {
          silent: { grants: [{ verbs: ['discover'], topics: ['elsewhere/*'] }] },
          platform: { grants: [{ verbs: ['create', 'publish', 'discover', 'subscribe', 'retrieve'], topics: ['*'] }] },
        },
      },
    });
    try {
      const owner = await quiet.login('owner');
      const pubsub = "xmlns='http://jabber.org/protocol/pubsub'";
      expect((await owner.iq('set', `<pubsub ${pubsub}><create node='hidden'/></pubsub>`, quiet.broker)).attrs.type).toBe(
        'result',
      );
      const nobody = await quiet.login('nobody', { role: 'silent' });
      const items = await nobody.iq('get', "<query xmlns='http://jabber.org/protocol/disco#items'/>", quiet.broker);
      expect(items.getChild('query')?.getChildren('item')).toHaveLength(0);
      for (const [type, child] of [
        ['set', "<publish node='hidden'><item><x xmlns='urn:x'/></item></publish>"],
        ['set', "<subscribe node='hidden' jid='nobody@localhost'/>"],
        ['get', "<items node='hidden'/>"],
        ['set', "<retract node='hidden'><item id='1'/></retract>"],
      ] as const) {
        const answer = await nobody.iq(type, `<pubsub ${pubsub}>${child}</pubsub>`, quiet.broker);
        expect(answer.getChild('error')?.getChild('item-not-found'), child).toBeDefined();
      }
      const created = await nobody.iq('set', `<pubsub ${pubsub}><create node='mine'/></pubsub>`, quiet.broker);
      expect(created.getChild('error')?.getChild('forbidden')).toBeDefined();
    } finally {
      await quiet.stop();
    }
  });
});

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.destroyed) resolve();
    else socket.once('close', () => resolve());
  });
}
