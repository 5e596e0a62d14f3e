import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { DEFAULTS, type Harness, openHarness } from './support/broker-harness.ts';

/** RFC 8600 §4: "care should be taken" with many topics. A page costs what is on it, whatever the number of topics (G-017, P-U03, X-006). */

const TOPICS = 100_000;
let h: Harness;
beforeAll(async () => {
  h = await openHarness();
  const first = {
    config: DEFAULTS,
    creator: 'hamlet@denmark.lit',
    stampMs: 0,
    affiliations: new Map([['hamlet@denmark.lit', 'owner' as const]]),
  };
  for (let from = 0; from < TOPICS; from += 2_000) {
    await Promise.all(
      Array.from({ length: 2_000 }, (_, i) => h.store.create(`topic-${String(from + i).padStart(6, '0')}`, first)),
    );
  }
}, 60_000);
afterAll(async () => {
  await h.close();
});

const page = (set: string) =>
  h.must(
    'hamlet@denmark.lit/a',
    'get',
    `<query xmlns='http://jabber.org/protocol/disco#items'><set xmlns='http://jabber.org/protocol/rsm'>${set}</set></query>`,
  );

describe(`${TOPICS} topics`, () => {
  it.each([
    ['the first page', '<max>50</max>', 'topic-000000'],
    ['a page in the middle', '<max>50</max><after>topic-049999</after>', 'topic-050000'],
    ['the last page', '<max>50</max><before/>', 'topic-099950'],
    ['a page by index', '<max>50</max><index>70000</index>', 'topic-070000'],
  ])('%s reads the records of its own topics and no other', async (_name, set, first) => {
    const record = vi.spyOn(h.store, 'record');
    const topics = vi.spyOn(h.store, 'topics');
    const query = (await page(set)).getChild('query');
    const items = query?.getChildren('item') ?? [];
    expect(items).toHaveLength(50);
    expect(items[0]?.attrs.node).toBe(first);
    expect(query?.getChild('set')?.getChildText('count')).toBe(String(TOPICS));
    expect(record.mock.calls.length).toBeLessThanOrEqual(50);
    expect(topics.mock.calls.length).toBeLessThanOrEqual(2);
    vi.restoreAllMocks();
  });

  it('a list asked for without RSM is cut to a page, and says so', async () => {
    const query = (
      await h.must('hamlet@denmark.lit/a', 'get', "<query xmlns='http://jabber.org/protocol/disco#items'/>")
    ).getChild('query');
    expect(query?.getChildren('item')).toHaveLength(50);
    expect(query?.getChild('set')?.getChildText('count')).toBe(String(TOPICS));
  });
});
