import { AccountRoles, type PlatformAccount } from '@xmpp-grid/auth';
import { JID } from '@xmpp-grid/stream';
import { describe, expect, it } from 'vitest';
import { MemoryAccountStore } from './support.ts';

const SIEM = 'siem@grid.example';
const account = (jid: string, role: string): PlatformAccount => ({
  jid: JID.parse(jid),
  role,
  state: 'enabled',
  scram: {},
  certificateFingerprints: [],
  createdAtMs: 1,
});

/** Counts its reads, and holds them back while `gate` is set. */
class CountingStore extends MemoryAccountStore {
  reads = 0;
  gate: Promise<void> | undefined;

  override async get(jid: JID) {
    this.reads++;
    const found = await super.get(jid);
    await this.gate;
    return found;
  }
}

async function setRole(store: MemoryAccountStore, role: string): Promise<void> {
  const found = await store.get(JID.parse(SIEM));
  await store.put(account(SIEM, role), found?.version);
}

function make(options: { maxEntries?: number } = {}) {
  const accounts = new CountingStore();
  let nowMs = 0;
  const roles = new AccountRoles({ accounts, now: () => nowMs, ...options });
  return {
    accounts,
    roles,
    pass: (ms: number) => {
      nowMs += ms;
    },
  };
}

describe('remembered roles, delivery.md §8.2', () => {
  it('one read serves all who ask, until the control log tells of a change', async () => {
    const { accounts, roles } = make();
    await setRole(accounts, 'platform');
    accounts.reads = 0;
    expect(await Promise.all([roles.roleOf(SIEM), roles.roleOf(SIEM)])).toEqual(['platform', 'platform']);
    expect(await roles.roleOf(SIEM)).toBe('platform');
    expect(accounts.reads).toBe(1);
    await setRole(accounts, 'observer');
    expect(await roles.roleOf(SIEM)).toBe('platform');
    roles.invalidate(SIEM);
    expect(await roles.roleOf(SIEM)).toBe('observer');
  });

  it('an account that does not exist is remembered too, and found once it is told of', async () => {
    const { accounts, roles } = make();
    expect(await roles.roleOf(SIEM)).toBeUndefined();
    await setRole(accounts, 'platform');
    roles.invalidateAll();
    expect(await roles.roleOf(SIEM)).toBe('platform');
  });

  it('what was missed shows after a minute', async () => {
    const { accounts, roles, pass } = make();
    await setRole(accounts, 'platform');
    await roles.roleOf(SIEM);
    await setRole(accounts, 'observer');
    pass(59_999);
    expect(await roles.roleOf(SIEM)).toBe('platform');
    pass(1);
    expect(await roles.roleOf(SIEM)).toBe('observer');
  });

  it('the answer to a question from before the change is not kept', async () => {
    const { accounts, roles } = make();
    await setRole(accounts, 'platform');
    let open = () => {};
    accounts.gate = new Promise((resolve) => {
      open = resolve;
    });
    const before = roles.roleOf(SIEM);
    roles.invalidate(SIEM);
    accounts.gate = undefined;
    await setRole(accounts, 'observer');
    expect(await roles.roleOf(SIEM)).toBe('observer');
    open();
    expect(await before).toBe('platform');
    expect(await roles.roleOf(SIEM)).toBe('observer');
  });

  it('a store that failed is asked again', async () => {
    const { accounts, roles } = make();
    await setRole(accounts, 'platform');
    accounts.failure = new Error('away');
    await expect(roles.roleOf(SIEM)).rejects.toThrow('away');
    accounts.failure = undefined;
    expect(await roles.roleOf(SIEM)).toBe('platform');
  });

  it('holds no more than its bound; the longest unused one goes', async () => {
    const { accounts, roles } = make({ maxEntries: 2 });
    for (const name of ['a', 'b']) await roles.roleOf(`${name}@grid.example`);
    await roles.roleOf('a@grid.example');
    await roles.roleOf('c@grid.example'); // takes the place of b
    accounts.reads = 0;
    await roles.roleOf('a@grid.example');
    expect(accounts.reads).toBe(0);
    await roles.roleOf('b@grid.example');
    expect(accounts.reads).toBe(1);
  });
});
