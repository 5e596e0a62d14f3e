import { setTimeout as delay } from 'node:timers/promises';
import { Client, type Endpoint, type TlsMode } from './client.ts';
import { ConsumerGroup } from './consumer.ts';
import { monotonicMicros } from './event-scanner.ts';
import { Latencies } from './latency.ts';
import { makeReport } from './report-payload.ts';
import type { PublishReport, SwarmAnswer, SwarmMessage, SwarmOperation, SwarmRequests } from './swarm-requests.ts';
import { publish, subscribe } from './topics.ts';

/** One client process of the bench: holds groups of platforms and does what the driver asks. Started by `swarm-process.ts`. */

type Handlers = { [Op in SwarmOperation]: (ask: SwarmRequests[Op]['ask']) => Promise<SwarmRequests[Op]['answer']> };

const groups = new Map<string, ConsumerGroup>();
/** Last sequence number by group and member, so that warm-up and measurement form one sequence. */
const published = new Map<string, number[]>();
let endpoints: readonly Endpoint[];
let tls: TlsMode;

const handlers: Handlers = {
  async configure(ask) {
    endpoints = ask.endpoints;
    tls = ask.tls;
    return null;
  },

  async open({ group, accounts, concurrency, resource, places, localAddress }) {
    const members = makeGroup(group);
    await eachConcurrently(accounts.length, concurrency, async (i) => {
      const account = accounts[i]!;
      members[i] = await Client.open({
        endpoint: endpoints[places === undefined ? i % endpoints.length : places[i % places.length]!]!,
        tls,
        account,
        resource,
        ...(localAddress === undefined ? {} : { localAddress }),
      });
    });
    return settle(group, members);
  },

  async openBare({ group, count, concurrency, port, ca }) {
    const members = makeGroup(group);
    await eachConcurrently(count, concurrency, async (i) => {
      members[i] = await Client.openBare({ host: '127.0.0.1', directTlsPort: port, domain: 'localhost', ca });
    });
    return settle(group, members);
  },

  async subscribe({ group, nodes, concurrency, streamManagement }) {
    const { members } = groupOf(group);
    await eachConcurrently(members.length, concurrency, async (i) => {
      await subscribe(members[i]!, nodes[i % nodes.length]!);
      if (streamManagement) await members[i]!.enableStreamManagement();
    });
    return null;
  },

  async received({ group, events }) {
    await groupOf(group).received(events);
    return null;
  },

  async reset({ group }) {
    groupOf(group).reset();
    return null;
  },

  async report({ group }) {
    return groupOf(group).report();
  },

  async publish({ group, nodes, seconds, pace, reportBytes, seed }) {
    const { members } = groupOf(group);
    const last = published.get(group) ?? members.map(() => 0);
    published.set(group, last);
    const report = makeReport(reportBytes, seed);
    const latencies = new Latencies();
    const publishOne = async (member: number, dueMicros: number) => {
      last[member]! += 1;
      await publish(members[member]!, nodes[member]!, report, member, last[member]!, dueMicros);
      latencies.record(monotonicMicros() - dueMicros);
    };
    if ('window' in pace) await closedLoop(members.length, pace.window, seconds, publishOne);
    else await openLoop(members.length, pace.perSecond, seconds, publishOne);
    return { done: latencies.count, latency: latencies.counts(), published: [...last] } satisfies PublishReport;
  },

  async login({ accounts, total, concurrency }) {
    const latencies = new Latencies();
    await eachConcurrently(total, concurrency, async (i) => {
      const began = monotonicMicros();
      const client = await Client.open({
        endpoint: endpoints[i % endpoints.length]!,
        tls,
        account: accounts[i % accounts.length]!,
        resource: `login-${process.pid}-${i}`,
      });
      latencies.record(monotonicMicros() - began);
      await client.close();
    });
    return { done: latencies.count, latency: latencies.counts() };
  },

  async ping({ group, seconds, window }) {
    const { members } = groupOf(group);
    const latencies = new Latencies();
    const until = monotonicMicros() + seconds * 1e6;
    const pingLoop = async (client: Client) => {
      while (monotonicMicros() < until) {
        const began = monotonicMicros();
        await client.request(`<ping xmlns='urn:xmpp:ping'/>`, endpoints[0]!.domain, 'get');
        latencies.record(monotonicMicros() - began);
      }
    };
    await Promise.all(members.flatMap((client) => Array.from({ length: window }, () => pingLoop(client))));
    return { done: latencies.count, latency: latencies.counts() };
  },

  async handshakes({ total, concurrency, port, ca, certificate }) {
    await eachConcurrently(total, concurrency, async () => {
      const client = await Client.openBare({ host: '127.0.0.1', directTlsPort: port, domain: 'localhost', ca }, certificate);
      await client.close();
    });
    return total;
  },

  async close({ group }) {
    const { members } = groupOf(group);
    groups.delete(group);
    published.delete(group);
    await eachConcurrently(members.length, 64, (i) => members[i]!.close());
    return null;
  },

  async cpu() {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  },
};

