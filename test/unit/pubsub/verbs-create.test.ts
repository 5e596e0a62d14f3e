import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { rfc8600, xep0060 } from '../../support/examples.ts';
import { canonical, errorOf } from '../../support/stanzas.ts';
import { BROKER, configForm, createNode, type Harness, openHarness, owner, pubsub } from './support/broker-harness.ts';

const HAMLET = 'hamlet@denmark.lit/elsinore';
const OTHER = 'bernardo@denmark.lit/watch';

let h: Harness;
beforeEach(async () => {
  h = await openHarness();
});
afterEach(() => h.close());

describe('create, XEP-0060 §8.1 (P-U35, P-F12)', () => {
  it('§8.1.2, examples 133 and 135: with the default configuration, an empty result (RFC 8600 §6)', async () => {
    expect(canonical(await h.ask(xep0060(133)))).toBe(canonical(xep0060(135)));
    expect((await h.store.record('princely_musings'))?.config.accessModel).toBe('authorize');
    expect(await h.store.affiliation('princely_musings', 'hamlet@denmark.lit')).toBe('owner');
  });

  it('§8.1.2, example 134: with another access model', async () => {
    expect((await h.ask(xep0060(134))).attrs.type).toBe('result');
    expect((await h.store.record('princely_musings'))?.config.accessModel).toBe('whitelist');
  });

  it('§8.1.1, example 129: a name that is taken is a conflict (P-E063)', async () => {
    await h.ask(xep0060(125));
    expect(canonical(await h.ask(xep0060(125)))).toBe(canonical(xep0060(129)));
  });

  it('§8.1.1, examples 131 and 132: an instant node gets a name and tells it (P-F17, P-B22)', async () => {
    const want = xep0060(132).replace('25e3d37dabbab9541f7523321421edc5bfeb2dae', 'made-1');
    expect(canonical(await h.ask(xep0060(131)))).toBe(canonical(want));
    expect(await h.store.record('made-1')).toBeDefined();
  });

  it('RFC 8600 §6: with the configuration that the RFC shows (G-027)', async () => {
    const configure = rfc8600('06-s6-node-configure-form');
    await h.must(HAMLET, 'set', pubsub(`<create node='MILEHost'/>${configure}`));
    expect((await h.store.record('MILEHost'))?.config).toMatchObject({
      accessModel: 'authorize',
      persistItems: true,
      sendLastPublishedItem: 'never',
    });
  });

  it('§8.1.1c: a role without the grant is forbidden, and nothing is made (P-E062)', async () => {
    await h.close();
    h = await openHarness({ roleOf: { 'bernardo@denmark.lit': 'read-only' } });
    expect(errorOf(await h.request(OTHER, 'set', createNode('n')))).toBe('auth forbidden');
    expect(await h.store.record('n')).toBeUndefined();
    expect(h.denied()).toEqual([{ account: 'bernardo@denmark.lit', action: 'create', why: 'verb-not-granted' }]);
  });

  it.each<[string, string, string]>([
    ['<configure/> first', `<configure/><create node='n'/>`, 'modify bad-request'],
    ['<configure/> with a node', `<create node='n'/><configure node='n'/>`, 'modify bad-request'],
    ['two <configure/>', `<create node='n'/><configure/><configure/>`, 'modify bad-request'],
    ['another element after it', `<create node='n'/><options/>`, 'modify bad-request'],
    [
      'a form that is cancelled',
      `<create node='n'/><configure><x xmlns='jabber:x:data' type='cancel'/></configure>`,
      'modify bad-request',
    ],
    [
      'a form to fill in',
      `<create node='n'/><configure><x xmlns='jabber:x:data' type='form'/></configure>`,
      'modify bad-request',
    ],
    ['a name of 1,024 bytes', `<create node='${'n'.repeat(1024)}'/>`, 'modify not-acceptable'],
  ])('§8.1.3: refuses %s (P-B23)', async (_, child, want) => {
    expect(errorOf(await h.request(HAMLET, 'set', pubsub(child)))).toBe(want);
    expect((await h.store.topics({ max: 1 }, () => true)).count).toBe(0);
  });

  it.each([
    ['open', 'grid', 'modify not-acceptable+unsupported-access-model'],
    ['presence', 'grid', 'modify not-acceptable+unsupported-access-model'],
    ['roster', 'grid', 'modify not-acceptable+unsupported-access-model'],
    ['presence', 'compat', 'modify not-acceptable+unsupported-access-model'],
    ['roster', 'compat', 'modify not-acceptable+unsupported-access-model'],
    ['nonsense', 'compat', 'modify not-acceptable+unsupported-access-model'],
    ['', 'compat', 'modify not-acceptable+unsupported-access-model'],
  ] as const)('§8.1.2, example 136: access model "%s" in profile %s (P-E065, P-F03 to P-F05)', async (model, profile, want) => {
    await h.close();
    h = await openHarness({ profile });
    expect(errorOf(await h.request(HAMLET, 'set', createNode('n', { access_model: model })))).toBe(want);
    expect(await h.store.record('n')).toBeUndefined();
  });

  it('offers the open access model in profile compat', async () => {
    await h.close();
    h = await openHarness({ profile: 'compat' });
    await h.must(HAMLET, 'set', createNode('n', { access_model: 'open' }));
    expect((await h.store.record('n'))?.config.accessModel).toBe('open');
  });

  it('tells names apart exactly: case, spaces, Unicode forms (P-B08)', async () => {
    const names = ['Topic', 'topic', 'topic ', 't\u00e9', 'te\u0301'];
    for (const name of names) await h.must(HAMLET, 'set', createNode(name));
    expect((await h.store.topics({ max: 10 }, () => true)).count).toBe(names.length);
  });
});

