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
let endpoint: Endpoint;
let tls: TlsMode;

const handlers: Handlers = {
  async configure(ask) {
    endpoint = ask.endpoint;
    tls = ask.tls;
    return null;
  },

  async open({ group, accounts, concurrency, resource, localAddress }) {
    const members = makeGroup(group);
    await eachConcurrently(accounts.length, concurrency, async (i) => {
      const account = accounts[i]!;
      members[i] = await Client.open({
        endpoint,
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

  async publish({ group, nodes, seconds, window, reportBytes, seed }) {
    const { members } = groupOf(group);
    const last = published.get(group) ?? members.map(() => 0);
    published.set(group, last);
    const report = makeReport(reportBytes, seed);
    const latencies = new Latencies();
    const until = monotonicMicros() + seconds * 1e6;
    const publishLoop = async (member: number) => {
      while (monotonicMicros() < until) {
        last[member]! += 1;
        const began = monotonicMicros();
        await publish(members[member]!, nodes[member]!, report, member, last[member]!);
        latencies.record(monotonicMicros() - began);
      }
    };
    await Promise.all(members.flatMap((_, member) => Array.from({ length: window }, () => publishLoop(member))));
    return { done: latencies.count, latency: latencies.counts(), published: [...last] } satisfies PublishReport;
  },

  async login({ accounts, total, concurrency }) {
    const latencies = new Latencies();
    await eachConcurrently(total, concurrency, async (i) => {
      const began = monotonicMicros();
      const client = await Client.open({
        endpoint,
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
        await client.request(`<ping xmlns='urn:xmpp:ping'/>`, endpoint.domain, 'get');
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
