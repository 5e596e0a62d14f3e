/**
 * 15,000 platforms on one of three instances, which dies by SIGKILL while events flow: how long until all are back on the
 * others and have caught up, and what that does to those who were there already (G-035).
 *
 *     npm run test:fault -- --mass [--platforms 15000] [--seeds 1]
 */

import { type ChildProcess, fork } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startCluster } from '../support/start-cluster.ts';
import { DEFAULT_LOAD, eachOf, Load } from './load/load.ts';
import { type MassAnswer, type MassAnswers, type MassAsk, massItemId, monotonicMs, sentMsOf } from './mass-messages.ts';
import { CRASH_REPEATS_MS, LEASE_MS } from './scenarios/instances.ts';
import { Timeline } from './timeline.ts';

const PROGRAM = fileURLToPath(new URL('./mass-process.ts', import.meta.url));
/** Below what one process may have open. */
const PER_PROCESS = 5_000;
const TOPICS = 15;
/** Of each topic, ms: 3 events a second for all, each to a fifteenth of the platforms. */
const INTERVAL_MS = 5_000;
/** Platforms on the other instances, whose latency is measured. */
const OTHERS = 60;
const BACK_WITHIN_MS = 90_000;
const OTHERS_P99_MS = 250;
const PATIENCE_MS = 600_000;

class MassProcess {
  readonly #child: ChildProcess = fork(PROGRAM, [], { execArgv: ['--conditions=development'], stdio: 'inherit' });
  readonly #waiting = new Map<number, (answer: MassAnswer) => void>();
  #ids = 0;

  constructor() {
    this.#child.on('message', (message: MassAnswer) => this.#waiting.get(message.id)?.(message));
    this.#child.on('exit', (code) => {
      for (const [id, tell] of this.#waiting) tell({ id, error: `a process of platforms ended with ${code}` });
    });
  }

  async ask<K extends MassAsk['kind']>(ask: Extract<MassAsk, { kind: K }>): Promise<MassAnswers[K]> {
    const id = ++this.#ids;
    const message = await new Promise<MassAnswer>((resolve) => {
      this.#waiting.set(id, resolve);
      this.#child.send({ id, ask });
    });
    this.#waiting.delete(id);
    if ('error' in message) throw new Error(message.error);
    return message.answer as MassAnswers[K];
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}

