import { createSecretKey } from 'node:crypto';
import { Authorizer } from '@xmpp-grid/auth';
import { JID } from '@xmpp-grid/stream';
import { describe, expect, it } from 'vitest';
import { conditionOf, makeGrid, NO_TLS_EXTRAS, scramLogin, tlsWith } from './support.ts';

const BOUND = tlsWith({ 'tls-exporter': 'exported', 'tls-server-end-point': 'certificate hash' });

describe('mechanisms offered, RFC 6120 §6.3.3', () => {
  it.each([
    ['grid', NO_TLS_EXTRAS, ['SCRAM-SHA-256']],
    ['grid', BOUND, ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256']],
    ['compat', NO_TLS_EXTRAS, ['SCRAM-SHA-256', 'SCRAM-SHA-1']],
    ['compat', BOUND, ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256', 'SCRAM-SHA-1-PLUS', 'SCRAM-SHA-1']],
  ] as const)('profile %s', (profile, tls, want) => {
    expect(makeGrid(profile).authenticator.mechanisms('example.com', tls)).toEqual(want);
  });

  it('are none for a domain that is not served', () => {
    const { authenticator } = makeGrid('grid');
    expect(authenticator.mechanisms('example.net', BOUND)).toEqual([]);
    expect(authenticator.channelBindingTypes('example.net', BOUND)).toEqual([]);
  });

  it('XEP-0440 come with the binding types, strongest first, or with none (A-021, A-013)', () => {
    const { authenticator } = makeGrid('grid');
    expect(authenticator.channelBindingTypes('example.com', BOUND)).toEqual(['tls-exporter', 'tls-server-end-point']);
    expect(authenticator.channelBindingTypes('example.com', NO_TLS_EXTRAS)).toEqual([]);
  });

  it.each(['PLAIN', 'SCRAM-SHA-1', 'SCRAM-SHA-256-PLUS', 'EXTERNAL', 'scram-sha-256', ''])(
    '§6.5.7 %j, not offered, is invalid-mechanism',
    async (name) => {
      const { authenticator } = makeGrid('grid');
      expect(await conditionOf(() => authenticator.begin(name, 'example.com', NO_TLS_EXTRAS))).toBe('invalid-mechanism');
    },
  );
});

describe('SCRAM login', () => {
  it('says who it is, with role and limits', async () => {
    const grid = makeGrid('grid');
    await grid.add('sensor@example.com', 'pencil');
    const { step } = await scramLogin(
      grid.authenticator.begin('SCRAM-SHA-256', 'example.com', NO_TLS_EXTRAS),
      'sensor',
      'pencil',
    );
    expect(step.who).toEqual({
      account: JID.parse('sensor@example.com'),
      role: 'platform',
      credential: expect.stringMatching(/^[\w-]{16}$/),
      mechanism: 'SCRAM-SHA-256',
      limits: new Authorizer().limits('platform'),
    });
    expect(grid.events).toEqual([
      { kind: 'login', account: 'sensor@example.com', mechanism: 'SCRAM-SHA-256', role: 'platform', remoteAddress: '192.0.2.1' },
    ]);
  });

  it.each([
    ['SCRAM-SHA-256-PLUS', 'sha256', 'tls-exporter', 'exported'],
    ['SCRAM-SHA-256-PLUS', 'sha256', 'tls-server-end-point', 'certificate hash'],
    ['SCRAM-SHA-1-PLUS', 'sha1', 'tls-exporter', 'exported'],
  ] as const)('%s with %s and %s (A-019, A-020)', async (mechanism, hash, type, binding) => {
    const grid = makeGrid('compat');
    await grid.add('sensor@example.com', 'pencil');
    const begin = () => grid.authenticator.begin(mechanism, 'example.com', BOUND);
    const { step } = await scramLogin(begin(), 'sensor', 'pencil', { hash, gs2: `p=${type},,`, binding });
    expect(step.who.mechanism).toBe(mechanism);
    expect(
      await conditionOf(() =>
        scramLogin(begin(), 'sensor', 'pencil', { hash, gs2: `p=${type},,`, binding: 'another connection' }),
      ),
    ).toBe('not-authorized');
  });

  it('SCRAM-SHA-1 in profile compat', async () => {
    const grid = makeGrid('compat');
    await grid.add('sensor@example.com', 'pencil');
    const exchange = grid.authenticator.begin('SCRAM-SHA-1', 'example.com', NO_TLS_EXTRAS);
    expect((await scramLogin(exchange, 'sensor', 'pencil', { hash: 'sha1' })).step.who.mechanism).toBe('SCRAM-SHA-1');
  });

  it('§6.4.2 answers a missing initial response with an empty challenge', async () => {
    const grid = makeGrid('grid');
    await grid.add('sensor@example.com', 'pencil');
    const exchange = grid.authenticator.begin('SCRAM-SHA-256', 'example.com', NO_TLS_EXTRAS);
    expect(await exchange.step(undefined)).toEqual({ kind: 'challenge', data: Buffer.alloc(0) });
    expect((await scramLogin(exchange, 'sensor', 'pencil')).step.kind).toBe('success');
  });

  it('takes an empty initial response for the message, which is malformed', async () => {
    const exchange = makeGrid('grid').authenticator.begin('SCRAM-SHA-256', 'example.com', NO_TLS_EXTRAS);
    expect(await conditionOf(() => exchange.step(Buffer.alloc(0)))).toBe('malformed-request');
  });

  it('is over after success and after failure', async () => {
    const grid = makeGrid('grid');
    await grid.add('sensor@example.com', 'pencil');
    const good = grid.authenticator.begin('SCRAM-SHA-256', 'example.com', NO_TLS_EXTRAS);
    await scramLogin(good, 'sensor', 'pencil');
    expect(await conditionOf(() => good.step(Buffer.from('n,,n=sensor,r=x')))).toBe('malformed-request');
    const bad = grid.authenticator.begin('SCRAM-SHA-256', 'example.com', NO_TLS_EXTRAS);
    expect(await conditionOf(() => scramLogin(bad, 'sensor', 'wrong'))).toBe('not-authorized');
    expect(await conditionOf(() => bad.step(Buffer.from('n,,n=sensor,r=x')))).toBe('malformed-request');
  });

  it('finds the account by RFC 7622 preparation of the name, hashing the name as received (A-017, A-039)', async () => {
    const grid = makeGrid('grid');
    await grid.add('sensor@example.com', 'pencil');
    const begin = () => grid.authenticator.begin('SCRAM-SHA-256', 'example.com', NO_TLS_EXTRAS);
    expect((await scramLogin(begin(), 'SENSOR', 'pencil')).step.who.account.toString()).toBe('sensor@example.com');
    expect((await scramLogin(begin(), 'se\u00ADnsor', 'pencil')).step.who.account.toString()).toBe('sensor@example.com');
  });

  it.each<[string, string, string]>([
    ['own bare JID', 'sensor@example.com', 'accepted'],
    ['own bare JID in capitals', 'Sensor@EXAMPLE.com', 'accepted'],
    ['another account', 'admin@example.com', 'invalid-authzid'],
    ['full JID', 'sensor@example.com/x', 'invalid-authzid'],
    ['name alone', 'sensor', 'invalid-authzid'],
    ['no JID', '@@', 'invalid-authzid'],
  ])('§6.3.8 authzid: %s', async (_name, authzid, want) => {
    const grid = makeGrid('grid');
    await grid.add('sensor@example.com', 'pencil');
    const exchange = grid.authenticator.begin('SCRAM-SHA-256', 'example.com', NO_TLS_EXTRAS);
    expect(await conditionOf(() => scramLogin(exchange, 'sensor', 'pencil', { gs2: `n,a=${authzid},` }))).toBe(want);
  });
});

describe('the downgrade check, RFC 5802 §6, by profile', () => {
  it.each([
    ['grid', 'not-authorized'],
    ['compat', 'accepted'],
  ] as const)('%s, where the client saw no usable -PLUS: %s', async (profile, want) => {
    const grid = makeGrid(profile);
    await grid.add('sensor@example.com', 'pencil');
    const exchange = grid.authenticator.begin('SCRAM-SHA-256', 'example.com', BOUND);
    expect(await conditionOf(() => scramLogin(exchange, 'sensor', 'pencil', { gs2: 'y,,' }))).toBe(want);
  });
});

describe('what a stranger learns, RFC 6120 §6.5.10', () => {
  it('an unknown name takes the same steps, with a lasting salt and the usual iterations', async () => {
    const grid = makeGrid('grid');
    const first = async (name: string) => {
      const exchange = grid.authenticator.begin('SCRAM-SHA-256', 'example.com', NO_TLS_EXTRAS);
      const step = await exchange.step(Buffer.from(`n,,n=${name},r=x`));
      return step.kind === 'challenge' ? step.data.toString().replace(/^r=[^,]+/, '') : '';
    };
    expect(await first('nobody')).toMatch(/^,s=[A-Za-z0-9+/]{22}==,i=4096$/);
    expect(await first('nobody')).toBe(await first('NoBody')); // the same account, were there one
    expect(await first('nobody')).not.toBe(await first('somebody'));
    expect(await first('no:body')).toMatch(/^,s=[A-Za-z0-9+/]{22}==,i=4096$/); // no JID could have this name
    const exchange = grid.authenticator.begin('SCRAM-SHA-256', 'example.com', NO_TLS_EXTRAS);
    expect(await conditionOf(() => scramLogin(exchange, 'nobody', 'pencil'))).toBe('not-authorized');
  });

  it('an account without keys for the mechanism looks unknown', async () => {
    const grid = makeGrid('compat');
    await grid.add('certificate-only@example.com', undefined);
    const exchange = grid.authenticator.begin('SCRAM-SHA-256', 'example.com', NO_TLS_EXTRAS);
    expect(await conditionOf(() => scramLogin(exchange, 'certificate-only', 'pencil'))).toBe('not-authorized');
  });

  it.each([
    ['right password', 'pencil', 'account-disabled'],
    ['wrong password', 'guess', 'not-authorized'],
  ])('§6.5.2 a disabled account with the %s: %s %s', async (_name, password, want) => {
    const grid = makeGrid('grid');
    await grid.add('sensor@example.com', 'pencil', { state: 'disabled' });
    const exchange = grid.authenticator.begin('SCRAM-SHA-256', 'example.com', NO_TLS_EXTRAS);
    expect(await conditionOf(() => scramLogin(exchange, 'sensor', password))).toBe(want);
    expect(grid.events).toMatchObject([{ kind: 'login-refused', account: 'sensor@example.com', condition: want }]);
  });

  it('an account of a role that is gone is refused, and the audit says why', async () => {
    const grid = makeGrid('grid');
    await grid.add('sensor@example.com', 'pencil', { role: 'retired' });
    const exchange = grid.authenticator.begin('SCRAM-SHA-256', 'example.com', NO_TLS_EXTRAS);
    expect(await conditionOf(() => scramLogin(exchange, 'sensor', 'pencil'))).toBe('not-authorized');
    expect(grid.events).toMatchObject([{ why: expect.stringContaining('"retired" does not exist') }]);
  });

  it('§6.5.11 a failing store is temporary-auth-failure, its cause kept for the log', async () => {
    const grid = makeGrid('grid');
    grid.accounts.failure = new Error('disk on fire');
    const exchange = grid.authenticator.begin('SCRAM-SHA-256', 'example.com', NO_TLS_EXTRAS);
    await expect(exchange.step(Buffer.from('n,,n=sensor,r=x'))).rejects.toMatchObject({
      condition: 'temporary-auth-failure',
      cause: grid.accounts.failure,
    });
  });

  it('needs a secret worth the name', () => {
    expect(() => makeGrid('grid', { secret: createSecretKey(Buffer.alloc(31)) })).toThrow(RangeError);
  });
});