describe('configure, XEP-0060 §8.2 (P-U37, P-F09)', () => {
  beforeEach(async () => {
    await h.must(HAMLET, 'set', createNode('princely_musings', { title: 'Musings', max_items: '7' }));
  });

  it('§8.2.2: gives the owner the form with present values', async () => {
    const answer = await h.ask(xep0060(139));
    const x = answer.getChild('pubsub')!.getChild('configure')!.getChild('x')!;
    expect(answer.getChild('pubsub')!.getChild('configure')!.attrs.node).toBe('princely_musings');
    expect(x.attrs.type).toBe('form');
    const fields = Object.fromEntries(
      x.getChildren('field').map((field) => [field.attrs.var, field.getChildren('value').map((value) => value.getText())]),
    );
    expect(fields).toEqual({
      FORM_TYPE: ['http://jabber.org/protocol/pubsub#node_config'],
      'pubsub#title': ['Musings'],
      'pubsub#description': [],
      'pubsub#type': [],
      'pubsub#access_model': ['authorize'],
      'pubsub#publish_model': ['publishers'],
      'pubsub#persist_items': ['1'],
      'pubsub#max_items': ['7'],
      'pubsub#max_payload_size': ['10000'],
      'pubsub#deliver_payloads': ['1'],
      'pubsub#notification_type': ['normal'],
      'pubsub#notify_config': ['0'],
      'pubsub#notify_delete': ['1'],
      'pubsub#notify_retract': ['1'],
      'pubsub#send_last_published_item': ['never'],
    });
  });

  it('§8.2.4: fields left out keep their value (XEP-0004 §3.5)', async () => {
    const submit = owner(
      `<configure node='princely_musings'>${configForm({ title: 'Other', persist_items: 'false' })}</configure>`,
    );
    expect(canonical(await h.request(HAMLET, 'set', submit, 'config2'))).toBe(canonical(xep0060(148)));
    expect((await h.store.record('princely_musings'))?.config).toMatchObject({
      title: 'Other',
      persistItems: false,
      maxItems: 7,
    });
  });

  it('§8.2.4, example 147: a cancelled form changes nothing (P-B24)', async () => {
    const before = await h.store.record('princely_musings');
    expect(canonical(await h.ask(xep0060(147)))).toBe(canonical(xep0060(148)));
    expect(await h.store.record('princely_musings')).toEqual(before);
  });

  it.each<[string, string, string]>([
    ['no node (P-E068)', `<configure/>`, 'modify bad-request+nodeid-required'],
    ['no form', `<configure node='princely_musings'/>`, 'modify bad-request'],
    ['no such node (P-E070)', `<configure node='no'>${configForm({})}</configure>`, 'cancel item-not-found'],
    [
      'another FORM_TYPE',
      `<configure node='princely_musings'>${configForm({}, 'http://jabber.org/protocol/pubsub#subscribe_options')}</configure>`,
      'modify not-acceptable',
    ],
    [
      'no FORM_TYPE',
      `<configure node='princely_musings'><x xmlns='jabber:x:data' type='submit'/></configure>`,
      'modify not-acceptable',
    ],
    [
      'a collection (XEP-0248 §7.1.3.1)',
      `<configure node='princely_musings'>${configForm({ node_type: 'collection' })}</configure>`,
      'cancel feature-not-implemented+unsupported[collections]',
    ],
  ])('refuses %s', async (_, child, want) => {
    const before = await h.store.record('princely_musings');
    expect(errorOf(await h.request(HAMLET, 'set', owner(child)))).toBe(want);
    expect(await h.store.record('princely_musings')).toEqual(before);
  });

  it.each<[string, string]>([
    ['get', `<configure node='princely_musings'/>`],
    ['set', `<configure node='princely_musings'>${configForm({ title: 'Mine' })}</configure>`],
  ])('§8.2.3.2: forbidden to who is no owner, %s (P-E067, P-B42)', async (type, child) => {
    expect(errorOf(await h.request(OTHER, type as 'get' | 'set', owner(child)))).toBe('auth forbidden');
    expect((await h.store.record('princely_musings'))?.config.title).toBe('Musings');
  });

  it('§14.3: a whitelist ends the subscriptions of who is not on it, and says so (P-B43)', async () => {
    await h.close();
    h = await openHarness({ profile: 'compat' });
    await h.must(HAMLET, 'set', createNode('n', { access_model: 'open' }));
    for (const who of ['bernardo@denmark.lit', 'marcellus@denmark.lit']) {
      await h.must(`${who}/1`, 'set', pubsub(`<subscribe node='n' jid='${who}'/>`));
    }
    await h.must(
      HAMLET,
      'set',
      owner(`<affiliations node='n'><affiliation jid='marcellus@denmark.lit' affiliation='member'/></affiliations>`),
    );
    h.sent();
    h.interest();
    await h.must(HAMLET, 'set', owner(`<configure node='n'>${configForm({ access_model: 'whitelist' })}</configure>`));
    expect((await h.store.subscriptions('n')).map(({ jid }) => jid)).toEqual(['marcellus@denmark.lit']);
    expect(h.interest()).toEqual(['n bernardo@denmark.lit']);
    expect(h.sent().map((message) => canonical(message))).toEqual([
      canonical(
        `<message from='${BROKER}' to='bernardo@denmark.lit' id='made-1'><event xmlns='http://jabber.org/protocol/pubsub#event'>` +
          `<subscription node='n' jid='bernardo@denmark.lit' subscription='none'/></event></message>`,
      ),
    ]);
  });

  it('§14.3: a more open model grants requests that need no approval any more', async () => {
    await h.close();
    h = await openHarness({ profile: 'compat' });
    await h.must(HAMLET, 'set', createNode('n'));
    await h.must(OTHER, 'set', pubsub(`<subscribe node='n' jid='bernardo@denmark.lit'/>`));
    await h.must(HAMLET, 'set', owner(`<configure node='n'>${configForm({ access_model: 'open' })}</configure>`));
    expect((await h.store.subscriptions('n')).map(({ jid, state }) => `${jid} ${state}`)).toEqual([
      'bernardo@denmark.lit subscribed',
    ]);
  });
});

