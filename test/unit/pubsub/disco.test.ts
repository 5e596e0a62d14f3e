import type { Element } from '@xmpp-grid/stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { rfc8600 } from '../../support/examples.ts';
import { canonical, errorOf } from '../../support/stanzas.ts';
import { BROKER, createNode, type Harness, openHarness, owner, pubsub } from './support/broker-harness.ts';

const HAMLET = 'hamlet@denmark.lit/elsinore';
const BERNARDO = 'bernardo@denmark.lit/watch';
const INFO = 'http://jabber.org/protocol/disco#info';
const ITEMS = 'http://jabber.org/protocol/disco#items';

let h: Harness;
afterEach(() => h.close());

const query = (ns: string, node?: string, inner = '') =>
  `<query xmlns='${ns}'${node === undefined ? '' : ` node='${node}'`}>${inner}</query>`;
const rsm = (inner: string) => `<set xmlns='http://jabber.org/protocol/rsm'>${inner}</set>`;
const names = (answer: Element) =>
  answer
    .getChild('query')!
    .getChildren('item')
    .map((item) => item.attrs.node ?? item.attrs.name);
const formFields = (answer: Element): Record<string, string[]> =>
  Object.fromEntries(
    answer
      .getChild('query')!
      .getChild('x')!
      .getChildren('field')
      .map((field) => [field.attrs.var, field.getChildren('value').map((value) => value.getText())]),
  );

describe('disco#info of the service, XEP-0060 §5.1 (P-U01, X-001)', () => {
  const features = async () =>
    (await h.must(HAMLET, 'get', query(INFO)))
      .getChild('query')!
      .getChildren('feature')
      .map((each) => each.attrs.var as string);

  it('names the identity and exactly the features of what is built (P-F01 to P-F46)', async () => {
    h = await openHarness();
    const answer = await h.must(HAMLET, 'get', query(INFO));
    expect(
      answer
        .getChild('query')!
        .getChildren('identity')
        .map(({ attrs }) => `${attrs.category}/${attrs.type}`),
    ).toEqual(['pubsub/service']);
    const pubsubFeatures = [
      'access-authorize',
      'config-node',
      'config-node-max',
      'create-and-configure',
      'create-nodes',
      'delete-items',
      'delete-nodes',
      'instant-nodes',
      'item-ids',
      'manage-subscriptions',
      'member-affiliation',
      'meta-data',
      'modify-affiliations',
      'multi-items',
      'outcast-affiliation',
      'persistent-items',
      'publish',
      'publish-only-affiliation',
      'publisher-affiliation',
      'purge-nodes',
      'retract-items',
      'retrieve-affiliations',
      'retrieve-default',
      'retrieve-items',
      'retrieve-subscriptions',
      'rsm',
      'subscribe',
      'subscription-notifications',
    ].map((name) => `http://jabber.org/protocol/pubsub#${name}`);
    expect(await features()).toEqual([
      INFO,
      ITEMS,
      'http://jabber.org/protocol/pubsub',
      ...pubsubFeatures,
      'http://jabber.org/protocol/rsm',
      'jabber:x:data',
      'urn:xmpp:ping',
    ]);
  });

  it('§10: names the default access model', async () => {
    h = await openHarness({ defaults: { accessModel: 'whitelist' } });
    const access = (await features()).filter((feature) => feature.includes('#access-'));
    expect(access).toEqual(['http://jabber.org/protocol/pubsub#access-whitelist']);
  });
});

