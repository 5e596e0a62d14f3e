import {
  children,
  createCertificateAuthority,
  DerError,
  ia5,
  issuePlatformCertificate,
  mayAuthenticateClients,
  readBoolean,
  readCertificate,
  readDer,
  readIntegerHex,
  readOid,
  readTime,
  readUtf8,
} from '@xmpp-grid/auth';
import { JID } from '@xmpp-grid/stream';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

const hex = (s: string) => Buffer.from(s.replaceAll(' ', ''), 'hex');
const text = (tag: number, s: string) => readDer(Buffer.concat([Buffer.from([tag, s.length]), Buffer.from(s, 'latin1')]));

describe('DER elements, X.690 §10', () => {
  it.each<[string, string]>([
    ['nothing', ''],
    ['a tag alone', '30'],
    ['an element cut off', '30 05 01'],
    ['bytes behind the element', '05 00 00'],
    ['an indefinite length', '30 80 00 00'],
    ['a long form that fits the short one', '04 81 01 aa'],
    ['a length with a leading zero', `04 82 00 80${'00'.repeat(128)}`],
    ['a length of five bytes', '04 85 00 00 00 00 01 00'],
    ['a length of 4 GiB', '04 84 ff ff ff ff'],
    ['a length field cut off', '04 82 01'],
    ['a high tag number', '1f 81 00 00'],
  ])('refuses %s', (_name, bytes) => {
    expect(() => readDer(hex(bytes))).toThrow(DerError);
  });

  it('refuses to open what is not constructed, and more children than a certificate has', () => {
    expect(() => children(readDer(hex('04 02 05 00')))).toThrow(DerError);
    const many = Buffer.alloc(5000 * 2);
    for (let i = 0; i < many.length; i += 2) many[i] = 0x05;
    const list = Buffer.concat([hex('30 82'), Buffer.from([many.length >> 8, many.length & 0xff]), many]);
    expect(() => children(readDer(list))).toThrow('too many elements');
  });

  it.each<[string, string]>([
    ['06 08 2b 06 01 05 05 07 08 05', '1.3.6.1.5.5.7.8.5'],
    ['06 03 55 1d 11', '2.5.29.17'],
    ['06 03 88 37 03', '2.999.3'],
    ['06 01 27', '0.39'],
  ])('reads the object identifier %s', (bytes, want) => {
    expect(readOid(readDer(hex(bytes)))).toBe(want);
  });

  it.each(['06 00', '06 02 2b 86', '06 03 2b 80 01', '06 02 80 01', `06 41${'01'.repeat(65)}`])(
    'refuses the object identifier %s',
    (bytes) => {
      expect(() => readOid(readDer(hex(bytes)))).toThrow(DerError);
    },
  );

  it('reads integers and booleans in their only form', () => {
    expect(readIntegerHex(readDer(hex('02 02 00 80')))).toBe('0080');
    for (const bytes of ['02 00', '02 02 00 7f', '02 02 ff 80', '04 01 01'])
      expect(() => readIntegerHex(readDer(hex(bytes)))).toThrow(DerError);
    expect([readBoolean(readDer(hex('01 01 ff'))), readBoolean(readDer(hex('01 01 00')))]).toEqual([true, false]);
    for (const bytes of ['01 01 01', '01 00', '01 02 ff ff']) expect(() => readBoolean(readDer(hex(bytes)))).toThrow(DerError);
  });

  it('reads strings without NUL tricks', () => {
    expect(readUtf8(readDer(hex('0c 02 c3 a9')))).toBe('é');
    expect(() => readUtf8(readDer(hex('0c 02 c3 28')))).toThrow(DerError);
    expect(() => readUtf8(readDer(hex('16 01 61')))).toThrow(DerError);
    expect(() => ia5(Buffer.from('good.example\0.evil.example'))).toThrow(DerError);
    expect(() => ia5(Buffer.from('é'))).toThrow(DerError);
  });

  it.each<[number, string, string]>([
    [0x17, '491231235959Z', '2049-12-31T23:59:59.000Z'],
    [0x17, '500101000000Z', '1950-01-01T00:00:00.000Z'],
    [0x18, '20500101000000Z', '2050-01-01T00:00:00.000Z'],
    [0x18, '20240229120000Z', '2024-02-29T12:00:00.000Z'],
  ])('RFC 5280 §4.1.2.5 reads time %i %s', (tag, s, want) => {
    expect(new Date(readTime(text(tag, s))).toISOString()).toBe(want);
  });

  it.each<[number, string]>([
    [0x17, '4912312359Z'],
    [0x17, '491231235959+0100'],
    [0x18, '20500101000000.5Z'],
    [0x18, '20230229120000Z'],
    [0x18, '20231301000000Z'],
    [0x18, '20230101250000Z'],
    [0x18, '20230101006000Z'],
    [0x04, '20500101000000Z'],
  ])('refuses time %i %s', (tag, s) => {
    expect(() => readTime(text(tag, s))).toThrow(DerError);
  });
});

describe('certificates that are none', () => {
  let genuine: Buffer;
  beforeAll(async () => {
    const validity = { nowMs: Date.now(), days: 1 };
    const ca = await createCertificateAuthority('test', validity);
    const { certificate } = await issuePlatformCertificate(ca, { ...validity, jid: JID.parse('a@example.com') });
    genuine = Buffer.from(certificate.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  });

  const readOrDerError = (der: Buffer): string => {
    try {
      mayAuthenticateClients(readCertificate(der));
      return 'read';
    } catch (error) {
      expect(error).toBeInstanceOf(DerError);
      return 'refused';
    }
  };

  it('are refused with DerError, whatever bytes come', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void readOrDerError(Buffer.from(bytes))));
  });

  it('are refused with DerError or read, whatever byte of a genuine one changes', () => {
    let refused = 0;
    for (let at = 0; at < genuine.length; at++) {
      for (const flip of [0x01, 0x20, 0x80, 0xff]) {
        const changed = Buffer.from(genuine);
        changed[at] = changed[at]! ^ flip;
        if (readOrDerError(changed) === 'refused') refused++;
      }
    }
    expect(refused).toBeGreaterThan(200);
  });

  it('are refused wherever a genuine one is cut off, or has more behind it', () => {
    for (let length = 0; length < genuine.length; length++) expect(readOrDerError(genuine.subarray(0, length))).toBe('refused');
    expect(readOrDerError(Buffer.concat([genuine, Buffer.from([0])]))).toBe('refused');
    expect(readOrDerError(genuine)).toBe('read');
  });

  it('cost no stack however deep they nest, and no time however large they claim to be', () => {
    let nested: Buffer = Buffer.from([0x05, 0x00]);
    for (let depth = 0; depth < 10_000 && nested.length < 60_000; depth++) {
      const length = nested.length;
      const header =
        length < 0x80 ? [0x30, length] : length < 0x100 ? [0x30, 0x81, length] : [0x30, 0x82, length >> 8, length & 0xff];
      nested = Buffer.concat([Buffer.from(header), nested]);
    }
    expect(readOrDerError(nested)).toBe('refused');
    expect(readOrDerError(Buffer.alloc(65_537, 0x30))).toBe('refused');
  });
});
