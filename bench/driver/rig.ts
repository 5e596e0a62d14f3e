import { type Account, Client, type ClientOptions, type TlsMode } from './client.ts';
import type { ConsumerReport } from './consumer.ts';
import { monotonicMicros } from './event-scanner.ts';
import { cpuSeconds, machineCpuSeconds } from './proc.ts';
import type { ServerUnderTest } from './server.ts';
import { SwarmProcess } from './swarm-process.ts';

/** What one measured stretch cost. Seconds. */
export interface Cost {
  readonly wallSeconds: number;
  /** CPU of the server process, from /proc/PID/stat. */
  readonly serverCpu: number;
  /** CPU of the swarm processes and the driver together. */
  readonly clientCpu: number;
  /** CPU that the machine spent on anything else: what makes figures of two runs differ. Never below 0. */
  readonly otherCpu: number;
}

export function sumCosts(costs: readonly Cost[]): Cost {
  const total = (pick: (cost: Cost) => number) => costs.reduce((sum, cost) => sum + pick(cost), 0);
  return {
    wallSeconds: total((cost) => cost.wallSeconds),
    serverCpu: total((cost) => cost.serverCpu),
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

/** A server, the swarm processes around it and the driver's own session: what every scenario works with. */
export class Rig {
  readonly server: ServerUnderTest;
  readonly swarms: readonly SwarmProcess[];
  readonly #tls: TlsMode;
  readonly #say: (text: string) => void;

  private constructor(server: ServerUnderTest, swarms: readonly SwarmProcess[], tls: TlsMode, say: (text: string) => void) {
    this.server = server;
    this.swarms = swarms;
    this.#tls = tls;
    this.#say = say;
  }

  static async assemble(server: ServerUnderTest, swarmCount: number, tls: TlsMode, say: (text: string) => void): Promise<Rig> {
    const swarms = Array.from({ length: swarmCount }, () => new SwarmProcess());
    await Promise.all(swarms.map((swarm) => swarm.ask('configure', { endpoint: server.endpoint, tls })));
    return new Rig(server, swarms, tls, say);
  }

  dismantle(): void {
    for (const swarm of this.swarms) swarm.stop();
  }

  say(text: string): void {
    this.#say(text);
  }

  /** A session of the driver itself, for creating topics and for publishing to many. */
  login(account: Account, resource = 'driver'): Promise<Client> {
    const options: ClientOptions = { endpoint: this.server.endpoint, tls: this.#tls, account, resource };
    return Client.open(options);
  }

  /** Logs accounts in, evenly over the swarms. */
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

  /** Runs `work` between two readings of the clocks. */
  async measure<T>(pid: number, work: () => Promise<T>): Promise<{ readonly result: T; readonly cost: Cost }> {
    const clientsBefore = await this.#clientCpu();
    const machineBefore = machineCpuSeconds();
    const serverBefore = cpuSeconds(pid);
    const began = monotonicMicros();
    const result = await work();
    const wallSeconds = (monotonicMicros() - began) / 1e6;
    const serverCpu = cpuSeconds(pid) - serverBefore;
    const machineCpu = machineCpuSeconds() - machineBefore;
    const clientCpu = (await this.#clientCpu()) - clientsBefore;
    return { result, cost: { wallSeconds, serverCpu, clientCpu, otherCpu: Math.max(0, machineCpu - serverCpu - clientCpu) } };
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
