/** The program as its user meets it: start, stop, refuse to start, crash and start again; administrators' commands on live streams. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PlatformClient } from '../../../packages/server/src/demo/client.ts';
import { demoFiles, readDemoCredentials } from '../../../packages/server/src/demo/setup.ts';
import { xmppGrid } from '../../support/xmpp-grid.ts';

const launcher = fileURLToPath(new URL('../../../packages/server/bin/xmpp-grid.mjs', import.meta.url));
const FREE_PORTS = ['--port', '0', '--direct-tls-port', '0', '--http-port', '0'];
/** Each process would strip the types of all sources anew. */
const NODE_COMPILE_CACHE = fileURLToPath(new URL('../../../node_modules/.cache/xmpp-grid-tests', import.meta.url));
/** Start-up on a busy machine. */
const TIMEOUT_MS = 60_000;

const home = process.cwd();
let directory: string;
let children: ChildProcess[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'xmpp-grid-program-'));
  children = [];
  process.chdir(directory);
});
afterEach(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  process.chdir(home);
  rmSync(directory, { recursive: true, force: true });
});

/** A process of the command, with what it has printed so far. */
class Run {
  readonly child: ChildProcess;
  text = '';
  readonly exit: Promise<number | string>;

  constructor(args: readonly string[]) {
    this.child = spawn(process.execPath, ['--conditions=development', launcher, ...args], {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_COMPILE_CACHE },
    });
    children.push(this.child);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.text += chunk.toString();
      });
    }
    this.exit = new Promise((resolve) => this.child.on('close', (code, signal) => resolve(code ?? signal ?? 'unknown')));
  }

  /** Resolves once `pattern` was printed. Rejects with everything printed when the process ends first. */
  async printed(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.text);
      if (match !== null) return match;
      const ended = await Promise.race([this.exit, once(this.child.stdout!, 'data').then(() => undefined)]);
      if (ended !== undefined && !pattern.test(this.text)) throw new Error(`ended with ${ended}:\n${this.text}`);
    }
  }

  async portOf(what: 'STARTTLS' | 'Direct TLS' | 'HTTP'): Promise<number> {
    await this.printed(/Ctrl-C stops it/);
    return Number((await this.printed(new RegExp(`${what} .*127\\.0\\.0\\.1:(\\d+)`)))[1]);
  }
}

const serveDemo = (...more: string[]) => new Run(['serve', '--demo', ...FREE_PORTS, ...more]);
/** A start that fails. */
const refusal = async (...more: string[]) => {
  const run = serveDemo(...more);
  return { code: await run.exit, text: run.text };
};

function login(port: number, name: 'provider' | 'consumer'): Promise<PlatformClient> {
  const dataDir = join(directory, 'var');
  return PlatformClient.connect({
    host: '127.0.0.1',
    port,
    mode: 'direct-tls',
    domain: 'localhost',
    name,
    credential: { password: readDemoCredentials(dataDir)![name].password },
    ca: readFileSync(demoFiles(dataDir).ca),
  });
}

describe('xmpp-grid serve', { timeout: TIMEOUT_MS }, () => {
  it('serves, tells its probes, drains on SIGTERM with exit 0, and is there again with the same certificates and passwords', async () => {
    const first = serveDemo();
    const http = await first.portOf('HTTP');
    expect(await (await fetch(`http://127.0.0.1:${http}/readyz`)).text()).toBe('ok\n');
    expect(await (await fetch(`http://127.0.0.1:${http}/metrics`)).text()).toContain('xmppgrid_up_state{state="ready"} 1');
    const files = demoFiles(join(directory, 'var'));
    const kept = [files.ca, files.server, files.credentials].map((path) => readFileSync(path, 'utf8'));
    expect(statSync(files.credentials).mode & 0o777).toBe(0o600);
    first.child.kill('SIGTERM');
    expect(await first.exit).toBe(0);

    const second = serveDemo();
    const port = await second.portOf('Direct TLS');
    expect([files.ca, files.server, files.credentials].map((path) => readFileSync(path, 'utf8'))).toEqual(kept);
    const provider = await login(port, 'provider');
    expect([provider.mechanism, provider.tlsVersion]).toEqual(['SCRAM-SHA-256-PLUS', 'TLSv1.3']);
    await provider.close();
  });

  it('refuses a second instance on the same data, and leaves the first alone', async () => {
    const first = serveDemo();
    const http = await first.portOf('HTTP');
    expect(await refusal()).toEqual({
      code: 1,
      text: `xmpp-grid: a running instance works on ${join(directory, 'var')}; stop it first, or choose another dataDir (--data)\n`,
    });
    expect((await fetch(`http://127.0.0.1:${http}/readyz`)).status).toBe(200);
  });

  it('a port in use is one line and exit 1, with nothing half-started', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    for (const flag of ['--port', '--direct-tls-port', '--http-port']) {
      expect(await refusal(flag, String(port))).toEqual({
        code: 1,
        text: `xmpp-grid: port ${port} on 127.0.0.1 is in use: stop the program that uses it, or choose another port (--port, --direct-tls-port, --http-port)\n`,
      });
      expect(existsSync(join(directory, 'var', 'control.sock'))).toBe(false);
    }
    other.close();
    await serveDemo().portOf('HTTP'); // the data is free for the next one
  });

  it('starts again after kill -9, over the socket and the claim that were left behind', async () => {
    const first = serveDemo();
    await first.portOf('HTTP');
    first.child.kill('SIGKILL');
    await first.exit;
    expect(existsSync(join(directory, 'var', 'control.sock'))).toBe(true);
    expect(await xmppGrid(['platform', 'list', '--json'])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('provider@localhost'),
    });
    await serveDemo().portOf('HTTP');
  });

  it('a damaged store is one line and exit 1', async () => {
    const first = serveDemo();
    await first.portOf('HTTP');
    first.child.kill('SIGTERM');
    await first.exit;
    writeFileSync(join(directory, 'var', 'store.mdb'), Buffer.alloc(100_000, 'x'));
    expect(await refusal()).toEqual({
      code: 1,
      text: `xmpp-grid: the store ${join(directory, 'var', 'store.mdb')} cannot be opened (it is no lmdb file): restore it from a backup, or move it away to begin with an empty one\n`,
    });
  });
});

