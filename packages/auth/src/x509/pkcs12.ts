/**
 * Makes PKCS#12 files (RFC 7292) from certificates and keys of our own, for tools that want one file. Written here
 * because the library at hand knows no EC keys and re-encodes certificates, which breaks their signatures.
 */
import { createHash, createHmac, createPrivateKey, randomBytes, X509Certificate } from 'node:crypto';
import { contextTag, TAG } from './der.ts';
import { element, oid, sequenceOf, setOf } from './der-writer.ts';

const BMP_STRING = 0x1e;
/** Rounds for the integrity key; the private key has PBES2 of its own. */
const MAC_ITERATIONS = 100_000;

/**
 * Packs a certificate, its key and, when given, its authority's certificate, all in PEM. The key is encrypted (PBES2, AES-256), the certificates
 * are not, the whole is protected by an HMAC-SHA-256 of the passphrase.
 *
 * @throws RangeError for an empty passphrase or one with characters beyond the basic plane
 */
export function makePkcs12(
  from: { readonly certificate: string; readonly key: string; readonly authority?: string },
  passphrase: string,
  friendlyName: string,
): Buffer {
  if (passphrase === '' || /[\u{10000}-\u{10FFFF}]/u.test(passphrase)) throw new RangeError('unusable passphrase for PKCS#12');
  const leaf = new X509Certificate(from.certificate).raw;
  const key = createPrivateKey(from.key).export({ type: 'pkcs8', format: 'der', cipher: 'aes-256-cbc', passphrase });
  const attributes = setOf(
    sequenceOf(oid('1.2.840.113549.1.9.20'), setOf(element(BMP_STRING, bmp(friendlyName)))),
    // localKeyId: ties the key to its certificate.
    sequenceOf(oid('1.2.840.113549.1.9.21'), setOf(element(TAG.octetString, createHash('sha1').update(leaf).digest()))),
  );
  const authorities = from.authority === undefined ? [] : [certificateBag(new X509Certificate(from.authority).raw)];
  const safe = sequenceOf(
    data(sequenceOf(certificateBag(leaf, attributes), ...authorities)),
    data(sequenceOf(sequenceOf(oid('1.2.840.113549.1.12.10.1.2'), element(contextTag(0, true), key), attributes))),
  );
  return sequenceOf(element(TAG.integer, Buffer.from([3])), data(safe), macData(safe, passphrase));
}

/** ContentInfo of type data (RFC 7292 §4). */
function data(content: Buffer): Buffer {
  return sequenceOf(oid('1.2.840.113549.1.7.1'), element(contextTag(0, true), element(TAG.octetString, content)));
}

function certificateBag(der: Buffer, ...attributes: readonly Buffer[]): Buffer {
  const bag = sequenceOf(oid('1.2.840.113549.1.9.22.1'), element(contextTag(0, true), element(TAG.octetString, der)));
  return sequenceOf(oid('1.2.840.113549.1.12.10.1.3'), element(contextTag(0, true), bag), ...attributes);
}

function macData(safe: Buffer, passphrase: string): Buffer {
  const salt = randomBytes(16);
  const mac = createHmac('sha256', macKey(passphrase, salt, MAC_ITERATIONS))
    .update(safe)
    .digest();
  const sha256 = sequenceOf(oid('2.16.840.1.101.3.4.2.1'), element(TAG.null));
  const iterations = Buffer.from(MAC_ITERATIONS.toString(16).padStart(8, '0'), 'hex').subarray(1); // 01 86 a0
  return sequenceOf(
    sequenceOf(sha256, element(TAG.octetString, mac)),
    element(TAG.octetString, salt),
    element(TAG.integer, iterations),
  );
}

/** RFC 7292 Appendix B.2 for SHA-256 and a key as long as its output, so that one round of the outer loop is all. */
function macKey(passphrase: string, salt: Buffer, iterations: number): Buffer {
  const fill = (bytes: Buffer) => Buffer.alloc(Math.ceil(bytes.length / 64) * 64, bytes);
  const secret = Buffer.concat([bmp(passphrase), Buffer.alloc(2)]);
  let key = Buffer.concat([Buffer.alloc(64, 3), fill(salt), fill(secret)]); // diversifier 3: MAC (B.3)
  for (let i = 0; i < iterations; i++) key = createHash('sha256').update(key).digest();
  return key;
}

/** BMPString: UTF-16, big end first. */
function bmp(text: string): Buffer {
  return Buffer.from(text, 'utf16le').swap16();
}
