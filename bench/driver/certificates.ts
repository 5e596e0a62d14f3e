import 'reflect-metadata'; // @peculiar/x509 needs it first
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

/** Throw-away certificates of a run: one authority, EC P-256 keys throughout (what the costs of design are measured with). */

const KEY_TYPE = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;

/** PEM texts. */
export interface Issued {
  readonly cert: string;
  readonly key: string;
}

export class BenchAuthority {
  readonly cert: string;
  readonly #certificate: x509.X509Certificate;
  readonly #keys: webcrypto.CryptoKeyPair;

  private constructor(certificate: x509.X509Certificate, keys: webcrypto.CryptoKeyPair) {
    this.#certificate = certificate;
    this.#keys = keys;
    this.cert = certificate.toString('pem');
  }

  static async create(): Promise<BenchAuthority> {
    const keys = await makeKeys();
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      name: 'CN=xmpp-grid bench authority',
      keys,
      ...validity(),
      signingAlgorithm: KEY_TYPE,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      ],
    });
    return new BenchAuthority(certificate, keys);
  }

  /** A server's certificate with the domain as DNS name (RFC 6120 §13.7.1.2). */
  server(domain: string): Promise<Issued> {
    const names = new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: domain }]);
    return this.#issue(`CN=${domain}`, names, x509.ExtendedKeyUsage.serverAuth);
  }

  /** A platform's certificate with its bare JID as id-on-xmppAddr (RFC 6120 §13.7.1.4). */
  platform(bareJid: string): Promise<Issued> {
    const names = new x509.Extension('2.5.29.17', false, Uint8Array.from(xmppAddrNames(bareJid)));
    return this.#issue('CN=bench platform', names, x509.ExtendedKeyUsage.clientAuth);
  }

  async #issue(subject: string, names: x509.Extension, usage: x509.ExtendedKeyUsage): Promise<Issued> {
    const keys = await makeKeys();
    const certificate = await x509.X509CertificateGenerator.create({
      subject,
      issuer: this.#certificate.subject,
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      ...validity(),
      signingAlgorithm: KEY_TYPE,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([usage]),
        names,
      ],
    });
    const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
    return { cert: certificate.toString('pem'), key: x509.PemConverter.encode(pkcs8, 'PRIVATE KEY') };
  }
}

const makeKeys = () => webcrypto.subtle.generateKey(KEY_TYPE, true, ['sign', 'verify']) as Promise<webcrypto.CryptoKeyPair>;
const validity = () => ({ notBefore: new Date(Date.now() - DAY_MS), notAfter: new Date(Date.now() + 30 * DAY_MS) });

/** DER of GeneralNames { otherName { id-on-xmppAddr, [0] UTF8String } } (RFC 6120 §13.7.1.4, RFC 5280 §4.2.1.6). */
function xmppAddrNames(bareJid: string): Buffer {
  const oid = Buffer.from('06082b06010505070805', 'hex'); // 1.3.6.1.5.5.7.8.5
  return der(0x30, der(0xa0, Buffer.concat([oid, der(0xa0, der(0x0c, Buffer.from(bareJid, 'utf8')))])));
}

function der(tag: number, content: Buffer): Buffer {
  if (content.length > 0xffff) throw new RangeError('too long for a name');
  const length =
    content.length < 0x80
      ? [content.length]
      : content.length < 0x100
        ? [0x81, content.length]
        : [0x82, content.length >> 8, content.length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), content]);
}
