import { createHash, X509Certificate } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { type ConnectionOptions, connect, createServer, type Server, type TLSSocket } from 'node:tls';
import {
  createCertificateAuthority,
  endPointBinding,
  type IssuedCertificate,
  issuePlatformCertificate,
  issueServerCertificate,
  TlsContext,
} from '@xmpp-grid/auth';
import { JID, type TlsFacts } from '@xmpp-grid/stream';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { conditionOf, makeGrid, scramLogin } from './support.ts';

const validity = { nowMs: Date.now(), days: 1 };
/** SSL_OP_NO_EXTENDED_MASTER_SECRET, which Node does not name. */
const NO_EXTENDED_MASTER_SECRET = 1;

let ca: IssuedCertificate;
let otherCa: IssuedCertificate;
let server: IssuedCertificate;
let platform: IssuedCertificate;
let stranger: IssuedCertificate;
beforeAll(async () => {
  ca = await createCertificateAuthority('Authority', validity);
  otherCa = await createCertificateAuthority('Other authority', validity);
  server = await issueServerCertificate(ca, { ...validity, domains: ['example.com'] });
  platform = await issuePlatformCertificate(ca, { ...validity, jid: JID.parse('sensor@example.com') });
  stranger = await issuePlatformCertificate(otherCa, { ...validity, jid: JID.parse('sensor@example.com') });
});

const open: { close(): void }[] = [];
afterEach(() => {
  for (const thing of open.splice(0)) thing.close();
});

interface Connection {
  readonly facts: TlsFacts;
  readonly client: TLSSocket;
  readonly serverSide: TLSSocket;
}

async function listen(context: TlsContext): Promise<{ server: Server; dial(options?: ConnectionOptions): Promise<Connection> }> {
  const listener = createServer(context.options());
  open.push(listener);
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  return {
    server: listener,
    dial: async (options = {}) => {
      const accepted = new Promise<TLSSocket>((resolve, reject) => {
        listener.once('secureConnection', resolve);
        listener.once('tlsClientError', reject);
      });
      const client = connect({
        host: '127.0.0.1',
        port: (listener.address() as AddressInfo).port,
        servername: 'example.com',
        ca: ca.certificate,
        ...options,
      });
      open.push({ close: () => client.destroy() });
      const secured = new Promise<void>((resolve, reject) => client.once('secureConnect', resolve).once('error', reject));
      const results = await Promise.allSettled([accepted, secured]);
      const failed = results.find((result) => result.status === 'rejected');
      if (failed) throw failed.reason;
      const serverSide = await accepted;
      serverSide.on('error', () => {}); // the client goes away when the test ends
      open.push({ close: () => serverSide.destroy() });
      return { facts: context.facts(serverSide), client, serverSide };
    },
  };
}

const mutual = () => new TlsContext({ ...server, clientCa: ca.certificate });
const types = (facts: TlsFacts) =>
  ['tls-exporter', 'tls-unique', 'tls-server-end-point'].filter((type) => facts.channelBinding(type));
const clientExporter = (client: TLSSocket) => client.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0));

