import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from './free-ports.ts';
import { until } from './until.ts';

/** HAProxy in tcp mode before our instances, as `deploy/` describes it: PROXY v2, least connections, health by /readyz. */
export interface Haproxy {
  readonly port: number;
  readonly isRunning: boolean;
  kill(): Promise<void>;
  /** Starts it again on the same port. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

export interface HaproxyBackend {
  readonly name: string;
  readonly port: number;
  /** Where /readyz is. */
  readonly httpPort: number;
}

export function hasHaproxy(): boolean {
  if (spawnSync('haproxy', ['-v']).status === 0) return true;
  if (process.env.CI === 'true') throw new Error('haproxy is not installed');
  console.warn('SKIPPED: haproxy is not installed');
  return false;
}

export async function startHaproxy(backends: readonly HaproxyBackend[]): Promise<Haproxy> {
  const [port] = (await freePorts(1)) as [number];
  const folder = mkdtempSync(join(tmpdir(), 'haproxy-'));
  const file = join(folder, 'haproxy.cfg');
  const servers = backends.map(
    (backend) =>
      `  server ${backend.name} 127.0.0.1:${backend.port} send-proxy-v2 check port ${backend.httpPort} inter 250ms fall 2 rise 1`,
  );
  writeFileSync(
    file,
    `global
  maxconn 8000
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
listen grid
  bind 127.0.0.1:${port}
  balance leastconn
  option httpchk GET /readyz
  option redispatch
  retries 3
${servers.join('\n')}
`,
  );
  let child: ChildProcess | undefined;
  const isRunning = () => child !== undefined && child.exitCode === null && child.signalCode === null;
  const kill = async () => {
    if (child === undefined || !isRunning()) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  const start = async () => {
    child = spawn('haproxy', ['-db', '-f', file], { stdio: 'ignore' });
    await until('HAProxy listens', () => {
      const probe = connect(port, '127.0.0.1');
      const opens = new Promise<boolean>((resolve) => {
        probe.once('connect', () => resolve(true));
        probe.once('error', () => resolve(false));
      });
      return opens.finally(() => probe.destroy());
    });
  };
  const stop = async () => {
    await kill();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    port,
    get isRunning() {
      return isRunning();
    },
    kill,
    start,
    stop,
  };
}
