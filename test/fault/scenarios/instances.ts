import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { verifyAuditFile } from '@xmpp-grid/auth';
import type { ClusterInstance } from '../../support/start-cluster.ts';
import { until } from '../../support/until.ts';
import { Checker } from '../checker.ts';
import type { Consumer } from '../load/consumer.ts';
import type { FaultRun, Scenario } from '../scenario.ts';

/** What happens to our own processes (F1 to F3, F10, F11, F14, F16, F20). */

/** Short, so that a lease runs out within a run; a deployment has 10 s. */
export const LEASE_MS = 3_000;
/** delivery.md §5.4: positions are written once a second, of those more than 2 s behind; on a busy machine a little later. */
export const CRASH_REPEATS_MS = 4_000;
export const RECOVERS_MS = 30_000;

export const CLUSTER = { redis: 'replica', leaseMs: LEASE_MS } as const;

/** Instances that somebody is connected to: the others' death shows nothing. */
const inUse = (run: FaultRun): ClusterInstance[] => run.cluster.instances.filter(({ door }) => door.openConnections > 0);

const kill: Scenario = {
  id: 'F1',
  title: 'instance killed (kill -9)',
  cluster: CLUSTER,
  expects: { repeatsWithinMs: CRASH_REPEATS_MS, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    for (let kills = 0; kills < 2; kills++) {
      const victim = run.pick(inUse(run));
      const ghost = await run.load.extraConsumer(`ghost-${kills}`, `s${run.seed}`, new Checker(), victim);
      await run.load.flow(run.between(50, 150));
      run.breaks(`kill -9 of ${victim.name}`);
      await victim.kill();
      run.repaired('the others are there');
      await ghost.platform.die();
      await goneEverywhere(run, ghost.name);
      run.note('its sessions are gone everywhere');
      await victim.start();
      run.note(`${victim.name} started again`);
    }
  },
};

/** A session of a dead instance is unknown to all after its lease: a stanza for it is answered with an error, not held for ever. */
async function goneEverywhere(run: FaultRun, jid: string): Promise<void> {
  const [provider] = run.load.providers;
  await until(
    `${jid} is no session any more`,
    async () => {
      const answer = await provider?.platform.request('get', "<ping xmlns='urn:xmpp:ping'/>", jid).catch(() => undefined);
      return answer?.attrs.type === 'error';
    },
    6 * LEASE_MS,
  );
}

const drain: Scenario = {
  id: 'F2',
  title: 'instance drained (SIGTERM)',
  cluster: CLUSTER,
  expects: { resumes: true, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    const victim = run.pick(inUse(run));
    await run.load.flow(run.between(50, 150));
    await drained(run, victim);
    await run.load.flow(run.between(50, 150));
    await victim.start();
    run.note(`${victim.name} started again`);
  },
};

async function drained(run: FaultRun, victim: ClusterInstance): Promise<void> {
  run.breaks(`SIGTERM to ${victim.name}`);
  const code = await victim.terminate();
  run.repaired(`${victim.name} ended with ${code}`);
  if (code !== 0) run.wrong.push(`${victim.name} ended with ${code} after SIGTERM`);
}

const rolling: Scenario = {
  id: 'ROLL',
  title: 'rolling restart of three, HAProxy',
  cluster: { ...CLUSTER, haproxies: 1 },
  expects: { resumes: true, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    for (const instance of run.cluster.instances) {
      await run.load.flow(run.between(30, 100));
      await drained(run, instance);
      await instance.start();
      run.note(`${instance.name} started again`);
    }
    await run.load.flow(50);
  },
};

const freeze: Scenario = {
  id: 'F3',
  title: 'instance frozen (SIGSTOP), thawed',
  cluster: CLUSTER,
  load: { stubborn: 6 },
  expects: { repeatsWithinMs: CRASH_REPEATS_MS, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    // Within the lease, just past it, and long past it.
    for (const ms of [run.between(500, 1_500), run.between(4_000, 5_000), run.between(8_000, 15_000)]) {
      const victim = run.pick(inUse(run));
      run.breaks(`${victim.name} frozen for ${ms} ms`);
      victim.freeze();
      try {
        await run.pause(ms);
      } finally {
        victim.thaw();
      }
      run.repaired(`${victim.name} thawed`);
      await run.load.flow(100);
    }
  },
};

const fullDisk: Scenario = {
  id: 'F10',
  title: 'no room for the audit file',
  cluster: CLUSTER,
  expects: { resumes: true, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    const [victim] = run.cluster.instances;
    if (victim === undefined) throw new Error('a cluster has instances');
    const audit = join(victim.dataDir, 'audit.jsonl');
    const owner = await run.load.extraProvider('auditable', `seed-${run.seed}-audit`, new Checker(), victim);
    await owner.create(`${owner.node}-0`);
    await run.load.flow(50);
    run.breaks(`${victim.name} cannot write another byte to a file`);
    limitFiles(victim.pid, statSync(audit).size);
    // Policy: the service goes on, what could not be written is counted and told of.
    for (let i = 1; i <= 10; i++) await owner.create(`${owner.node}-${i}`);
    await run.load.flow(100);
    await until('it says so', () => victim.output.some((line) => line.includes('the audit file cannot be written')));
    limitFiles(victim.pid, undefined);
    run.note('there is room');
    // Nothing is added behind a gap: the next start goes on from the last whole line.
    await victim.terminate();
    await victim.start();
    run.repaired(`${victim.name} started again`);
    await owner.create(`${owner.node}-11`);
    await until('the audit file grows again', () => readFileSync(audit, 'utf8').includes(`${owner.node}-11`));
    await verifyAuditFile(audit);
  },
};

