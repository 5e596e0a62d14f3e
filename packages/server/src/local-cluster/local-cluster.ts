import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import type { AdminOperations } from '../admin/operations.ts';
import { loadConfig } from '../config-load.ts';
import { type ControlServer, serveControl } from '../control/server.ts';
import { claimDataDir } from '../data-dir.ts';
import { type DemoCredentials, demoFiles, ensureDemoCertificates, ensureDemoPlatforms } from '../demo/setup.ts';
import { createLogger } from '../observe/log.ts';
import type { LifecycleState } from '../observe/metrics.ts';
import { JointAdmin } from '../supervise/joint-admin.ts';
import { type Exit, RESTART_POLICY, RestartingProcess, type RestartPolicy } from '../supervise/restarting-process.ts';
import { ClusterFailed } from './cluster-failed.ts';
import {
  type BalancerPorts,
  HOST,
  haproxyConfig,
  type InstancePorts,
  redisConfig,
  SENTINEL_NAME,
  sentinelConfig,
} from './files.ts';
import { endLeftovers, PID_FILE } from './leftovers.ts';
import { assertFree, freePorts, getPage, redisInfo } from './probe.ts';
import { findPrograms, type Programs, sentinelCommand } from './programs.ts';
import { type Snapshot, takeSnapshot } from './snapshot.ts';

export interface LocalClusterOptions {
  /** Everything is below it; what an earlier cluster left is removed, but for certificates and passwords. */
  readonly directory: string;
  readonly instances: number;
  /** 1 or more; a failover needs more than half of them. */
  readonly sentinels: number;
  /** Where platforms connect, HAProxy's ports; 0 lets the system choose. */
  readonly port: number;
  readonly directTlsPort: number;
  /** The first instance's metrics and probes, the next have the ports behind it; 0 lets the system choose. */
  readonly httpPort: number;
  /** Tells of what happens: a process that ended. */
  tell(text: string): void;
  /** Ends a start that is under way. */
  readonly signal?: AbortSignal;
  /** Arguments of Node for the instances; default: this process's own. */
  readonly execArgv?: readonly string[];
  /** Settings of the instances over those that they need, by section. */
  readonly settings?: Readonly<Record<string, unknown>>;
}

/** One process of the cluster, through all its lives. */
export interface ClusterMember {
  readonly name: string;
  /** Where its output goes. */
  readonly logFile: string;
  readonly pid: number | undefined;
}

export interface InstanceMember extends ClusterMember {
  readonly ports: InstancePorts;
  readonly dataDir: string;
}

export interface RedisMember extends ClusterMember {
  readonly port: number;
}

export interface LocalCluster {
  readonly directory: string;
  readonly domain: string;
  readonly brokerDomain: string;
  readonly host: string;
  /** HAProxy's. */
  readonly ports: BalancerPorts;
  readonly instances: readonly InstanceMember[];
  readonly redis: readonly RedisMember[];
  readonly sentinels: readonly RedisMember[];
  readonly balancer: ClusterMember;
  readonly credentials: DemoCredentials;
  readonly admin: AdminOperations;
  snapshot(): Promise<Snapshot>;
  /** Instances drain, then HAProxy, Sentinels and Redis stop, each by its process id. Idempotent. */
  stop(): Promise<void>;
  /** Kills everything now. */
  kill(): void;
}

const DOMAIN = 'localhost';
const LAUNCHER = fileURLToPath(new URL('../../bin/xmpp-grid.mjs', import.meta.url));
/** Starts take a second or two; a machine that does other things too needs more. */
const START_TIMEOUT_MS = 60_000;
const POLL_MS = 50;
/** An instance drains for 10 s at most (drain.graceMs). */
const INSTANCE_GRACE_MS = 15_000;
const SERVER_GRACE_MS = 5_000;
/** With two replicas the loss of any one server leaves a primary with a replica, which takes writes. */
const REDIS_SERVERS = 3;
/** Redis is down long enough for Sentinel to act (3 s and the vote): what one comes to see. */
const REDIS_POLICY: RestartPolicy = { ...RESTART_POLICY, firstDelayMs: 10_000 };

/**
 * Starts what deploy/compose.yaml describes from the programs of this machine, on the loopback: Redis with two replicas and Sentinels,
 * instances, HAProxy before them. Each process that ends is started again.
 *
 * @throws ClusterFailed when a program is missing, a part does not come up, or `signal` ends the start | StoreError when a cluster runs there already |
 *   Error of `listen`
 */
export async function startLocalCluster(options: LocalClusterOptions): Promise<LocalCluster> {
  const programs = findPrograms();
  const { directory } = options;
  await claimDataDir(directory);
  const left = await endLeftovers(directory);
  if (left > 0) options.tell(`ended ${left} processes that an earlier cluster had left in ${directory}`);
  const plan = await makePlan(options);
  const parts = new Parts(directory, options);
  try {
    return await start(options, plan, programs, parts);
  } catch (error) {
    parts.kill();
    throw error;
  }
}

