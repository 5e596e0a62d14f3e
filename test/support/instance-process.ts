import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type AdminOperations, connectControl } from '@xmpp-grid/server';
import { stringify } from 'yaml';
import { type TestCertificates, testCertificates } from './certs.ts';
import type { FaultHook } from './fault-hooks.ts';
import { freePorts } from './free-ports.ts';

/** The program as a process of its own, run from the sources, so that a test can kill it. */
export interface InstanceProcess {
  readonly port: number;
  readonly directTlsPort: number;
  /** Of /metrics and the probes. */
  readonly httpPort: number;
  readonly domain: string;
  readonly broker: string;
  readonly dataDir: string;
  readonly certificates: TestCertificates;
  /** Log lines of all its lives. */
  readonly output: string[];
  readonly pid: number;
  readonly isRunning: boolean;
  admin<T>(use: (admin: AdminOperations) => Promise<T>): Promise<T>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves with the exit code. */
  terminate(): Promise<number | null>;
  /** Starts it again on the same data and ports. */
  start(): Promise<void>;
  /** SIGSTOP: it does nothing, and its connections stay. */
  freeze(): void;
  /** SIGCONT. */
  thaw(): void;
  /** Does a fault that only the process can do to itself; it must have been started with `hooks`. */
  fault(hook: FaultHook): void;
  dispose(): Promise<void>;
}

const LAUNCHER = fileURLToPath(new URL('../../packages/server/bin/xmpp-grid.mjs', import.meta.url));
/** Log lines kept. */
const MAX_LINES = 5_000;
const HOOKS = fileURLToPath(new URL('./fault-hooks.ts', import.meta.url));
/** For a machine that does other things too. */
const READY_MS = 60_000;

export interface InstanceProcessOptions {
  /** Loads `fault-hooks.ts` into it. */
  readonly hooks?: boolean;
  /** Serves /metrics and the probes. */
  readonly http?: boolean;
  /** Lets platforms in by certificate (SASL EXTERNAL). */
  readonly external?: boolean;
}

/** `settings` are those of the configuration file, beside and over the ones that a test needs. */
export async function startInstanceProcess(
  settings: Record<string, unknown> = {},
  { hooks = false, http = false, external = false }: InstanceProcessOptions = {},
): Promise<InstanceProcess> {
  const domain = 'localhost';
  const certificates = await testCertificates(domain);
  const dataDir = mkdtempSync(join(tmpdir(), 'xmpp-grid-process-'));
  const [port, directTlsPort, httpPort] = await freePorts(3);
  const file = (name: string, content: string) => {
    writeFileSync(join(dataDir, name), content, { mode: 0o600 });
    return join(dataDir, name);
  };
  const { listeners, ...otherSettings } = settings;
  const configFile = file(
    'grid.yaml',
    stringify({
      domain,
      dataDir,
      listeners: {
        starttls: { host: '127.0.0.1', port },
        directTls: { host: '127.0.0.1', port: directTlsPort },
        http: http ? { host: '127.0.0.1', port: httpPort } : { enabled: false },
        ...(listeners as object | undefined),
      },
      tls: {
        certificate: file('server.pem', certificates.server.certificate),
        key: file('server.key', certificates.server.key),
        ...(external ? { clientCa: file('ca.pem', certificates.ca.certificate) } : {}),
      },
      sasl: { scramIterations: 4096 },
      log: { format: 'json' },
      ...otherSettings,
    }),
  );
  const output: string[] = [];
  let child: ChildProcess | undefined;

  const start = async (): Promise<void> => {
    const flags = ['--conditions=development', '--disable-warning=ExperimentalWarning', ...(hooks ? ['--import', HOOKS] : [])];
    const started = spawn(process.execPath, [...flags, LAUNCHER, 'serve', '--config', configFile], {
      stdio: ['ignore', 'pipe', 'pipe', ...(hooks ? (['ipc'] as const) : [])],
    });
    child = started;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not ready in time:\n${output.join('\n')}`)), READY_MS);
      const onText = (chunk: Buffer) => {
        for (const line of chunk.toString().split('\n')) {
          if (line === '') continue;
          output.push(line);
          if (output.length > MAX_LINES) output.shift();
          if (line.includes('"msg":"ready"')) {
            clearTimeout(timer);
            resolve();
          }
        }
      };
      started.stdout?.on('data', onText);
      started.stderr?.on('data', onText);
      started.once('exit', (code) => {
        clearTimeout(timer);
        reject(new Error(`ended with ${code}:\n${output.join('\n')}`));
      });
    });
  };
  const signal = async (name: NodeJS.Signals): Promise<number | null> => {
    const running = child;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return running?.exitCode ?? null;
    return await new Promise((resolve) => {
      running.once('exit', (code) => resolve(code));
      running.kill(name);
    });
  };

  const dispose = async () => {
    await signal('SIGKILL');
    rmSync(dataDir, { recursive: true, force: true });
  };
  try {
    await start();
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    port: port as number,
    directTlsPort: directTlsPort as number,
    httpPort: httpPort as number,
    domain,
    broker: `broker.${domain}`,
    dataDir,
    certificates,
    output,
    get pid() {
      return child?.pid ?? 0;
    },
    get isRunning() {
      return child !== undefined && child.exitCode === null && child.signalCode === null;
    },
    async admin(use) {
      const control = await connectControl(dataDir);
      if (control === undefined) throw new Error('nothing answers on the control socket');
      try {
        return await use(control.admin);
      } finally {
        control.close();
      }
    },
    async kill() {
      await signal('SIGKILL');
    },
    terminate: () => signal('SIGTERM'),
    start,
    freeze: () => void child?.kill('SIGSTOP'),
    thaw: () => void child?.kill('SIGCONT'),
    fault(hook) {
      if (!hooks) throw new Error('this instance was started without hooks');
      child?.send(hook);
    },
    dispose,
  };
}
