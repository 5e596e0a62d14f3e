import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Element, RawClient } from '../../support/raw-client.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';

/** An orderly stop under load: what was sent is acknowledged before streams end, so that nothing is repeated (delivery.md §5.4, C-068). */

let grid: TestInstance;
beforeAll(async () => {
  grid = await startTestInstance({ role: 'demo' });
});
afterAll(async () => {
  await grid.stop();
});

const PUBSUB = "xmlns='http://jabber.org/protocol/pubsub'";

/** Answers what an ordinary client answers, and notes what it got. */
function behave(client: RawClient, got: string[], counts: { handled: number }): void {
  client.tap = (element: Element) => {
    if (element.name === 'r') {
      client.send(`<a xmlns='urn:xmpp:sm:3' h='${counts.handled}'/>`);
      return true;
    }
    if (['message', 'iq', 'presence'].includes(element.name)) counts.handled++;
    if (element.name === 'iq' && element.attrs.type === 'get') {
      client.send(`<iq type='result' id='${element.attrs.id}' to='${element.attrs.from}'/>`);
      return true;
    }
    const id = element.getChild('stanza-id')?.attrs.id;
    if (id === undefined) return false;
    got.push(id as string);
    return true;
  };
}

describe('drain', () => {
  it.each([
    ['a client that answers pings', ''],
    ['a client with XEP-0198', "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"],
  ])('%s gets every event once over a stop in the middle of a burst', async (name, enable) => {
    const node = `drain-${enable === '' ? 'ping' : 'sm'}`;
    const provider = await grid.login('provider');
    const user = `consumer-${node}`;
    const got: string[] = [];
    const first = await grid.login(user, { resource: 'r' });
    const counts = { handled: 0 };
    if (enable !== '') {
      first.send(enable);
      await first.next((element) => element.name === 'enabled');
    }
    behave(first, got, counts);
    await provider.iq('set', `<pubsub ${PUBSUB}><create node='${node}'/></pubsub>`, grid.broker);
    await first.iq('set', `<pubsub ${PUBSUB}><subscribe node='${node}' jid='${user}@localhost'/></pubsub>`, grid.broker);
    let acknowledged = 0;
    const publishing = (async () => {
      for (let i = 0; i < 500; i++) {
        const answer = await Promise.race([
          provider.iq(
            'set',
            `<pubsub ${PUBSUB}><publish node='${node}'><item id='i${i}'><x xmlns='urn:x'/></item></publish></pubsub>`,
            grid.broker,
          ),
          provider.closed(30_000).then(() => undefined),
        ]);
        if (answer === undefined) return;
        expect(answer.attrs.type).toBe('result');
        acknowledged++;
      }
    })();
    await expect.poll(() => got.length, { timeout: 10_000, interval: 5 }).toBeGreaterThan(20);
    await grid.restart();
    await publishing;
    expect(first.received).toContain('system-shutdown');
    const again = await grid.login(user, { resource: 'r' });
    behave(again, got, { handled: 0 });
    for (const element of again.inbox.splice(0)) again.tap?.(element);
    await expect
      .poll(() => new Set(got).size, { timeout: 10_000, interval: 5, message: name })
      .toBeGreaterThanOrEqual(acknowledged);
    await again.marker();
    expect(got).toHaveLength(new Set(got).size); // none twice
    const seqs = got.map((id) => Number(id.split('-')[0]));
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
    await again.close();
  });
});
