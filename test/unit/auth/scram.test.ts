import {
  DEFAULT_ITERATIONS,
  deriveScramKeys,
  fakeScramKeys,
  MIN_ITERATIONS,
  type ScramHash,
  ScramServer,
  type ScramSettings,
} from '@xmpp-grid/auth';
import { SaslFailure } from '@xmpp-grid/stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const settings = (change: Partial<ScramSettings> = {}): ScramSettings => ({
  hash: 'sha256',
  plus: false,
  bindingTypes: [],
  channelBinding: () => undefined,
  acceptsFlagY: false,
  nonce: () => 'serverNonce',
  ...change,
});

const bytes = (s: string) => Buffer.from(s);

function failureOf(act: () => unknown): { condition: string; why: string } {
  try {
    act();
  } catch (error) {
    if (error instanceof SaslFailure) return { condition: error.condition, why: error.why ?? '' };
    throw error;
  }
  return { condition: 'accepted', why: '' };
}

describe('test vectors', () => {
  it.each<[string, ScramHash, string, string, string, string, string, string, string]>([
    [
      'RFC 5802 §5 (A-010)',
      'sha1',
      'n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL',
      '3rfcNHYJY1ZVvWVs7j',
      'QSXCR+Q6sek8bf92',
      'r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096',
      'c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=',
      'v=rmF9pqV8S7suAoZWja4dJRkFsKQ=',
      'user',
    ],
    [
      'RFC 7677 §3 (A-011)',
      'sha256',
      'n,,n=user,r=rOprNGfwEbeRWgbNEkqO',
      '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
      'W22ZaJ0SNY7soEsUEjb6gQ==',
      'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
      'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
      'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
      'user',
    ],
  ])('%s', async (_name, hash, clientFirst, nonce, salt, serverFirst, clientFinal, serverFinal, user) => {
    const keys = await deriveScramKeys('pencil', { hashes: [hash], iterations: 4096, salt: Buffer.from(salt, 'base64') });
    const server = new ScramServer(settings({ hash, nonce: () => nonce }));
    expect(server.clientFirst(bytes(clientFirst))).toEqual({ flag: { kind: 'n' }, authzid: undefined, username: user });
    expect(server.serverFirst(keys[hash]!)).toBe(serverFirst);
    expect(server.clientFinal(bytes(clientFinal))).toBe(serverFinal);
  });
});

describe('stored keys', () => {
  it('RFC 7677 §4 has at least 4096 iterations, and more by default (A-012)', async () => {
    expect([MIN_ITERATIONS, DEFAULT_ITERATIONS]).toEqual([4096, 10_000]);
    await expect(deriveScramKeys('pencil', { hashes: ['sha256'], iterations: 4095 })).rejects.toThrow(RangeError);
    expect((await deriveScramKeys('pencil', { hashes: ['sha256'] })).sha256?.iterations).toBe(10_000);
  });

  it('are made for the hashes asked for only, each with 16 bytes of salt of its own (A-016)', async () => {
    const one = await deriveScramKeys('pencil', { hashes: ['sha256'], iterations: 4096 });
    const two = await deriveScramKeys('pencil', { hashes: ['sha256', 'sha1'], iterations: 4096 });
    expect(Object.keys(one)).toEqual(['sha256']);
    expect(Object.keys(two)).toEqual(['sha256', 'sha1']);
    expect(one.sha256!.salt.length).toBe(16);
    expect(one.sha256!.salt.equals(two.sha256!.salt)).toBe(false);
  });

  it('RFC 4013 are those of the prepared password (A-017)', async () => {
    const derive = async (password: string) =>
      (
        await deriveScramKeys(password, { hashes: ['sha256'], iterations: 4096, salt: Buffer.alloc(16) })
      ).sha256!.storedKey.toString('hex');
    expect(await derive('I\u00ADX')).toBe(await derive('IX')); // RFC 4013 §3 example 1
    expect(await derive('\u2168')).toBe(await derive('IX')); // example 5
    expect(await derive('user')).not.toBe(await derive('USER')); // examples 2 and 3
    await expect(derive('\u0007')).rejects.toThrow(RangeError); // example 6
    await expect(derive('\u0627\u0031')).rejects.toThrow(RangeError); // example 7
    await expect(derive('')).rejects.toThrow(RangeError);
  });
});

