/** `xmpp-grid cluster`, what `npm run cluster` starts: it says what there is, keeps it alive, and leaves nothing behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasHaproxy } from '../../support/start-haproxy.ts';
import { hasRedis } from '../../support/start-redis.ts';
import { until } from '../../support/until.ts';
import { xmppGrid } from '../../support/xmpp-grid.ts';

const LAUNCHER = fileURLToPath(new URL('../../../packages/server/bin/xmpp-grid.mjs', import.meta.url));
/** Each process would strip the types of all sources anew. */
const NODE_COMPILE_CACHE = fileURLToPath(new URL('../../../node_modules/.cache/xmpp-grid-tests', import.meta.url));
/** Starts on a busy machine. */
const TIMEOUT_MS = 90_000;
const canRun = hasRedis(true) && hasHaproxy();

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false; // ESRCH
  }
};

const launch = (directory: string): ChildProcess =>
  spawn(
    process.execPath,
    ['--conditions=development', '--disable-warning=ExperimentalWarning', LAUNCHER, 'cluster', '--data', directory]
      .concat(['--instances', '2', '--sentinels', '1'])
      .concat(['--port', '0', '--direct-tls-port', '0', '--http-port', '0']),
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NODE_COMPILE_CACHE } },
  );

describe.skipIf(!canRun)('xmpp-grid cluster', { timeout: TIMEOUT_MS }, () => {
  let directory: string;
  let command: ChildProcess;
  let output = '';
  /** What the banner names, by part. */
  let pids: Map<string, number>;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'grid-'));
    command = launch(directory);
    for (const stream of [command.stdout, command.stderr]) stream?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    await until('the cluster is up', () => / ready │ /.test(output) || command.exitCode !== null, TIMEOUT_MS);
    const rows = output.matchAll(/^ +((?:instance|redis|sentinel)-\d|haproxy) +(\d+) /gm);
    pids = new Map([...rows].map((row) => [row[1]!, Number(row[2])]));
  }, TIMEOUT_MS);
  afterAll(async () => {
    if (command.exitCode === null && command.signalCode === null) {
      command.kill('SIGTERM');
      await once(command, 'exit');
    }
    rmSync(directory, { recursive: true, force: true });
  }, TIMEOUT_MS);

  const statusOf = async () =>
    JSON.parse((await xmppGrid(['status', '--data', directory, '--json'])).stdout) as { members: { pid?: number }[] };

  it('says what there is, who may log in and what to try, and how all do', () => {
    expect([...pids.keys()].sort(), output).toEqual([
      'haproxy',
      'instance-1',
      'instance-2',
      'redis-1',
      'redis-2',
      'redis-3',
      'sentinel-1',
    ]);
    expect(output).toMatch(/provider@localhost +\S{16,} +\S+\/tls\/provider\.crt /);
    expect(output).toContain(`npm run demo -- --data ${directory}`);
    expect(output).toContain('2/2 ready │ 0 sessions (0+0) │ 0 events/s │ Redis primary redis-1, 2 replicas\n');
  });

  it('G-013 is one grid for demo and status, behind its balancer', async () => {
    const shown = await xmppGrid(['demo', '--data', directory]);
    expect(shown.stdout).toContain('Nothing was lost');
    expect(await statusOf()).toMatchObject({
      state: 'ready',
      pid: command.pid,
      members: [
        { name: 'instance-1', pid: pids.get('instance-1') },
        { name: 'instance-2', pid: pids.get('instance-2') },
      ],
    });
  });

  it('starts an instance that was killed again', async () => {
    const killed = pids.get('instance-1')!;
    process.kill(killed, 'SIGKILL');
    await until('it is told', () => output.includes('instance-1 ended (SIGKILL); starting it again in 0.5 s'), TIMEOUT_MS);
    await until(
      'it is back',
      async () => {
        const [first] = (await statusOf()).members;
        if (first?.pid === undefined || first.pid === killed) return false;
        pids.set('instance-1', first.pid);
        return true;
      },
      TIMEOUT_MS,
    );
  });

  it('a signal while it starts ends what it has started', async () => {
    const other = mkdtempSync(join(tmpdir(), 'grid-'));
    const starting = launch(other);
    const pidFile = join(other, 'redis-3', 'pid');
    await until('it has started Redis', () => existsSync(pidFile) && readFileSync(pidFile, 'utf8') !== '', TIMEOUT_MS);
    starting.kill('SIGINT');
    const [code] = await once(starting, 'exit');
    expect(code).toBe(1);
    const started = ['redis-1', 'redis-2', 'redis-3'].map((name) => Number(readFileSync(join(other, name, 'pid'), 'utf8')));
    await until('nothing is left', () => !started.some(isAlive), TIMEOUT_MS);
    rmSync(other, { recursive: true, force: true });
  });

  it('stops everything at a signal, in order, and ends with 0', async () => {
    command.kill('SIGINT');
    const [code] = await once(command, 'exit');
    expect(code).toBe(0);
    expect([...pids].filter(([, pid]) => isAlive(pid))).toEqual([]);
  });
});
