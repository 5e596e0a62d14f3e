import { credentialOf, deriveScramKeys, type PlatformAccount, type Standing, standingOf } from '@xmpp-grid/auth';
import { type AuthenticatedAccount, JID } from '@xmpp-grid/stream';
import { beforeAll, describe, expect, it } from 'vitest';
import { makeGrid, NO_TLS_EXTRAS, scramLogin } from './support.ts';

const BOUND = 'ab'.repeat(32);
const OTHER = 'cd'.repeat(32);
const siem = JID.parse('siem@example.com');

let keys: PlatformAccount['scram'];
let others: PlatformAccount['scram'];
beforeAll(async () => {
  const options = { hashes: ['sha256', 'sha1'], iterations: 4096 } as const;
  keys = await deriveScramKeys('pencil', options);
  others = await deriveScramKeys('pencil', options);
});

const account = (change: Partial<PlatformAccount> = {}): PlatformAccount => ({
  jid: siem,
  role: 'platform',
  state: 'enabled',
  scram: keys,
  certificateFingerprints: [],
  createdAtMs: 1,
  ...change,
});
const who = (proof: Partial<AuthenticatedAccount>): AuthenticatedAccount => ({
  account: siem,
  role: 'platform',
  mechanism: 'M',
  limits: { maxStanzaBytes: 1, hardStanzaBytes: 1, maxResources: 1 },
  ...proof,
});
const byPassword = () => who({ credential: credentialOf(keys.sha256!) });
const byCertificate = who({ certificateFingerprint: BOUND });

describe('who was let in, by the account as it is now, delivery.md §8.3', () => {
  it.each<[string, () => PlatformAccount | undefined, () => AuthenticatedAccount, Standing]>([
    ['an account as it was', () => account(), byPassword, 'stands'],
    ['an account that is gone', () => undefined, byPassword, 'missing'],
    ['a disabled account', () => account({ state: 'disabled' }), byPassword, 'disabled'],
    ['another role', () => account({ role: 'read-only' }), byPassword, 'role-changed'],
    ['the same password set again, under another salt', () => account({ scram: others }), byPassword, 'credential-cut'],
    ['no password any more', () => account({ scram: {} }), byPassword, 'credential-cut'],
    ['a mechanism less', () => account({ scram: { sha256: keys.sha256! } }), byPassword, 'stands'],
    ['the keys of the mechanism gone', () => account({ scram: { sha1: keys.sha1! } }), byPassword, 'credential-cut'],
    ['any certificate that names it', () => account(), () => byCertificate, 'stands'],
    ['its certificate bound', () => account({ certificateFingerprints: [OTHER, BOUND] }), () => byCertificate, 'stands'],
    ['other certificates bound', () => account({ certificateFingerprints: [OTHER] }), () => byCertificate, 'credential-cut'],
    ['another password beside a certificate', () => account({ scram: others }), () => byCertificate, 'stands'],
    ['a login that proved nothing', () => account(), () => who({}), 'credential-cut'],
  ])('%s', (_name, now, then, want) => {
    expect(standingOf(now(), then())).toBe(want);
  });

  it('where fingerprints are required, an account without any lets no certificate stay', () => {
    expect(standingOf(account(), byCertificate, true)).toBe('credential-cut');
    expect(standingOf(account({ certificateFingerprints: [BOUND] }), byCertificate, true)).toBe('stands');
  });

  it('a login by SCRAM stands until its password is replaced', async () => {
    const grid = makeGrid('grid');
    await grid.add('siem@example.com', 'pencil');
    const exchange = grid.authenticator.begin('SCRAM-SHA-256', 'example.com', NO_TLS_EXTRAS);
    const { who: session } = (await scramLogin(exchange, 'siem', 'pencil')).step;
    expect(await grid.authenticator.standing(session)).toBe('stands');
    const found = await grid.accounts.get(siem);
    await grid.accounts.put({ ...found!.account, scram: others }, found!.version);
    expect(await grid.authenticator.standing(session)).toBe('credential-cut');
    expect(JSON.stringify(session)).not.toContain(found!.account.scram.sha256!.storedKey.toString('base64'));
  });
});
