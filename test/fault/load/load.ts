import { seededRandom } from '../../../bench/driver/report-payload.ts';
import type { ClusterInstance, TestCluster } from '../../support/start-cluster.ts';
import { until } from '../../support/until.ts';
import { Checker, type CheckReport, type Delivery } from '../checker.ts';
import type { Timeline } from '../timeline.ts';
import { Consumer } from './consumer.ts';
import type { PlatformOptions } from './platform.ts';
import { Provider } from './provider.ts';

export interface LoadOptions {
  readonly topics: number;
  readonly providersPerTopic: number;
  readonly consumers: number;
  /** Topics that each consumer subscribes to. */
  readonly topicsEach: number;
  /** Of the consumers, so many never give up a silent connection by themselves. */
  readonly stubborn: number;
  /** Sessions of each consumer's account. */
  readonly resources: number;
  /** Mean pause of a provider between two publishes, ms. */
  readonly intervalMs: number;
  readonly management: PlatformOptions['management'];
  readonly providerManagement: PlatformOptions['management'];
  /** Consumers log in by certificate. */
  readonly external: boolean;
  readonly silenceMs: number;
  /** Time for a connection and for a login before a client tries another way. */
  readonly connectMs: number;
  /** Names the item of a provider's publish number `count`; default by topic and provider. */
  readonly itemId?: (node: string, count: number) => string;
}

export const DEFAULT_LOAD: LoadOptions = {
  topics: 2,
  providersPerTopic: 2,
  consumers: 20,
  topicsEach: 2,
  stubborn: 0,
  resources: 1,
  intervalMs: 10,
  management: 'resume',
  providerManagement: 'resume',
  external: false,
  silenceMs: 3_000,
  connectMs: 8_000,
};

/** Everything that was published reaches everybody within this time after the last fault, or counts as lost, ms. */
const SETTLE_MS = 60_000;
/** Logins under way at once while a run is prepared. */
const LOGINS = 16;

/** Providers, consumers and an auditor at one cluster: topics and accounts of its own for each seed. */
export class Load {
  readonly checker = new Checker();
  readonly providers: readonly Provider[];
  readonly consumers: readonly Consumer[];
  readonly nodes: readonly string[];
  readonly options: LoadOptions;
  readonly #auditor: Consumer;
  readonly #cluster: TestCluster;
  readonly #seed: number;
  readonly #timeline: Timeline;
  readonly #platform: (user: string, resource: string, more?: Partial<PlatformOptions>) => PlatformOptions;
  readonly #extras: (Consumer | Provider)[] = [];
  readonly #accounts = new Set<string>();

  private constructor(cluster: TestCluster, seed: number, options: LoadOptions, timeline: Timeline, certificates: Certificates) {
    this.options = options;
    this.#cluster = cluster;
    this.#seed = seed;
    this.#timeline = timeline;
    this.nodes = Array.from({ length: options.topics }, (_, i) => `seed-${seed}-topic-${i}`);
    let count = 0;
    const platform = (user: string, resource: string, more: Partial<PlatformOptions> = {}): PlatformOptions => ({
      user,
      resource,
      domain: cluster.domain,
      ca: cluster.ca,
      ports: () => cluster.ports(),
      management: options.management,
      silenceMs: options.silenceMs,
      connectMs: options.connectMs,
      random: seededRandom(seed * 100_003 + ++count),
      timeline,
      ...more,
    });
    this.#platform = platform;
    const { broker } = cluster;
    this.providers = this.nodes.flatMap((node, t) =>
      Array.from(
        { length: options.providersPerTopic },
        (_, i) =>
          new Provider(
            platform(`p${t * options.providersPerTopic + i}`, `s${seed}`, { management: options.providerManagement }),
            this.checker,
            {
              broker,
              node,
              intervalMs: options.intervalMs,
              ...(options.itemId === undefined ? {} : { itemId: options.itemId }),
            },
          ),
      ),
    );
    this.consumers = Array.from({ length: options.consumers * options.resources }, (_, i) => {
      const user = `c${Math.floor(i / options.resources)}`;
      const certificate = certificates.get(user);
      const more = {
        ...(certificate === undefined ? {} : { certificate }),
        ...(i < options.stubborn ? { silenceMs: STUBBORN_MS } : {}),
      };
      return new Consumer(platform(user, `s${seed}-${i % options.resources}`, more), this.checker, broker);
    });
    this.#auditor = new Consumer(platform(`auditor-${seed}`, 'r', { management: 'none' }), this.checker, broker);
  }