/** Every port, chosen before anything starts, so that they stay the same through all lives of a process. */
interface Plan {
  readonly balancer: BalancerPorts;
  readonly instances: readonly InstancePorts[];
  /** The primary to begin with, then its replicas. */
  readonly redis: readonly [number, ...number[]];
  readonly sentinels: readonly number[];
}

async function makePlan({ port, directTlsPort, httpPort, instances, sentinels }: LocalClusterOptions): Promise<Plan> {
  const free = await freePorts(REDIS_SERVERS + 3 + 3 * instances + sentinels);
  const next = () => free.pop()!;
  const wanted = async (wish: number) => {
    if (wish === 0) return next();
    await assertFree(wish);
    return wish;
  };
  const balancer = { starttls: await wanted(port), directTls: await wanted(directTlsPort), observe: next() };
  const planned: InstancePorts[] = [];
  for (let index = 0; index < instances; index++) {
    const http = await wanted(httpPort === 0 ? 0 : httpPort + index);
    planned.push({ starttls: next(), directTls: next(), http });
  }
  return { balancer, instances: planned, redis: [next(), next(), next()], sentinels: Array.from({ length: sentinels }, next) };
}

async function start(options: LocalClusterOptions, plan: Plan, programs: Programs, parts: Parts): Promise<LocalCluster> {
  const { directory } = options;
  const startedMs = Date.now();

  const [primary, ...replicas] = plan.redis;
  const redis = plan.redis.map((port, index) => {
    const part = parts.make(`redis-${index + 1}`, REDIS_POLICY);
    const config = part.file('redis.conf', redisConfig(part.directory, port, index === 0 ? undefined : primary));
    return Object.assign(part.run([programs.redis, config]), { port });
  });
  await parts.until('Redis with its replicas', async () => {
    const infos = await Promise.all(replicas.map((port) => redisInfo(port, 'replication')));
    return infos.every((info) => info?.get('master_link_status') === 'up');
  });
  const sentinels = plan.sentinels.map((port, index) => {
    const part = parts.make(`sentinel-${index + 1}`);
    const config = part.file('sentinel.conf', sentinelConfig(part.directory, port, primary, plan.sentinels.length));
    return Object.assign(part.run(sentinelCommand(programs.redis, config)), { port });
  });
  await parts.until('Sentinels that know the replicas and each other', async () => {
    const infos = await Promise.all(plan.sentinels.map((port) => redisInfo(port, 'sentinel')));
    return infos.every(
      (info) => info?.get('master0')?.includes(`slaves=${replicas.length},sentinels=${plan.sentinels.length}`) === true,
    );
  });

  const front = loadConfig({
    cwd: directory,
    preset: new Map<string, unknown>([
      ['domain', DOMAIN],
      ['dataDir', directory],
      ['log.format', 'json'],
    ]),
  });
  await ensureDemoCertificates(front, Date.now());
  const files = demoFiles(directory);
  const instances = plan.instances.map((ports, index) => {
    const part = parts.make(`instance-${index + 1}`);
    const config = part.file(
      'grid.yaml',
      stringify({
        domain: DOMAIN,
        dataDir: part.directory,
        store: { kind: 'redis' },
        redis: {
          mode: 'sentinel',
          sentinelName: SENTINEL_NAME,
          nodes: plan.sentinels.map((port) => `${HOST}:${port}`),
          durability: 'replicas',
          replicas: 1,
        },
        listeners: {
          trustedProxies: [HOST],
          starttls: { host: HOST, port: ports.starttls },
          directTls: { host: HOST, port: ports.directTls },
          http: { host: HOST, port: ports.http },
        },
        tls: { certificate: files.server, key: files.serverKey, clientCa: files.ca },
        log: { format: 'json' },
        ...options.settings,
      }),
    );
    const { execArgv = process.execArgv } = options;
    const member = part.run([process.execPath, ...execArgv, LAUNCHER, 'serve', '--config', config]);
    return Object.assign(member, { ports, dataDir: part.directory });
  });
  await parts.until('instances', async () => {
    const pages = await Promise.all(plan.instances.map(({ http }) => getPage(http, '/readyz')));
    return pages.every((page) => page?.status === 200);
  });

  const balancerPart = parts.make('haproxy');
  const config = balancerPart.file('haproxy.cfg', haproxyConfig(plan.balancer, plan.instances));
  const balancer = balancerPart.run([programs.haproxy, '-db', '-f', config]);
  await parts.until('HAProxy', async () => (await getPage(plan.balancer.observe, '/metrics'))?.status === 200);

  let state: LifecycleState = 'ready';
  const admin = new JointAdmin(
    instances.map(({ name, dataDir }) => ({ name, dataDir, state: () => state })),
    {
      startedMs,
      state: () => state,
      listeners: () => ({ starttls: `${HOST}:${plan.balancer.starttls}`, directTls: `${HOST}:${plan.balancer.directTls}` }),
    },
  );
  const credentials = await ensureDemoPlatforms(front, admin);
  const control: ControlServer = await serveControl(directory, admin, createLogger({ level: 'warn', format: 'text' }));

  parts.isUp();
  let stopped: Promise<void> | undefined;
  return {
    directory,
    domain: DOMAIN,
    brokerDomain: front.brokerDomain,
    host: HOST,
    ports: plan.balancer,
    instances,
    redis,
    sentinels,
    balancer,
    credentials,
    admin,
    snapshot: () => takeSnapshot(instances, redis, sentinels),
    stop() {
      state = 'draining';
      stopped ??= control.close().then(() => parts.stop());
      return stopped;
    },
    kill: () => parts.kill(),
  };
}

