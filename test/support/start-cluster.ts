import { BellTamper } from './bell-tamper.ts';
import { type InstanceProcess, startInstanceProcess } from './instance-process.ts';
import { type RedisKind, type RedisTopology, startRedisTopology, type TestDurability } from './redis-topology.ts';
import { type Haproxy, startHaproxy } from './start-haproxy.ts';
import { startTcpProxy, type TcpProxy } from './tcp-proxy.ts';

/**
 * The product as it is deployed, from local binaries: Redis in one of its shapes, our instances as processes of their own
 * with a TCP proxy on each side of them, and load balancers before them. On `embedded` there is one instance and no Redis.
 */

export interface ClusterOptions {
  readonly redis: RedisKind | 'embedded';
  /** Default 3; 1 on the embedded store. */
  readonly instances?: number;
  /** Default `replicas`, `fsync` for one server alone. */
  readonly durability?: TestDurability;
  /** Load balancers; default none: clients know every instance. */
  readonly haproxies?: number;
  readonly leaseMs?: number;
  /**
   * No proxies of ours on any way: they share an event loop with the test, and where that is busy with a thousand logins it
   * would be they that are slow. Without them nothing can be partitioned, and a scripted failover moves nobody.
   */
  readonly direct?: boolean;
  /** Faults from inside the processes (`fault-hooks.ts`). */
  readonly hooks?: boolean;
  /** The bells of each instance can be tampered with; needs a Redis with one address. */
  readonly bells?: boolean;
  /** Platforms may log in by certificate. */
  readonly external?: boolean;
  readonly redisArgs?: readonly string[];
  /** Settings of every instance, beside and over the ones that it needs. */
  readonly settings?: Record<string, unknown>;
}

export interface ClusterInstance extends InstanceProcess {
  readonly name: string;
  /** Between this instance and its clients, or the load balancer and it. */
  readonly door: TcpProxy;
  /** Between this instance and Redis, where that has one address. */
  readonly redisLink: TcpProxy | undefined;
  /** What happens to its bells on the way, where the cluster was started with `bells`. */
  readonly bells: BellTamper | undefined;
}

export interface TestCluster {
  readonly options: ClusterOptions;
  readonly domain: string;
  readonly broker: string;
  /** PEM of the authority. */
  readonly ca: string;
  readonly instances: readonly ClusterInstance[];
  readonly haproxies: readonly Haproxy[];
  /** @throws Error on the embedded store */
  readonly redis: RedisTopology;
  /** Where clients connect with direct TLS: the load balancers, or else every instance. */
  ports(): readonly number[];
  stop(): Promise<void>;
}

const running = new Set<() => Promise<void>>();

/** Stops every cluster, those too that are still starting: for a program that is told to end. */
export async function stopClusters(): Promise<void> {
  await Promise.all([...running].map((stop) => stop()));
}

export async function startCluster(options: ClusterOptions): Promise<TestCluster> {
  const stopping: (() => Promise<void>)[] = [];
  const stop = async () => {
    running.delete(stop);
    for (const each of stopping.splice(0).reverse()) await each();
  };
  running.add(stop);
  try {
    const durability = options.durability ?? (options.redis === 'standalone' ? 'fsync' : 'replicas');
    const redis =
      options.redis === 'embedded'
        ? undefined
        : await startRedisTopology({ kind: options.redis, durability, args: options.redisArgs ?? [] });
    if (redis !== undefined) stopping.push(() => redis.stop());
    const count = options.instances ?? (redis === undefined ? 1 : 3);
    const hasHaproxies = (options.haproxies ?? 0) > 0;
    // All are settled before one failure stops the rest, so that none comes up behind it.
    const started = await Promise.allSettled(
      Array.from({ length: count }, (_, i) => startInstance(`i${i + 1}`, options, redis, hasHaproxies, stopping)),
    );
    const instances = started.map((each) => {
      if (each.status === 'rejected') throw each.reason;
      return each.value;
    });
    const haproxies: Haproxy[] = [];
    for (let i = 0; i < (options.haproxies ?? 0); i++) {
      const haproxy = await startHaproxy(instances.map(({ name, door, httpPort }) => ({ name, port: door.port, httpPort })));
      haproxies.push(haproxy);
      stopping.push(() => haproxy.stop());
    }
    const [first] = instances as [ClusterInstance];
    return {
      options,
      domain: first.domain,
      broker: first.broker,
      ca: first.certificates.ca.certificate,
      instances,
      haproxies,
      get redis(): RedisTopology {
        if (redis === undefined) throw new Error('the embedded store has no Redis');
        return redis;
      },
      ports: () => (hasHaproxies ? haproxies.map(({ port }) => port) : instances.map((instance) => portOf(instance, options))),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

const portOf = ({ door, directTlsPort }: ClusterInstance, { direct }: ClusterOptions): number =>
  direct === true ? directTlsPort : door.port;

async function startInstance(
  name: string,
  options: ClusterOptions,
  redis: RedisTopology | undefined,
  hasHaproxies: boolean,
  stopping: (() => Promise<void>)[],
): Promise<ClusterInstance> {
  const hasOneAddress = redis !== undefined && (redis.kind === 'standalone' || redis.kind === 'replica');
  // In a row with the front, so that a failover moves every instance and a partition only one.
  const redisLink = hasOneAddress && options.direct !== true ? await startTcpProxy(redis.port, { records: false }) : undefined;
  if (redisLink !== undefined) stopping.push(() => redisLink.close());
  const bells = options.bells === true && redisLink !== undefined ? new BellTamper(redisLink) : undefined;
  const { listeners, ...others } = options.settings ?? {};
  const process = await startInstanceProcess(
    {
      ...(redis === undefined
        ? {}
        : { store: { kind: 'redis' }, redis: redis.settings(redisLink?.port ?? (await redis.primary()).port) }),
      ...(redis === undefined || options.leaseMs === undefined ? {} : { instance: { leaseMs: options.leaseMs } }),
      limits: {
        maxConnections: 100_000,
        maxConnectionsPerAddress: 100_000,
        connectionsPerSecondPerAddress: 100_000,
        connectionBurstPerAddress: 100_000,
      },
      ...others,
      listeners: { ...(hasHaproxies ? { trustedProxies: ['127.0.0.1/32'] } : {}), ...(listeners as object | undefined) },
    },
    { hooks: options.hooks ?? false, http: true, external: options.external ?? false },
  );
  stopping.push(() => process.dispose());
  const door = await startTcpProxy(process.directTlsPort, { records: false });
  stopping.push(() => door.close());
  // Its descriptors, not its values: `pid` and `isRunning` are asked again each time.
  const extra = { name, door, redisLink, bells };
  return Object.defineProperties(extra, Object.getOwnPropertyDescriptors(process)) as typeof extra & InstanceProcess;
}
