import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { BenchAuthority } from './certificates.ts';
import type { Account } from './client.ts';
import { ControlSocket } from './control-socket.ts';
import { Inspector } from './inspector.ts';
import type { OwnRedis } from './own-redis.ts';
import type { InstanceUnderTest, ServerNeeds, ServerUnderTest } from './server.ts';

/**
 * Starts the product as an operator would: the launcher with a configuration file, a data directory of its own, free ports;
 * several times when it is to share a Redis.
 */

const LAUNCHER = fileURLToPath(new URL('../../packages/server/bin/xmpp-grid.mjs', import.meta.url));
const DOMAIN = 'localhost';
const BROKER = 'broker.localhost';
const PASSWORD = 'bench-password';
/** The built-in role that may do everything and needs nobody's approval to subscribe. */
const ROLE = 'demo';
const READY_DEADLINE_MS = 30_000;
const STOP_DEADLINE_MS = 30_000;
/** Connections to the control socket: each carries one request at a time. */
const ADDING_AT_A_TIME = 8;

/** How the server under test is set up. */
export interface ServerSetup {
  /** More than one needs `redis`. */
  readonly instances: number;
  /** Shared store; absent: the embedded store of one instance. Not stopped with the server. */
  readonly redis?: OwnRedis;
}

export async function startOwnServer(
  needs: ServerNeeds,
  setup: ServerSetup,
  say: (text: string) => void,
): Promise<ServerUnderTest> {
  if (!existsSync(LAUNCHER)) throw new Error(`there is no ${LAUNCHER}`);
  const directory = mkdtempSync(join(tmpdir(), 'xmpp-grid-bench-'));
  const { redis } = setup;
  const instances: OwnInstance[] = [];
  const stop = async () => {
    await Promise.all(instances.map((instance) => instance.stop()));
    rmSync(directory, { recursive: true, force: true }); // a signal may have stopped it already
  };
  try {
    const authority = await BenchAuthority.create();
    const identity = await authority.server(DOMAIN);
    const file = (name: string, text: string) => {
      const path = join(directory, name);
      writeFileSync(path, text, { mode: 0o600 });
      return path;
    };
    const common = {
      domain: DOMAIN,
      brokerDomain: BROKER,
      ...(redis === undefined ? {} : { store: { kind: 'redis' }, redis: redis.settings }),
      listeners: {
        starttls: { host: '127.0.0.1', port: 0 },
        directTls: { host: '127.0.0.1', port: 0 },
        http: { host: '127.0.0.1', port: 0 },
      },
      tls: {
        certificate: file('server.pem', identity.cert),
        key: file('server.key', identity.key),
        // Only where it is used: asking every client for a certificate costs memory and time.
        ...(needs.credential === 'certificate' ? { clientCa: file('authority.pem', authority.cert) } : {}),
      },
      sasl: { scramIterations: 4096 }, // the server stores derived keys: iterations cost the clients alone
      limits: {
        maxConnections: 1_000_000,
        maxConnectionsPerAddress: 1_000_000,
        connectionsPerSecondPerAddress: 1_000_000,
        connectionBurstPerAddress: 1_000_000,
        maxResources: 1_000,
      },
    };
    say(setup.instances === 1 ? 'starting the server' : `starting ${setup.instances} instances`);
    for (let i = 0; i < setup.instances; i++) {
      instances.push(await startInstance(join(directory, `instance-${i + 1}`), common, authority.cert));
    }
    const accounts = await addAccounts(instances[0]!.controlPath, needs, authority, say);
    return {
      name: 'xmpp-grid',
      pids: instances.map(({ pid }) => pid),
      instances,
      ...(redis === undefined ? {} : { redis, redisPids: redis.pids }),
      accounts,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface OwnInstance extends InstanceUnderTest {
  readonly controlPath: string;
  stop(): Promise<void>;
}

/** @param directory of this instance alone; made here */
async function startInstance(directory: string, common: object, ca: string): Promise<OwnInstance> {
  const dataDir = join(directory, 'data');
  const logFile = join(directory, 'server.log');
  mkdirSync(dataDir, { mode: 0o700, recursive: true });
  const configFile = join(directory, 'config.yaml');
  writeFileSync(configFile, JSON.stringify({ ...common, dataDir }, undefined, 2), { mode: 0o600 }); // JSON is YAML
  const log = openSync(logFile, 'w');
  // The port that SIGUSR1 opens (for `collectGarbage`): any free one.
  const env = { ...process.env, NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --inspect-port=0`.trim() };
  const child = spawn(process.execPath, [LAUNCHER, 'serve', '--config', configFile], { stdio: ['ignore', log, log], env });
  closeSync(log);
  const logText = () => readFileSync(logFile, 'utf8');
  const controlPath = join(dataDir, 'control.sock');
  try {
    const control = await untilReady(child, controlPath);
    const { listeners } = (await control.call('status')) as { listeners: Record<string, string> };
    control.close();
    const portOf = (listener: string) => Number(/:(\d+)$/.exec(listeners[listener] ?? '')?.[1]);
    let inspector: Inspector | undefined;
    const inspected = async () => {
      inspector ??= await Inspector.open(child.pid!, logText);
      return inspector;
    };
    return {
      pid: child.pid!,
      controlPath,
      endpoint: {
        host: '127.0.0.1',
        starttlsPort: portOf('starttls'),
        directTlsPort: portOf('directTls'),
        domain: DOMAIN,
        broker: BROKER,
        ca,
      },
      async collectGarbage() {
        return (await inspected()).collectGarbage();
      },
      async startProfile() {
        return (await inspected()).startProfile();
      },
      async stop() {
        inspector?.close();
        await stop(child);
      },
    };
  } catch (error) {
    await stop(child);
    throw new Error(`${(error as Error).message}\nThe server's log ends:\n${logText().slice(-2000)}`, { cause: error });
  }
}

async function untilReady(child: ChildProcess, path: string): Promise<ControlSocket> {
  const deadline = Date.now() + READY_DEADLINE_MS;
  while (Date.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`the server ended (${child.signalCode ?? child.exitCode})`);
    if (existsSync(path)) return ControlSocket.open(path);
    await delay(20);
  }
  throw new Error(`the server was not ready within ${READY_DEADLINE_MS / 1000} s`);
}

async function addAccounts(
  controlPath: string,
  needs: ServerNeeds,
  authority: BenchAuthority,
  say: (text: string) => void,
): Promise<Account[]> {
  say(`adding ${needs.accounts} accounts`);
  const accounts: Account[] = [];
  let next = 0;
  const worker = async () => {
    const control = await ControlSocket.open(controlPath);
    while (next < needs.accounts) {
      const index = next;
      next += 1;
      const user = `platform-${String(index + 1).padStart(6, '0')}`;
      if (needs.credential === 'password') {
        await control.call('platformAdd', { name: user, role: ROLE, password: PASSWORD });
        accounts[index] = { user, password: PASSWORD };
      } else {
        await control.call('platformAdd', { name: user, role: ROLE });
        accounts[index] = { user, certificate: await authority.platform(`${user}@${DOMAIN}`) };
      }
    }
    control.close();
  };
  await Promise.all(Array.from({ length: ADDING_AT_A_TIME }, worker));
  return accounts;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const giveUp = setTimeout(() => child.kill('SIGKILL'), STOP_DEADLINE_MS);
  await ended;
  clearTimeout(giveUp);
}
