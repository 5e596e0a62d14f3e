import { isatty } from 'node:tty';
import type { AdminOperations } from '../../admin/operations.ts';
import type { Config } from '../../config.ts';
import { renderBanner } from '../../demo/banner.ts';
import { demoFiles, ensureDemoCertificates, ensureDemoPlatforms } from '../../demo/setup.ts';
import type { RunningProgram } from '../../main.ts';
import type { ProgramLogger } from '../../observe/log.ts';
import { WORKER_NUMBER } from '../../workers/messages.ts';
import { type Command, UsageError, type Values } from '../command.ts';
import { configOf, SETTING_OPTIONS } from '../settings-options.ts';

/** Signals that come this close together are one wish: a terminal and npm both pass Ctrl-C on. */
const SAME_SIGNAL_MS = 500;

export const serve: Command = {
  name: 'serve',
  summary: 'Run one instance, or several: Controller, Broker, metrics and probes, until SIGTERM or SIGINT.',
  options: {
    ...SETTING_OPTIONS,
    workers: {
      type: 'string',
      value: 'N',
      doc: 'Run N instances on the same ports, for N cores; needs store.kind redis (default: 1).',
    },
    demo: {
      type: 'boolean',
      doc: 'Serve on the loopback with certificates and two platforms of its own, made once in the data directory.',
    },
  },
  notes: `Flags override the file. Without --demo the settings tls.certificate and tls.key are needed; "xmpp-grid cert" makes
certificates for trials. A first SIGTERM or SIGINT drains: not ready, streams end in order, what was acknowledged is on disk,
exit 0. A second one ends the process at once.

With --workers each instance has a directory worker-1, worker-2 … in the data directory. One that ends is started again, alone;
SIGTERM to its process drains it, so they can be renewed one by one. /metrics tells all of them apart by the label "worker",
/readyz is fine while one is ready, and the commands "status", "platform" and "session" speak to all.

  xmpp-grid serve --demo
  xmpp-grid serve --config /etc/xmpp-grid/grid.yaml`,
  async run(values) {
    const number = process.env[WORKER_NUMBER];
    if (number !== undefined) {
      const { runWorker } = await import('../../workers/worker.ts');
      return await runWorker(Number(number));
    }
    const count = workersOf(values);
    const program = values.has('demo') ? await startDemo(values, count) : await startAll(configOf(values), count);
    await stopSignal(program);
    return 0;
  },
};

/** What runs, one instance or several. */
interface Served {
  readonly addresses: RunningProgram['addresses'];
  readonly admin: AdminOperations;
  readonly log: ProgramLogger;
  stop(): Promise<void>;
  /** Ends this process, and what belongs to it, now. */
  exit(code: number): never;
}

/** More processes do not help one machine. */
const MAX_WORKERS = 64;

function workersOf(values: Values): number {
  const text = values.text('workers') ?? '1';
  const count = /^\d{1,2}$/.test(text) ? Number(text) : 0;
  if (count < 1 || count > MAX_WORKERS)
    throw new UsageError(`--workers: expected a whole number from 1 to ${MAX_WORKERS}, got ${JSON.stringify(text)}`);
  return count;
}

async function startAll(config: Config, count: number): Promise<Served> {
  if (count > 1) {
    const { startWorkers } = await import('../../workers/parent.ts');
    const workers = await startWorkers(config, count);
    return {
      ...workers,
      exit(code) {
        workers.kill();
        process.exit(code);
      },
    };
  }
  const program = await start(config);
  const { addresses, instance, log } = program;
  return { addresses, admin: instance.admin, log, stop: () => program.stop(), exit: (code) => process.exit(code) };
}

/** The program is loaded by what runs it: every other command starts without it. */
export async function start(config: Config): Promise<RunningProgram> {
  const [{ startProgram }, { startInstance }] = await Promise.all([import('../../main.ts'), import('../../instance.ts')]);
  return await startProgram(config, startInstance);
}

/** Other defaults than the table's: the loopback alone, and a log for eyes. */
const DEMO_PRESET = new Map<string, unknown>([
  ['listeners.starttls.host', '127.0.0.1'],
  ['listeners.directTls.host', '127.0.0.1'],
  ['log.format', 'text'],
]);

/** The configuration of `serve --demo`; certificates are made where the user names none. */
export async function demoConfig(values: Values): Promise<Config> {
  const config = configOf(values, DEMO_PRESET);
  if (config.tls.certificate !== undefined) return config;
  await ensureDemoCertificates(config, Date.now());
  const files = demoFiles(config.dataDir);
  return {
    ...config,
    tls: { ...config.tls, certificate: files.server, key: files.serverKey, clientCa: config.tls.clientCa ?? files.ca },
  };
}

async function startDemo(values: Values, count: number): Promise<Served> {
  const config = await demoConfig(values);
  const program = await startAll(config, count);
  try {
    const credentials = await ensureDemoPlatforms(config, program.admin);
    const banner = renderBanner({
      config,
      addresses: program.addresses,
      credentials,
      readyMs: performance.now(),
      cwd: process.cwd(),
    });
    // Where stdout is for machines the block goes beside it.
    const isForEyes = config.log.format === 'text' || (config.log.format === 'auto' && isatty(1));
    (isForEyes ? process.stdout : process.stderr).write(banner);
  } catch (error) {
    await program.stop();
    throw error;
  }
  return program;
}

/** Resolves when the program has stopped after a signal. */
async function stopSignal(program: Served): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    let firstMs: number | undefined;
    const onSignal = (signal: NodeJS.Signals) => {
      if (firstMs !== undefined) {
        if (performance.now() - firstMs < SAME_SIGNAL_MS) return;
        program.log.warn({ signal }, 'second signal: ending at once');
        program.exit(1);
      }
      firstMs = performance.now();
      program.log.info({ signal }, 'draining');
      program.stop().then(resolve, reject);
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
  program.log.info({}, 'stopped');
}
