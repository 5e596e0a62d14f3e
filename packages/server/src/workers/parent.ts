import cluster from 'node:cluster';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { AdminOperations } from '../admin/operations.ts';
import type { Config } from '../config.ts';
import { ConfigError } from '../config-load.ts';
import { serveControl } from '../control/server.ts';
import { claimDataDir } from '../data-dir.ts';
import type { Probes, Verdict } from '../health.ts';
import { serveHttp } from '../http.ts';
import { createLogger, type ProgramLogger } from '../observe/log.ts';
import { createRegistry, type LifecycleState, registerState } from '../observe/metrics.ts';
import { JointAdmin } from '../supervise/joint-admin.ts';
import type { RestartPolicy } from '../supervise/restarting-process.ts';
import { loadTlsCredentials } from '../tls-files.ts';
import { VERSION } from '../version.ts';
import { mergeMetrics } from './merge-metrics.ts';
import type { Addresses } from './messages.ts';
import { WorkerFailed } from './worker-failed.ts';
import { WorkerProcess } from './worker-process.ts';

/** Beyond drain.graceMs: what a worker needs to close its store and go. */
const EXIT_GRACE_MS = 5_000;
const LAUNCHER = fileURLToPath(new URL('../../bin/xmpp-grid.mjs', import.meta.url));

export interface RunningWorkers {
  readonly addresses: Addresses;
  readonly admin: AdminOperations;
  readonly log: ProgramLogger;
  /** Drains all workers at once. Idempotent. */
  stop(): Promise<void>;
  /** Ends the workers now. */
  kill(): void;
}

/** The settings of worker `number`: a directory of its own, and no HTTP, which the parent serves for all. */
export function workerConfig(config: Config, number: number): Config {
  return {
    ...config,
    dataDir: join(config.dataDir, `worker-${number}`),
    listeners: { ...config.listeners, http: { ...config.listeners.http, enabled: false } },
  };
}

/**
 * Starts `count` instances that share the listeners of one configuration, and what stands for them together: the HTTP endpoint, the
 * control socket. A worker that ends is started again, alone; one that stands still is ended first.
 *
 * The listening sockets belong to this process, which hands each connection to the next worker in turn (node:cluster's round
 * robin). Why not SO_REUSEPORT: streams live for days, and the kernel would deal them out by hash and unevenly; and whatever waited
 * in the queue of a worker that dies would be reset. Here it waits in this process for another worker.
 *
 * @throws ConfigError | StoreError | WorkerFailed | Error of `listen`
 */
