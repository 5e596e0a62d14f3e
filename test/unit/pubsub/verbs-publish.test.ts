import type { OpaqueElement } from '@xmpp-grid/stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { rfc8600, xep0060 } from '../../support/examples.ts';
import { canonical, errorOf } from '../../support/stanzas.ts';
import { BROKER, createNode, type Harness, openHarness, owner, pubsub } from './support/broker-harness.ts';

const HAMLET = 'hamlet@denmark.lit/blogbot';
const FRANCISCO = 'francisco@denmark.lit/barracks';
const NODE = 'princely_musings';
const ENTRY = `<entry xmlns='http://www.w3.org/2005/Atom'><title>Soliloquy</title></entry>`;

let h: Harness;
beforeEach(async () => {
  h = await openHarness();
  await h.must(HAMLET, 'set', createNode(NODE));
});
afterEach(() => h.close());

const publish = (item: string, node = NODE) => pubsub(`<publish node='${node}'>${item}</publish>`);
const affiliate = (jid: string, affiliation: string, node = NODE) =>
  h.must(
    HAMLET,
    'set',
    owner(`<affiliations node='${node}'><affiliation jid='${jid}' affiliation='${affiliation}'/></affiliations>`),
  );
const ids = async (node = NODE) => {
  const page = await h.store.items(node, { max: 1000 });
  return page === 'unknown-key' ? [] : page.entries.map(({ itemId }) => itemId);
};

