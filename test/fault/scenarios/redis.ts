import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { onServer } from '../../support/redis-topology.ts';
import type { TestRedis } from '../../support/start-redis.ts';
import { until } from '../../support/until.ts';
import type { FaultRun, Scenario } from '../scenario.ts';
import { CLUSTER, CRASH_REPEATS_MS, LEASE_MS, RECOVERS_MS } from './instances.ts';

/** What happens to Redis, and between it and us (F4 to F9, F15). */

/** The primary dies after its replicas heard nothing for a while, and one of them takes its place. */
async function failOver(run: FaultRun): Promise<void> {
  const { redis } = run.cluster;
  const old = await redis.primary();
  await run.load.flow(run.between(50, 200));
  // Cut first: a replica that is only stopped has the entries in its socket's buffer.
  run.breaks('replication cut');
  await redis.cutReplication();
  await run.pause(run.between(300, 1_000));
  run.note('kill -9 of the primary');
  await old.kill();
  const next = await redis.promote();
  await redis.rejoin(old);
  run.repaired(`the replica at ${next.port} is primary`);
  await redis.inStep();
}

const failover: Scenario = {
  id: 'F4',
  title: 'primary killed, replica promoted (replicas)',
  cluster: CLUSTER,
  expects: { mayTakeBack: true, recoversWithinMs: RECOVERS_MS },
  inject: failOver,
};

const control: Scenario = {
  ...failover,
  id: 'F4m',
  title: 'the same, durability memory: must lose',
  cluster: { ...CLUSTER, durability: 'memory' },
  expects: { mustLose: true, recoversWithinMs: RECOVERS_MS },
};

const sentinel: Scenario = {
  id: 'F4s',
  title: 'primary killed under Sentinel',
  cluster: { redis: 'sentinel', leaseMs: LEASE_MS },
  expects: { mayTakeBack: true, repeatsWithinMs: CRASH_REPEATS_MS, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    const { redis } = run.cluster;
    const old = await redis.primary();
    await run.load.flow(run.between(50, 200));
    run.breaks('kill -9 of the primary');
    await old.kill();
    const next = await redis.failedOver(old);
    run.note(`the Sentinels made ${next.port} the primary`);
    await redis.rejoin(old);
    run.repaired('the old primary is a replica');
    await redis.inStep();
  },
};

const frozenRedis: Scenario = {
  id: 'F5',
  title: 'Redis frozen (SIGSTOP)',
  cluster: CLUSTER,
  expects: { repeatsWithinMs: CRASH_REPEATS_MS, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    for (const ms of [run.between(500, 1_500), run.between(3_000, 5_000), run.between(8_000, 15_000)]) {
      const primary = await run.cluster.redis.primary();
      await run.load.flow(50);
      run.breaks(`Redis frozen for ${ms} ms`);
      process.kill(primary.pid as number, 'SIGSTOP');
      try {
        await run.pause(Math.min(500, ms / 2));
        const { acknowledgedCount } = run.load.checker;
        await run.pause(ms - Math.min(500, ms / 2));
        const more = run.load.checker.acknowledgedCount - acknowledgedCount;
        if (more > 0) run.wrong.push(`${more} publishes were acknowledged while Redis did nothing`); // P6
        await stayAlive(run);
      } finally {
        process.kill(primary.pid as number, 'SIGCONT');
      }
      run.repaired('Redis runs again');
      await run.load.flow(50);
    }
  },
};

/** Without Redis an instance is not ready, and still alive: a restart would help nobody. */
async function stayAlive(run: FaultRun): Promise<void> {
  for (const { name, httpPort, isRunning, pid } of run.cluster.instances) {
    if (!isRunning) run.wrong.push(`${name} ended`);
    const { status } = await fetch(`http://127.0.0.1:${httpPort}/livez`);
    if (status !== 200) run.wrong.push(`${name} (${pid}) says it is not alive: ${status}`);
  }
}

const partition: Scenario = {
  id: 'F6',
  title: 'an instance cut off from Redis',
  cluster: CLUSTER,
  load: { stubborn: 6 },
  expects: { repeatsWithinMs: CRASH_REPEATS_MS, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    const ways = [['to-server'], ['to-client'], ['to-server', 'to-client']] as const;
    for (const directions of ways) {
      const victim = run.pick(run.cluster.instances);
      await run.load.flow(30);
      const ms = run.between(2_000, 8_000);
      run.breaks(`${victim.name} hears or says nothing (${directions.join(', ')}) for ${ms} ms`);
      victim.redisLink?.partition(...directions);
      await run.pause(ms);
      victim.redisLink?.heal();
      run.repaired('healed');
      await run.load.flow(100);
    }
  },
};