describe('disco#info of a topic, XEP-0060 §5.3, §5.4 (P-U05, P-U06)', () => {
  beforeEach(async () => {
    h = await openHarness();
  });

  it('RFC 8600 §5: answers what the RFC shows, and more (G-023, G-024, P-U07)', async () => {
    const at = (file: string) => rfc8600(file).replaceAll('broker.security-grid.example', BROKER);
    await h.must(HAMLET, 'set', createNode('MILEHost', { type: 'urn:ietf:params:xml:ns:iodef-2.0' }));
    const answer = canonical(await h.ask(at('03-s5-disco-info-request'))).split('\n');
    // The label is ours to choose (XEP-0060 §8.2.2); all else of the example is in the answer.
    expect(
      canonical(at('04-s5-disco-info-result'))
        .split('\n')
        .filter((line) => !answer.includes(line)),
    ).toEqual([]);
  });

  it('the form holds every field of the first tier, and the node is mirrored (P-M02 to P-M13, X-002, X-020)', async () => {
    await h.must(HAMLET, 'set', createNode('n', { title: 'Musings', description: 'of a prince', type: 'urn:x', max_items: '9' }));
    await h.must(
      HAMLET,
      'set',
      owner(`<affiliations node='n'><affiliation jid='bard@shakespeare.lit' affiliation='publisher'/></affiliations>`),
    );
    await h.must(
      HAMLET,
      'set',
      owner(`<subscriptions node='n'><subscription jid='bernardo@denmark.lit' subscription='subscribed'/></subscriptions>`),
    );
    await h.must('horatio@denmark.lit/x', 'set', pubsub(`<subscribe node='n' jid='horatio@denmark.lit'/>`)); // waits: no subscriber
    const answer = await h.must(BERNARDO, 'get', query(INFO, 'n'));
    expect(answer.getChild('query')!.attrs.node).toBe('n');
    expect(answer.getChild('query')!.getChild('identity')!.attrs).toMatchObject({
      category: 'pubsub',
      type: 'leaf',
      name: 'Musings',
    });
    expect(formFields(answer)).toEqual({
      FORM_TYPE: ['http://jabber.org/protocol/pubsub#meta-data'],
      'pubsub#type': ['urn:x'],
      'pubsub#creator': ['hamlet@denmark.lit'],
      'pubsub#creation_date': ['2026-01-01T00:00:00Z'],
      'pubsub#title': ['Musings'],
      'pubsub#description': ['of a prince'],
      'pubsub#access_model': ['authorize'],
      'pubsub#publish_model': ['publishers'],
      'pubsub#max_items': ['9'],
      'pubsub#owner': ['hamlet@denmark.lit'],
      'pubsub#publisher': ['bard@shakespeare.lit'],
      'pubsub#num_subscribers': ['1'],
    });
  });

  it('RFC 8600 §5: pubsub#type is there also for a topic that takes anything', async () => {
    await h.must(HAMLET, 'set', createNode('n'));
    expect(formFields(await h.must(BERNARDO, 'get', query(INFO, 'n')))['pubsub#type']).toEqual(['']);
  });

  it('XEP-0030 §7: an unknown node (X-003)', async () => {
    expect(errorOf(await h.request(BERNARDO, 'get', query(INFO, 'no')))).toBe('cancel item-not-found');
    expect(errorOf(await h.request(BERNARDO, 'get', query(INFO, 'x'.repeat(3000))))).toBe('cancel item-not-found');
  });
});

