import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type AccountStore,
  deriveScramKeys,
  EmbeddedAccountStore,
  type PlatformAccount,
  RedisAccountStore,
} from '@xmpp-grid/auth';
import { JID, type RedisConnections } from '@xmpp-grid/stream';
import { open } from 'lmdb';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hasRedis, startRedis, type TestRedis } from '../../support/start-redis.ts';
import { connect } from '../stream/support.ts';

/** What AccountStore promises, kept by both adapters (A-016, A-037, G-012; delivery.md §2.1). */

const account = (jid: string, change: Partial<PlatformAccount> = {}): PlatformAccount => ({
  jid: JID.parse(jid),
  role: 'platform',
  state: 'enabled',
  scram: {},
  certificateFingerprints: ['ab'.repeat(32)],
  createdAtMs: 1_700_000_000_000,
  ...change,
});

async function added(store: AccountStore, jid: string, change: Partial<PlatformAccount> = {}): Promise<string> {
  const stored = await store.put(account(jid, change), undefined);
  if (stored === 'stale') throw new Error(`${jid} exists`);
  return stored.version;
}

async function allOf(store: AccountStore, pageSize: number): Promise<string[]> {
  const seen: string[] = [];
  for (let after: string | undefined; ; after = seen.at(-1)) {
    const page = await store.list(after, pageSize);
    expect(page.length).toBeLessThanOrEqual(pageSize);
    seen.push(...page.map((entry) => entry.account.jid.bareString));
    if (page.length < pageSize) return seen;
  }
}

/** Stores of one kind, each new one empty. */
interface Kind {
  newStore(): Promise<AccountStore>;
  close(): Promise<void>;
}

async function embedded(): Promise<Kind> {
  const folder = mkdtempSync(join(tmpdir(), 'accounts-'));
  const root = open({ path: folder });
  let stores = 0;
  return {
    newStore: async () => new EmbeddedAccountStore(root.openDB<string, string>({ name: `a${++stores}`, encoding: 'string' })),
    close: async () => {
      await root.close();
      rmSync(folder, { recursive: true });
    },
  };
}

async function overRedis(): Promise<Kind> {
  const server: TestRedis = await startRedis();
  const connections: RedisConnections[] = [];
  return {
    newStore: async () => {
      const redis = await connect(server.url);
      connections.push(redis);
      return new RedisAccountStore(redis);
    },
    close: async () => {
      for (const redis of connections) redis.close();
      await server.stop();
    },
  };
}

