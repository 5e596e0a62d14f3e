import type { ConsumerReport } from '../driver/consumer.ts';
import type { CommandUses } from '../driver/redis-info.ts';
import { type Cost, DELIVERY_DEADLINE_MS, GRACE_MS, type Rig } from '../driver/rig.ts';
import type { Pace, PublishReport } from '../driver/swarm-requests.ts';
import { createTopic } from '../driver/topics.ts';
import { type BenchOptions, consumerFaults, type Figure } from './scenario.ts';

/** On which instance sessions are; member i of a group takes the (i modulo length)th. */
export interface Places {
  readonly publishers: readonly number[];
  readonly consumers: readonly number[];
}

/** What one stretch of publishing did. */
export interface PublishStretch {
  readonly published: PublishReport;
  readonly cost: Cost;
  readonly consumers: ConsumerReport;
  readonly redisCommands?: CommandUses;
}

const WARM_UP_SECONDS = 3;

/** As many topics as publishers, and consumers that follow them: publishers in one process, consumers in another. */
export class PublishLoad {
  readonly #rig: Rig;
  readonly #options: BenchOptions;
  readonly #nodes: readonly string[];
  readonly #consumersPerTopic: number;
  readonly #faults: string[] = [];

  private constructor(rig: Rig, options: BenchOptions, nodes: readonly string[], consumersPerTopic: number) {
    this.#rig = rig;
    this.#options = options;
    this.#nodes = nodes;
    this.#consumersPerTopic = consumersPerTopic;
  }

  /** Logs in, subscribes and warms up. Needs `publishers × (1 + consumersPerTopic)` accounts. */
  static async open(rig: Rig, options: BenchOptions, places: Places, consumersPerTopic = 1): Promise<PublishLoad> {
    const accounts = rig.server.accounts;
    const providers = accounts.slice(0, options.publishers);
    const nodes = providers.map((_, i) => `bench-publish-${i}`);
    for (const [i, account] of providers.entries()) {
      const owner = await rig.login(account, 'owner');
      await createTopic(owner, nodes[i]!, {});
      await owner.close();
    }
    rig.say('logging in');
    const load = new PublishLoad(rig, options, nodes, consumersPerTopic);
    const login = { concurrency: 16, resource: 'bench' };
    await load.#publisherSwarm.ask('open', { group: 'publishers', accounts: providers, places: places.publishers, ...login });
    const consumers = accounts.slice(options.publishers, options.publishers * (1 + consumersPerTopic));
    await load.#consumerSwarm.ask('open', { group: 'consumers', accounts: consumers, places: places.consumers, ...login });
    await load.#consumerSwarm.ask('subscribe', {
      group: 'consumers',
      nodes,
      concurrency: 16,
      streamManagement: options.streamManagement,
    });
    rig.say('warming up');
    await load.#publishAndReceive({ window: options.window }, WARM_UP_SECONDS);
    return load;
  }

  /** Neither waits for the other's event loop. */
  get #publisherSwarm() {
    return this.#rig.swarms[0]!;
  }

  get #consumerSwarm() {
    return this.#rig.swarms.at(-1)!;
  }

  /** Empty when every consumer received every event once and in order. */
  get faults(): readonly string[] {
    return this.#faults;
  }

  async run(pace: Pace): Promise<PublishStretch> {
    await this.#consumerSwarm.ask('reset', { group: 'consumers' });
    this.#rig.say(`publishing for ${this.#options.seconds} s`);
    const { result, cost, redisCommands } = await this.#rig.measure(() => this.#publishAndReceive(pace, this.#options.seconds));
    const consumers = await this.#consumerSwarm.ask('report', { group: 'consumers' });
    return { published: result, cost, consumers, ...(redisCommands === undefined ? {} : { redisCommands }) };
  }

  /** What a publish asked of Redis: scripts (those of every second are among them), messages, and how many instances heard each. */
  async redisFigures({ published, redisCommands = {} }: PublishStretch): Promise<Figure[]> {
    const { redis } = this.#rig.server;
    if (redis === undefined) return [];
    const calls = (command: string) => redisCommands[command]?.calls ?? 0;
    const scripts = calls('evalsha') + calls('eval');
    const micros = (redisCommands.evalsha?.micros ?? 0) + (redisCommands.eval?.micros ?? 0);
    return [
      { name: 'Redis: scripts per publish', value: scripts / published.done, unit: '', digits: 3 },
      { name: 'Redis: messages per publish', value: calls('spublish') / published.done, unit: '', digits: 3 },
      {
        name: 'Redis: instances that hear a message',
        value: (await redis.listeners(':bell')) / this.#nodes.length,
        unit: '',
        digits: 2,
      },
      { name: 'Redis: time of a script', value: micros / scripts, unit: 'µs', digits: 1 },
    ];
  }

  async close(): Promise<void> {
    const report = await this.#consumerSwarm.ask('report', { group: 'consumers' });
    this.#faults.push(...consumerFaults([report], this.#due));
    await this.#publisherSwarm.ask('close', { group: 'publishers' });
    await this.#consumerSwarm.ask('close', { group: 'consumers' });
  }

  #due = 0;

  async #publishAndReceive(pace: Pace, seconds: number): Promise<PublishReport> {
    const { reportBytes, seed } = this.#options;
    const ask = { group: 'publishers', nodes: this.#nodes, pace, reportBytes, seed, seconds };
    const published = await this.#publisherSwarm.ask('publish', ask, seconds * 1000 + GRACE_MS);
    this.#due = published.published.reduce((sum, count) => sum + count, 0) * this.#consumersPerTopic;
    await this.#consumerSwarm.ask('received', { group: 'consumers', events: this.#due }, DELIVERY_DEADLINE_MS).catch(
      (error: Error) => this.#faults.push(error.message), // the consumers' report tells what is missing
    );
    return published;
  }
}