/** The processes of the cluster in the order in which they start. */
class Parts {
  readonly #directory: string;
  readonly #options: Pick<LocalClusterOptions, 'tell' | 'signal'>;
  readonly #started: { readonly name: string; readonly process: RestartingProcess }[] = [];
  /** While the cluster starts, a part that ends is the end of all. */
  #isStarting = true;
  #failure: Error | undefined;

  constructor(directory: string, options: Pick<LocalClusterOptions, 'tell' | 'signal'>) {
    this.#directory = directory;
    this.#options = options;
  }

  /** A part with an empty directory of its own. */
  make(name: string, policy?: RestartPolicy) {
    const directory = join(this.#directory, name);
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const logFile = join(directory, 'output.log');
    return {
      directory,
      file(fileName: string, text: string): string {
        const path = join(directory, fileName);
        writeFileSync(path, text, { mode: 0o600 });
        return path;
      },
      run: (command: readonly string[]): ClusterMember => this.#run(name, directory, logFile, command, policy),
    };
  }

  #run(
    name: string,
    directory: string,
    logFile: string,
    [program, ...args]: readonly string[],
    policy?: RestartPolicy,
  ): ClusterMember {
    const process = new RestartingProcess({
      launch: () => launch(program!, args, directory, logFile),
      died: (exit, retryInMs) => {
        if (this.#isStarting) this.#failure ??= new ClusterFailed(`${name} ended (${spellExit(exit)}):\n${lastLines(logFile)}`);
        else
          this.#options.tell(
            `${name} ended (${spellExit(exit)}); starting it again in ${retryInMs / 1_000} s. Its log: ${logFile}`,
          );
      },
      ...(policy === undefined ? {} : { policy }),
    });
    this.#started.push({ name, process });
    process.start();
    return {
      name,
      logFile,
      get pid() {
        return process.child?.pid;
      },
    };
  }

  /** Waits for a step of the start. @throws ClusterFailed when a part ends meanwhile, or it takes too long */
  async until(what: string, isSo: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (!(await isSo())) {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#options.signal?.aborted === true) throw new ClusterFailed(`interrupted while waiting for ${what}`);
      if (performance.now() > deadline) {
        throw new ClusterFailed(`waited ${START_TIMEOUT_MS / 1_000} s in vain for ${what}; see the logs in ${this.#directory}`);
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  isUp(): void {
    this.#isStarting = false;
  }

  /** Instances first, while everything that they need is there; Sentinels before Redis, or they would see a failure. */
  async stop(): Promise<void> {
    for (const kind of ['instance-', 'haproxy', 'sentinel-', 'redis-']) {
      const graceMs = kind === 'instance-' ? INSTANCE_GRACE_MS : SERVER_GRACE_MS;
      const these = this.#started.filter(({ name }) => name.startsWith(kind));
      await Promise.all(these.map(({ process }) => process.stop('SIGTERM', graceMs)));
    }
  }

  kill(): void {
    for (const { process } of this.#started) void process.stop('SIGKILL', 0);
  }
}

function launch(program: string, args: readonly string[], directory: string, logFile: string): ChildProcess {
  const output = openSync(logFile, 'a', 0o600);
  try {
    // A group of its own: Ctrl-C in the terminal reaches us alone, and we stop the parts in order.
    const child = spawn(program, args, { cwd: directory, stdio: ['ignore', output, output], detached: true });
    writeFileSync(join(directory, PID_FILE), `${child.pid ?? ''}\n`);
    return child;
  } finally {
    closeSync(output);
  }
}

function spellExit({ code, signal }: Exit): string {
  return signal ?? `exit ${code}`;
}

function lastLines(logFile: string): string {
  return readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-5).join('\n');
}
