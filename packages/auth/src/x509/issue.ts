/**
 * Issues certificates for trials, development and small grids: an authority, server certificates (RFC 6120 §13.7.1.2)
 * and Platform certificates with id-on-xmppAddr (§13.7.1.4). Works on our own data only, never on a peer's.
 */
import { createHash, randomBytes, webcrypto } from 'node:crypto';
import { isIPv4 } from 'node:net';
import { domainToASCII } from 'node:url';
import type * as x509 from '@peculiar/x509';
import type { JID } from '@xmpp-grid/stream';
import { contextTag, TAG } from './der.ts';
import { element, oid, sequenceOf } from './der-writer.ts';
import { OID } from './identity.ts';

export interface IssuedCertificate {
  /** PEM. */
  readonly certificate: string;
  /** PEM, PKCS#8 without passphrase. */
  readonly key: string;
  /** SHA-256 of the certificate, lower-case hex: the form that accounts list. */
  readonly fingerprint: string;
}

export interface Validity {
  /** Milliseconds since the epoch. Certificates are valid from five minutes before, for clocks that are behind. */
  readonly nowMs: number;
  readonly days: number;
}

type KeyType = 'ec' | 'rsa';

const KEY_ALGORITHMS = {
  ec: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  rsa: { name: 'RSASSA-PKCS1-v1_5', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' },
} as const;
const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
const CLOCK_SKEW_MS = 300_000;
/** RFC 5280 Appendix A.1, ub-common-name. */
const MAX_COMMON_NAME = 64;

type X509Library = typeof x509;
let library: Promise<X509Library> | undefined;

/** Loads the library on first use: it costs some 200 ms and 10 MiB, and an instance that only serves never needs it. */
function loadLibrary(): Promise<X509Library> {
  library ??= (async () => {
    await import('reflect-metadata'); // it needs this, and needs it first
    const loaded = await import('@peculiar/x509');
    loaded.cryptoProvider.set(webcrypto as unknown as Parameters<typeof loaded.cryptoProvider.set>[0]);
    return loaded;
  })();
  return library;
}

/** Makes a self-signed authority with an EC P-256 key that may sign end-entity certificates only. */
export async function createCertificateAuthority(name: string, validity: Validity): Promise<IssuedCertificate> {
  const x509 = await loadLibrary();
  const keys = await makeKeys('ec');
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...dates(validity),
    serialNumber: serial(),
    name: subject(name),
    keys,
    signingAlgorithm: SIGNATURE,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return issued(x509, certificate, keys.privateKey);
}

/**
 * Issues a server certificate for domains of one instance: dNSName and SRV-ID for clients and servers, for each.
 *
 * @see RFC 6120 §13.7.1.2
 * @throws RangeError for an IPv6 literal, or no domain at all
 */
export async function issueServerCertificate(
  authority: IssuedCertificate,
  options: Validity & { readonly domains: readonly string[]; readonly keyType?: KeyType },
): Promise<IssuedCertificate> {
  const names = options.domains.flatMap((domain) => {
    if (isIPv4(domain)) return [element(contextTag(7, false), Buffer.from(domain.split('.').map(Number)))];
    const ascii = domainToASCII(domain);
    if (ascii === '' || ascii.startsWith('[')) throw new RangeError(`no server certificate can be issued for ${domain}`);
    return [
      element(contextTag(2, false), Buffer.from(ascii, 'latin1')),
      ...['client', 'server'].map((service) =>
        otherName(OID.srvName, element(TAG.ia5String, Buffer.from(`_xmpp-${service}.${ascii}`))),
      ),
    ];
  });
  const [first] = options.domains;
  if (first === undefined) throw new RangeError('a server certificate needs a domain');
  return issue(authority, options, domainToASCII(first), names, [OID.serverAuth, OID.clientAuth]);
}

/**
 * Issues a certificate with which a Platform logs in as its account, or as one of several: then it names the one it
 * wants when it logs in (XEP-0178 §2 (10)).
 *
 * @see RFC 6120 §13.7.1.4
 */
export async function issuePlatformCertificate(
  authority: IssuedCertificate,
  options: Validity & { readonly jid: JID; readonly otherJids?: readonly JID[]; readonly keyType?: KeyType },
): Promise<IssuedCertificate> {
  const names = [options.jid, ...(options.otherJids ?? [])].map((jid) =>
    otherName(OID.xmppAddr, element(TAG.utf8String, Buffer.from(jid.bareString))),
  );
  return issue(authority, options, options.jid.bareString, names, [OID.clientAuth]);
}

async function issue(
  authority: IssuedCertificate,
  options: Validity & { readonly keyType?: KeyType },
  commonName: string,
  names: readonly Buffer[],
  usage: string[],
): Promise<IssuedCertificate> {
  const x509 = await loadLibrary();
  const issuer = new x509.X509Certificate(authority.certificate);
  const keyBytes = x509.PemConverter.decodeFirst(authority.key);
  const signingKey = await webcrypto.subtle.importKey('pkcs8', keyBytes, KEY_ALGORITHMS.ec, false, ['sign']);
  const keys = await makeKeys(options.keyType ?? 'ec');
  const certificate = await x509.X509CertificateGenerator.create({
    ...dates(options),
    serialNumber: serial(),
    issuer: issuer.subject,
    subject: subject(commonName),
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: SIGNATURE,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(usage),
      new x509.Extension('2.5.29.17', false, sequenceOf(...names)),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return issued(x509, certificate, keys.privateKey);
}

async function makeKeys(type: KeyType): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(KEY_ALGORITHMS[type], true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
}

async function issued(
  x509: X509Library,
  certificate: x509.X509Certificate,
  privateKey: webcrypto.CryptoKey,
): Promise<IssuedCertificate> {
  const key = await webcrypto.subtle.exportKey('pkcs8', privateKey);
  return {
    certificate: `${certificate.toString('pem')}\n`,
    key: `${x509.PemConverter.encode(key, x509.PemConverter.PrivateKeyTag)}\n`,
    fingerprint: createHash('sha256').update(Buffer.from(certificate.rawData)).digest('hex'),
  };
}

/** A name too long for a common name is left to the alternative names, where everybody looks anyway. */
function subject(commonName: string): x509.JsonName {
  return [{ O: ['XMPP-Grid'] }, ...(commonName.length <= MAX_COMMON_NAME ? [{ CN: [commonName] }] : [])];
}

function dates({ nowMs, days }: Validity): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(nowMs - CLOCK_SKEW_MS), notAfter: new Date(nowMs + days * DAY_MS) };
}

/** 127 random bits, so that the INTEGER is positive (RFC 5280 §4.1.2.2); the first byte is never zero. */
function serial(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return bytes.toString('hex');
}

function otherName(type: string, value: Buffer): Buffer {
  return element(contextTag(0, true), oid(type), element(contextTag(0, true), value));
}