/** As on a full disk, a write fails; for this process alone. */
function limitFiles(pid: number, bytes: number | undefined): void {
  const { status, stderr } = spawnSync('prlimit', ['--pid', String(pid), `--fsize=${bytes ?? 'unlimited'}:unlimited`]);
  if (status !== 0) throw new Error(`prlimit: ${stderr}`);
}

const clock: Scenario = {
  id: 'F11',
  title: 'wall clock of an instance jumps',
  cluster: { ...CLUSTER, hooks: true },
  expects: { recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    const hour = 3_600_000;
    for (const offsetMs of [hour, -hour, 24 * hour, 0]) {
      const victim = run.pick(run.cluster.instances);
      run.breaks(`clock of ${victim.name} off by ${offsetMs / hour} h`);
      victim.fault({ kind: 'clock', offsetMs });
      await run.load.flow(100);
    }
    for (const instance of run.cluster.instances) instance.fault({ kind: 'clock', offsetMs: 0 });
    run.repaired('clocks are right');
  },
};

const stall: Scenario = {
  id: 'F16',
  title: 'event loop stands still',
  cluster: { ...CLUSTER, hooks: true },
  expects: { repeatsWithinMs: CRASH_REPEATS_MS, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    for (const ms of [2_000, run.between(3_500, 6_000)]) {
      const victim = run.pick(run.cluster.instances);
      run.breaks(`${victim.name} stalls for ${ms} ms`);
      victim.fault({ kind: 'stall', ms });
      await run.pause(ms);
      run.repaired('it runs again');
      await run.load.flow(100);
    }
  },
};

const storm: Scenario = {
  id: 'F14',
  title: 'all connections cut at once, HAProxy',
  cluster: { ...CLUSTER, haproxies: 1 },
  load: { consumers: 300, topics: 10, topicsEach: 1, providersPerTopic: 1, intervalMs: 50, silenceMs: 20_000, connectMs: 30_000 },
  expects: { resumes: true, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    await run.load.flow(50);
    let cut = 0;
    run.breaks('every connection reset');
    for (const { door } of run.cluster.instances) cut += door.cut();
    run.repaired(`${cut} connections were reset`);
    await allBack(run);
  },
};

/** 1,000 platforms, cut at once while events flow: all resume, on whichever instance. */
const thousand: Scenario = {
  id: 'CUT',
  title: '1,000 connections cut at once, HAProxy',
  cluster: { ...CLUSTER, haproxies: 1, direct: true },
  load: {
    consumers: 1_000,
    topics: 20,
    topicsEach: 1,
    providersPerTopic: 1,
    intervalMs: 200,
    silenceMs: 20_000,
    connectMs: 30_000,
  },
  expects: { resumes: true, recoversWithinMs: 60_000 },
  async inject(run) {
    const [haproxy] = run.cluster.haproxies;
    await run.load.flow(50);
    run.breaks('every connection cut, on both sides of HAProxy');
    await haproxy?.kill();
    await haproxy?.start();
    run.repaired('HAProxy listens again');
    await allBack(run);
  },
};

async function allBack(run: FaultRun): Promise<void> {
  const { consumers } = run.load;
  const isBack = ({ platform }: Consumer) => platform.isUp && platform.resumptions + platform.incarnation > 1;
  await until('everybody is back', () => consumers.every(isBack), 60_000);
  run.note(`${consumers.length} platforms are back after ${Math.round(run.timeline.now() - run.repairedMs)} ms`);
}

const balancer: Scenario = {
  id: 'F20',
  title: 'HAProxy killed, a second one there',
  cluster: { ...CLUSTER, haproxies: 2, external: true },
  load: { external: true },
  expects: { resumes: true, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    const [first] = run.cluster.haproxies;
    await run.load.flow(50);
    run.breaks('kill -9 of an HAProxy');
    await first?.kill();
    run.repaired('the other one is there');
    await run.load.flow(200);
    await first?.start();
    const { directTlsPort } = run.pick(run.cluster.instances);
    if (!(await refusesHeader(directTlsPort))) run.wrong.push('a PROXY header from an unlisted source was believed');
  },
};

/** Whether a connection from an address that is no load balancer's ends when it sends a PROXY header (version 2, TCP4). */
function refusesHeader(port: number): Promise<boolean> {
  const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
  const header = Buffer.concat([signature, Buffer.from('2111000c0a0000010a00000230391467', 'hex')]);
  const socket = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.9' });
  return new Promise((resolve) => {
    socket.setTimeout(10_000, () => resolve(false));
    socket.on('error', () => undefined);
    socket.on('connect', () => socket.write(header));
    socket.on('close', () => resolve(true));
  }).finally(() => socket.destroy()) as Promise<boolean>;
}

export const INSTANCE_FAULTS: readonly Scenario[] = [
  kill,
  drain,
  rolling,
  freeze,
  fullDisk,
  clock,
  storm,
  thousand,
  stall,
  balancer,
];
