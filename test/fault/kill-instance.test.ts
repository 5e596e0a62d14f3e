import { describe, expect, it } from 'vitest';
import { type InstanceProcess, startInstanceProcess } from '../support/instance-process.ts';
import { type Element, RawClient } from '../support/raw-client.ts';

/**
 * F1 on the embedded store: the process dies by SIGKILL under load, starts again, everybody comes back. Whatever was
 * acknowledged reaches every consumer in order; what is repeated says so by its stanza id (delivery.md §1.2, G-012, G-029, G-035).
 */

const PROVIDERS = 4;
const PER_PROVIDER = 2_500;
const CONSUMERS = 50;
const NODE = 'incidents';
const PAYLOAD = (id: string) => `<report xmlns='urn:example:report'><id>${id}</id></report>`;

const login = (grid: InstanceProcess, name: string) =>
  RawClient.login({
    port: grid.directTlsPort,
    directTls: true,
    domain: grid.domain,
    ca: grid.certificates.ca.certificate,
    user: name,
    password: name,
    resource: 'r',
  });

/** Comes back until it is let in: after a kill the port is closed for a moment. */
async function comeBack(grid: InstanceProcess, name: string): Promise<RawClient> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await login(grid, name);
    } catch (error) {
      if (attempt >= 200) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

class Consumer {
  readonly name: string;
  readonly #grid: InstanceProcess;
  client!: RawClient;
  /** Item ids in order of arrival, each entry once. */
  readonly items: string[] = [];
  readonly seen = new Map<string, string>();
  repeated = 0;
  outOfOrder = 0;
  #lastSeq = 0;

  constructor(grid: InstanceProcess, name: string) {
    this.#grid = grid;
    this.name = name;
  }

  async connect(): Promise<void> {
    const client = await comeBack(this.#grid, this.name);
    client.keepsBytes = false;
    client.tap = (element) => this.#take(element, client);
    this.client = client;
    for (const element of client.inbox.splice(0)) this.#take(element, client);
  }

  #take(element: Element, client: RawClient): boolean {
    if (element.name === 'iq' && element.attrs.type === 'get') {
      client.send(`<iq type='result' id='${element.attrs.id}' to='${element.attrs.from}'/>`);
      return true;
    }
    const item = element.getChild('event')?.getChild('items')?.getChild('item');
    if (item === undefined) return false;
    const id = element.getChild('stanza-id')?.attrs.id as string;
    const seq = Number(id.split('-')[0]);
    const known = this.seen.get(id);
    if (known !== undefined) {
      expect(known).toBe(item.attrs.id);
      this.repeated++;
      return true;
    }
    if (seq <= this.#lastSeq) this.outOfOrder++;
    this.#lastSeq = seq;
    this.seen.set(id, item.attrs.id as string);
    this.items.push(item.attrs.id as string);
    return true;
  }
}

/** Publishes one after the other, asks again with the same id when the answer was lost. */
class Provider {
  readonly name: string;
  readonly #grid: InstanceProcess;
  readonly acknowledged: string[] = [];
  retried = 0;
  onAcknowledged: () => void = () => undefined;

  constructor(grid: InstanceProcess, name: string) {
    this.#grid = grid;
    this.name = name;
  }

  async run(): Promise<void> {
    let client = await comeBack(this.#grid, this.name);
    for (let i = 0; i < PER_PROVIDER; i++) {
      const id = `${this.name}-${i}`;
      for (;;) {
        client.send(
          `<iq type='set' id='${id}' to='${this.#grid.broker}'><pubsub xmlns='http://jabber.org/protocol/pubsub'>` +
            `<publish node='${NODE}'><item id='${id}'>${PAYLOAD(id)}</item></publish></pubsub></iq>`,
        );
        const answer = await Promise.race([
          client.next((element) => element.attrs.id === id, `the answer to ${id}`, 30_000).catch(() => undefined),
          client.closed(60_000).then(() => undefined),
        ]);
        if (answer !== undefined) {
          if (answer.attrs.type !== 'result') throw new Error(String(answer));
          break;
        }
        client.kill();
        client = await comeBack(this.#grid, this.name);
        this.retried++;
      }
      this.acknowledged.push(id);
      this.onAcknowledged();
    }
    await client.close();
  }
}

describe('F1 kill -9 of the instance under load', () => {
  it(`loses none of ${PROVIDERS * PER_PROVIDER} acknowledged publishes for ${CONSUMERS} consumers`, {
    timeout: 240_000,
  }, async () => {
    const grid = await startInstanceProcess();
    try {
      await grid.admin(async (admin) => {
        for (let i = 0; i < CONSUMERS; i++) await admin.platformAdd({ name: `c${i}`, password: `c${i}`, role: 'demo' });
        for (let i = 0; i < PROVIDERS; i++) await admin.platformAdd({ name: `p${i}`, password: `p${i}`, role: 'demo' });
      });
      const owner = await login(grid, 'p0');
      expect(
        (
          await owner.iq(
            'set',
            `<pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='${NODE}'/></pubsub>`,
            grid.broker,
          )
        ).attrs.type,
      ).toBe('result');
      const affiliations = Array.from(
        { length: PROVIDERS - 1 },
        (_, i) => `<affiliation jid='p${i + 1}@localhost' affiliation='publisher'/>`,
      ).join('');
      const changed = await owner.iq(
        'set',
        `<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><affiliations node='${NODE}'>${affiliations}</affiliations></pubsub>`,
        grid.broker,
      );
      expect(changed.attrs.type).toBe('result');
      await owner.close();

      const consumers = Array.from({ length: CONSUMERS }, (_, i) => new Consumer(grid, `c${i}`));
      for (const consumer of consumers) {
        await consumer.connect();
        const reply = await consumer.client.iq(
          'set',
          `<pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe node='${NODE}' jid='${consumer.name}@localhost'/></pubsub>`,
          grid.broker,
        );
        expect(reply.getChild('pubsub')?.getChild('subscription')?.attrs.subscription).toBe('subscribed');
      }

      const providers = Array.from({ length: PROVIDERS }, (_, i) => new Provider(grid, `p${i}`));
      // Two kills, at a third and at two thirds of the publishes.
      const total = PROVIDERS * PER_PROVIDER;
      let acknowledged = 0;
      let kills = 0;
      let restarting: Promise<void> = Promise.resolve();
      for (const provider of providers) {
        provider.onAcknowledged = () => {
          acknowledged++;
          if ((acknowledged === Math.floor(total / 3) || acknowledged === Math.floor((2 * total) / 3)) && kills < 2) {
            kills++;
            restarting = restarting.then(async () => {
              await grid.kill();
              await grid.start();
              await Promise.all(consumers.map((consumer) => consumer.connect()));
            });
          }
        };
      }
      await Promise.all(providers.map((provider) => provider.run()));
      await restarting;

      const wanted = new Set(providers.flatMap((provider) => provider.acknowledged));
      for (const consumer of consumers) {
        await expect
          .poll(() => consumer.items.length, { timeout: 60_000, interval: 50, message: consumer.name })
          .toBeGreaterThanOrEqual(total);
      }
      let lost = 0;
      let repeated = 0;
      let outOfOrder = 0;
      for (const consumer of consumers) {
        const got = new Set(consumer.items);
        for (const id of wanted) if (!got.has(id)) lost++;
        expect(consumer.items).toHaveLength(total); // a publish asked again is no second event (delivery.md §2.3)
        // One order for all (M-03).
        expect(consumer.items).toEqual(consumers[0]?.items);
        repeated += consumer.repeated;
        outOfOrder += consumer.outOfOrder;
      }
      console.log(
        `kill -9 ×${kills}: ${wanted.size} acknowledged, ${CONSUMERS} consumers, ${consumers.reduce((sum, each) => sum + each.items.length, 0)} deliveries, ` +
          `lost ${lost}, out of order ${outOfOrder}, repeated ${repeated}, publishes asked again ${providers.reduce((sum, each) => sum + each.retried, 0)}`,
      );
      expect({ lost, outOfOrder, kills }).toEqual({ lost: 0, outOfOrder: 0, kills: 2 });
    } finally {
      await grid.dispose();
    }
  });
});