describe('client-first-message, RFC 5802 §7', () => {
  it.each<[string, string, string, string | undefined]>([
    ['plain', 'n,,n=user,r=x', 'user', undefined],
    ['with authzid', 'n,a=user@example.com,n=user,r=x', 'user', 'user@example.com'],
    ['escaped name', 'n,,n=a=2Cb=3Dc,r=x', 'a,b=c', undefined],
    ['escaped authzid', 'n,a=a=3D@example.com,n=user,r=x', 'user', 'a=@example.com'],
    ['optional extensions', 'n,,n=user,r=x,z=future,q=1=2', 'user', undefined],
    ['name that SASLprep maps (A-017)', 'n,,n=I\u00ADX,r=x', 'IX', undefined],
    ['flag y without an offer of -PLUS', 'y,,n=user,r=x', 'user', undefined],
  ])('takes %s', (_name, message, username, authzid) => {
    expect(new ScramServer(settings()).clientFirst(bytes(message))).toMatchObject({ username, authzid });
  });

  it.each<[string, string, string]>([
    ['nothing', '', 'other-error'],
    ['no GS2 header', 'n=user,r=x', 'other-error'],
    ['an unknown flag', 'x,,n=user,r=x', 'other-error'],
    ['the GSS flag F', 'F,n,,n=user,r=x', 'other-error'],
    ['a binding type with bad characters', 'p=tls_unique,,n=user,r=x', 'other-error'],
    ['an empty authzid', 'n,a=,n=user,r=x', 'other-error'],
    ['a mandatory extension first', 'n,,m=ext,n=user,r=x', 'extensions-not-supported'],
    ['a mandatory extension at the end', 'n,,n=user,r=x,m=ext', 'extensions-not-supported'],
    ['no name', 'n,,r=x', 'other-error'],
    ['name and nonce the wrong way round', 'n,,r=x,n=user', 'other-error'],
    ['an empty name', 'n,,n=,r=x', 'invalid-username-encoding'],
    ['a bad escape', 'n,,n=a=2Dc,r=x', 'invalid-username-encoding'],
    ['a lower-case escape', 'n,,n=a=2cb,r=x', 'invalid-username-encoding'],
    ['a lone equals sign', 'n,,n=a=,r=x', 'invalid-username-encoding'],
    ['a name that SASLprep refuses', 'n,,n=\u0007,r=x', 'invalid-username-encoding'],
    ['a name that SASLprep maps to nothing', 'n,,n=\u00AD,r=x', 'invalid-username-encoding'],
    ['a NUL', 'n,,n=a\0b,r=x', 'invalid-username-encoding'],
    ['no nonce', 'n,,n=user', 'other-error'],
    ['an empty nonce', 'n,,n=user,r=', 'other-error'],
    ['a nonce with a space', 'n,,n=user,r=a b', 'other-error'],
    ['an extension that is none', 'n,,n=user,r=x,zz', 'other-error'],
    ['a thousand extensions', `n,,n=user,r=x${',a=b'.repeat(1000)}`, 'other-error'],
  ])('refuses %s as malformed-request', (_name, message, why) => {
    const failure = failureOf(() => new ScramServer(settings()).clientFirst(bytes(message)));
    expect([failure.condition, failure.why.split(':')[0]]).toEqual(['malformed-request', why]);
  });

  it('refuses what is not UTF-8', () => {
    const message = Buffer.concat([bytes('n,,n=us'), Buffer.from([0xc3, 0x28]), bytes(',r=x')]);
    expect(failureOf(() => new ScramServer(settings()).clientFirst(message))).toMatchObject({
      condition: 'malformed-request',
      why: expect.stringContaining('invalid-encoding'),
    });
  });

  it('throws nothing but SaslFailure, whatever comes', () => {
    const part = fc.oneof(
      fc.constantFrom('n', 'y', 'p=', ',', '=', 'a=', 'n=', 'r=', 'm=', '=2C', 'tls-exporter'),
      fc.string({ maxLength: 5, unit: 'binary' }),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
        failureOf(() => new ScramServer(settings()).clientFirst(bytes(parts.join(''))));
      }),
    );
  });
});

describe('channel binding flags, RFC 5802 §6 (A-014, A-015)', () => {
  const offered = {
    bindingTypes: ['tls-exporter', 'tls-server-end-point'],
    channelBinding: (type: string) => bytes(`data of ${type}`),
  };

  it.each<[string, Partial<ScramSettings>, string, string, string]>([
    ['n on the plain mechanism', offered, 'n,,', 'accepted', ''],
    ['y where no -PLUS was offered', {}, 'y,,', 'accepted', ''],
    ['y where -PLUS was offered', offered, 'y,,', 'not-authorized', 'server-does-support-channel-binding'],
    ['the same in profile compat', { ...offered, acceptsFlagY: true }, 'y,,', 'accepted', ''],
    ['p on the plain mechanism', offered, 'p=tls-exporter,,', 'malformed-request', 'channel-binding-not-supported'],
    ['p on -PLUS', { ...offered, plus: true }, 'p=tls-exporter,,', 'accepted', ''],
    ['p of the other type', { ...offered, plus: true }, 'p=tls-server-end-point,,', 'accepted', ''],
    [
      'p of a type not offered',
      { ...offered, plus: true },
      'p=tls-unique,,',
      'not-authorized',
      'unsupported-channel-binding-type',
    ],
    ['n on -PLUS', { ...offered, plus: true }, 'n,,', 'malformed-request', 'other-error'],
    ['y on -PLUS, also in compat', { ...offered, plus: true, acceptsFlagY: true }, 'y,,', 'malformed-request', 'other-error'],
  ])('%s', (_name, change, header, condition, why) => {
    const failure = failureOf(() => new ScramServer(settings(change)).clientFirst(bytes(`${header}n=user,r=x`)));
    expect([failure.condition, failure.why.split(':')[0]]).toEqual([condition, why]);
  });

  it('tells the operator what to do about a refused y', () => {
    const failure = failureOf(() => new ScramServer(settings(offered)).clientFirst(bytes('y,,n=user,r=x')));
    expect(failure.why).toMatch(/tls-exporter, tls-server-end-point.*update it.*compat/);
  });
});

