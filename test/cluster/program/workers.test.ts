/** `serve --workers 2` on Redis: shared ports, streams on both, a worker that dies is started again alone, one drain for all. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AdminOperations } from '@xmpp-grid/server';
import { connectControl } from '@xmpp-grid/server';
import { Element, NS } from '@xmpp-grid/stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PlatformClient } from '../../../packages/server/src/demo/client.ts';
import { demoFiles, readDemoCredentials } from '../../../packages/server/src/demo/setup.ts';
import { hasRedis, startRedis, type TestRedis } from '../../support/start-redis.ts';
import { until } from '../../support/until.ts';
import { xmppGrid } from '../../support/xmpp-grid.ts';

const LAUNCHER = fileURLToPath(new URL('../../../packages/server/bin/xmpp-grid.mjs', import.meta.url));
/** Each process would strip the types of all sources anew. */
const NODE_COMPILE_CACHE = fileURLToPath(new URL('../../../node_modules/.cache/xmpp-grid-tests', import.meta.url));

/** Starts on a busy machine. */
const TIMEOUT_MS = 90_000;

describe.skipIf(!hasRedis(true))('serve --workers 2', { timeout: TIMEOUT_MS }, () => {
  let redis: TestRedis;
  let dataDir: string;
  let parent: ChildProcess;
  let output = '';
  let ports: { starttls: number; directTls: number; http: number };
  const clients: PlatformClient[] = [];

  const serve = () =>
    spawn(
      process.execPath,
      ['--conditions=development', '--disable-warning=ExperimentalWarning', LAUNCHER]
        .concat(['serve', '--demo', '--workers', '2', '--config', join(dataDir, 'grid.yaml'), '--data', dataDir])
        .concat(['--port', '0', '--direct-tls-port', '0', '--http-port', '0']),
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NODE_COMPILE_CACHE } },
    );

  beforeAll(async () => {
    redis = await startRedis({ isOwn: true, args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    dataDir = mkdtempSync(join(tmpdir(), 'workers-'));
    writeFileSync(
      join(dataDir, 'grid.yaml'),
      `store: {kind: redis}\nredis: {nodes: ['${redis.host}:${redis.port}']}\nlog: {format: json}\n`,
    );
    parent = serve();
    for (const stream of [parent.stdout, parent.stderr]) stream?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const exited = once(parent, 'exit').then(([code]) => {
      throw new Error(`ended with ${code}:\n${output}`);
    });
    exited.catch(() => undefined); // later ends are the tests' own
    await Promise.race([exited, until('the workers serve', () => output.includes('Ctrl-C stops it'), TIMEOUT_MS)]);
    const portOf = (what: string) => Number(new RegExp(`${what} .*127\\.0\\.0\\.1:(\\d+)`).exec(output)?.[1]);
    ports = { starttls: portOf('STARTTLS'), directTls: portOf('Direct TLS'), http: portOf('HTTP') };
  }, TIMEOUT_MS);
  afterAll(async () => {
    if (parent.exitCode === null && parent.signalCode === null) {
      parent.kill('SIGKILL');
      await once(parent, 'exit');
    }
    for (const client of clients) client.destroy();
    await redis.stop();
    rmSync(dataDir, { recursive: true, force: true });
  });

  async function admin<T>(use: (admin: AdminOperations) => Promise<T>): Promise<T> {
    const control = await connectControl(dataDir);
    if (control === undefined) throw new Error('nothing answers on the control socket');
    try {
      return await use(control.admin);
    } finally {
      control.close();
    }
  }
  const members = async () => (await admin((each) => each.status())).members ?? [];
  const page = async (path: string) => await (await fetch(`http://127.0.0.1:${ports.http}${path}`)).text();

  async function login(name: 'provider' | 'consumer'): Promise<PlatformClient> {
    const client = await PlatformClient.connect({
      host: '127.0.0.1',
      port: ports.directTls,
      mode: 'direct-tls',
      domain: 'localhost',
      name,
      credential: { password: readDemoCredentials(dataDir)![name].password },
      ca: readFileSync(demoFiles(dataDir).ca),
    });
    clients.push(client);
    return client;
  }

  const request = (verb: string, attrs: Record<string, string>) =>
    new Element('pubsub', { xmlns: NS.pubsub }).c(verb, attrs).root();
  const publish = (client: PlatformClient, id: string) => {
    const payload = request('publish', { node: 'shared' });
    payload.getChild('publish')!.c('item', { id }).c('note', { xmlns: 'urn:example:note' });
    return client.request('set', 'broker.localhost', payload);
  };
  const event = (client: PlatformClient, id: string) =>
    client.message((message) => message.getChild('event', NS.pubsubEvent)?.getChild('items')?.getChild('item')?.attrs.id === id);

  let provider: PlatformClient;
  let consumer: PlatformClient;

  it('deals connections out in turn: provider on one worker, consumer on the other, and the event goes across', async () => {
    provider = await login('provider');
    consumer = await login('consumer');
    expect((await members()).map(({ name, state, sessions }) => [name, state, sessions])).toEqual([
      ['worker-1', 'ready', 1],
      ['worker-2', 'ready', 1],
    ]);
    await provider.request('set', 'broker.localhost', request('create', { node: 'shared' }));
    await consumer.request('set', 'broker.localhost', request('subscribe', { node: 'shared', jid: 'consumer@localhost' }));
    await publish(provider, 'across');
    await event(consumer, 'across');
  });

  it('tells of both on one endpoint, by the label worker', async () => {
    expect(await page('/readyz')).toBe('ok\n');
    const metrics = await page('/metrics');
    for (const worker of ['1', '2']) {
      expect(metrics).toContain(`xmppgrid_sessions{worker="${worker}"} 1`);
      expect(metrics).toContain(`xmppgrid_worker_restarts_total{worker="${worker}"} 0`);
      expect(metrics).toMatch(new RegExp(`^process_start_time_seconds\\{worker="${worker}"\\} \\d+`, 'm'));
    }
    expect(metrics.match(/^# TYPE xmppgrid_sessions gauge$/gm)).toHaveLength(1);
  });

  it('refuses a second start on the same data', async () => {
    const second = await xmppGrid([
      'serve',
      '--demo',
      '--workers',
      '2',
      '--config',
      join(dataDir, 'grid.yaml'),
      '--data',
      dataDir,
    ]);
    expect(second.stderr).toContain(`a running instance works on ${dataDir}`);
    expect(second.code).toBe(1);
  });

  it('S-36 starts a worker that was killed again, alone: the other one keeps its streams', async () => {
    const before = await members();
    const [home, other] = await homes();
    const victim = before.find(({ name }) => name === home)!;
    const survivor = before.find(({ name }) => name === other)!;
    process.kill(victim.pid!, 'SIGKILL');
    await until(
      'the worker is back',
      async () => {
        const now = (await members()).find(({ name }) => name === home);
        return now?.state === 'ready' && now.pid !== victim.pid;
      },
      TIMEOUT_MS,
    );
    expect((await members()).find(({ name }) => name === other)).toMatchObject({ pid: survivor.pid, sessions: 1 });
    expect(await page('/metrics')).toContain(`xmppgrid_worker_restarts_total{worker="${home?.at(-1)}"} 1`);

    // The consumer's stream was on the survivor: it goes on, and the provider comes back on any.
    provider = await login('provider');
    await publish(provider, 'after the crash');
    await event(consumer, 'after the crash');
  });

  /** The workers of provider and consumer. */
  async function homes(): Promise<[string | undefined, string | undefined]> {
    const found = new Map<string, string>();
    for (const name of ['worker-1', 'worker-2']) {
      const control = await connectControl(join(dataDir, name));
      for (const { jid } of (await control?.admin.sessionList({})) ?? []) found.set(jid.split('@', 1)[0]!, name);
      control?.close();
    }
    return [found.get('provider'), found.get('consumer')];
  }

  it('drains all at SIGTERM and ends with 0', async () => {
    const pids = (await members()).map(({ pid }) => pid!);
    const ends = [provider, consumer].map((client) => client.message(() => false).catch((error: Error) => error.message));
    parent.kill('SIGTERM');
    const [code] = await once(parent, 'exit');
    expect(code).toBe(0);
    expect(await Promise.all(ends)).toEqual(Array(2).fill('the server ended the stream: system-shutdown'));
    expect(existsSync(join(dataDir, 'control.sock'))).toBe(false);
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });
});