const minority: Scenario = {
  id: 'F7',
  title: 'primary without replicas, old primary comes back',
  cluster: { redis: 'sentinel', leaseMs: LEASE_MS },
  expects: { mayTakeBack: true, repeatsWithinMs: CRASH_REPEATS_MS, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    const { redis } = run.cluster;
    await run.load.flow(50);
    run.breaks('replication cut');
    await redis.cutReplication();
    await run.pause(500);
    const { acknowledgedCount } = run.load.checker;
    await run.pause(1_500);
    const more = run.load.checker.acknowledgedCount - acknowledgedCount;
    if (more > 0) run.wrong.push(`${more} publishes were acknowledged that no replica has`);
    await redis.healReplication();
    run.repaired('replication healed');
    await redis.inStep();
    await run.load.flow(100);

    const old = await redis.primary();
    run.breaks('the primary frozen until Sentinel has another one');
    process.kill(old.pid as number, 'SIGSTOP');
    try {
      await until('Sentinel promotes a replica', async () => (await redis.primary()) !== old, 30_000);
      await run.pause(run.between(0, 1_000));
    } finally {
      process.kill(old.pid as number, 'SIGCONT');
    }
    run.repaired('the old primary is back and believes that it is one');
    await redis.inStep();
  },
};

const cluster: Scenario = {
  id: 'F8',
  title: 'Redis Cluster: slots moved, a primary killed',
  cluster: { redis: 'cluster', leaseMs: LEASE_MS },
  expects: { mayTakeBack: true, repeatsWithinMs: CRASH_REPEATS_MS, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    const { redis } = run.cluster;
    await run.load.flow(50);
    run.breaks('slots move');
    const primaries = await primariesOf(redis.servers);
    const [from, to] = run.random() < 0.5 ? [0, 1] : [1, 2];
    await moveSlots(primaries[from] as ClusterNode, primaries[to] as ClusterNode, 4_000);
    run.repaired('4,000 slots moved');
    await run.load.flow(100);
    const victim = run.pick(primaries).server;
    run.breaks('kill -9 of a primary');
    await victim.kill();
    await until('its replica took over', async () => (await primariesOf(redis.servers)).length === 3, 30_000);
    run.note('its replica took over');
    await redis.rejoin(victim);
    run.repaired('the old primary is a replica');
    await redis.inStep();
  },
};

interface ClusterNode {
  readonly server: TestRedis;
  readonly id: string;
}

async function primariesOf(servers: readonly TestRedis[]): Promise<ClusterNode[]> {
  const found: ClusterNode[] = [];
  for (const server of servers) {
    if (!server.isRunning) continue;
    const [role, id] = await onServer(server, async (client) => [
      ((await client.call('ROLE')) as string[])[0],
      (await client.call('CLUSTER', 'MYID')) as string,
    ]);
    if (role === 'master' && id !== undefined) found.push({ server, id });
  }
  return found;
}

/** As an operator does it: `redis-cli --cluster reshard`. */
async function moveSlots(from: ClusterNode, to: ClusterNode, count: number): Promise<void> {
  const ends = ['--cluster-from', from.id, '--cluster-to', to.id, '--cluster-slots', String(count)];
  const child = spawn('redis-cli', ['--cluster', 'reshard', `127.0.0.1:${from.server.port}`, ...ends, '--cluster-yes'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output = `${output}${chunk}`.slice(-2_000)));
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`redis-cli --cluster reshard ended with ${code}: ${output}`);
}

const full: Scenario = {
  id: 'F9',
  title: 'Redis full (maxmemory, noeviction)',
  cluster: CLUSTER,
  expects: { repeatsWithinMs: CRASH_REPEATS_MS, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    const primary = await run.cluster.redis.primary();
    await run.load.flow(50);
    const setMaximum = (bytes: string) => onServer(primary, (client) => client.call('CONFIG', 'SET', 'maxmemory', bytes));
    run.breaks('Redis is full');
    await setMaximum('1mb');
    await run.pause(500);
    const { acknowledgedCount } = run.load.checker;
    await run.pause(run.between(1_000, 2_000));
    const more = run.load.checker.acknowledgedCount - acknowledgedCount;
    if (more > 0) run.wrong.push(`${more} publishes were acknowledged that Redis had no room for`);
    if (run.load.providers.every(({ refused }) => refused === 0)) run.wrong.push('no publish was answered with an error');
    await setMaximum('0');
    run.repaired('there is room');
  },
};

const corrupt: Scenario = {
  id: 'F15',
  title: 'replies of Redis damaged',
  cluster: CLUSTER,
  expects: { repeatsWithinMs: CRASH_REPEATS_MS, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    const victim = run.pick(run.cluster.instances);
    const link = victim.redisLink;
    if (link === undefined) throw new Error('this Redis has no single address');
    await run.load.flow(50);
    let damaged = 0;
    run.breaks(`every fifth reply to ${victim.name} begins with a wrong byte`);
    link.change = (chunk, direction) => {
      if (direction === 'to-server' || run.random() > 0.2) return chunk;
      damaged++;
      const wrong = Buffer.from(chunk);
      // Where the kind of reply stands: inside a payload nobody could tell, Redis has no checksums.
      wrong[0] = 0x41 + run.between(0, 26);
      return wrong;
    };
    await run.pause(run.between(1_000, 2_500));
    link.change = (chunk) => chunk;
    run.repaired(`${damaged} replies were damaged`);
    if (!victim.isRunning) run.wrong.push(`${victim.name} ended`);
  },
};

export const REDIS_FAULTS: readonly Scenario[] = [
  failover,
  control,
  sentinel,
  frozenRedis,
  partition,
  minority,
  cluster,
  full,
  corrupt,
];