const percentile = (sorted: readonly number[], share: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

/** Runs once; resolves with what is not as promised. */
export async function massRun(platforms: number, seed: number, say: (text: string) => void): Promise<string[]> {
  const timeline = new Timeline(say);
  const cluster = await startCluster({ redis: 'replica', direct: true, leaseMs: LEASE_MS });
  const swarm: MassProcess[] = [];
  let load: Load | undefined;
  try {
    const [victim, ...survivors] = cluster.instances;
    if (victim === undefined) throw new Error('a cluster has instances');
    const users = Array.from({ length: platforms }, (_, i) => `m${i}`);
    await victim.admin(async (admin) => {
      await eachOf(
        users,
        32,
        async (name) => void (await admin.platformAdd({ name, password: name, role: 'demo', replace: true })),
      );
    });
    timeline.note(`${platforms} accounts`);

    // Providers, others and the auditor live on the survivors, in this process.
    const others = { ...cluster, ports: () => survivors.map(({ directTlsPort }) => directTlsPort) };
    const options = {
      ...DEFAULT_LOAD,
      topics: TOPICS,
      topicsEach: 1,
      providersPerTopic: 1,
      consumers: OTHERS,
      intervalMs: INTERVAL_MS,
    };
    load = await Load.prepare(others, seed, { ...options, silenceMs: 30_000, itemId: massItemId }, timeline);
    const began = monotonicMs();
    for (let first = 0; first < platforms; first += PER_PROCESS) {
      const mass = new MassProcess();
      swarm.push(mass);
      const count = Math.min(PER_PROCESS, platforms - first);
      const { domain, broker, ca } = cluster;
      const ports = [victim.directTlsPort];
      await mass.ask({ kind: 'connect', first, count, nodes: load.nodes, ports, domain, broker, ca, seed });
      timeline.note(`${first + count} platforms are connected`);
    }
    timeline.note(`all logged in and subscribed in ${Math.round((monotonicMs() - began) / 1_000)} s`);

    load.start();
    await sleep(2 * INTERVAL_MS);
    for (const mass of swarm) await mass.ask({ kind: 'ports', ports: others.ports() });
    load.checker.faultBegins(timeline.now());
    const killedMs = monotonicMs();
    await victim.kill();
    timeline.note(`kill -9 of the instance with ${platforms} platforms`);
    const back = await Promise.all(
      swarm.map((mass) => mass.ask({ kind: 'caught-up', sinceMs: killedMs, deadlineMs: PATIENCE_MS })),
    );
    const tookMs = monotonicMs() - killedMs;
    const count = back.reduce((sum, each) => sum + each.back, 0);
    timeline.note(`${count} of ${platforms} are back and have caught up after ${(tookMs / 1_000).toFixed(1)} s`);
    const { checker, consumers } = load;
    // The timeline and the items' ids have two beginnings of one clock.
    const shift = monotonicMs() - timeline.now();
    const latencies = consumers
      .flatMap(({ name }) => checker.deliveriesOf(name))
      .map(({ itemId, atMs }) => ({ sentMs: sentMsOf(itemId), atMs: atMs + shift }))
      .filter(({ sentMs }) => sentMs > killedMs)
      .map(({ sentMs, atMs }) => atMs - sentMs)
      .toSorted((a, b) => a - b);
    const p99 = percentile(latencies, 0.99);
    timeline.note(
      `the others: ${latencies.length} deliveries meanwhile, p50 ${percentile(latencies, 0.5).toFixed(0)} ms, p99 ${p99.toFixed(0)} ms`,
    );

    const report = await load.finish();
    const log = load.log();
    const judged = await Promise.all(swarm.map((mass) => mass.ask({ kind: 'judge', log, deadlineMs: PATIENCE_MS })));
    const sum = (of: (each: typeof report) => number) => [report, ...judged].reduce((total, each) => total + of(each), 0);
    const lost = report.vanished + sum((each) => each.missing);
    const oldest = Math.max(...judged.map((each) => each.oldestRepeatMs));
    timeline.note(
      `${report.acknowledged} acknowledged, ${sum((each) => each.deliveries)} deliveries, lost ${lost}, out of order ${sum((each) => each.outOfOrder)}, ` +
        `repeated ${sum((each) => each.repeated)} (≤ ${(oldest / 1_000).toFixed(1)} s)`,
    );
    const wrong: string[] = [];
    if (count < platforms) wrong.push(`${platforms - count} platforms did not come back`);
    if (tookMs > BACK_WITHIN_MS) wrong.push(`it took ${Math.round(tookMs / 1_000)} s, promised are ${BACK_WITHIN_MS / 1_000}`);
    if (!(p99 <= OTHERS_P99_MS)) wrong.push(`p99 of the others was ${Math.round(p99)} ms, promised are ${OTHERS_P99_MS}`);
    if (lost > 0) wrong.push(`${lost} events were lost`);
    if (sum((each) => each.outOfOrder) > 0) wrong.push('deliveries were out of order');
    if (report.repeated > 0) wrong.push('the others got events twice');
    if (oldest > CRASH_REPEATS_MS) wrong.push(`an event was repeated that came ${Math.round(oldest)} ms before the crash`);
    return [...wrong, ...(wrong.length > 0 ? [report, ...judged].flatMap(({ faults }) => faults.slice(0, 10)) : [])];
  } finally {
    for (const mass of swarm) mass.stop();
    await load?.stop();
    await cluster.stop();
  }
}