describe.each([
  ['embedded', embedded, true],
  ['redis', overRedis, hasRedis()],
] as const)('%s', (_name, makeKind, canRun) => {
  describe.skipIf(!canRun)('account store', () => {
    let kind: Kind;
    let store: AccountStore;
    beforeAll(async () => {
      kind = await makeKind();
    });
    afterAll(async () => {
      await kind.close();
    });
    beforeEach(async () => {
      store = await kind.newStore();
    });

    it('gives back what was stored, by bare JID (A-016)', async () => {
      const before = account('a@grid.example', {
        scram: await deriveScramKeys('pencil', { hashes: ['sha256', 'sha1'], iterations: 4096 }),
      });
      const stored = await store.put(before, undefined);
      const found = await store.get(JID.parse('a@grid.example/resource'));
      expect(found?.account).toEqual(before);
      expect(stored).toEqual({ version: found?.version });
      expect(await store.get(JID.parse('b@grid.example'))).toBeUndefined();
    });

    it('writes only over the version that was read (delivery.md §2.1)', async () => {
      const first = await added(store, 'a@grid.example');
      expect(await store.put(account('a@grid.example'), undefined)).toBe('stale');
      expect(await store.put(account('b@grid.example'), first)).toBe('stale');
      const second = await store.put(account('a@grid.example', { state: 'disabled' }), first);
      if (second === 'stale') throw new Error('stale');
      expect(second.version).not.toBe(first);
      expect(await store.put(account('a@grid.example'), first)).toBe('stale');
      expect((await store.get(JID.parse('a@grid.example')))?.account.state).toBe('disabled');
      expect(await store.remove(JID.parse('a@grid.example'), first)).toBe('stale');
      expect(await store.remove(JID.parse('a@grid.example'), second.version)).toBe('removed');
      expect(await store.get(JID.parse('a@grid.example'))).toBeUndefined();
      expect(await store.remove(JID.parse('a@grid.example'), second.version)).toBe('stale');
      expect(await allOf(store, 10)).toEqual([]);
    });

    it('an account that was made again is another one, whatever was read of the first', async () => {
      const first = await added(store, 'a@grid.example');
      await store.remove(JID.parse('a@grid.example'), first);
      await added(store, 'a@grid.example', { role: 'observer' });
      expect(await store.put(account('a@grid.example'), first)).toBe('stale');
      expect(await store.remove(JID.parse('a@grid.example'), first)).toBe('stale');
      expect(await allOf(store, 10)).toEqual(['a@grid.example']);
    });

    it('lets one of many simultaneous writers win, new account or not', async () => {
      const jid = 'a@grid.example';
      const made = await Promise.all(Array.from({ length: 8 }, () => store.put(account(jid), undefined)));
      expect(made.filter((result) => result !== 'stale')).toHaveLength(1);
      const version = (await store.get(JID.parse(jid)))?.version;
      const changed = await Promise.all(Array.from({ length: 8 }, (_, i) => store.put(account(jid, { role: `r${i}` }), version)));
      expect(changed.filter((result) => result !== 'stale')).toHaveLength(1);
      const winner = changed.findIndex((result) => result !== 'stale');
      expect((await store.get(JID.parse(jid)))?.account.role).toBe(`r${winner}`);
      expect(await allOf(store, 10)).toEqual([jid]);
      expect(await store.count()).toBe(1);
    });

    it('an account that is made and removed from all sides stands in the list exactly if it is there', async () => {
      const jid = JID.parse('a@grid.example');
      const churn = async () => {
        for (let i = 0; i < 15; i++) {
          const found = await store.get(jid);
          await (found === undefined ? store.put(account('a@grid.example'), undefined) : store.remove(jid, found.version));
        }
      };
      for (let round = 0; round < 5; round++) {
        await Promise.all([churn(), churn(), churn(), churn()]);
        const isThere = (await store.get(jid)) !== undefined;
        expect(await allOf(store, 10)).toEqual(isThere ? ['a@grid.example'] : []);
        expect(await store.count()).toBe(isThere ? 1 : 0);
      }
    });

    it('lists in pages, each account once, in order of JID, and counts', async () => {
      const names = Array.from({ length: 25 }, (_, i) => `p${String(i).padStart(2, '0')}@grid.example`);
      await Promise.all(names.map((name) => added(store, name)));
      for (const size of [1, 10, 25, 100]) expect(await allOf(store, size)).toEqual(names);
      expect(await store.count()).toBe(25);
      expect((await store.list('p03@grid.examplex', 1))[0]?.account.jid.local).toBe('p04');
      expect(await store.list('p24@grid.example', 10)).toEqual([]);
      expect(await store.list(undefined, 0)).toEqual([]);
    });

    it('orders names by their bytes: a name before those that it begins, and beyond ASCII', async () => {
      const names = ['a@grid.example', 'a@grid.example.org', 'a!@grid.example', 'ü@grid.example', '{a}%@grid.example'];
      for (const name of names) await added(store, name);
      const inOrder = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      expect(await allOf(store, 2)).toEqual(inOrder);
      for (const name of names) expect((await store.get(JID.parse(name)))?.account.jid.bareString).toBe(name);
    });

    it('RFC 7622 §3.1 takes the longest bare JID there is (A-037)', async () => {
      const label = '\u{20000}'.repeat(53);
      const longest = `${'a'.repeat(1023)}@${[label, label, label, label.slice(4)].join('.')}`;
      expect(Buffer.byteLength(longest)).toBeGreaterThan(1850);
      await added(store, longest);
      expect((await store.get(JID.parse(longest)))?.account).toEqual(account(longest));
      expect(await allOf(store, 1)).toEqual([longest]);
    });
  });
});
