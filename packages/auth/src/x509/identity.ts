/**
 * What a certificate says about its holder, read from its DER. Never from the text that OpenSSL prints: names can be made
 * to look like other fields there.
 *
 * Whether the certificate can be believed (chain, signature, dates of issuers) is OpenSSL's work, not this file's.
 */
import { createHash } from 'node:crypto';
import {
  children,
  contextTag,
  DerError,
  type DerNode,
  expectTag,
  ia5,
  readBoolean,
  readDer,
  readIntegerHex,
  readOid,
  readTime,
  readUtf8,
  sequence,
  TAG,
} from './der.ts';

export interface CertificateIdentity {
  /** id-on-xmppAddr (RFC 6120 §13.7.1.4), as they stand there: not prepared, perhaps no JIDs. */
  readonly xmppAddrs: readonly string[];
  /** SRVName (RFC 4985), e.g. `_xmpp-client.example.com`. */
  readonly srvNames: readonly string[];
  readonly dnsNames: readonly string[];
  /** Object identifiers; undefined when the certificate has no extended key usage and so is not limited. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Content of the INTEGER in hex. */
  readonly serial: string;
  /** SHA-256 of the whole certificate, lower-case hex. */
  readonly fingerprint: string;
  /**
   * Hash for `tls-server-end-point`, as node:crypto names it; undefined where RFC 5929 §4.1 leaves the binding undefined
   * (signature algorithms without a hash of their own).
   */
  readonly endPointHash: string | undefined;
}

/** Object identifiers of RFC 5280, RFC 6120 §13.7.1.4 and RFC 4985 in dotted form. */
export const OID = {
  subjectAltName: '2.5.29.17',
  extendedKeyUsage: '2.5.29.37',
  anyExtendedKeyUsage: '2.5.29.37.0',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  xmppAddr: '1.3.6.1.5.5.7.8.5',
  srvName: '1.3.6.1.5.5.7.8.7',
  rsaPss: '1.2.840.113549.1.1.10',
  mgf1: '1.2.840.113549.1.1.8',
} as const;

/** Far above any real certificate. */
const MAX_CERTIFICATE_BYTES = 64 * 1024;

/**
 * Reads a certificate.
 *
 * @see RFC 5280 §4.1, §4.2
 * @throws DerError
 */
export function readCertificate(der: Buffer): CertificateIdentity {
  if (der.length > MAX_CERTIFICATE_BYTES) throw new DerError('certificate too large');
  const [tbs, signatureAlgorithm, signature, ...more] = sequence(readDer(der), 'certificate');
  expectTag(signature, TAG.bitString, 'signature');
  if (more.length > 0) throw new DerError('certificate with surplus fields');

  const fields = [...sequence(tbs, 'tbsCertificate')];
  if (fields[0]?.tag === contextTag(0, true)) fields.shift(); // version
  const [serial, , , validity, , , ...optional] = fields;
  const [notBefore, notAfter] = sequence(validity, 'validity');
  const names = { xmppAddrs: [] as string[], srvNames: [] as string[], dnsNames: [] as string[] };
  let extendedKeyUsage: readonly string[] | undefined;
  const extensions = readExtensions(optional.find(({ tag }) => tag === contextTag(3, true)));
  const alternativeNames = extensions.get(OID.subjectAltName);
  if (alternativeNames) readNames(alternativeNames, names);
  const usage = extensions.get(OID.extendedKeyUsage);
  if (usage) extendedKeyUsage = sequence(readDer(usage), 'extended key usage').map(readOid);

  return {
    ...names,
    extendedKeyUsage,
    notBeforeMs: readTime(notBefore),
    notAfterMs: readTime(notAfter),
    serial: readIntegerHex(serial),
    fingerprint: createHash('sha256').update(der).digest('hex'),
    endPointHash: endPointHash(signatureAlgorithm),
  };
}

/** Whether a certificate may prove a client: no extended key usage, or clientAuth, or any (RFC 5280 §4.2.1.12). */
export function mayAuthenticateClients(identity: CertificateIdentity): boolean {
  const usage = identity.extendedKeyUsage;
  return usage === undefined || usage.includes(OID.clientAuth) || usage.includes(OID.anyExtendedKeyUsage);
}

