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

  it('writes only over the version that was read', async () => {
    const first = await store.put(account('a@example.com'), undefined);
    if (first === 'stale') throw new Error('stale');
    expect(await store.put(account('a@example.com'), undefined)).toBe('stale');
    expect(await store.put(account('b@example.com'), first.version)).toBe('stale');
    const second = await store.put(account('a@example.com', { state: 'disabled' }), first.version);
    if (second === 'stale') throw new Error('stale');
    expect(second.version).not.toBe(first.version);
    expect(await store.put(account('a@example.com'), first.version)).toBe('stale');
    expect((await store.get(JID.parse('a@example.com')))?.account.state).toBe('disabled');
    expect(await store.remove(JID.parse('a@example.com'), first.version)).toBe('stale');
    expect(await store.remove(JID.parse('a@example.com'), second.version)).toBe('removed');
    expect(await store.get(JID.parse('a@example.com'))).toBeUndefined();
  });

  it('lets one of two simultaneous writers win', async () => {
    const results = await Promise.all([
      store.put(account('a@example.com'), undefined),
      store.put(account('a@example.com'), undefined),
    ]);
    expect(results.filter((result) => result === 'stale')).toHaveLength(1);
  });

  it('lists in pages, each account once', async () => {
    const names = Array.from({ length: 25 }, (_, i) => `p${String(i).padStart(2, '0')}@example.com`);
    await Promise.all(names.map((name) => store.put(account(name), undefined)));
    const seen: string[] = [];
    for (let after: string | undefined; ; ) {
      const page = await store.list(after, 10);
      seen.push(...page.map((entry) => entry.account.jid.bareString));
      if (page.length < 10) break;
      after = seen.at(-1);
    }
    expect(seen).toEqual(names);
    expect((await store.list('p03@example.comx', 1))[0]?.account.jid.local).toBe('p04');
  });

  it('RFC 7622 §3.1 takes the longest bare JID there is (A-037)', async () => {
    const label = '\u{20000}'.repeat(53);
    const longest = account(`${'a'.repeat(1023)}@${[label, label, label, label.slice(4)].join('.')}`);
    expect(Buffer.byteLength(longest.jid.bareString)).toBeGreaterThan(1850);
    await store.put(longest, undefined);
    expect((await store.get(longest.jid))?.account).toEqual(longest);
  });
});
