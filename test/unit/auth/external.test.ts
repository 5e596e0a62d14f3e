import { X509Certificate } from 'node:crypto';
import {
  createCertificateAuthority,
  decideExternal,
  type IssuedCertificate,
  identitiesOf,
  issuePlatformCertificate,
} from '@xmpp-grid/auth';
import { JID } from '@xmpp-grid/stream';
import { beforeAll, describe, expect, it } from 'vitest';
import { conditionOf, makeGrid, tlsWith } from './support.ts';

describe('the JIDs of a certificate, RFC 6120 §13.7.1.4 (A-030)', () => {
  it.each<[string, string[], string[]]>([
    ['one', ['a@example.com'], ['a@example.com']],
    ['prepared', ['A@Example.COM'], ['a@example.com']],
    ['twice the same', ['a@example.com', 'A@example.com'], ['a@example.com']],
    ['one of another domain besides', ['a@example.com', 'a@example.net'], ['a@example.com']],
    ['a domain alone', ['example.com'], []],
    ['a full JID', ['a@example.com/x'], []],
    ['a malformed one', ['@example.com', 'a b@example.com'], []],
  ])('%s', (_name, addresses, want) => {
    expect(identitiesOf(addresses, 'example.com').map(String)).toEqual(want);
  });
});

describe('whom EXTERNAL logs in, XEP-0178 §2', () => {
  it.each<[string, string[], string, string]>([
    ['one JID, no authzid (A-025)', ['a@example.com'], '', 'a@example.com'],
    ['one JID, the same authzid (A-023)', ['a@example.com'], 'a@example.com', 'a@example.com'],
    ['one JID, the same in capitals', ['a@example.com'], 'A@EXAMPLE.COM', 'a@example.com'],
    ['one JID, another authzid (A-028)', ['a@example.com'], 'b@example.com', 'invalid-authzid'],
    ['several JIDs, authzid one of them (A-026)', ['a@example.com', 'b@example.com'], 'b@example.com', 'b@example.com'],
    ['several JIDs, no authzid (A-026)', ['a@example.com', 'b@example.com'], '', 'invalid-authzid'],
    ['several JIDs, another authzid', ['a@example.com', 'b@example.com'], 'c@example.com', 'invalid-authzid'],
    ['authzid with a resource', ['a@example.com'], 'a@example.com/x', 'invalid-authzid'],
    ['authzid without a localpart', ['a@example.com'], 'example.com', 'invalid-authzid'],
    ['authzid that is no JID', ['a@example.com'], '@', 'invalid-authzid'],
    ['authzid with a NUL', ['a@example.com'], 'a@example.com\0', 'malformed-request'],
    ['no JID of the domain (A-027)', [], '', 'not-authorized'],
  ])('%s', async (_name, jids, authzid, want) => {
    const identities = jids.map((jid) => JID.parse(jid));
    let chosen = '';
    const condition = await conditionOf(() => {
      chosen = decideExternal(identities, Buffer.from(authzid)).toString();
    });
    expect(condition === 'accepted' ? chosen : condition).toBe(want);
  });

  it('RFC 4422 Appendix A refuses an authzid that is not UTF-8', async () => {
    expect(await conditionOf(() => decideExternal([JID.parse('a@b')], Buffer.from([0xff])))).toBe('malformed-request');
  });
});

describe('EXTERNAL against accounts', () => {
  const validity = { nowMs: Date.now(), days: 1 };
  let issued: IssuedCertificate;
  let der: Buffer;
  beforeAll(async () => {
    issued = await issuePlatformCertificate(await createCertificateAuthority('CA', validity), {
      ...validity,
      jid: JID.parse('sensor@example.com'),
    });
    der = new X509Certificate(issued.certificate).raw;
  });
  const proved = () => tlsWith({}, { peerVerified: true, peerCertificate: der });
  const login = (grid: ReturnType<typeof makeGrid>, data: Buffer | undefined = Buffer.alloc(0)) =>
    conditionOf(() => grid.authenticator.begin('EXTERNAL', 'example.com', proved()).step(data));

  it('logs a registered Platform in and says so', async () => {
    const grid = makeGrid('grid');
    await grid.add('sensor@example.com', undefined);
    expect(await login(grid)).toBe('accepted');
    expect(grid.events).toMatchObject([{ kind: 'login', mechanism: 'EXTERNAL', certificateFingerprint: issued.fingerprint }]);
  });

  it('XEP-0178 §2 (11) refuses a JID without account as not-authorized', async () => {
    const grid = makeGrid('grid');
    expect(await login(grid)).toBe('not-authorized');
    expect(grid.events).toMatchObject([{ kind: 'login-refused', account: 'sensor@example.com', why: 'no such account' }]);
  });

  it('§6.5.2 tells a disabled account so: the certificate proved it', async () => {
    const grid = makeGrid('grid');
    await grid.add('sensor@example.com', undefined, { state: 'disabled' });
    expect(await login(grid)).toBe('account-disabled');
  });

  it.each<[string, (own: string) => string[], boolean, string]>([
    ['lists this certificate', (own) => ['00'.repeat(32), own], false, 'accepted'],
    ['lists others only', () => ['00'.repeat(32)], false, 'not-authorized'],
    ['lists none', () => [], false, 'accepted'],
    ['lists none where a binding is required', () => [], true, 'not-authorized'],
    ['lists this one where a binding is required', (own) => [own], true, 'accepted'],
  ])('an account that %s', async (_name, fingerprints, requireFingerprint, want) => {
    const grid = makeGrid('grid', { requireFingerprint });
    await grid.add('sensor@example.com', undefined, { certificateFingerprints: fingerprints(issued.fingerprint) });
    expect(await login(grid)).toBe(want);
  });

  it('RFC 4422 Appendix A asks for the authzid by an empty challenge when no response came', async () => {
    const grid = makeGrid('grid');
    await grid.add('sensor@example.com', undefined);
    const exchange = grid.authenticator.begin('EXTERNAL', 'example.com', proved());
    expect(await exchange.step(undefined)).toEqual({ kind: 'challenge', data: Buffer.alloc(0) });
    expect((await exchange.step(Buffer.alloc(0))).kind).toBe('success');
  });

  it.each([
    ['unverified', () => ({ peerVerified: false }), {}],
    ['absent', () => ({ peerCertificate: Buffer.alloc(0) }), {}],
    ['unreadable', () => ({ peerCertificate: der.subarray(0, 40) }), {}],
    ['expired by now', () => ({}), { now: () => Date.now() + 2 * 86_400_000 }],
    ['not yet valid', () => ({}), { now: () => Date.now() - 86_400_000 }],
    ['of another domain', () => ({}), { domains: ['example.net'] }],
  ] as const)('XEP-0178 §2 (9) is not offered for a certificate that is %s (A-024)', (_name, change, deps) => {
    const { authenticator } = makeGrid('grid', deps);
    const facts = { ...proved(), ...change() };
    const domain = 'domains' in deps ? deps.domains[0] : 'example.com';
    expect(authenticator.mechanisms(domain, facts)).not.toContain('EXTERNAL');
    expect(authenticator.mechanisms(domain, facts)).toContain('SCRAM-SHA-256');
  });
});
