import { type Account, Client, type ClientOptions, type TlsMode } from './client.ts';
import type { ConsumerReport } from './consumer.ts';
import { monotonicMicros } from './event-scanner.ts';
import { cpuSeconds, machineCpuSeconds } from './proc.ts';
import { type CommandUses, usesBetween } from './redis-info.ts';
import type { Measured, ServerUnderTest } from './server.ts';
import { SwarmProcess } from './swarm-process.ts';

/** What one measured stretch cost. Seconds. */
export interface Cost {
  readonly wallSeconds: number;
  /** CPU of the server's processes, all instances together, from /proc/PID/stat. */
  readonly serverCpu: number;
  /** The same of all processes of Redis; absent where there is none. */
  readonly redisCpu?: number;
  /** CPU of the swarm processes and the driver together. */
  readonly clientCpu: number;
  /** CPU that the machine spent on anything else: what makes figures of two runs differ. Never below 0. */
  readonly otherCpu: number;
}

export function sumCosts(costs: readonly Cost[]): Cost {
  const total = (pick: (cost: Cost) => number) => costs.reduce((sum, cost) => sum + pick(cost), 0);
  const hasRedis = costs.some((cost) => cost.redisCpu !== undefined);
  return {
    wallSeconds: total((cost) => cost.wallSeconds),
    serverCpu: total((cost) => cost.serverCpu),
    ...(hasRedis ? { redisCpu: total((cost) => cost.redisCpu ?? 0) } : {}),
    clientCpu: total((cost) => cost.clientCpu),
    otherCpu: total((cost) => cost.otherCpu),
  };
}

/** A source address carries some 28,000 connections to one port; beyond this many sessions the swarms use more addresses. */
const SESSIONS_PER_ADDRESS = 20_000;
/** Logins at a time in each swarm: enough to keep the server busy, few enough that none times out. */
const LOGIN_CONCURRENCY = 32;
/** Time for a whole group to receive what was published; a run in which events are missing ends after it. */
export const DELIVERY_DEADLINE_MS = 60_000;

/** Beyond the time that some work should take: past it the server hangs, and the run ends with an error. */
export const GRACE_MS = 120_000;
/** For logging in or subscribing a whole group. */
const GROUP_DEADLINE_MS = 900_000;

/** What was measured while some work was done. */
export interface Stretch<T> {
  readonly result: T;
  readonly cost: Cost;
  /** Only of a server with a Redis. */
  readonly redisCommands?: CommandUses;
}

export interface RigOptions {
  /** Client processes. */
  readonly swarms: number;
  readonly tls: TlsMode;
  readonly say: (text: string) => void;
  /** Given: instances are sampled in each measured stretch, and what was found is handed over here. Sampling costs CPU. */
  readonly keepProfile?: (name: string, profile: string) => void;
}

/** A server, the swarm processes around it and the driver's own session: what every scenario works with. */
export class Rig {
  readonly server: ServerUnderTest;
  readonly swarms: readonly SwarmProcess[];
  readonly #tls: TlsMode;
  readonly #say: (text: string) => void;
  readonly #keepProfile: RigOptions['keepProfile'];
  #profiles = 0;

  private constructor(server: ServerUnderTest, swarms: readonly SwarmProcess[], { tls, say, keepProfile }: RigOptions) {
    this.server = server;
    this.swarms = swarms;
    this.#tls = tls;
    this.#say = say;
    this.#keepProfile = keepProfile;
  }

  static async assemble(server: ServerUnderTest, options: RigOptions): Promise<Rig> {
    const swarms = Array.from({ length: options.swarms }, () => new SwarmProcess());
    const endpoints = server.instances.map(({ endpoint }) => endpoint);
    await Promise.all(swarms.map((swarm) => swarm.ask('configure', { endpoints, tls: options.tls })));
    return new Rig(server, swarms, options);
  }

  dismantle(): void {
    for (const swarm of this.swarms) swarm.stop();
  }

  say(text: string): void {
    this.#say(text);
  }

  /** A session of the driver itself on the first instance, for creating topics and for publishing to many. */
  login(account: Account, resource = 'driver'): Promise<Client> {
    const options: ClientOptions = { endpoint: this.server.instances[0]!.endpoint, tls: this.#tls, account, resource };
    return Client.open(options);
  }

  /** Logs accounts in, evenly over the swarms and from each over the instances. */
  async openGroup(group: string, accounts: readonly Account[]): Promise<void> {
    this.say(`logging in ${accounts.length} ${group}`);
    const addresses = Math.ceil(accounts.length / SESSIONS_PER_ADDRESS);
    await this.#each((swarm, index) =>
      swarm.ask(
        'open',
        {
          group,
          accounts: this.#share(accounts, index),
          concurrency: LOGIN_CONCURRENCY,
          resource: 'bench',
          ...(addresses > 1 ? { localAddress: `127.0.0.${2 + (index % addresses)}` } : {}),
        },
        GROUP_DEADLINE_MS,
      ),
    );
  }