describe('channel bindings, both ends agreeing', () => {
  it('RFC 9266 TLS 1.3: tls-exporter and tls-server-end-point (A-019, A-020)', async () => {
    const { facts, client } = await (await listen(mutual())).dial();
    expect([facts.version, types(facts)]).toEqual(['TLSv1.3', ['tls-exporter', 'tls-server-end-point']]);
    expect(facts.channelBinding('tls-exporter')).toEqual(clientExporter(client));
    const seen = client.getPeerX509Certificate()!.raw;
    expect(facts.channelBinding('tls-server-end-point')).toEqual(createHash('sha256').update(seen).digest());
  });

  it('RFC 5929 TLS 1.2 with extended master secret: all three (A-020)', async () => {
    const { facts, client } = await (await listen(mutual())).dial({ maxVersion: 'TLSv1.2' });
    expect([facts.version, types(facts)]).toEqual(['TLSv1.2', ['tls-exporter', 'tls-unique', 'tls-server-end-point']]);
    expect(facts.channelBinding('tls-exporter')).toEqual(clientExporter(client));
    expect(facts.channelBinding('tls-unique')).toEqual(client.getFinished());
  });

  it('RFC 7677 §4 TLS 1.2 without it: none, so no -PLUS (A-013)', async () => {
    const { facts } = await (await listen(mutual())).dial({ maxVersion: 'TLSv1.2', secureOptions: NO_EXTENDED_MASTER_SECRET });
    expect([facts.version, types(facts)]).toEqual(['TLSv1.2', []]);
    const { authenticator } = makeGrid('grid');
    expect(authenticator.mechanisms('example.com', facts)).toEqual(['SCRAM-SHA-256']);
  });

  it.each([
    ['TLSv1.3', 'tls-exporter'],
    ['TLSv1.3', 'tls-server-end-point'],
    ['TLSv1.2', 'tls-exporter'],
    ['TLSv1.2', 'tls-unique'],
  ] as const)('SCRAM-SHA-256-PLUS over %s with %s', async (maxVersion, type) => {
    const { facts, client } = await (await listen(mutual())).dial({ maxVersion });
    const binding = {
      'tls-exporter': () => clientExporter(client),
      'tls-unique': () => client.getFinished()!,
      'tls-server-end-point': () => endPointBinding(client.getPeerX509Certificate()!.raw)!,
    }[type]();
    const grid = makeGrid('grid');
    await grid.add('sensor@example.com', 'pencil');
    const exchange = grid.authenticator.begin('SCRAM-SHA-256-PLUS', 'example.com', facts);
    const { step } = await scramLogin(exchange, 'sensor', 'pencil', { gs2: `p=${type},,`, binding });
    expect(step.who.account.toString()).toBe('sensor@example.com');
  });
});

describe('client certificates', () => {
  it('of a trusted authority prove an account by EXTERNAL (A-023, A-025)', async () => {
    const { facts } = await (await listen(mutual())).dial({ cert: platform.certificate, key: platform.key });
    expect(facts.peerVerified).toBe(true);
    const grid = makeGrid('grid');
    await grid.add('sensor@example.com', undefined);
    expect(grid.authenticator.mechanisms('example.com', facts)[0]).toBe('EXTERNAL');
    const step = await grid.authenticator.begin('EXTERNAL', 'example.com', facts).step(Buffer.alloc(0));
    expect(step).toMatchObject({
      kind: 'success',
      who: {
        mechanism: 'EXTERNAL',
        certificateFingerprint: platform.fingerprint,
        certificateNotAfterMs: new X509Certificate(platform.certificate).validToDate.getTime(),
      },
    });
  });

  it('of others are let through unverified, with OpenSSL’s verdict, and offer no EXTERNAL (A-024)', async () => {
    const { facts } = await (await listen(mutual())).dial({ cert: stranger.certificate, key: stranger.key });
    expect(facts).toMatchObject({ peerVerified: false, peerVerifyError: expect.stringMatching(/^[A-Z_]+$/) });
    expect(makeGrid('grid').authenticator.mechanisms('example.com', facts)).not.toContain('EXTERNAL');
  });

  it.each<[string, () => Promise<IssuedCertificate>]>([
    [
      'expired',
      () => issuePlatformCertificate(ca, { nowMs: Date.now() - 3 * 86_400_000, days: 1, jid: JID.parse('sensor@example.com') }),
    ],
    [
      'not yet valid',
      () => issuePlatformCertificate(ca, { nowMs: Date.now() + 86_400_000, days: 1, jid: JID.parse('sensor@example.com') }),
    ],
    ['signed by a Platform', () => issuePlatformCertificate(platform, { ...validity, jid: JID.parse('admin@example.com') })],
    ['signed by itself', () => createCertificateAuthority('Mine', validity)],
  ])('that are %s prove nothing (A-031)', async (_name, make) => {
    const bad = await make();
    const { facts } = await (await listen(mutual())).dial({ cert: `${bad.certificate}${platform.certificate}`, key: bad.key });
    expect([facts.peerVerified, facts.peerVerifyError]).toEqual([false, expect.stringMatching(/^[A-Z_]+$/)]);
  });

  it('with several JIDs log in as the one that the client names (A-026)', async () => {
    const [first, second] = ['one@example.com', 'two@example.com'].map((jid) => JID.parse(jid));
    const both = await issuePlatformCertificate(ca, { ...validity, jid: first!, otherJids: [second!] });
    const { facts } = await (await listen(mutual())).dial({ cert: both.certificate, key: both.key });
    const grid = makeGrid('grid');
    await grid.add('two@example.com', undefined);
    const login = (authzid: string) => grid.authenticator.begin('EXTERNAL', 'example.com', facts).step(Buffer.from(authzid));
    expect(await login('two@example.com')).toMatchObject({ kind: 'success', who: { account: second } });
    expect(await conditionOf(() => login(''))).toBe('invalid-authzid');
    expect(await conditionOf(() => login('one@example.com'))).toBe('not-authorized');
  });

  it('prove nothing when the socket has ended before anybody asks', async () => {
    const context = mutual();
    const { serverSide } = await (await listen(context)).dial({ cert: platform.certificate, key: platform.key });
    serverSide.destroy();
    const facts = context.facts(serverSide);
    expect([facts.peerVerified, facts.peerCertificate, types(facts)]).toEqual([false, undefined, []]);
  });

  it('may be missing', async () => {
    const { facts } = await (await listen(mutual())).dial();
    expect([facts.peerVerified, facts.peerCertificate, facts.peerVerifyError]).toEqual([false, undefined, undefined]);
  });
});