  /** Accounts, topics and subscriptions; everybody is connected when it resolves. */
  static async prepare(cluster: TestCluster, seed: number, options: LoadOptions, timeline: Timeline): Promise<Load> {
    const certificates: Certificates = new Map();
    const [first] = cluster.instances;
    if (first === undefined) throw new Error('a cluster has instances');
    if (options.external) {
      for (let i = 0; i < options.consumers; i++) {
        const issued = await first.certificates.platform(`c${i}`);
        certificates.set(`c${i}`, { cert: issued.certificate, key: issued.key });
      }
    }
    const load = new Load(cluster, seed, options, timeline, certificates);
    const users = new Set([...load.providers, ...load.consumers, load.#auditor].map(({ platform }) => platform.options.user));
    await first.admin(async (admin) => {
      for (const name of users) await admin.platformAdd({ name, password: name, role: 'demo', replace: true });
    });
    await Promise.all(load.providers.map((provider) => provider.platform.start()));
    for (const [t, node] of load.nodes.entries()) {
      const [owner, ...others] = load.providers.slice(t * options.providersPerTopic, (t + 1) * options.providersPerTopic);
      await owner?.create(node);
      if (others.length > 0)
        await owner?.affiliate(
          node,
          others.map((other) => other.platform.jid),
          'publisher',
        );
    }
    await eachOf([...load.consumers, load.#auditor], LOGINS, async (consumer) => {
      const nodes = load.#nodesOf(consumer);
      load.checker.expect(consumer.name, nodes);
      await consumer.platform.start();
      for (const node of nodes) await consumer.subscribe(node);
    });
    await load.#auditor.platform.stop();
    timeline.note(
      `prepared: ${load.consumers.length} consumers, ${load.providers.length} providers, ${load.nodes.length} topics`,
    );
    return load;
  }

  /** The topics that a consumer hears; resources of one account the same ones. */
  #nodesOf(consumer: Consumer): readonly string[] {
    if (consumer === this.#auditor) return this.nodes;
    const account = Math.floor(this.consumers.indexOf(consumer) / this.options.resources);
    return Array.from(
      { length: Math.min(this.options.topicsEach, this.nodes.length) },
      (_, i) => this.nodes[(account + i) % this.nodes.length] as string,
    );
  }

  /** An account besides the load, on what the scenario alone judges; connected when it resolves. `at`: only at this instance. */
  async extraConsumer(user: string, resource: string, checker: Checker, at?: ClusterInstance): Promise<Consumer> {
    await this.#addAccount(user);
    const more = at === undefined ? {} : { ports: () => [at.door.port] };
    const consumer = new Consumer(this.#platform(user, resource, more), checker, this.#cluster.broker);
    this.#extras.push(consumer);
    await consumer.platform.start();
    return consumer;
  }

  async extraProvider(user: string, node: string, checker: Checker, at?: ClusterInstance): Promise<Provider> {
    await this.#addAccount(user);
    const more = at === undefined ? {} : { ports: () => [at.door.port] };
    const to = { broker: this.#cluster.broker, node, intervalMs: this.options.intervalMs };
    const provider = new Provider(this.#platform(user, `s${this.#seed}`, more), checker, to);
    this.#extras.push(provider);
    await provider.platform.start();
    return provider;
  }

  async #addAccount(name: string): Promise<void> {
    if (this.#accounts.has(name)) return; // another password would end the sessions that it has
    this.#accounts.add(name);
    const running = this.#cluster.instances.find((instance) => instance.isRunning);
    await running?.admin((admin) => admin.platformAdd({ name, password: name, role: 'demo', replace: true }));
  }

  start(): void {
    for (const provider of this.providers) provider.run();
  }

  /** Waits until so many more publishes are acknowledged. */
  async flow(publishes: number, deliveries = 0, deadlineMs = 90_000): Promise<void> {
    const { checker } = this;
    const { acknowledgedCount, deliveryCount } = checker;
    const acknowledged = () => checker.acknowledgedCount - acknowledgedCount;
    const delivered = () => checker.deliveryCount - deliveryCount;
    const isEnough = () => acknowledged() >= publishes && delivered() >= deliveries;
    await until('events flow', isEnough, deadlineMs).catch(() => {
      throw new Error(
        `of ${publishes} publishes ${acknowledged()} were acknowledged, of ${deliveries} deliveries ${delivered()} came within ${deadlineMs / 1_000} s`,
      );
    });
  }

  /** There was enough for the checker; events go on, and the machine has time for what is repaired. */
  ease(): void {
    for (const provider of this.providers) provider.intervalMs = Math.max(provider.intervalMs, EASED_MS);
  }

  /** Stops publishing, waits until everybody has everything, and judges. */
  async finish(): Promise<CheckReport> {
    await Promise.all(this.providers.map((provider) => provider.finish()));
    // What has not come before the last event will not come.
    for (const node of this.nodes) await this.providers.find((provider) => provider.node === node)?.publish(endOf(node));
    this.#timeline.note('the last events are acknowledged');
    const all = [...this.consumers, this.#auditor];
    await this.#auditor.platform.start();
    const isWaiting = (consumer: Consumer) =>
      this.#nodesOf(consumer).some((node) => !this.checker.has(consumer.name, node, endOf(node)));
    const waiting = () => all.filter(isWaiting).map(({ name }) => name);
    await until('everybody has the last events', () => waiting().length === 0, SETTLE_MS).catch(() => {
      const [first, ...others] = waiting();
      if (first === this.#auditor.name) throw new Error('the auditor did not receive the log');
      this.#timeline.note(`${first} and ${others.length} others never received the last events`);
    });
    await this.stop();
    return this.checker.report(this.#auditor.name);
  }

  /** When everybody was served again after `sinceMs`, ms after it; undefined: not everybody was. */
  recoveredMs(sinceMs: number): number | undefined {
    let last = sinceMs;
    for (const { acknowledgements } of this.providers) {
      const first = acknowledgements.find(({ sentMs }) => sentMs >= sinceMs);
      if (first === undefined) return undefined;
      last = Math.max(last, first.atMs);
    }
    for (const { name } of this.consumers) {
      const first = this.checker.firstSince(name, sinceMs);
      if (first === undefined) return undefined;
      last = Math.max(last, first);
    }
    return last - sinceMs;
  }

  /** The log of every topic, as the auditor has it when the run is finished. */
  log(): Delivery[] {
    return this.checker.deliveriesOf(this.#auditor.name);
  }

  async stop(): Promise<void> {
    await Promise.all(
      [...this.consumers, ...this.providers, this.#auditor, ...this.#extras].map(({ platform }) => platform.stop()),
    );
  }
}

/** 4 providers are some 20 events a second then. */
const EASED_MS = 200;
const endOf = (node: string) => `${node}.end`;
/** Longer than any run. */
const STUBBORN_MS = 600_000;

type Certificates = Map<string, { readonly cert: string; readonly key: string }>;

/** So many at a time; the first failure ends it. */
export async function eachOf<T>(all: readonly T[], atATime: number, work: (each: T) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < all.length) await work(all[next++] as T);
  };
  await Promise.all(Array.from({ length: Math.min(all.length, atATime) }, worker));
}