  /** Opens sockets to the calibration server, evenly over the swarms. */
  async openBareGroup(group: string, sockets: number, port: number, ca: string): Promise<void> {
    this.say(`opening ${sockets} sockets to the ${group}`);
    await this.#each((swarm, index) =>
      swarm.ask('openBare', { group, count: this.#shareSize(sockets, index), concurrency: LOGIN_CONCURRENCY, port, ca }),
    );
  }

  /** Each member subscribes to one topic; with stream management also asks for acknowledgements. */
  async subscribeGroup(group: string, node: string, streamManagement: boolean): Promise<void> {
    this.say(`subscribing ${group}`);
    await this.#each((swarm) =>
      swarm.ask('subscribe', { group, nodes: [node], concurrency: LOGIN_CONCURRENCY, streamManagement }),
    );
  }

  /** Waits until every member of every swarm has received so many events since it logged in. @throws SwarmDeadline */
  async received(group: string, members: number, eventsEach: number): Promise<void> {
    await this.#each((swarm, index) =>
      swarm.ask('received', { group, events: eventsEach * this.#shareSize(members, index) }, DELIVERY_DEADLINE_MS),
    );
  }

  async resetGroup(group: string): Promise<void> {
    await this.#each((swarm) => swarm.ask('reset', { group }));
  }

  reports(group: string): Promise<readonly ConsumerReport[]> {
    return Promise.all(this.swarms.map((swarm) => swarm.ask('report', { group })));
  }

  async closeGroup(group: string): Promise<void> {
    await this.#each((swarm) => swarm.ask('close', { group }));
  }

  /** Runs `work` between two readings of the clocks. @param of whose CPU counts: left out, the server's */
  async measure<T>(work: () => Promise<T>, of: Measured = this.server): Promise<Stretch<T>> {
    const endProfiles = of === this.server ? await this.#startProfiles() : undefined;
    const redis = of === this.server ? this.server.redis : undefined;
    const usesBefore = await redis?.commandUses();
    const clientsBefore = await this.#clientCpu();
    const machineBefore = machineCpuSeconds();
    const serverBefore = cpuOf(of.pids);
    const redisBefore = cpuOf(of.redisPids ?? []);
    const began = monotonicMicros();
    const result = await work();
    const wallSeconds = (monotonicMicros() - began) / 1e6;
    const serverCpu = cpuOf(of.pids) - serverBefore;
    const redisCpu = cpuOf(of.redisPids ?? []) - redisBefore;
    const machineCpu = machineCpuSeconds() - machineBefore;
    const clientCpu = (await this.#clientCpu()) - clientsBefore;
    const usesAfter = await redis?.commandUses();
    await endProfiles?.();
    return {
      result,
      ...(usesBefore === undefined || usesAfter === undefined ? {} : { redisCommands: usesBetween(usesBefore, usesAfter) }),
      cost: {
        wallSeconds,
        serverCpu,
        ...(of.redisPids === undefined ? {} : { redisCpu }),
        clientCpu,
        otherCpu: Math.max(0, machineCpu - serverCpu - redisCpu - clientCpu),
      },
    };
  }

  /**
   * Repeats a round until the time has passed and so many are done, on a slow machine for at most six times as long.
   * Returns the number of rounds.
   */
  async repeat(seconds: number, atLeast: number, round: () => Promise<unknown>): Promise<number> {
    const began = monotonicMicros();
    const passed = () => (monotonicMicros() - began) / 1e6;
    let rounds = 0;
    while (passed() < seconds || (rounds < atLeast && passed() < seconds * 6)) {
      await round();
      rounds += 1;
    }
    return rounds;
  }

  async #clientCpu(): Promise<number> {
    const swarms = await Promise.all(this.swarms.map((swarm) => swarm.ask('cpu', {})));
    const { user, system } = process.cpuUsage();
    return swarms.reduce((sum, cpu) => sum + cpu, (user + system) / 1e6);
  }

  async #startProfiles(): Promise<(() => Promise<void>) | undefined> {
    const keep = this.#keepProfile;
    if (keep === undefined) return undefined;
    this.#profiles += 1;
    const stretch = this.#profiles;
    const stops = await Promise.all(this.server.instances.map((instance) => instance.startProfile?.()));
    return async () => {
      for (const [i, stop] of stops.entries()) {
        if (stop !== undefined) keep(`stretch-${stretch}-instance-${i + 1}`, await stop());
      }
    };
  }

  async #each(work: (swarm: SwarmProcess, index: number) => Promise<unknown>): Promise<void> {
    await Promise.all(this.swarms.map(work));
  }

  /** Every n-th account belongs to swarm n. */
  #share(accounts: readonly Account[], swarm: number): Account[] {
    return accounts.filter((_, i) => i % this.swarms.length === swarm);
  }

  #shareSize(members: number, swarm: number): number {
    return Math.floor((members - swarm - 1) / this.swarms.length) + 1;
  }
}

const cpuOf = (pids: readonly number[]): number => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