describe('disco#items of the service, XEP-0060 §5.2 (P-U02, P-U03, G-016, G-018)', () => {
  beforeEach(async () => {
    h = await openHarness({ limits: { pageEntries: 5 } });
  });

  it('an empty service answers an empty query (X-004)', async () => {
    for (const inner of ['', rsm('<max>10</max>'), rsm('<max>0</max>')]) {
      expect(canonical(await h.must(HAMLET, 'get', query(ITEMS, undefined, inner)))).toBe(
        canonical(`<iq type='result' from='${BROKER}' to='${HAMLET}' id='1'>${query(ITEMS)}</iq>`),
      );
    }
  });

  it('RFC 8600 §5: topics with their titles (G-021)', async () => {
    const at = (file: string) => rfc8600(file).replaceAll('broker.security-grid.example', BROKER);
    await h.must(HAMLET, 'set', createNode('NEA1', { title: 'Endpoint Posture Information' }));
    await h.must(HAMLET, 'set', createNode('MILEHost', { title: 'MILE Host Data' }));
    const lines = (xml: string | Element) => canonical(xml).split('\n').sort(); // ours come in order of their names
    expect(lines(await h.ask(at('01-s5-disco-items-request')))).toEqual(lines(at('02-s5-disco-items-result')));
  });

  it('without RSM a long list is cut, with RSM it is walked without gap or repeat (X-006 to X-014)', async () => {
    const all = Array.from({ length: 12 }, (_, at) => `topic-${String(at).padStart(2, '0')}`);
    for (const node of all) await h.must(HAMLET, 'set', createNode(node));
    const list = (inner: string) => h.must(BERNARDO, 'get', query(ITEMS, undefined, inner));
    const cut = await list('');
    expect(names(cut)).toEqual(all.slice(0, 5));
    expect(cut.getChild('query')!.getChild('set')!.toString()).toBe(
      '<set xmlns="http://jabber.org/protocol/rsm"><first index="0">topic-00</first><last>topic-04</last><count>12</count></set>',
    );
    const walked: string[] = [];
    for (let after = ''; walked.length < 12; after = `<after>${walked.at(-1)}</after>`) {
      const page = names(await list(rsm(`<max>4</max>${after}`)));
      expect(page.length).toBeGreaterThan(0);
      walked.push(...page);
    }
    expect(walked).toEqual(all);
    const back: string[] = [];
    for (let before = '<before/>'; back.length < 12; before = `<before>${back[0]}</before>`) {
      const page = names(await list(rsm(`<max>5</max>${before}`)));
      expect(page.length).toBeGreaterThan(0);
      back.unshift(...page);
    }
    expect(back).toEqual(all);
    expect((await list(rsm('<max>0</max>'))).getChild('query')!.toString()).toContain('<count>12</count></set>');
    expect(names(await list(rsm('<max>2</max><index>10</index>')))).toEqual(all.slice(10));
    expect(names(await list(rsm('<max>2</max><index>12</index>')))).toEqual([]);
    // A name that is gone still has its place in the order (XEP-0059 §2.4 rule 2).
    await h.must(HAMLET, 'set', owner(`<delete node='topic-03'/>`));
    expect(names(await list(rsm('<max>2</max><after>topic-03</after>')))).toEqual(['topic-04', 'topic-05']);
  });
});

describe('disco#items of a topic, XEP-0060 §5.5 (P-U08)', () => {
  beforeEach(async () => {
    h = await openHarness({ limits: { pageEntries: 2 } });
    await h.must(HAMLET, 'set', createNode('n'));
    for (const id of ['a', 'b', 'c'])
      await h.must(HAMLET, 'set', pubsub(`<publish node='n'><item id='${id}'><e xmlns='u'/></item></publish>`), id);
  });

  it('names the items, without node, in pages', async () => {
    const answer = await h.must(HAMLET, 'get', query(ITEMS, 'n'));
    expect(canonical(answer)).toBe(
      canonical(
        `<iq type='result' from='${BROKER}' to='${HAMLET}' id='1'>${query(
          ITEMS,
          'n',
          `<item jid='${BROKER}' name='a'/><item jid='${BROKER}' name='b'/>${rsm(`<first index='0'>a</first><last>b</last><count>3</count>`)}`,
        )}</iq>`,
      ),
    );
    expect(names(await h.must(HAMLET, 'get', query(ITEMS, 'n', rsm('<after>b</after>'))))).toEqual(['c']);
    expect(errorOf(await h.request(HAMLET, 'get', query(ITEMS, 'n', rsm('<after>no</after>'))))).toBe('cancel item-not-found');
  });

  it('tells them only to who may retrieve them (X-005)', async () => {
    expect(errorOf(await h.request(BERNARDO, 'get', query(ITEMS, 'n')))).toBe('auth not-authorized+not-subscribed');
    expect(errorOf(await h.request(BERNARDO, 'get', query(ITEMS, 'no')))).toBe('cancel item-not-found');
  });
});