describe('client-final-message, RFC 5802 §7', () => {
  const b64 = (s: string) => Buffer.from(s).toString('base64');
  const proof = Buffer.alloc(32).toString('base64');

  it.each<[string, string, string, string]>([
    ['nothing', '', 'malformed-request', 'other-error'],
    ['no proof', `c=${b64('n,,')},r=xserverNonce`, 'malformed-request', 'other-error'],
    ['no binding', `r=xserverNonce,p=${proof}`, 'malformed-request', 'other-error'],
    ['a binding that is not base 64', `c=!,r=xserverNonce,p=${proof}`, 'malformed-request', 'invalid-encoding'],
    ['padding bits that are not zero', `c=biwt=,r=xserverNonce,p=${proof}`, 'malformed-request', 'invalid-encoding'],
    ['a proof that is not base 64', `c=${b64('n,,')},r=xserverNonce,p=*`, 'malformed-request', 'invalid-encoding'],
    ['a mandatory extension', `c=${b64('n,,')},r=xserverNonce,m=1,p=${proof}`, 'malformed-request', 'extensions-not-supported'],
    ['something after the proof', `c=${b64('n,,')},r=xserverNonce,p=${proof},z=1`, 'malformed-request', 'other-error'],
    ['a malformed extension', `c=${b64('n,,')},r=xserverNonce,zz,p=${proof}`, 'malformed-request', 'other-error'],
    [
      'another GS2 header than the first',
      `c=${b64('y,,')},r=xserverNonce,p=${proof}`,
      'not-authorized',
      'channel-bindings-dont-match',
    ],
    [
      'binding data where none is due',
      `c=${b64('n,,x')},r=xserverNonce,p=${proof}`,
      'not-authorized',
      'channel-bindings-dont-match',
    ],
    ['another nonce', `c=${b64('n,,')},r=xother,p=${proof}`, 'not-authorized', 'other-error'],
    ['the client nonce alone', `c=${b64('n,,')},r=x,p=${proof}`, 'not-authorized', 'other-error'],
    ['a wrong proof', `c=${b64('n,,')},r=xserverNonce,p=${proof}`, 'not-authorized', 'invalid-proof'],
    ['a proof of another length', `c=${b64('n,,')},r=xserverNonce,p=AAAA`, 'not-authorized', 'invalid-proof'],
    ['a wrong proof with an extension', `c=${b64('n,,')},r=xserverNonce,z=1,p=${proof}`, 'not-authorized', 'invalid-proof'],
  ])('%s', async (_name, message, condition, why) => {
    const server = new ScramServer(settings());
    server.clientFirst(bytes('n,,n=user,r=x'));
    server.serverFirst(fakeScramKeys(Buffer.alloc(32), 'sha256', 'user', 4096));
    const failure = failureOf(() => server.clientFinal(bytes(message)));
    expect([failure.condition, failure.why.split(':')[0]]).toEqual([condition, why]);
  });
});

describe('keys for unknown names', () => {
  it('are the same for the same name and differ by name, hash and secret', () => {
    const salt = (secret: number, hash: ScramHash, name: string) =>
      fakeScramKeys(Buffer.alloc(32, secret), hash, name, 4096).salt.toString('hex');
    expect(salt(1, 'sha256', 'a')).toBe(salt(1, 'sha256', 'a'));
    expect(new Set([salt(1, 'sha256', 'a'), salt(2, 'sha256', 'a'), salt(1, 'sha1', 'a'), salt(1, 'sha256', 'b')]).size).toBe(4);
  });

  it('have the form of real ones', async () => {
    const real = (await deriveScramKeys('pencil', { hashes: ['sha256'], iterations: 4096 })).sha256!;
    const fake = fakeScramKeys(Buffer.alloc(32), 'sha256', 'a', 4096);
    expect([fake.salt.length, fake.storedKey.length, fake.iterations]).toEqual([
      real.salt.length,
      real.storedKey.length,
      real.iterations,
    ]);
  });
});