export async function startWorkers(
  config: Config,
  count: number,
  { log = createLogger(config.log), policy }: { readonly log?: ProgramLogger; readonly policy?: RestartPolicy } = {},
): Promise<RunningWorkers> {
  if (config.store.kind !== 'redis') {
    throw new ConfigError([
      `--workers: ${count} instances need a store that they can share: set store.kind to redis (it is ${config.store.kind}), or leave --workers out`,
    ]);
  }
  loadTlsCredentials(config, Date.now()); // said once, not by each worker
  await claimDataDir(config.dataDir);
  cluster.schedulingPolicy = cluster.SCHED_RR;
  cluster.setupPrimary({ exec: LAUNCHER, args: ['serve'], execArgv: process.execArgv, serialization: 'advanced' });

  const startedMs = Date.now();
  let state: LifecycleState = 'starting';
  let failStart: (error: Error) => void = () => undefined;
  const startFailed = new Promise<never>((_, reject) => {
    failStart = reject;
  });
  startFailed.catch(() => undefined); // awaited only while starting
  const workers = Array.from({ length: count }, (_, index) => {
    const number = index + 1;
    return new WorkerProcess({
      number,
      config: workerConfig(config, number),
      ...(policy === undefined ? {} : { policy }),
      failed(lines, exitCode) {
        if (state === 'starting') failStart(new WorkerFailed(lines.join('\n'), exitCode));
        else log.error({ worker: number, why: lines.join('; ') }, 'a worker cannot start');
      },
      died({ code, signal, livedMs }, retryInMs) {
        if (state === 'starting') failStart(new WorkerFailed(`worker ${number} ended (${signal ?? `exit ${code}`})`, code || 1));
        else {
          const fields = { worker: number, code, signal, livedMs: Math.round(livedMs), retryInMs };
          if (code === 0) log.info(fields, 'a worker has drained; starting it anew');
          else log.error(fields, 'a worker ended; starting it again');
        }
      },
      stuck: (silentMs) => log.error({ worker: number, silentMs: Math.round(silentMs) }, 'a worker stands still; ending it'),
    });
  });

  const undo: (() => Promise<void> | void)[] = [];
  const unwind = async () => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    const registry = createRegistry(VERSION);
    registry.setDefaultLabels({ worker: 'parent' });
    registerState(registry, () => state);
    registerWorkers(registry, workers);
    const http = config.listeners.http.enabled
      ? await serveHttp({
          ...config.listeners.http,
          metrics: {
            contentType: registry.contentType,
            metrics: async () => mergeMetrics(await Promise.all([registry, ...workers].map((each) => each.metrics()))),
          },
          probes: probesOfAll(() => state, workers),
        })
      : undefined;
    if (http !== undefined) undo.push(() => http.close());

    undo.push(async () => {
      await Promise.all(workers.map((worker) => worker.stop(config.drain.graceMs + EXIT_GRACE_MS)));
    });
    const [shared] = await Promise.race([Promise.all(workers.map((worker) => worker.start())), startFailed]);
    const addresses = { ...shared!, ...(http === undefined ? {} : { http: http.address }) };
    const whole = { startedMs, state: () => state, listeners: () => spellListeners(addresses) };
    const members = workers.map((worker) => ({
      name: `worker-${worker.number}`,
      dataDir: workerConfig(config, worker.number).dataDir,
      state: () => worker.state(),
    }));
    const admin = new JointAdmin(members, whole);
    const control = await serveControl(config.dataDir, admin, log);
    undo.push(() => control.close());

    state = 'ready';
    log.info({ workers: count, domain: config.domain, brokerDomain: config.brokerDomain }, 'ready');
    let stopped: Promise<void> | undefined;
    return {
      addresses,
      admin,
      log,
      stop() {
        state = 'draining';
        stopped ??= unwind().then(() => {
          state = 'stopped';
        });
        return stopped;
      },
      kill() {
        for (const worker of workers) worker.kill();
      },
    };
  } catch (error) {
    for (const worker of workers) worker.kill();
    await unwind();
    throw error;
  }
}

/** New streams are welcome while any worker takes them; each reason names its worker. */
export function probesOfAll(
  state: () => LifecycleState,
  workers: readonly { readonly number: number; ready(): Verdict }[],
): Probes {
  return {
    started: () => (state() === 'starting' ? { ok: false, reasons: ['starting'] } : { ok: true, reasons: [] }),
    ready() {
      if (state() !== 'ready') return { ok: false, reasons: [state()] };
      const verdicts = workers.map((worker) => ({ number: worker.number, ...worker.ready() }));
      const reasons = verdicts.flatMap(({ number, reasons }) => reasons.map((reason) => `worker ${number}: ${reason}`));
      return { ok: verdicts.some(({ ok }) => ok), reasons };
    },
    // That this answers is the proof; workers that stand still are ended from here.
    alive: () => ({ ok: true, reasons: [] }),
  };
}

function registerWorkers(registry: Registry, workers: readonly WorkerProcess[]): void {
  const registers = [registry];
  new Gauge({
    name: 'xmppgrid_worker_ready',
    help: 'Whether the worker takes new streams.',
    labelNames: ['worker'],
    registers,
    collect() {
      for (const worker of workers) this.set({ worker: worker.number }, worker.ready().ok ? 1 : 0);
    },
  });
  new Counter({
    name: 'xmppgrid_worker_restarts_total',
    help: 'Times that the worker ended and was started again.',
    labelNames: ['worker'],
    registers,
    collect() {
      this.reset();
      for (const worker of workers) this.inc({ worker: worker.number }, worker.restarts);
    },
  });
}

function spellListeners(addresses: Addresses): Record<string, string> {
  return Object.fromEntries(Object.entries(addresses).map(([name, { address, port }]) => [name, `${address}:${port}`]));
}
