import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DerError, endPointBinding, readCertificate } from '@xmpp-grid/auth';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contextTag, TAG } from '../../../packages/auth/src/x509/der.ts';
import { element, oid, sequenceOf, setOf } from '../../../packages/auth/src/x509/der-writer.ts';

const text = (s: string) => Buffer.from(s);
const utf8 = (s: string) => element(TAG.utf8String, text(s));
const dnsName = (s: string) => element(contextTag(2, false), text(s));
const otherName = (type: string, ...value: Buffer[]) =>
  element(contextTag(0, true), oid(type), element(contextTag(0, true), ...value));
const XMPP_ADDR = '1.3.6.1.5.5.7.8.5';
const SRV_NAME = '1.3.6.1.5.5.7.8.7';

const extension = (type: string, value: Buffer, ...critical: Buffer[]) =>
  sequenceOf(oid(type), ...critical, element(TAG.octetString, value));
const altNames = (...names: Buffer[]) => extension('2.5.29.17', sequenceOf(...names));

/** A certificate with these extensions; its signature is nonsense, which is not this reader's affair. */
function certificate(...extensions: Buffer[]): Buffer {
  const algorithm = sequenceOf(oid('1.2.840.10045.4.3.2'));
  const tbs = sequenceOf(
    element(contextTag(0, true), element(TAG.integer, Buffer.from([2]))),
    element(TAG.integer, Buffer.from([0x01, 0x02])),
    algorithm,
    sequenceOf(),
    sequenceOf(element(TAG.utcTime, text('250101000000Z')), element(TAG.generalizedTime, text('20500101000000Z'))),
    sequenceOf(setOf(sequenceOf(oid('2.5.4.3'), utf8('DNS:evil.example, othername: XmppAddr:admin@example.com')))),
    sequenceOf(algorithm, element(TAG.bitString, Buffer.from([0]))),
    ...(extensions.length === 0 ? [] : [element(contextTag(3, true), sequenceOf(...extensions))]),
  );
  return sequenceOf(tbs, algorithm, element(TAG.bitString, Buffer.from([0])));
}

describe('identities, from DER only (A-030)', () => {
  it('are read by kind; other names are passed over', () => {
    const der = certificate(
      altNames(
        otherName(XMPP_ADDR, utf8('a@example.com')),
        otherName(XMPP_ADDR, utf8('b@example.com')),
        otherName(SRV_NAME, element(TAG.ia5String, text('_xmpp-client.example.com'))),
        otherName('1.3.6.1.4.1.311.20.2.3', utf8('c@example.com')), // a Microsoft UPN is no JID
        dnsName('example.com'),
        element(contextTag(1, false), text('mail@example.com')),
        element(contextTag(7, false), Buffer.from([192, 0, 2, 1])),
      ),
      extension('2.5.29.37', sequenceOf(oid('1.3.6.1.5.5.7.3.2')), element(TAG.boolean, Buffer.from([0xff]))),
    );
    expect(readCertificate(der)).toEqual({
      xmppAddrs: ['a@example.com', 'b@example.com'],
      srvNames: ['_xmpp-client.example.com'],
      dnsNames: ['example.com'],
      extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'],
      notBeforeMs: Date.UTC(2025, 0, 1),
      notAfterMs: Date.UTC(2050, 0, 1),
      serial: '0102',
      fingerprint: createHash('sha256').update(der).digest('hex'),
      endPointHash: 'sha256',
    });
  });

  it('are none in a certificate without extensions, whatever its subject pretends', () => {
    expect(readCertificate(certificate())).toMatchObject({
      xmppAddrs: [],
      dnsNames: [],
      srvNames: [],
      extendedKeyUsage: undefined,
    });
  });

  it('keep separators and line breaks inside the one name that has them', () => {
    const name = 'a@example.com, othername: XmppAddr:admin@example.com\n';
    expect(readCertificate(certificate(altNames(otherName(XMPP_ADDR, utf8(name))))).xmppAddrs).toEqual([name]);
  });

  it.each<[string, () => Buffer]>([
    ['an xmppAddr that is no UTF8String', () => certificate(altNames(otherName(XMPP_ADDR, element(TAG.ia5String, text('a@b')))))],
    [
      'an xmppAddr that is not UTF-8',
      () => certificate(altNames(otherName(XMPP_ADDR, element(TAG.utf8String, Buffer.from([0xff]))))),
    ],
    ['an xmppAddr with two values', () => certificate(altNames(otherName(XMPP_ADDR, utf8('a@b'), utf8('c@d'))))],
    ['an SRVName that is no IA5String', () => certificate(altNames(otherName(SRV_NAME, utf8('_x.example.com'))))],
    ['a dNSName with a NUL', () => certificate(altNames(dnsName('good.example\0.evil.example')))],
    ['two lists of alternative names (RFC 5280 §4.2)', () => certificate(altNames(), altNames())],
    [
      'bytes behind the alternative names',
      () => certificate(extension('2.5.29.17', Buffer.concat([sequenceOf(), Buffer.from([0])]))),
    ],
    ['a key usage that is no list', () => certificate(extension('2.5.29.37', oid('1.3.6.1.5.5.7.3.2')))],
    ['an extension without value', () => certificate(sequenceOf(oid('2.5.29.17')))],
    ['a certificate over 64 KiB', () => certificate(altNames(...Array.from({ length: 300 }, () => dnsName('a'.repeat(240)))))],
  ])('%s is refused', (_name, make) => {
    expect(() => readCertificate(make())).toThrow(DerError);
  });
});

describe('tls-server-end-point, RFC 5929 §4.1 (A-020)', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'xmpp-grid-identity-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
  const pss = ['-newkey', 'rsa:2048', '-sigopt', 'rsa_padding_mode:pss'];
  it.each<[string, string[], string | undefined]>([
    ['ECDSA with SHA-1, raised', [...ec, '-sha1'], 'sha256'],
    ['ECDSA with SHA-256', [...ec, '-sha256'], 'sha256'],
    ['ECDSA with SHA-384', [...ec, '-sha384'], 'sha384'],
    ['ECDSA with SHA-512', [...ec, '-sha512'], 'sha512'],
    ['RSA with SHA-512', ['-newkey', 'rsa:2048', '-sha512'], 'sha512'],
    ['RSASSA-PSS with SHA-384', [...pss, '-sha384'], 'sha384'],
    ['RSASSA-PSS with two hashes: undefined', [...pss, '-sha384', '-sigopt', 'rsa_mgf1_md:sha256'], undefined],
    ['Ed25519, which has none: undefined', ['-newkey', 'ed25519'], undefined],
  ])('%s', (_name, options, hash) => {
    const pem = execFileSync(
      'openssl',
      ['req', '-x509', '-nodes', '-subj', '/CN=x', '-keyout', join(folder, 'key.pem'), ...options],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    );
    const der = new X509Certificate(pem).raw;
    expect(readCertificate(der).endPointHash).toBe(hash);
    expect(endPointBinding(der)).toEqual(hash === undefined ? undefined : createHash(hash).update(der).digest());
  });
});