function makeGroup(name: string): Client[] {
  if (groups.has(name)) throw new Error(`group ${name} is already open`);
  return [];
}

function settle(name: string, members: readonly Client[]): number {
  const group = new ConsumerGroup();
  for (const client of members) group.add(client);
  groups.set(name, group);
  return members.length;
}

function groupOf(name: string): ConsumerGroup {
  const group = groups.get(name);
  if (group === undefined) throw new Error(`no group ${name}`);
  return group;
}

/** Runs work 0 … count−1 with so many at a time; the first failure ends it. */
async function eachConcurrently(count: number, concurrency: number, work: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < count) {
      next += 1;
      await work(next - 1);
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, concurrency) }, worker));
}

/** Each member sends its next request when one of its `window` was answered. */
async function closedLoop(
  members: number,
  window: number,
  seconds: number,
  send: (member: number, dueMicros: number) => Promise<void>,
): Promise<void> {
  const until = monotonicMicros() + seconds * 1e6;
  const worker = async (member: number) => {
    for (let now = monotonicMicros(); now < until; now = monotonicMicros()) await send(member, now);
  };
  await Promise.all(Array.from({ length: members * window }, (_, i) => worker(i % members)));
}

/** Requests left unanswered by an open loop; beyond it the server is hopelessly behind. */
const MAX_OPEN_REQUESTS = 50_000;

/**
 * Sends at an even rate, to each member in turn, whether or not answers come. Timers are a millisecond coarse and the process
 * may be late: what is due by then goes out together, each with the time at which it should have gone.
 */
async function openLoop(
  members: number,
  perSecond: number,
  seconds: number,
  send: (member: number, dueMicros: number) => Promise<void>,
): Promise<void> {
  const began = monotonicMicros();
  const total = Math.floor(perSecond * seconds);
  const dueOf = (request: number) => began + (request / perSecond) * 1e6;
  const open = new Set<Promise<void>>();
  let failure: Error | undefined;
  for (let next = 0; next < total && failure === undefined; ) {
    const now = monotonicMicros();
    for (; next < total && dueOf(next) <= now; next++) {
      const request = send(next % members, dueOf(next))
        .catch((error: Error) => {
          failure ??= error;
        })
        .finally(() => open.delete(request));
      open.add(request);
    }
    if (open.size > MAX_OPEN_REQUESTS) throw new Error(`${open.size} requests are unanswered: the server cannot take this rate`);
    await delay(1);
  }
  await Promise.all(open);
  if (failure !== undefined) throw failure;
}

async function answer({ id, operation, ask }: SwarmMessage): Promise<SwarmAnswer> {
  try {
    const handle = handlers[operation] as (ask: unknown) => Promise<unknown>;
    return { id, answer: await handle(ask) };
  } catch (error) {
    return { id, error: (error as Error).message };
  }
}

process.on('message', (message: SwarmMessage) => {
  void answer(message).then((reply) => process.send?.(reply));
});
process.on('disconnect', () => process.exit(0)); // the driver is gone
