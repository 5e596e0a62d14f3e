import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import type { Config } from './config.ts';
import { type ControlServer, serveControl } from './control/server.ts';
import { type Probes, probesOf } from './health.ts';
import { type HttpServer, serveHttp } from './http.ts';
import { createLogger, type ProgramLogger } from './observe/log.ts';
import { createRegistry, type LifecycleState, monitorLoop, registerCertificateExpiry, registerState } from './observe/metrics.ts';
import { openStores } from './open-stores.ts';
import type { RunningInstance, StartInstance } from './running-instance.ts';
import type { Stores } from './stores.ts';
import { loadTlsCredentials } from './tls-files.ts';
import { VERSION } from './version.ts';

/** A program that serves until it is stopped. */
export interface RunningProgram {
  readonly instance: RunningInstance;
  readonly addresses: { readonly starttls?: AddressInfo; readonly directTls?: AddressInfo; readonly http?: AddressInfo };
  readonly log: ProgramLogger;
  readonly registry: Registry;
  readonly probes: Probes;
  state(): LifecycleState;
  /** Not ready, then streams, then sockets, then the store. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Starts one instance and everything around it: the store, metrics and probes, the engine, the control socket.
 * Either all of it serves, or it throws and nothing is left behind.
 *
 * @throws ConfigError | StoreError | RedisRefused | Error of `listen`
 */
export async function startProgram(
  config: Config,
  startInstance: StartInstance,
  log = createLogger(config.log),
): Promise<RunningProgram> {
  const undo: (() => Promise<void> | void)[] = [];
  /** Every step runs, also behind one that failed: what stays open would keep the process alive. */
  const unwind = async () => {
    const failures: unknown[] = [];
    for (const step of undo.splice(0).reverse()) {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  };
  let state: LifecycleState = 'starting';
  try {
    const tls = loadTlsCredentials(config, Date.now());
    for (const warning of tls.warnings) log.warn({}, warning);

    const registry = createRegistry(VERSION);
    const loop = monitorLoop(registry);
    undo.push(() => loop.stop());
    registerState(registry, () => state);
    registerCertificateExpiry(registry, () => tls.notAfterMs);
    let stores: Stores | undefined;
    let instance: RunningInstance | undefined;
    const probes = probesOf({
      state: () => state,
      storeWritable: () => stores?.isWritable() ?? true,
      mayServe: () => instance?.mayServe() ?? true,
      certificateNotAfterMs: () => tls.notAfterMs,
      lagMs: () => loop.lagMs(),
      lastingLagMs: () => loop.lastingLagMs(),
      nowMs: () => Date.now(),
    });

    // First of the listeners, so that /startupz can say "starting" while Redis is waited for.
    const http: HttpServer | undefined = config.listeners.http.enabled
      ? await serveHttp({ ...config.listeners.http, metrics: registry, probes })
      : undefined;
    if (http !== undefined) undo.push(() => http.close());

    const opened = await openStores(config, log);
    stores = opened;
    undo.push(() => opened.close());

    const running = await startInstance(config, { stores: opened, tls, log, registry, state: () => state, version: VERSION });
    instance = running;
    undo.push(() => running.stop('drain', config.drain.graceMs));

    const control: ControlServer = await serveControl(config.dataDir, running.admin, log);
    undo.push(() => control.close());

    state = 'ready';
    const addresses = { ...running.addresses, ...(http === undefined ? {} : { http: http.address }) };
    log.info({ instanceId: running.instanceId, domain: config.domain, brokerDomain: config.brokerDomain }, 'ready');
    let stopped: Promise<void> | undefined;
    return {
      instance: running,
      addresses,
      log,
      registry,
      probes,
      state: () => state,
      stop() {
        state = 'draining'; // /readyz says so while streams end
        stopped ??= unwind().then(() => {
          state = 'stopped';
        });
        return stopped;
      },
    };
  } catch (error) {
    await unwind();
    throw error;
  }
}