describe('default configuration, XEP-0060 §8.3 (P-U39, P-F39)', () => {
  it('§8.3.3: is the form that a topic is made with', async () => {
    const form = async (child: string) =>
      (await h.must(HAMLET, 'get', owner(child))).getChild('pubsub')!.getChildElements()[0]!.getChild('x')!;
    const asked = await form('<default/>');
    await h.must(HAMLET, 'set', createNode('n'));
    expect(asked.toString()).toBe((await form(`<configure node='n'/>`)).toString());
    expect((await form(`<default type='leaf'/>`)).toString()).toBe(asked.toString());
  });

  it('§8.3.2: there are no collections, example 153', async () => {
    expect(errorOf(await h.ask(xep0060(153)))).toBe('cancel feature-not-implemented+unsupported[collections]');
  });
});

describe('delete, XEP-0060 §8.4 (P-U40, P-F14)', () => {
  beforeEach(async () => {
    await h.must(HAMLET, 'set', createNode('princely_musings'));
  });

  it('§8.4.2, examples 157 and 159: removes topic and items (P-B25)', async () => {
    await h.must(HAMLET, 'set', pubsub(`<publish node='princely_musings'><item id='i'><a xmlns='u'/></item></publish>`));
    expect(canonical(await h.ask(xep0060(157)))).toBe(canonical(xep0060(159).replace('id=', `to='${HAMLET}' id=`)));
    expect(await h.store.record('princely_musings')).toBeUndefined();
    await h.must(HAMLET, 'set', createNode('princely_musings'));
    expect((await h.store.items('princely_musings', { max: 10 })) as object).toMatchObject({ count: 0 });
  });

  it('§8.4.2: tells those whose request waits, with the redirect (P-B26, P-U41)', async () => {
    await h.must(OTHER, 'set', pubsub(`<subscribe node='princely_musings' jid='bernardo@denmark.lit'/>`));
    h.sent();
    await h.ask(xep0060(158));
    expect(h.sent().map((message) => canonical(message))).toEqual([
      canonical(
        `<message from='${BROKER}' to='bernardo@denmark.lit' id='made-1'><event xmlns='http://jabber.org/protocol/pubsub#event'>` +
          `<delete node='princely_musings'><redirect uri='xmpp:hamlet@denmark.lit?;node=blog'/></delete></event></message>`,
      ),
    ]);
  });

  it('§16.4.4: tells those whose request waits in the style of the topic (P-N14)', async () => {
    await h.must(HAMLET, 'set', createNode('headlines', { notification_type: 'headline' }));
    await h.must(OTHER, 'set', pubsub(`<subscribe node='headlines' jid='bernardo@denmark.lit'/>`));
    h.sent();
    await h.must(HAMLET, 'set', owner(`<delete node='headlines'/>`));
    expect(h.sent().map(({ attrs }) => attrs.type)).toEqual(['headline']);
  });

  it.each([
    ['normal', 'away', []],
    ['headline', 'online', []],
    ['headline', 'away', ['n']],
  ] as const)(
    'delivery.md §1.5: whoever waited is told once; a %s to somebody %s leaves the next login to tell: %j',
    async (type, where, left) => {
      await h.must(HAMLET, 'set', createNode('n', { notification_type: type }));
      await h.must(OTHER, 'set', pubsub(`<subscribe node='n' jid='bernardo@denmark.lit'/>`));
      if (where === 'online') h.online.add('bernardo@denmark.lit');
      await h.must(HAMLET, 'set', owner(`<delete node='n'/>`));
      expect(await h.store.topicsOf('bernardo@denmark.lit')).toEqual(left);
    },
  );

  it('delivery.md §1.5: of somebody who is subscribed as well the log says when they were told', async () => {
    await h.must(
      HAMLET,
      'set',
      owner(
        `<subscriptions node='princely_musings'><subscription jid='bernardo@denmark.lit' subscription='subscribed'/></subscriptions>`,
      ),
    );
    await h.must(OTHER, 'set', pubsub(`<subscribe node='princely_musings' jid='${OTHER}'/>`));
    await h.must(HAMLET, 'set', owner(`<delete node='princely_musings'/>`));
    expect(await h.store.topicsOf('bernardo@denmark.lit')).toEqual(['princely_musings']);
  });

  it('§6.1.3.11: who subscribes later hears where it went (P-E013)', async () => {
    await h.ask(xep0060(158));
    const answer = await h.request(OTHER, 'set', pubsub(`<subscribe node='princely_musings' jid='bernardo@denmark.lit'/>`));
    expect(errorOf(answer)).toBe('modify gone');
    expect(answer.getChild('error')!.getChild('gone')!.getText()).toBe('xmpp:hamlet@denmark.lit?;node=blog');
  });

  it.each<[string, string, string, string]>([
    ['no owner (P-E074)', OTHER, `<delete node='princely_musings'/>`, 'auth forbidden'],
    ['no such node (P-E075)', HAMLET, `<delete node='no'/>`, 'cancel item-not-found'],
    ['no node', HAMLET, '<delete/>', 'modify bad-request+nodeid-required'],
    ['a redirect without URI', HAMLET, `<delete node='princely_musings'><redirect/></delete>`, 'modify bad-request'],
    ['a redirect to no URI', HAMLET, `<delete node='princely_musings'><redirect uri='there'/></delete>`, 'modify bad-request'],
  ])('§8.4.3: refuses %s', async (_, from, child, want) => {
    expect(errorOf(await h.request(from, 'set', owner(child)))).toBe(want);
    expect(await h.store.record('princely_musings')).toBeDefined();
  });
});

