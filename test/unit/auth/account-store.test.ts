import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  decodeAccount,
  deriveScramKeys,
  EmbeddedAccountStore,
  encodeAccount,
  generatePassword,
  normalizeFingerprint,
  type PlatformAccount,
} from '@xmpp-grid/auth';
import { JID } from '@xmpp-grid/stream';
import { open, type RootDatabase } from 'lmdb';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const account = (jid: string, change: Partial<PlatformAccount> = {}): PlatformAccount => ({
  jid: JID.parse(jid),
  role: 'platform',
  state: 'enabled',
  scram: {},
  certificateFingerprints: ['ab'.repeat(32)],
  createdAtMs: 1_700_000_000_000,
  ...change,
});

describe('account records', () => {
  it('come back as they were stored, and hold no password (A-016)', async () => {
    const before = account('a@example.com', {
      scram: await deriveScramKeys('pencil', { hashes: ['sha256', 'sha1'], iterations: 4096 }),
    });
    const json = encodeAccount(before);
    expect(decodeAccount(json)).toEqual(before);
    expect(json).not.toContain('pencil');
    expect(Object.keys((JSON.parse(json) as { scram: { sha256: object } }).scram.sha256)).toEqual([
      'storedKey',
      'serverKey',
      'salt',
      'iterations',
    ]);
  });

  it('that are damaged are refused', () => {
    expect(() => decodeAccount('{}')).toThrow();
    expect(() => decodeAccount(encodeAccount(account('a@b')).replace('enabled', 'enabledx'))).toThrow('unknown state');
  });

  it('get passwords of 24 characters, each another', () => {
    expect(generatePassword()).toMatch(/^[A-Za-z0-9_-]{24}$/);
    expect(generatePassword()).not.toBe(generatePassword());
  });

  it.each<[string, string | undefined]>([
    ['AB:'.repeat(31).concat('AB'), 'ab'.repeat(32)],
    ['ab'.repeat(32), 'ab'.repeat(32)],
    ['ab'.repeat(20), undefined],
    ['zz'.repeat(32), undefined],
  ])('fingerprint %s -> %s', (text, want) => {
    expect(normalizeFingerprint(text)).toBe(want);
  });
});

/** The rest of what it promises is in test/cluster/auth, for both adapters. */
describe('the embedded account store', () => {
  let folder: string;
  let environment: RootDatabase;
  let store: EmbeddedAccountStore;
  const openStore = () => {
    environment = open({ path: join(folder, 'data.mdb') });
    store = new EmbeddedAccountStore(environment.openDB<string, string>({ name: 'accounts', encoding: 'string' }));
  };
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'xmpp-grid-accounts-'));
    openStore();
  });
  afterEach(async () => {
    await environment.close();
    rmSync(folder, { recursive: true });
  });

  it('keeps accounts over a restart and finds them by bare JID', async () => {
    const stored = await store.put(account('a@example.com'), undefined);
    await environment.close();
    openStore();
    const found = await store.get(JID.parse('a@example.com/resource'));
    expect(found?.account).toEqual(account('a@example.com'));
    expect(stored).toEqual({ version: found?.version });
    expect(await store.get(JID.parse('b@example.com'))).toBeUndefined();
  });
});
