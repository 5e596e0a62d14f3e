/** One administrator for several instances: what is stored is asked of one, what lives on an instance of all. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  AdminError,
  type AdminOperations,
  type PlatformView,
  type SessionView,
} from '../../../packages/server/src/admin/operations.ts';
import { type ControlServer, serveControl } from '../../../packages/server/src/control/server.ts';
import { createLogger } from '../../../packages/server/src/observe/log.ts';
import { JointAdmin } from '../../../packages/server/src/supervise/joint-admin.ts';

const log = createLogger({ level: 'error', format: 'json' });

/** What all instances of the test share. */
interface Store {
  readonly platforms: Map<string, 'enabled' | 'disabled'>;
}

/** An instance over the store with sessions of its own, as far as the tests ask. */
function instance(store: Store, sessions: string[]): AdminOperations {
  const account = (jid: string) => jid.split('/', 1)[0]!;
  const view = (jid: string): PlatformView => {
    const state = store.platforms.get(jid);
    if (state === undefined) throw new AdminError('no-such-platform', `there is no platform ${jid}`);
    const own = sessions.filter((session) => account(session) === jid);
    return { jid, role: 'platform', state, createdMs: 0, credentials: [], certificates: [], sessions: own.length };
  };
  const end = (jid: string) => {
    const own = sessions.filter((session) => account(session) === jid);
    for (const session of own) sessions.splice(sessions.indexOf(session), 1);
    return own.length;
  };
  const unused = () => Promise.reject(new Error('not asked for here'));
  return {
    status: async () => ({
      version: '1',
      instanceId: `id-${sessions.length}`,
      state: 'ready',
      domain: 'localhost',
      brokerDomain: 'broker.localhost',
      profile: 'grid',
      pid: 100 + sessions.length,
      startedMs: 1,
      listeners: { starttls: 'own' },
      platforms: store.platforms.size,
      topics: 7,
      sessions: sessions.length,
    }),
    platformAdd: async ({ name }) => {
      store.platforms.set(name, 'enabled');
      return view(name);
    },
    platformList: async () => [...store.platforms.keys()].sort().map(view),
    platformShow: async ({ name }) => view(name),
    platformDisable: async ({ name }) => {
      view(name);
      store.platforms.set(name, 'disabled');
      const endedStreams = end(name);
      return { platform: view(name), endedStreams };
    },
    platformEnable: unused,
    platformRemove: async ({ name }) => {
      view(name);
      store.platforms.delete(name);
      return { endedStreams: end(name) };
    },
    topicList: unused,
    topicShow: unused,
    sessionList: async ({ after = '', max = 100 }) =>
      sessions
        .filter((jid) => jid > after)
        .sort()
        .slice(0, max)
        .map((jid): SessionView => ({ jid, role: '', mechanism: '', remoteAddress: '', tlsVersion: '', sinceMs: 0 })),
  } as AdminOperations;
}

describe('an administrator of several instances', () => {
  let root: string;
  let servers: ControlServer[];
  let store: Store;
  let joint: JointAdmin;
  let sessions: [string[], string[]];
  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'joint-'));
    store = { platforms: new Map([['a@x', 'enabled'] as const, ['b@x', 'enabled'] as const]) };
    sessions = [['a@x/1', 'b@x/3'], ['a@x/2']];
    servers = [];
    const members = ['worker-1', 'worker-2', 'worker-3'].map((name) => ({
      name,
      dataDir: join(root, name),
      state: () => 'draining' as const,
    }));
    for (const { dataDir } of members) mkdirSync(dataDir, { mode: 0o700 });
    // The third is away.
    for (const [index, own] of sessions.entries())
      servers.push(await serveControl(members[index]!.dataDir, instance(store, own), log));
    joint = new JointAdmin(members, { startedMs: 42, state: () => 'ready', listeners: () => ({ starttls: 'shared:5222' }) });
  });
  afterEach(async () => {
    for (const server of servers) await server.close();
    rmSync(root, { recursive: true, force: true });
  });

  it('tells of the whole and of each member, one that is away too', async () => {
    expect(await joint.status()).toMatchObject({
      state: 'ready',
      pid: process.pid,
      startedMs: 42,
      listeners: { starttls: 'shared:5222' },
      platforms: 2,
      topics: 7,
      sessions: 3,
      members: [
        { name: 'worker-1', state: 'draining', sessions: 2, instanceId: 'id-2', pid: 102 },
        { name: 'worker-2', state: 'draining', sessions: 1, instanceId: 'id-1', pid: 101 },
        { name: 'worker-3', state: 'away', sessions: 0 },
      ],
    });
  });

  it('lists the sessions of all in order, page by page', async () => {
    const first = await joint.sessionList({ max: 2 });
    expect(first.map(({ jid }) => jid)).toEqual(['a@x/1', 'a@x/2']);
    expect((await joint.sessionList({ max: 2, after: 'a@x/2' })).map(({ jid }) => jid)).toEqual(['b@x/3']);
  });

  it('counts the sessions of a platform on all', async () => {
    expect((await joint.platformShow({ name: 'a@x' })).sessions).toBe(2);
    expect((await joint.platformList({})).map(({ jid, sessions }) => [jid, sessions])).toEqual([
      ['a@x', 2],
      ['b@x', 1],
    ]);
  });

  it('G-061 disables a platform: its streams end on all', async () => {
    const { platform, endedStreams } = await joint.platformDisable({ name: 'a@x' });
    expect([platform.state, platform.sessions, endedStreams]).toEqual(['disabled', 0, 2]);
    expect(sessions).toEqual([['b@x/3'], []]);
  });

  it('removes a platform once, and its streams on all', async () => {
    expect(await joint.platformRemove({ name: 'a@x' })).toEqual({ endedStreams: 2 });
    expect([...store.platforms.keys()]).toEqual(['b@x']);
    await expect(joint.platformRemove({ name: 'a@x' })).rejects.toMatchObject({ code: 'no-such-platform' });
  });

  it('leaves out one that ends while it is asked', async () => {
    // A socket that closes on whoever asks: what a process that is killed just then looks like.
    const dying = createServer((socket) => socket.once('data', () => socket.destroy()));
    await new Promise<void>((resolve) => dying.listen(join(root, 'worker-3', 'control.sock'), resolve));
    expect((await joint.status()).members?.map(({ name, state }) => [name, state])).toEqual([
      ['worker-1', 'draining'],
      ['worker-2', 'draining'],
      ['worker-3', 'away'],
    ]);
    expect(await joint.sessionList({})).toHaveLength(3);
    await new Promise((resolve) => dying.close(resolve));
  });

  it('does not ask one that its supervisor knows to be away', async () => {
    const [first] = ['worker-1'].map((name) => ({ name, dataDir: join(root, name), state: () => 'away' as const }));
    const alone = new JointAdmin([first!], { startedMs: 1, state: () => 'ready', listeners: () => ({}) });
    await expect(alone.status()).rejects.toMatchObject({ code: 'not-running' });
  });

  it('says so when none answers', async () => {
    for (const server of servers) await server.close();
    await expect(joint.status()).rejects.toMatchObject({ code: 'not-running' });
  });
});
