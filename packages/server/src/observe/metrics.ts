import { monitorEventLoopDelay } from 'node:perf_hooks';
import { collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

export const LIFECYCLE_STATES = ['starting', 'ready', 'draining', 'stopped'] as const;
export type LifecycleState = (typeof LIFECYCLE_STATES)[number];

/** How far the event loop is behind, measured by this process itself. */
export interface LoopMonitor {
  /** Worst delay of the last complete second, in ms. */
  lagMs(): number;
  /** Least of the worst delays of the last five seconds, in ms: all that time it was that far behind. */
  lastingLagMs(): number;
  stop(): void;
}

/** 20 ms: fine enough for a bound of hundreds, and 50 wake-ups a second cost nothing worth measuring. */
const RESOLUTION_MS = 20;

/** A registry with the process's own metrics (`nodejs_*`, `process_*`) and `xmppgrid_build_info`. */
export function createRegistry(version: string): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: 'xmppgrid_build_info',
    help: 'Always 1; the labels say what runs.',
    labelNames: ['version', 'node_version'],
    registers: [registry],
  }).set({ version, node_version: process.version }, 1);
  return registry;
}

/** `xmppgrid_up_state{state}`: 1 for the state that `current` tells, 0 for the others. */
export function registerState(registry: Registry, current: () => LifecycleState): void {
  new Gauge({
    name: 'xmppgrid_up_state',
    help: 'Lifecycle of the instance: 1 for the state it is in.',
    labelNames: ['state'],
    registers: [registry],
    collect() {
      for (const state of LIFECYCLE_STATES) this.set({ state }, state === current() ? 1 : 0);
    },
  });
}

/** `xmppgrid_tls_certificate_expiry_timestamp_seconds{purpose="server"}` */
export function registerCertificateExpiry(registry: Registry, notAfterMs: () => number): void {
  new Gauge({
    name: 'xmppgrid_tls_certificate_expiry_timestamp_seconds',
    help: 'When the certificate in use expires, in seconds since the epoch.',
    labelNames: ['purpose'],
    registers: [registry],
    collect() {
      this.set({ purpose: 'server' }, notAfterMs() / 1000);
    },
  });
}

/** A lag that lasts: in each of so many seconds in a row. */
const LASTING_S = 5;

/** `xmppgrid_eventloop_lag_seconds`: the worst delay of each second, and the monitor that readiness asks. */
export function monitorLoop(registry: Registry): LoopMonitor {
  const histogram = new Histogram({
    name: 'xmppgrid_eventloop_lag_seconds',
    help: 'Worst event loop delay of each second.',
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers: [registry],
  });
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delays.enable();
  let worstMs = 0;
  /** Of each of the last seconds, the newest at the end. */
  const recentMs: number[] = Array.from({ length: LASTING_S }, () => 0);
  const timer = setInterval(() => {
    worstMs = delays.count === 0 ? 0 : Math.max(0, delays.max / 1e6 - RESOLUTION_MS);
    histogram.observe(worstMs / 1000);
    recentMs.push(worstMs);
    recentMs.shift();
    delays.reset();
  }, 1000);
  timer.unref();
  return {
    lagMs: () => worstMs,
    lastingLagMs: () => Math.min(...recentMs),
    stop() {
      clearInterval(timer);
      delays.disable();
    },
  };
}
