import { execFileSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import {
  createCertificateAuthority,
  type IssuedCertificate,
  issuePlatformCertificate,
  issueServerCertificate,
  makePkcs12,
  mayAuthenticateClients,
  readCertificate,
} from '@xmpp-grid/auth';
import { JID } from '@xmpp-grid/stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const nowMs = Date.UTC(2026, 0, 2, 3, 4, 5);
const validity = { nowMs, days: 30 };
const read = ({ certificate }: IssuedCertificate) => readCertificate(new X509Certificate(certificate).raw);

let folder: string;
let ca: IssuedCertificate;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'xmpp-grid-issue-'));
  ca = await createCertificateAuthority('Test authority', validity);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** What OpenSSL, an independent reader, makes of it. */
function openssl(pem: string): string {
  const file = join(folder, 'certificate.pem');
  writeFileSync(file, pem);
  return execFileSync('openssl', ['x509', '-in', file, '-noout', '-text'], { encoding: 'utf8' });
}

describe('certificates issued', () => {
  it('RFC 6120 §13.7.1.4 for a Platform name its JID, and nothing else may be done with them (A-030)', async () => {
    const platform = await issuePlatformCertificate(ca, { ...validity, jid: JID.parse('sensör@example.com') });
    expect(read(platform)).toMatchObject({
      xmppAddrs: ['sensör@example.com'],
      dnsNames: [],
      srvNames: [],
      extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'],
      notBeforeMs: nowMs - 300_000,
      notAfterMs: nowMs + 30 * 86_400_000,
      fingerprint: platform.fingerprint,
      endPointHash: 'sha256',
    });
    expect(mayAuthenticateClients(read(platform))).toBe(true);
    const printed = openssl(platform.certificate);
    expect(printed).toContain('othername: XmppAddr:');
    expect(printed).toContain('TLS Web Client Authentication');
    expect(printed).toContain('CA:FALSE');
    expect(printed).toContain('Digital Signature');
  });

  it('RFC 6120 §13.7.1.2 for a server name each domain by dNSName and SRV-ID', async () => {
    const server = await issueServerCertificate(ca, {
      ...validity,
      domains: ['bücher.example', 'broker.bücher.example', '127.0.0.1'],
    });
    expect(read(server)).toMatchObject({
      dnsNames: ['xn--bcher-kva.example', 'broker.xn--bcher-kva.example'],
      srvNames: [
        '_xmpp-client.xn--bcher-kva.example',
        '_xmpp-server.xn--bcher-kva.example',
        '_xmpp-client.broker.xn--bcher-kva.example',
        '_xmpp-server.broker.xn--bcher-kva.example',
      ],
      xmppAddrs: [],
    });
    const certificate = new X509Certificate(server.certificate);
    expect(certificate.checkHost('broker.xn--bcher-kva.example')).toBe('broker.xn--bcher-kva.example');
    expect(certificate.checkIP('127.0.0.1')).toBe('127.0.0.1');
    expect(openssl(server.certificate)).toContain('DNS:xn--bcher-kva.example');
    await expect(issueServerCertificate(ca, { ...validity, domains: [] })).rejects.toThrow(RangeError);
    await expect(issueServerCertificate(ca, { ...validity, domains: ['[::1]'] })).rejects.toThrow(RangeError);
  });

  it('are signed by the authority, have the key they come with, and serials of their own', async () => {
    const authority = new X509Certificate(ca.certificate);
    const serials = new Set<string>();
    for (const keyType of ['ec', 'rsa'] as const) {
      const issued = await issuePlatformCertificate(ca, { ...validity, jid: JID.parse('a@example.com'), keyType });
      const certificate = new X509Certificate(issued.certificate);
      expect(certificate.checkIssued(authority) && certificate.verify(authority.publicKey)).toBe(true);
      expect(certificate.checkPrivateKey(createPrivateKey(issued.key))).toBe(true);
      expect(certificate.publicKey.asymmetricKeyType).toBe(keyType);
      serials.add(certificate.serialNumber);
    }
    expect(serials.size).toBe(2);
    expect(authority.ca).toBe(true);
    expect(authority.verify(authority.publicKey)).toBe(true);
  });

  it('may have a JID too long for a common name', async () => {
    const jid = JID.parse(`${'a'.repeat(1023)}@example.com`);
    expect(read(await issuePlatformCertificate(ca, { ...validity, jid })).xmppAddrs).toEqual([jid.toString()]);
  });

  it('RFC 5280 §4.2.1.12 are not for clients when their extended key usage says otherwise', async () => {
    const base = read(await issuePlatformCertificate(ca, { ...validity, jid: JID.parse('a@example.com') }));
    expect(mayAuthenticateClients({ ...base, extendedKeyUsage: ['1.3.6.1.5.5.7.3.1'] })).toBe(false);
    expect(mayAuthenticateClients({ ...base, extendedKeyUsage: undefined })).toBe(true);
    expect(mayAuthenticateClients({ ...base, extendedKeyUsage: ['2.5.29.37.0'] })).toBe(true);
  });
});

describe('PKCS#12, RFC 7292', () => {
  it.each(['ec', 'rsa'] as const)(
    'carries an %s key, its certificate and the authority, as Node and OpenSSL read it',
    async (keyType) => {
      const issued = await issuePlatformCertificate(ca, { ...validity, jid: JID.parse('a@example.com'), keyType });
      const file = join(folder, 'platform.p12');
      const pfx = makePkcs12({ ...issued, authority: ca.certificate }, 'gehe\u00EFm', 'a@example.com');
      writeFileSync(file, pfx);
      expect(() => createSecureContext({ pfx, passphrase: 'gehe\u00EFm' })).not.toThrow();
      expect(() => createSecureContext({ pfx, passphrase: 'wrong' })).toThrow('mac verify failure');
      const show = (what: string) =>
        execFileSync('openssl', ['pkcs12', '-in', file, '-passin', 'pass:gehe\u00EFm', '-nodes', what], { encoding: 'utf8' });
      const certificates = show('-nokeys').match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g)!;
      expect(certificates.map((pem) => new X509Certificate(pem).fingerprint256.replaceAll(':', '').toLowerCase())).toEqual([
        issued.fingerprint,
        ca.fingerprint,
      ]);
      const [key] = show('-nocerts').match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/)!;
      expect(createPrivateKey(key).equals(createPrivateKey(issued.key))).toBe(true);
      expect(show('-nocerts')).toContain('friendlyName: a@example.com');
    },
  );

  it('needs a passphrase', () => {
    expect(() => makePkcs12({ ...ca, authority: ca.certificate }, '', 'a')).toThrow(RangeError);
  });
});