describe('publish, XEP-0060 §7.1 (P-U26, P-F31)', () => {
  it('§7.1.2, examples 96 and 98: with an item id', async () => {
    expect(canonical(await h.ask(xep0060(96)))).toBe(canonical(xep0060(98)));
    expect(await ids()).toEqual(['bnd81g37d61f49fgn581']);
  });

  it('§7.1.2, examples 97 and 99: without one the service makes it (P-B15)', async () => {
    const want = xep0060(99).replace('ae890ac52d0df67ed7cfdf51b644e901', 'made-1');
    expect(canonical(await h.ask(xep0060(97)))).toBe(canonical(want));
    expect(await ids()).toEqual(['made-1']);
  });

  it('stores the payload byte for byte, and its language beside it (RFC 8600 §6)', async () => {
    await h.close();
    h = await openHarness();
    const xml = rfc8600('10-s6-publish-request').replaceAll('broker.security-grid.example', BROKER);
    await h.must('datasource@provider.example/x', 'set', createNode('MILEHost', { type: 'urn:ietf:params:xml:ns:iodef-2.0' }));
    expect((await h.ask(xml)).attrs.type).toBe('result');
    const [item] = await h.store.itemsById('MILEHost', ['8bh1g27skbga47fh9wk7']);
    const document = xml.slice(xml.indexOf('<IODEF-Document'), xml.indexOf('</IODEF-Document>') + '</IODEF-Document>'.length);
    expect(item!.payload!.bytes.toString()).toBe(document);
    expect(item!.publisher).toBe('datasource@provider.example');
  });

  it('§7.1.2.3: the service names the publisher, whatever the item says (P-B18, P-U28)', async () => {
    await h.must(HAMLET, 'set', publish(`<item id='i' publisher='king@denmark.lit'>${ENTRY}</item>`));
    expect((await h.store.itemsById(NODE, ['i']))[0]!.publisher).toBe('hamlet@denmark.lit');
  });

  it('§7.1.3: the same id overwrites, whoever publishes, and is a new event (P-U31, P-B20, P-B38)', async () => {
    await affiliate('francisco@denmark.lit', 'publisher');
    await h.must(HAMLET, 'set', publish(`<item id='i'>${ENTRY}</item>`), 'p1');
    const before = (await h.store.record(NODE))!.head.seq;
    await h.must(FRANCISCO, 'set', publish(`<item id='i'><other xmlns='u'/></item>`), 'p1');
    await h.must(FRANCISCO, 'set', publish(`<item id='i'><other xmlns='u'/></item>`), 'p2');
    expect((await h.store.record(NODE))!.head.seq).toBe(before + 2);
    expect(await ids()).toEqual(['i']);
  });

  it('a request sent again is answered as the first time and tells nobody (delivery.md §2.3)', async () => {
    const first = await h.must(HAMLET, 'set', publish(`<item>${ENTRY}</item>`), 'p1');
    const head = (await h.store.record(NODE))!.head;
    expect(canonical(await h.must('hamlet@denmark.lit/blogbot', 'set', publish(`<item>${ENTRY}</item>`), 'p1'))).toBe(
      canonical(first),
    );
    expect((await h.store.record(NODE))!.head).toEqual(head);
    await h.must(HAMLET, 'set', publish(`<item>${ENTRY}</item>`), 'p2');
    await h.must(HAMLET, 'set', publish(`<item><other xmlns='u'/></item>`), 'p1');
    await h.must(HAMLET, 'set', publish(`<item id='x'>${ENTRY}</item>`), 'p1');
    expect((await ids()).length).toBe(4);
  });

  it.each<[string, string, string]>([
    ['§7.1.3.1 owner', 'owner', 'result'],
    ['§7.1.3.1 publisher', 'publisher', 'result'],
    ['§7.1.3.1 publish-only', 'publish-only', 'result'],
    ['§7.1.3.1 member (P-E043)', 'member', 'auth forbidden'],
    ['§7.1.3.1 none (P-E043)', 'none', 'auth forbidden'],
    ['§7.1.3.1 outcast (P-E043)', 'outcast', 'auth forbidden'],
  ])('%s', async (_, affiliation, want) => {
    if (affiliation !== 'none') await affiliate('francisco@denmark.lit', affiliation);
    const answer = await h.request(FRANCISCO, 'set', publish(`<item>${ENTRY}</item>`));
    expect(answer.attrs.type === 'result' ? 'result' : errorOf(answer)).toBe(want);
  });

  it('§16.4.4: publish model subscribers lets subscribers publish', async () => {
    await h.must(HAMLET, 'set', createNode('s', { publish_model: 'subscribers', access_model: 'whitelist' }));
    await affiliate('francisco@denmark.lit', 'member', 's');
    expect(errorOf(await h.request(FRANCISCO, 'set', publish(`<item>${ENTRY}</item>`, 's')))).toBe('auth forbidden');
    await h.must(FRANCISCO, 'set', pubsub(`<subscribe node='s' jid='francisco@denmark.lit'/>`));
    await h.must(FRANCISCO, 'set', publish(`<item>${ENTRY}</item>`, 's'));
  });

  it('§7.1.3.3, example 107: no such node (P-E045)', async () => {
    expect(errorOf(await h.request(HAMLET, 'set', publish(`<item>${ENTRY}</item>`, 'no')))).toBe('cancel item-not-found');
  });

  it('§7.1.3.5: payload too big, exactly at the limit it fits (P-E047, P-N12)', async () => {
    const bytes = Buffer.byteLength(ENTRY);
    await h.must(HAMLET, 'set', createNode('small', { max_payload_size: String(bytes) }));
    await h.must(HAMLET, 'set', publish(`<item>${ENTRY}</item>`, 'small'));
    const longer = ENTRY.replace('Soliloquy', 'Soliloquy!');
    expect(errorOf(await h.request(HAMLET, 'set', publish(`<item>${longer}</item>`, 'small')))).toBe(
      'modify not-acceptable+payload-too-big',
    );
    expect((await ids('small')).length).toBe(1);
  });

  it('§7.1.3.6: two payloads (P-E048)', async () => {
    expect(canonical(withoutText(await h.request(HAMLET, 'set', publish(`<item>${ENTRY}${ENTRY}</item>`), 'publish1')))).toBe(
      canonical(xep0060(110).replace('elsinore', 'blogbot')),
    );
    expect(await ids()).toEqual([]);
  });

  it('§7.1.3.6: another namespace than pubsub#type, saying which (P-E049, RFC 8600 §5)', async () => {
    await h.must(HAMLET, 'set', createNode('iodef', { type: 'urn:ietf:params:xml:ns:iodef-2.0' }));
    const answer = await h.request(HAMLET, 'set', publish(`<item>${ENTRY}</item>`, 'iodef'));
    expect(errorOf(answer)).toBe('modify bad-request+invalid-payload');
    expect(answer.getChild('error')!.getChildText('text')).toBe(
      'expected namespace urn:ietf:params:xml:ns:iodef-2.0, got http://www.w3.org/2005/Atom',
    );
    await h.must(HAMLET, 'set', publish(`<item><i:IODEF-Document xmlns:i='urn:ietf:params:xml:ns:iodef-2.0'/></item>`, 'iodef'));
    expect((await ids('iodef')).length).toBe(1);
  });

  it('a payload that cannot stand by itself is invalid (delivery.md §4.7)', async () => {
    const many = Array.from({ length: 40 }, (_, at) => `xmlns:p${at}='urn:${at}'`).join(' ');
    const answer = await h.ask(
      `<iq type='set' from='${HAMLET}' to='${BROKER}' id='1' ${many}>${publish(`<item>${ENTRY}</item>`)}</iq>`,
    );
    expect(errorOf(answer)).toBe('modify bad-request+invalid-payload');
    expect(await ids()).toEqual([]);
  });

  it.each<[string, string, string]>([
    ['no node', pubsub(`<publish><item>${ENTRY}</item></publish>`), 'modify bad-request+nodeid-required'],
    ['two items (§7.1.1 note 19)', publish(`<item>${ENTRY}</item><item>${ENTRY}</item>`), 'modify bad-request'],
    ['an item id over 512 bytes', publish(`<item id='${'i'.repeat(513)}'>${ENTRY}</item>`), 'modify not-acceptable'],
    [
      'publish options, §7.1.5 (P-F32)',
      pubsub(`<publish node='${NODE}'><item>${ENTRY}</item></publish><publish-options/>`),
      'cancel feature-not-implemented+unsupported[publish-options]',
    ],
  ])('refuses %s', async (_, child, want) => {
    expect(errorOf(await h.request(HAMLET, 'set', child))).toBe(want);
    expect(await ids()).toEqual([]);
  });

  it('§7.1.2.5: the oldest item gives way (P-B19, P-U30, P-N11)', async () => {
    await h.must(HAMLET, 'set', createNode('three', { max_items: '3' }));
    for (const id of ['a', 'b', 'c', 'd', 'e'])
      await h.must(HAMLET, 'set', publish(`<item id='${id}'>${ENTRY}</item>`, 'three'), id);
    expect(await ids('three')).toEqual(['c', 'd', 'e']);
  });

  /** P-B06: event type × what the request has. */
  describe.each<[string, Record<string, string>, Record<string, string>]>([
    [
      'persistent, payload',
      { persist_items: '1', deliver_payloads: '1' },
      {
        nothing: 'modify bad-request+item-required', // P-E050
        'empty item': 'modify bad-request+payload-required', // P-E051
        payload: 'result',
        'two payloads': 'modify bad-request+invalid-payload',
      },
    ],
    [
      'persistent, notification',
      { persist_items: '1', deliver_payloads: '0' },
      {
        nothing: 'modify bad-request+item-required',
        'empty item': 'result', // P-U27
        payload: 'result',
        'two payloads': 'modify bad-request+invalid-payload',
      },
    ],
    [
      'transient, payload',
      { persist_items: '0', deliver_payloads: '1' },
      {
        nothing: 'modify bad-request+payload-required',
        'empty item': 'modify bad-request+payload-required',
        payload: 'result',
        'two payloads': 'modify bad-request+invalid-payload',
      },
    ],
    [
      'transient, notification',
      { persist_items: '0', deliver_payloads: '0' },
      {
        nothing: 'result',
        'empty item': 'modify bad-request+item-forbidden', // P-E052
        payload: 'modify bad-request+item-forbidden',
        'two payloads': 'modify bad-request+invalid-payload',
      },
    ],
  ])('§4.3 Table 4, §7.1.3.7: %s (P-B06)', (_, config, wants) => {
    it.each([
      ['nothing', ''],
      ['empty item', '<item/>'],
      ['payload', `<item>${ENTRY}</item>`],
      ['two payloads', `<item>${ENTRY}${ENTRY}</item>`],
    ])('%s', async (what, item) => {
      await h.must(HAMLET, 'set', createNode('t', config));
      const answer = await h.request(HAMLET, 'set', publish(item, 't'));
      expect(answer.attrs.type === 'result' ? 'result' : errorOf(answer)).toBe(wants[what]);
      expect((await h.store.record('t'))!.head.seq).toBe(wants[what] === 'result' ? 1 : 0);
    });
  });

  it('counts results under closed labels', async () => {
    await h.must(HAMLET, 'set', publish(`<item>${ENTRY}</item>`));
    await h.request(FRANCISCO, 'set', publish(`<item>${ENTRY}</item>`));
    const text = await h.registry.getSingleMetricAsString('xmppgrid_pubsub_publish_total');
    expect(text).toContain('{node_class="other",result="ok"} 1');
    expect(text).toContain('{node_class="other",result="forbidden"} 1');
  });
});