describe('purge, XEP-0060 §8.5 (P-U42, P-F36)', () => {
  beforeEach(async () => {
    await h.must(HAMLET, 'set', createNode('princely_musings'));
    for (const id of ['1', '2', '3']) {
      await h.must(HAMLET, 'set', pubsub(`<publish node='princely_musings'><item id='${id}'><a xmlns='u'/></item></publish>`));
    }
  });

  it('§8.5.2, examples 163 and 164: removes all items with one entry (P-B27)', async () => {
    const before = (await h.store.record('princely_musings'))!.head.seq;
    expect(canonical(await h.ask(xep0060(163)))).toBe(canonical(xep0060(164).replace('id=', `to='${HAMLET}' id=`)));
    expect(await h.store.items('princely_musings', { max: 10 })).toMatchObject({ count: 0 });
    const head = (await h.store.record('princely_musings'))!.head;
    expect(head.seq).toBe(before + 1);
    expect(await h.store.entry('princely_musings', head)).toMatchObject({ kind: 'purged', notify: true });
  });

  it('§8.5.3.3: refuses a topic that keeps no items (P-E078)', async () => {
    await h.must(HAMLET, 'set', createNode('t', { persist_items: '0' }));
    expect(errorOf(await h.request(HAMLET, 'set', owner(`<purge node='t'/>`)))).toBe(
      'cancel feature-not-implemented+unsupported[persistent-items]',
    );
  });

  it.each<[string, string, string, string]>([
    ['no owner (P-E077)', OTHER, `<purge node='princely_musings'/>`, 'auth forbidden'],
    ['no such node (P-E079)', HAMLET, `<purge node='no'/>`, 'cancel item-not-found'],
    ['no node', HAMLET, '<purge/>', 'modify bad-request+nodeid-required'],
  ])('§8.5.3: refuses %s', async (_, from, child, want) => {
    expect(errorOf(await h.request(from, 'set', owner(child)))).toBe(want);
    expect(await h.store.items('princely_musings', { max: 10 })).toMatchObject({ count: 3 });
  });
});