describe('handshakes, RFC 9325', () => {
  it.each<[string, ConnectionOptions]>([
    ['TLS 1.1', { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }],
    ['CBC suites', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA' }],
    ['static RSA', { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256' }],
    ['unknown protocols by ALPN (RFC 7301 §3.2)', { ALPNProtocols: ['h2'] }],
  ])('with %s are refused (A-002)', async (_name, options) => {
    await expect((await listen(mutual())).dial(options)).rejects.toThrow(/SSL|ssl|alert|protocol/);
  });

  it('take xmpp-client by ALPN, among others, and none at all', async () => {
    const listener = await listen(mutual());
    expect((await listener.dial({ ALPNProtocols: ['h2', 'xmpp-client'] })).client.alpnProtocol).toBe('xmpp-client');
    expect((await listener.dial()).client.alpnProtocol).toBe(false);
  });

  it.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'are not resumed over %s where client certificates are asked for',
    async (maxVersion) => {
      const listener = await listen(mutual());
      const first = await listener.dial({ maxVersion, cert: platform.certificate, key: platform.key });
      let session = first.client.getSession();
      first.client.on('session', (ticket) => {
        session = ticket;
      });
      const echoed = new Promise((resolve) => first.client.once('data', resolve));
      first.serverSide.write('x'); // whatever tickets there are come before it
      await echoed;
      const second = await listener.dial({
        maxVersion,
        ...(session && { session }),
        cert: platform.certificate,
        key: platform.key,
      });
      expect([second.client.isSessionReused(), second.serverSide.isSessionReused()]).toEqual([false, false]);
    },
  );

  it('are not renegotiated over TLS 1.2', async () => {
    const { client } = await (await listen(mutual())).dial({ maxVersion: 'TLSv1.2' });
    const outcome = await new Promise<Error | null>((resolve) => {
      client.once('error', resolve);
      client.renegotiate({}, resolve);
    });
    expect(outcome).toBeInstanceOf(Error);
  });
});

describe('reload', () => {
  it('changes later handshakes; each socket keeps the binding of its own certificate', async () => {
    const context = mutual();
    const listener = await listen(context);
    const before = await listener.dial();
    const renewed = await issueServerCertificate(ca, { ...validity, domains: ['example.com'] });
    context.reload({ ...renewed, clientCa: ca.certificate });
    listener.server.setSecureContext(context.options());
    const after = await listener.dial();
    const bound = (pem: string) => endPointBinding(new X509Certificate(pem).raw);
    expect(before.facts.channelBinding('tls-server-end-point')).toEqual(bound(server.certificate));
    expect(after.facts.channelBinding('tls-server-end-point')).toEqual(bound(renewed.certificate));
    expect(context.facts(before.serverSide).channelBinding('tls-server-end-point')).toEqual(bound(server.certificate));
  });

  it('keeps the old credentials when the new ones are unusable', () => {
    const context = mutual();
    const options = context.options();
    expect(() => context.reload({ certificate: server.certificate, key: platform.key, clientCa: ca.certificate })).toThrow();
    expect(() => context.reload({ certificate: 'nonsense', key: server.key, clientCa: ca.certificate })).toThrow();
    expect(() => context.reload({ ...server })).toThrow('without a restart');
    expect(context.options()).toBe(options);
  });
});
