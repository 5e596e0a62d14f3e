import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free-ports.ts';

/**
 * A Redis for tests: `REDIS_URL` where it is set (shared, so every test takes a key prefix of its own), else a server that
 * the test starts on a free port in a directory of its own, else the test is skipped and says so; never silently where
 * `CI=true`.
 */
export interface TestRedis {
  readonly host: string;
  readonly port: number;
  readonly url: string;
  /** Undefined for one that `REDIS_URL` names: such a server cannot be killed. */
  readonly pid: number | undefined;
  /** False after `kill`, until `restart`. A shared server counts as running. */
  readonly isRunning: boolean;
  /** Dies at once, as from a crash; its files stay for `restart`. */
  kill(): Promise<void>;
  /** Starts again on the same port and files after `kill`, with these arguments besides its own. */
  restart(more?: readonly string[]): Promise<void>;
  /** Ends it and removes its files. A shared server is left alone. */
  stop(): Promise<void>;
}

export interface RedisOptions {
  /** More arguments of redis-server, e.g. `['--appendonly', 'yes']`. With any, a server of its own is started even beside `REDIS_URL`. */
  readonly args?: readonly string[];
  /** A server that the test may kill, also beside `REDIS_URL`. */
  readonly isOwn?: boolean;
}

const DEADLINE_MS = 15_000;

const binary = ['redis-server', 'valkey-server'].find((name) => spawnSync(name, ['--version']).status === 0);
const sharedUrl = process.env.REDIS_URL;

/** The program to start. @throws Error where there is none */
export function redisBinary(): string {
  if (binary === undefined) throw new Error('no redis-server or valkey-server on PATH');
  return binary;
}

/** Whether tests that need Redis can run: `describe.skipIf(!hasRedis())`. `isOwn`: they need one that they may kill. */
export function hasRedis(isOwn = false): boolean {
  const has = binary !== undefined || (!isOwn && sharedUrl !== undefined);
  if (has) return true;
  const message = 'no redis-server or valkey-server on PATH and no REDIS_URL: tests that need Redis do not run';
  if (process.env.CI === 'true') throw new Error(message);
  console.warn(`SKIPPED: ${message}`);
  return false;
}

export async function startRedis({ args = [], isOwn = false }: RedisOptions = {}): Promise<TestRedis> {
  if (sharedUrl !== undefined && !isOwn && args.length === 0) {
    const { hostname, port } = new URL(sharedUrl);
    const nothing = () => Promise.resolve();
    const refuse = () => Promise.reject(new Error('a shared Redis is not ours to kill'));
    return {
      host: hostname,
      port: Number(port || 6379),
      url: sharedUrl,
      pid: undefined,
      isRunning: true,
      kill: refuse,
      restart: refuse,
      stop: nothing,
    };
  }
  const program = redisBinary();
  const directory = mkdtempSync(join(tmpdir(), 'redis-'));
  const port = await freePort();
  let child: ChildProcess = await launch(program, port, directory, args);
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  const kill = async () => {
    if (!isRunning()) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  return {
    host: '127.0.0.1',
    port,
    url: `redis://127.0.0.1:${port}`,
    get pid() {
      return child.pid;
    },
    get isRunning() {
      return isRunning();
    },
    kill,
    async restart(more = []) {
      child = await launch(program, port, directory, [...args, ...more]);
    },
    async stop() {
      await kill();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function launch(program: string, port: number, directory: string, args: readonly string[]): Promise<ChildProcess> {
  const own = ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--save', '', '--loglevel', 'warning'];
  // A fresh replica would be empty for its first five seconds.
  const child = spawn(program, [...own, '--repl-diskless-sync-delay', '0', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output = `${output}${chunk}`.slice(-4_000)));
  const deadline = Date.now() + DEADLINE_MS;
  while (!(await answers(port))) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`${program} ended: ${output}`);
    if (Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`${program} did not answer within ${DEADLINE_MS} ms: ${output}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return child;
}

/** True once it answers PONG; while it loads its files it answers LOADING. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: '127.0.0.1', port });
    const settle = (isUp: boolean) => {
      socket.destroy();
      resolve(isUp);
    };
    socket.once('connect', () => socket.write('PING\r\n'));
    socket.once('data', (chunk) => settle(chunk.toString().startsWith('+PONG')));
    socket.once('error', () => settle(false));
    socket.setTimeout(1_000, () => settle(false));
  });
}