function readExtensions(wrapper: DerNode | undefined): ReadonlyMap<string, Buffer> {
  const found = new Map<string, Buffer>();
  if (!wrapper) return found;
  const [list, ...more] = children(wrapper);
  if (more.length > 0) throw new DerError('surplus data beside the extensions');
  for (const extension of sequence(list, 'extensions')) {
    const parts = [...sequence(extension, 'extension')];
    const oid = readOid(parts.shift());
    if (parts[0]?.tag === TAG.boolean) readBoolean(parts.shift()); // critical: OpenSSL refuses the ones it does not know
    const [value, ...surplus] = parts;
    if (surplus.length > 0) throw new DerError('extension with surplus fields');
    if (found.has(oid)) throw new DerError('extension present twice'); // RFC 5280 §4.2
    found.set(oid, expectTag(value, TAG.octetString, 'extension value').content);
  }
  return found;
}

/** GeneralNames (RFC 5280 §4.2.1.6): the three kinds that XMPP uses; all others are passed over. */
function readNames(der: Buffer, into: { xmppAddrs: string[]; srvNames: string[]; dnsNames: string[] }): void {
  for (const name of sequence(readDer(der), 'subjectAltName')) {
    if (name.tag === contextTag(2, false)) into.dnsNames.push(ia5(name.content));
    if (name.tag !== contextTag(0, true)) continue;
    const [type, wrapper, ...more] = children(name);
    const oid = readOid(type);
    const [value, ...surplus] = children(expectTag(wrapper, contextTag(0, true), 'otherName'));
    if (more.length > 0 || surplus.length > 0) throw new DerError('otherName with surplus fields');
    if (oid === OID.xmppAddr) into.xmppAddrs.push(readUtf8(value)); // UTF8String (RFC 6120 §13.7.1.4)
    if (oid === OID.srvName) into.srvNames.push(ia5(expectTag(value, TAG.ia5String, 'SRVName').content));
  }
}

/** Hash functions of the signature algorithms, MD5 and SHA-1 already raised to SHA-256 (RFC 5929 §4.1). */
const SIGNATURE_HASH: Readonly<Record<string, string>> = {
  '1.2.840.113549.1.1.4': 'sha256', // md5WithRSAEncryption
  '1.2.840.113549.1.1.5': 'sha256', // sha1WithRSAEncryption
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.2.840.113549.1.1.14': 'sha224',
  '1.2.840.10045.4.1': 'sha256', // ecdsa-with-SHA1
  '1.2.840.10045.4.3.1': 'sha224',
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
};

const PSS_HASH: Readonly<Record<string, string>> = {
  '1.3.14.3.2.26': 'sha256', // SHA-1
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
  '2.16.840.1.101.3.4.2.4': 'sha224',
};

function endPointHash(algorithm: DerNode | undefined): string | undefined {
  const [type, parameters] = sequence(algorithm, 'signatureAlgorithm');
  const oid = readOid(type);
  return oid === OID.rsaPss ? pssHash(parameters) : SIGNATURE_HASH[oid];
}

/** RSASSA-PSS names its hash, and that of its mask, in its parameters; two different ones leave the binding undefined. */
function pssHash(parameters: DerNode | undefined): string | undefined {
  const sha1 = '1.3.14.3.2.26'; // the default of both (RFC 4055 §3.1)
  const fields = sequence(parameters, 'RSASSA-PSS parameters');
  const field = (number: number) => fields.find(({ tag }) => tag === contextTag(number, true));
  const explicit = field(0);
  const hash = explicit ? readOid(sequence(children(explicit)[0], 'hash algorithm')[0]) : sha1;
  const mask = field(1);
  let maskHash: string = sha1;
  if (mask) {
    const [generator, inner] = sequence(children(mask)[0], 'mask generation');
    if (readOid(generator) !== OID.mgf1) return undefined;
    maskHash = readOid(sequence(inner, 'mask hash')[0]);
  }
  return hash === maskHash ? PSS_HASH[hash] : undefined;
}
