import { fork, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { ENVIRONMENT_OPTIONS, openEmbeddedTopicStore, StoreFormatError } from '@xmpp-grid/pubsub';
import { open } from 'lmdb';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeTopicStore } from '../../support/store-conformance.ts';
import { create, OWNER, publish, subscribe, T0, temporaryStore } from '../../support/topics.ts';

describeTopicStore('embedded', async (retention) => {
  const under = temporaryStore(retention ? { retention } : {});
  return { store: under.store, reopen: () => under.reopen(), destroy: () => under.destroy() };
});

describe('embedded topic store', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'topics-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));
  const openRoot = () => open({ ...ENVIRONMENT_OPTIONS, path: join(directory, 'data.mdb') });

  it('refuses data of another version and says what to do', async () => {
    const root = openRoot();
    const meta = root.openDB<number, Buffer>('pubsub.meta', { encoding: 'json', keyEncoding: 'binary' });
    await meta.put(Buffer.from('format'), 99);
    expect(() => openEmbeddedTopicStore(root)).toThrow(StoreFormatError);
    expect(() => openEmbeddedTopicStore(root)).toThrow(/format 99.*start the version that wrote them/);
    await root.close();
  });

  it('loses nothing acknowledged when the process is killed (G-029, design §6)', { timeout: 60_000 }, async () => {
    const path = join(directory, 'data.mdb');
    const child = fork(new URL('../../support/publish-until-killed.ts', import.meta.url), [path], {
      execArgv: ['--conditions=development'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const acknowledged = new Map<number, string>();
    await new Promise<void>((resolve, reject) => {
      child.on('message', ([seq, uid]: [number, string]) => {
        acknowledged.set(seq, uid);
        if (acknowledged.size === 500) child.kill('SIGKILL');
      });
      child.on('exit', (code, signal) => (signal === 'SIGKILL' ? resolve() : reject(new Error(`child ended with ${code}`))));
    });
    const root = openRoot();
    const store = openEmbeddedTopicStore(root);
    const page = await store.readLog('killed', { seq: 0, uid: '' }, 1_000_000, 1 << 30);
    if (page === 'gone') throw new Error('the topic is gone');
    const stored = new Map(page.entries.map(({ seq, uid }) => [seq, uid]));
    for (const [seq, uid] of acknowledged) expect(stored.get(seq)).toBe(uid);
    expect(page.entries.map((entry) => entry.seq)).toEqual(page.entries.map((_, i) => i + 1));
    for (const [i, entry] of page.entries.entries()) expect(entry.prevUid).toBe(i === 0 ? '' : page.entries[i - 1]!.uid);
    expect((await store.items('killed', { max: 0 })) as { count: number }).toMatchObject({ count: page.entries.length });
    await store.close();
    await root.close();
  });

  it('refuses what the disk has no room for, and keeps all that was acknowledged (design §6, disk full)', {
    timeout: 60_000,
  }, async () => {
    // The largest file this process may write stands for the end of the disk: 4 MiB in blocks of 512 bytes.
    const limited = 'trap \'\' XFSZ; ulimit -f 8192; exec "$@"';
    const script = fileURLToPath(new URL('../../support/publish-until-full.ts', import.meta.url));
    const child = spawn(
      '/bin/sh',
      ['-c', limited, 'sh', process.execPath, '--conditions=development', script, join(directory, 'data.mdb')],
      {
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    );
    const output = await text(child.stdout);
    const { acknowledged, refusals } = JSON.parse(output) as { acknowledged: [number, string][]; refusals: string[] };
    expect(refusals).toEqual(['StoreFull disk', 'StoreFull disk', 'StoreFull disk']);
    expect(acknowledged.length).toBeGreaterThan(10);
    const root = openRoot();
    const store = openEmbeddedTopicStore(root);
    const page = await store.readLog('full', { seq: 0, uid: '' }, 10_000, 1 << 30);
    if (page === 'gone') throw new Error('the topic is gone');
    expect(page.entries.map(({ seq, uid }) => [seq, uid])).toEqual(acknowledged);
    const [next] = await publish(store, 'full', 'there is room again');
    expect(next).toMatchObject({ seq: acknowledged.length + 1, prevUid: acknowledged.at(-1)![1] });
    await store.close();
    await root.close();
  });

  it('housekeeping trims by age and drops tombstones, topic by topic', { timeout: 20_000 }, async () => {
    const HOUR = 3_600_000;
    const under = temporaryStore({ retention: { maxAgeMs: HOUR } });
    const { store } = under;
    const nodes = Array.from({ length: 120 }, (_, i) => `topic ${String(i).padStart(3, '0')}`);
    await Promise.all(nodes.map((node) => create(store, node)));
    await Promise.all(nodes.map((node) => publish(store, node, 'a')));
    await subscribe(store, nodes[0]!, 'alice@grid.example');
    const buried = nodes.filter((_, i) => i % 3 === 0);
    const deletion = { kind: 'delete', publisher: OWNER, stampMs: T0, notify: true } as const;
    await Promise.all(buried.map((node) => store.commit(node, {}, deletion)));
    await store.sweep(T0 + HOUR - 1, 200);
    expect(await store.tombstone(nodes[0]!)).toBeDefined();
    // The second round starts over where the first came to the end.
    for (let i = 0; i < 5; i += 1) await store.sweep(T0 + HOUR, 60);
    for (const node of nodes) {
      expect(await store.tombstone(node)).toBeUndefined();
      const page = await store.readLog(node, { seq: 0, uid: '' }, 9, 1 << 20);
      if (buried.includes(node)) expect(page).toBe('gone');
      else expect(page).toMatchObject({ entries: [], firstSeq: 2, head: { seq: 1 } });
    }
    await under.destroy();
  });

  it('a listener that throws harms neither the publish nor other listeners', async () => {
    const errors: unknown[] = [];
    const under = temporaryStore({ onListenerError: (error) => errors.push(error) });
    await create(under.store, 'n');
    const heard: number[] = [];
    under.store.onEntries(() => {
      throw new Error('broken');
    });
    under.store.onEntries(({ entries }) => heard.push(entries.length));
    await publish(under.store, 'n', 'a');
    expect(heard).toEqual([1]);
    expect(errors).toHaveLength(1);
    await under.destroy();
  });
});