/** Our errors may explain themselves; the examples do not. */
function withoutText(answer: Awaited<ReturnType<Harness['ask']>>) {
  answer.getChild('error')?.remove('text');
  return answer;
}

describe('retract, XEP-0060 §7.2 (P-U34, P-F13, P-F37)', () => {
  beforeEach(async () => {
    await h.must(HAMLET, 'set', publish(`<item id='ae890ac52d0df67ed7cfdf51b644e901'>${ENTRY}</item>`));
  });

  it('§7.2.2, examples 115 and 116', async () => {
    expect(canonical(await h.ask(xep0060(115)))).toBe(canonical(xep0060(116)));
    expect(await ids()).toEqual([]);
  });

  it.each<[string, string, boolean]>([
    ['0', `notify='1'`, true],
    ['0', `notify='true'`, true],
    ['0', `notify='0'`, false],
    ['0', '', false],
    ['1', '', true],
    ['1', `notify='false'`, true],
  ])('§7.2.2.1: notify_retract=%s and %s notifies: %s (P-B21, P-N17)', async (configured, attribute, want) => {
    await h.must(HAMLET, 'set', createNode('r', { notify_retract: configured }));
    await h.must(HAMLET, 'set', publish(`<item id='i'>${ENTRY}</item>`, 'r'));
    await h.must(HAMLET, 'set', pubsub(`<retract node='r' ${attribute}><item id='i'/></retract>`));
    expect(await h.store.entry('r', (await h.store.record('r'))!.head)).toMatchObject({
      kind: 'retracted',
      itemId: 'i',
      notify: want,
    });
  });

  it('publish-only entities remove their own items alone (P-B03)', async () => {
    await affiliate('francisco@denmark.lit', 'publish-only');
    await h.must(FRANCISCO, 'set', publish(`<item id='mine'>${ENTRY}</item>`));
    expect(
      errorOf(
        await h.request(
          FRANCISCO,
          'set',
          pubsub(`<retract node='${NODE}'><item id='ae890ac52d0df67ed7cfdf51b644e901'/></retract>`),
        ),
      ),
    ).toBe('auth forbidden');
    await h.must(FRANCISCO, 'set', pubsub(`<retract node='${NODE}'><item id='mine'/></retract>`));
    expect(await ids()).toEqual(['ae890ac52d0df67ed7cfdf51b644e901']);
  });

  it.each<[string, string, string, string]>([
    [
      'insufficient privileges (P-E054)',
      FRANCISCO,
      `<retract node='${NODE}'><item id='ae890ac52d0df67ed7cfdf51b644e901'/></retract>`,
      'auth forbidden',
    ],
    [
      'insufficient privileges, also for what is not there',
      FRANCISCO,
      `<retract node='${NODE}'><item id='no'/></retract>`,
      'auth forbidden',
    ],
    ['no such node (P-E055)', HAMLET, `<retract node='no'><item id='i'/></retract>`, 'cancel item-not-found'],
    ['no such item (P-E055)', HAMLET, `<retract node='${NODE}'><item id='no'/></retract>`, 'cancel item-not-found'],
    [
      'an id that none can have',
      HAMLET,
      `<retract node='${NODE}'><item id='${'i'.repeat(5000)}'/></retract>`,
      'cancel item-not-found',
    ],
    ['no node (P-E056)', HAMLET, `<retract><item id='i'/></retract>`, 'modify bad-request+nodeid-required'],
    ['no item (P-E057)', HAMLET, `<retract node='${NODE}'/>`, 'modify bad-request+item-required'],
    ['no item id (P-E057)', HAMLET, `<retract node='${NODE}'><item/></retract>`, 'modify bad-request+item-required'],
    ['two items', HAMLET, `<retract node='${NODE}'><item id='a'/><item id='b'/></retract>`, 'modify bad-request'],
    ['notify that is no boolean', HAMLET, `<retract node='${NODE}' notify='yes'><item id='a'/></retract>`, 'modify bad-request'],
  ])('§7.2.3: refuses %s', async (_, from, child, want) => {
    expect(errorOf(await h.request(from, 'set', pubsub(child)))).toBe(want);
    expect((await ids()).length).toBe(1);
  });

  it('§7.2.3.5: the topic keeps no items (P-E058)', async () => {
    await h.must(HAMLET, 'set', createNode('t', { persist_items: '0' }));
    expect(errorOf(await h.request(HAMLET, 'set', pubsub(`<retract node='t'><item id='a'/></retract>`)))).toBe(
      'cancel feature-not-implemented+unsupported[persistent-items]',
    );
  });
});