describe('stopping', { timeout: TIMEOUT_MS }, () => {
  it('ends with 0 after drain.graceMs though a client keeps its stream open', async () => {
    writeFileSync(join(directory, 'grid.yaml'), 'drain: {graceMs: 200ms}');
    const program = serveDemo('--config', 'grid.yaml');
    const client = await login(await program.portOf('Direct TLS'), 'provider');
    client.stopReading();
    program.child.kill('SIGTERM');
    expect(await program.exit).toBe(0);
    expect(existsSync(join(directory, 'var', 'control.sock'))).toBe(false);
    client.destroy();
  });

  it('a second signal ends the process at once while clients keep their streams open', async () => {
    const program = serveDemo();
    const client = await login(await program.portOf('Direct TLS'), 'provider');
    client.stopReading();
    program.child.kill('SIGTERM');
    await program.printed(/draining/);
    // The same wish sent twice within half a second counts once, so it is repeated until it is heard.
    const timer = setInterval(() => program.child.kill('SIGTERM'), 100);
    const code = await program.exit;
    clearInterval(timer);
    client.destroy();
    expect([code, program.text.includes('second signal: ending at once')]).toEqual([1, true]);
  });
});

describe('TLS', { timeout: TIMEOUT_MS }, () => {
  it('tls.minVersion: TLSv1.3 refuses TLS 1.2', async () => {
    writeFileSync(join(directory, 'grid.yaml'), 'tls: {minVersion: TLSv1.3}');
    const port = await serveDemo('--config', 'grid.yaml').portOf('Direct TLS');
    const handshake = (maxVersion: 'TLSv1.2' | 'TLSv1.3') =>
      new Promise<string>((resolve) => {
        const socket = connectTls({
          host: '127.0.0.1',
          port,
          maxVersion,
          servername: 'localhost',
          ca: readFileSync(demoFiles(join(directory, 'var')).ca),
        });
        socket.on('secureConnect', () => {
          resolve(socket.getProtocol() ?? '');
          socket.destroy();
        });
        socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      });
    expect(await handshake('TLSv1.2')).toBe('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION');
    expect(await handshake('TLSv1.3')).toBe('TLSv1.3');
  });
});

describe('administrators', { timeout: TIMEOUT_MS }, () => {
  it('G-061 disable a platform: its live stream ends, and it cannot come back before it is enabled', async () => {
    const program = serveDemo();
    const port = await program.portOf('Direct TLS');
    const provider = await login(port, 'provider');
    expect(JSON.parse((await xmppGrid(['session', 'list', '--json'])).stdout)).toMatchObject([
      { jid: provider.jid, mechanism: 'SCRAM-SHA-256-PLUS', role: 'demo' },
    ]);
    const ended = provider.message(() => false);
    const [disabled, why] = await Promise.all([
      xmppGrid(['platform', 'disable', 'provider']),
      ended.catch((error: Error) => error.message),
    ]);
    expect(disabled).toMatchObject({ code: 0, stderr: 'provider@localhost is disabled; 1 stream ended\n' });
    expect(why).toBe('the server ended the stream: not-authorized');
    await expect(login(port, 'provider')).rejects.toThrow('login failed: account-disabled');
    await xmppGrid(['platform', 'enable', 'provider']);
    await (await login(port, 'provider')).close();
  });

  it('add a platform that can log in at once', async () => {
    const program = serveDemo();
    const port = await program.portOf('STARTTLS');
    const added = await xmppGrid(['platform', 'add', 'sensor-1', '--generate', '--json']);
    const { jid, password } = JSON.parse(added.stdout) as { jid: string; password: string };
    expect(jid).toBe('sensor-1@localhost');
    const ca = readFileSync(demoFiles(join(directory, 'var')).ca);
    const sensor = await PlatformClient.connect({
      host: '127.0.0.1',
      port,
      mode: 'starttls',
      domain: 'localhost',
      name: 'sensor-1',
      credential: { password },
      ca,
    });
    expect(sensor.jid).toMatch(/^sensor-1@localhost\/./);
    await sensor.close();
    expect((await xmppGrid(['status'])).stdout).toMatch(/^state +ready, xmpp-grid /);
  });
});

describe('xmpp-grid demo', { timeout: TIMEOUT_MS }, () => {
  it('G-013 shows provider, Broker and consumer share an incident, on an instance of its own when none runs', async () => {
    const shown = await xmppGrid(['demo']);
    expect(shown.stdout).toContain('byte for byte as published');
    expect(shown.stdout).toContain('Nothing was lost');
    expect(shown.code).toBe(0);
  });

  it('uses the instance that runs', async () => {
    await serveDemo().portOf('HTTP');
    const shown = await xmppGrid(['demo']);
    expect(shown.stderr).toBe('');
    expect(shown.code).toBe(0);
  });
});
