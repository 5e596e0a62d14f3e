/** XEP-0030 and XEP-0059 on a running instance: what a platform finds, page by page. */
import type { Element } from '@xmpp-grid/stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RawClient } from '../../support/raw-client.ts';
import { errorOf } from '../../support/stanzas.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';

const INFO = 'http://jabber.org/protocol/disco#info';
const ITEMS = 'http://jabber.org/protocol/disco#items';
const TOPICS = 25;

let grid: TestInstance;
let client: RawClient;

beforeAll(async () => {
  grid = await startTestInstance();
  client = await grid.login('finder');
  for (let n = 0; n < TOPICS; n++) {
    const answer = await client.iq(
      'set',
      `<pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='t${String(n).padStart(3, '0')}'/></pubsub>`,
      grid.broker,
    );
    expect(answer.attrs.type).toBe('result');
  }
});
afterAll(async () => {
  await grid.stop();
});

const query = (ns: string, node?: string, inner = '') =>
  `<query xmlns='${ns}'${node === undefined ? '' : ` node='${node}'`}>${inner}</query>`;
const rsm = (inner: string) => `<set xmlns='http://jabber.org/protocol/rsm'>${inner}</set>`;
const nodes = (answer: Element): string[] =>
  answer
    .getChild('query')!
    .getChildren('item')
    .map((item) => item.attrs.node as string);

describe('the way to a topic, XEP-0030', () => {
  it('leads from the Controller to the Broker (G-016)', async () => {
    const answer = await client.iq('get', query(ITEMS), grid.domain);
    expect(
      answer
        .getChild('query')!
        .getChildren('item')
        .map((item) => item.attrs.jid),
    ).toContain(grid.broker);
  });

  it('§3.1: each has an identity and the feature disco#info (X-001)', async () => {
    for (const [to, node] of [[grid.domain], [grid.broker], [grid.broker, 't000']] as const) {
      const answer = await client.iq('get', query(INFO, node), to);
      expect(answer.attrs.type, String(answer)).toBe('result');
      expect(answer.getChild('query')!.attrs.node).toBe(node); // §3.2 (X-002)
      expect(answer.getChild('query')!.getChildren('identity').length).toBeGreaterThan(0);
      expect(
        answer
          .getChild('query')!
          .getChildren('feature')
          .map((feature) => feature.attrs.var),
      ).toContain(INFO);
    }
  });

  it('§7: an unknown node is item-not-found, for info and items (X-003)', async () => {
    for (const ns of [INFO, ITEMS])
      expect(errorOf(await client.iq('get', query(ns, 'no'), grid.broker))).toBe('cancel item-not-found');
  });
});

describe('pages, XEP-0059 (G-018, G-022, G-110)', () => {
  it('§2.2: walking forwards meets every topic once (X-007, X-008)', async () => {
    const walked: string[] = [];
    for (let pages = 0; walked.length < TOPICS; pages++) {
      expect(pages).toBeLessThan(TOPICS);
      const after = walked.length === 0 ? '' : `<after>${walked.at(-1)}</after>`;
      const answer = await client.iq('get', query(ITEMS, undefined, rsm(`<max>10</max>${after}`)), grid.broker);
      const set = answer.getChild('query')!.getChild('set')!;
      expect(set.getChildText('count')).toBe(String(TOPICS));
      expect(set.getChild('first')!.attrs.index).toBe(String(walked.length));
      expect(set.getChildText('last')).toBe(nodes(answer).at(-1));
      walked.push(...nodes(answer));
    }
    expect(walked).toEqual(Array.from({ length: TOPICS }, (_, n) => `t${String(n).padStart(3, '0')}`));
  });

  it('§2.5, §2.7: the last page, and the count alone (X-011, X-013)', async () => {
    expect(nodes(await client.iq('get', query(ITEMS, undefined, rsm('<max>2</max><before/>')), grid.broker))).toEqual([
      't023',
      't024',
    ]);
    const count = await client.iq('get', query(ITEMS, undefined, rsm('<max>0</max>')), grid.broker);
    expect(nodes(count)).toEqual([]);
    expect(count.getChild('query')!.getChild('set')!.toString()).toBe(
      '<set xmlns="http://jabber.org/protocol/rsm"><count>25</count></set>',
    );
  });

  it('a number that is none is a bad request', async () => {
    expect(errorOf(await client.iq('get', query(ITEMS, undefined, rsm('<max>many</max>')), grid.broker))).toBe(
      'modify bad-request',
    );
  });
});