describe('items, XEP-0060 §6.5 (P-U20, P-F41)', () => {
  const FOUR = [
    '368866411b877c30064a5f62b917cffe',
    '3300659945416e274474e469a1f0154c',
    '4e30f35051b7b8b42abe083742187228',
    'ae890ac52d0df67ed7cfdf51b644e901',
  ];
  const get = (attributes: string, inner = '', set = '') => pubsub(`<items node='${NODE}'${attributes}>${inner}</items>${set}`);
  const rsm = (inner: string) => `<set xmlns='http://jabber.org/protocol/rsm'>${inner}</set>`;
  const shown = (answer: Awaited<ReturnType<Harness['ask']>>) =>
    answer
      .getChild('pubsub')!
      .getChild('items')!
      .getChildren('item')
      .map((item) => FOUR.indexOf(item.attrs.id));
  const setOf = (answer: Awaited<ReturnType<Harness['ask']>>) => {
    const set = answer.getChild('pubsub')!.getChild('set');
    if (!set) return undefined;
    const first = set.getChild('first');
    return {
      index: first?.attrs.index as string | undefined,
      first: first === undefined ? undefined : FOUR.indexOf(first.getText()),
      last: set.getChild('last') === undefined ? undefined : FOUR.indexOf(set.getChildText('last')!),
      count: set.getChildText('count'),
    };
  };

  beforeEach(async () => {
    for (const id of FOUR) await h.must(HAMLET, 'set', publish(`<item id='${id}'>${ENTRY}</item>`), id);
  });

  it('§6.5.3: all items, in order of publication, each with publisher and payload (P-B14)', async () => {
    const answer = await h.request(HAMLET, 'get', get(''));
    const items = FOUR.map((id) => `<item id='${id}' publisher='hamlet@denmark.lit'>${ENTRY}</item>`).join('');
    expect(canonical(answer)).toBe(canonical(`<iq type='result' from='${BROKER}' to='${HAMLET}' id='1'>${get('', items)}</iq>`));
    const payload = answer.getChild('pubsub')!.getChild('items')!.getChild('item')!.getChildElements()[0] as OpaqueElement;
    expect(payload.bytes.toString()).toBe(ENTRY);
  });

  it('the language that a payload inherited stays with it (RFC 6120 §8.1.5)', async () => {
    await h.ask(
      `<iq type='set' from='${HAMLET}' to='${BROKER}' id='1' xml:lang='de'>${publish(`<item id='de'>${ENTRY}</item>`)}</iq>`,
    );
    const answer = await h.request(HAMLET, 'get', get('', `<item id='de'/>`));
    expect(answer.getChild('pubsub')!.getChild('items')!.getChild('item')!.attrs['xml:lang']).toBe('de');
  });

  it('§6.5.7: the N most recent, oldest of them first (P-U24)', async () => {
    const answer = await h.request(HAMLET, 'get', get(` max_items='2'`));
    expect(shown(answer)).toEqual([2, 3]);
    expect(setOf(answer)).toBeUndefined();
    expect(shown(await h.request(HAMLET, 'get', get(` max_items='99'`)))).toEqual([0, 1, 2, 3]);
  });

  it('§6.5.8: particular items, in the order asked; what is not there is left out (P-U25, P-E042)', async () => {
    expect(
      shown(await h.request(HAMLET, 'get', get('', `<item id='${FOUR[2]}'/><item id='${FOUR[0]}'/><item id='no'/>`))),
    ).toEqual([2, 0]);
    const none = await h.request(HAMLET, 'get', get('', `<item id='no'/>`));
    expect(canonical(none)).toBe(canonical(`<iq type='result' from='${BROKER}' to='${HAMLET}' id='1'>${get('')}</iq>`));
  });

  it.each<[string, string, number[], Partial<ReturnType<typeof setOf> & object>]>([
    ['the first page', '<max>2</max>', [0, 1], { index: '0', first: 0, last: 1, count: '4' }],
    ['forwards (X-008)', `<max>2</max><after>${FOUR[1]}</after>`, [2, 3], { index: '2', first: 2, last: 3 }],
    ['backwards (X-009)', `<max>2</max><before>${FOUR[3]}</before>`, [1, 2], { index: '1', first: 1, last: 2 }],
    ['the last page (X-011)', '<max>1</max><before/>', [3], { index: '3', first: 3, last: 3 }],
    ['by index (X-012)', '<max>1</max><index>2</index>', [2], { index: '2' }],
    ['count alone (X-013)', '<max>0</max>', [], { first: undefined, last: undefined, count: '4' }],
    ['past the end (X-014)', `<max>2</max><after>${FOUR[3]}</after>`, [], { first: undefined, last: undefined, count: '4' }],
  ])('§6.5.4, XEP-0059: %s (P-U21, P-F46, G-110)', async (_, request, want, set) => {
    const answer = await h.request(HAMLET, 'get', get('', '', rsm(request)));
    expect(shown(answer)).toEqual(want);
    expect(setOf(answer)).toMatchObject(set);
  });

  it.each<[string, string, string]>([
    ['an unknown id (X-010)', '<after>no</after>', 'cancel item-not-found'],
    ['a number that is none', '<max>ten</max>', 'modify bad-request'],
    ['a negative number', '<max>-1</max>', 'modify bad-request'],
    ['two places', `<after>${FOUR[0]}</after><index>1</index>`, 'modify bad-request'],
  ])('XEP-0059: refuses %s', async (_, request, want) => {
    expect(errorOf(await h.request(HAMLET, 'get', get('', '', rsm(request))))).toBe(want);
  });

  it('§6.5.4: more than a page is cut, and says so', async () => {
    await h.close();
    h = await openHarness({ limits: { pageEntries: 3 } });
    await h.must(HAMLET, 'set', createNode(NODE));
    for (const id of FOUR) await h.must(HAMLET, 'set', publish(`<item id='${id}'>${ENTRY}</item>`), id);
    const answer = await h.request(HAMLET, 'get', get(''));
    expect(shown(answer)).toEqual([0, 1, 2]);
    expect(setOf(answer)).toEqual({ index: '0', first: 0, last: 2, count: '4' });
    expect(setOf(await h.request(HAMLET, 'get', get(` max_items='4'`)))).toEqual({ index: '1', first: 1, last: 3, count: '4' });
  });

  it('an answer has a budget of bytes: it is cut so that the next page joins it', async () => {
    await h.close();
    h = await openHarness({ limits: { pageBytes: 2500 } });
    await h.must(HAMLET, 'set', createNode(NODE));
    const big = `<e xmlns='u'>${'x'.repeat(900)}</e>`;
    for (const id of FOUR) await h.must(HAMLET, 'set', publish(`<item id='${id}'>${big}</item>`), id);
    expect(shown(await h.request(HAMLET, 'get', get('')))).toEqual([0, 1]);
    expect(shown(await h.request(HAMLET, 'get', get('', '', rsm(`<after>${FOUR[1]}</after>`))))).toEqual([2, 3]);
    const last = await h.request(HAMLET, 'get', get('', '', rsm('<before/>')));
    expect(shown(last)).toEqual([2, 3]);
    expect(setOf(last)).toMatchObject({ index: '2', first: 2, last: 3 });
    expect(shown(await h.request(HAMLET, 'get', get('', '', rsm(`<before>${FOUR[2]}</before>`))))).toEqual([0, 1]);
  });

  it('a payload over the budget still comes, alone', async () => {
    await h.close();
    h = await openHarness({ limits: { pageBytes: 10 } });
    await h.must(HAMLET, 'set', createNode(NODE));
    for (const id of FOUR.slice(0, 2)) await h.must(HAMLET, 'set', publish(`<item id='${id}'>${ENTRY}</item>`), id);
    expect(shown(await h.request(HAMLET, 'get', get('')))).toEqual([0]);
  });

  it.each<[string, string, string]>([
    ['no node', pubsub('<items/>'), 'modify bad-request+nodeid-required'],
    ['no such node (P-E041)', pubsub(`<items node='no'/>`), 'cancel item-not-found'],
    ['an item without id', get('', '<item/>'), 'modify bad-request'],
    ['max_items=0', get(` max_items='0'`), 'modify bad-request'],
    ['max_items that is no number', get(` max_items='all'`), 'modify bad-request'],
  ])('refuses %s', async (_, child, want) => {
    expect(errorOf(await h.request(HAMLET, 'get', child))).toBe(want);
  });

  it('§6.5.9.3, example 86: not subscribed, which a request that waits is not either (P-E033)', async () => {
    const ask = () => h.request(FRANCISCO, 'get', get(''), 'items1');
    expect(canonical(await ask())).toBe(canonical(xep0060(86)));
    await h.must(FRANCISCO, 'set', pubsub(`<subscribe node='${NODE}' jid='francisco@denmark.lit'/>`));
    expect(canonical(await ask())).toBe(canonical(xep0060(86)));
    await h.must(
      HAMLET,
      'set',
      owner(
        `<subscriptions node='${NODE}'><subscription jid='francisco@denmark.lit' subscription='subscribed'/></subscriptions>`,
      ),
    );
    expect(shown(await ask())).toEqual([0, 1, 2, 3]);
  });

  it('§6.5.9.8: not on the whitelist (P-E038); §6.5.9.10: blocked (P-E040); §4.1: publish-only', async () => {
    await h.must(HAMLET, 'set', createNode('w', { access_model: 'whitelist' }));
    const ask = (node: string) => h.request(FRANCISCO, 'get', pubsub(`<items node='${node}'/>`));
    expect(errorOf(await ask('w'))).toBe('cancel not-allowed+closed-node');
    await affiliate('francisco@denmark.lit', 'publish-only');
    expect(errorOf(await ask(NODE))).toBe('auth forbidden');
    await affiliate('francisco@denmark.lit', 'outcast');
    expect(errorOf(await ask(NODE))).toBe('auth forbidden');
  });

  it('§12.12: owner and publisher need no subscription (P-B40)', async () => {
    await affiliate('francisco@denmark.lit', 'publisher');
    expect(shown(await h.request(FRANCISCO, 'get', get('')))).toEqual([0, 1, 2, 3]);
  });

  it('§6.5.9.4, example 87: the topic keeps no items (P-E034)', async () => {
    await h.must(HAMLET, 'set', createNode('t', { persist_items: '0' }));
    expect(errorOf(await h.request(HAMLET, 'get', pubsub(`<items node='t'/>`)))).toBe(
      'cancel feature-not-implemented+unsupported[persistent-items]',
    );
  });
});
