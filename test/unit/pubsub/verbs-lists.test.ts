import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { xep0060 } from '../../support/examples.ts';
import { canonical, errorOf } from '../../support/stanzas.ts';
import { BROKER, createNode, type Harness, openHarness, owner, pubsub } from './support/broker-harness.ts';

const HAMLET = 'hamlet@denmark.lit/elsinore';
const FRANCISCO = 'francisco@denmark.lit/barracks';
const BERNARDO = 'bernardo@denmark.lit/watch';
const NODE = 'princely_musings';

let h: Harness;
beforeEach(async () => {
  h = await openHarness();
  await h.must(HAMLET, 'set', createNode(NODE));
});
afterEach(() => h.close());

const subscribe = (jid: string, node = NODE) => pubsub(`<subscribe node='${node}' jid='${jid}'/>`);
const affiliations = (entries: string, node = NODE) => owner(`<affiliations node='${node}'>${entries}</affiliations>`);
const subscriptions = (entries: string, node = NODE) => owner(`<subscriptions node='${node}'>${entries}</subscriptions>`);
const affiliation = (jid: string, value: string) => `<affiliation jid='${jid}' affiliation='${value}'/>`;
const subscription = (jid: string, value: string) => `<subscription jid='${jid}' subscription='${value}'/>`;
const stored = async () => Object.fromEntries(await h.store.affiliations(NODE));
const states = async () => (await h.store.subscriptions(NODE)).map(({ jid, state }) => `${jid} ${state}`);
const result = (to: string, child: string, id = '1') =>
  canonical(`<iq type='result' from='${BROKER}' to='${to}' id='${id}'>${child}</iq>`);
const rsm = (inner: string) => `<set xmlns='http://jabber.org/protocol/rsm'>${inner}</set>`;

describe('own subscriptions, XEP-0060 §5.6 (P-U09, P-F42)', () => {
  it('example 18: none (P-B09)', async () => {
    expect(canonical(await h.ask(xep0060(16)))).toBe(canonical(xep0060(18)));
  });

  it('§5.6: all of the bare JID and its resources, requests too', async () => {
    await h.must(HAMLET, 'set', createNode('a', { access_model: 'whitelist' }));
    await h.must(HAMLET, 'set', affiliations(affiliation('francisco@denmark.lit', 'member'), 'a'));
    await h.must(FRANCISCO, 'set', subscribe('francisco@denmark.lit', 'a'));
    await h.must(FRANCISCO, 'set', subscribe(FRANCISCO, 'a'));
    await h.must(FRANCISCO, 'set', subscribe('francisco@denmark.lit'));
    const all = [
      `<subscription node='a' jid='francisco@denmark.lit' subscription='subscribed'/>`,
      `<subscription node='a' jid='${FRANCISCO}' subscription='subscribed'/>`,
      `<subscription node='${NODE}' jid='francisco@denmark.lit' subscription='pending'/>`,
    ];
    const ask = (child: string) => h.request('francisco@denmark.lit/elsewhere', 'get', child);
    const to = 'francisco@denmark.lit/elsewhere';
    expect(canonical(await ask(pubsub('<subscriptions/>')))).toBe(
      result(to, pubsub(`<subscriptions>${all.join('')}</subscriptions>`)),
    );
    expect(canonical(await ask(pubsub(`<subscriptions node='a'/>`)))).toBe(
      result(to, pubsub(`<subscriptions node='a'>${all[0]}${all[1]}</subscriptions>`)),
    );
    expect(canonical(await ask(pubsub(`<subscriptions/>${rsm('<max>1</max>')}`)))).toBe(
      result(
        to,
        pubsub(
          `<subscriptions>${all[0]}</subscriptions>${rsm(
            `<first index='0'>a francisco@denmark.lit</first><last>a francisco@denmark.lit</last><count>3</count>`,
          )}`,
        ),
      ),
    );
    expect(
      canonical(await ask(pubsub(`<subscriptions/>${rsm('<max>5</max><after>a francisco@denmark.lit</after>')}`))),
    ).toContain('"3"');
  });

  it('no such node', async () => {
    expect(errorOf(await h.request(FRANCISCO, 'get', pubsub(`<subscriptions node='no'/>`)))).toBe('cancel item-not-found');
  });
});

describe('own affiliations, XEP-0060 §5.7 (P-U10, P-F38)', () => {
  it('examples 22 and 24: none', async () => {
    expect(canonical(await h.ask(xep0060(22)))).toBe(canonical(xep0060(24)));
  });

  it('examples 23 and 27: at all topics, and at one', async () => {
    await h.must(HAMLET, 'set', affiliations(affiliation('francisco@denmark.lit', 'publisher')));
    await h.must(FRANCISCO, 'set', createNode('b'));
    const [own, others] = [
      `<affiliation node='b' affiliation='owner'/>`,
      `<affiliation node='${NODE}' affiliation='publisher'/>`,
    ];
    const ask = (child: string) => h.request(FRANCISCO, 'get', child);
    expect(canonical(await ask(pubsub('<affiliations/>')))).toBe(
      result(FRANCISCO, pubsub(`<affiliations>${own}${others}</affiliations>`)),
    );
    expect(canonical(await ask(pubsub(`<affiliations node='${NODE}'/>`)))).toBe(
      result(FRANCISCO, pubsub(`<affiliations>${others}</affiliations>`)),
    );
    expect(errorOf(await ask(pubsub(`<affiliations node='no'/>`)))).toBe('cancel item-not-found');
  });

  it('shows the membership that a role gives (RFC 8600 §8.3.4)', async () => {
    await h.close();
    h = await openHarness({ roleOf: { 'francisco@denmark.lit': 'demo' } });
    await h.must(HAMLET, 'set', createNode(NODE));
    expect(canonical(await h.request(FRANCISCO, 'get', pubsub(`<affiliations node='${NODE}'/>`)))).toBe(
      result(FRANCISCO, pubsub(`<affiliations><affiliation node='${NODE}' affiliation='member'/></affiliations>`)),
    );
  });
});

describe('owner lists subscriptions, XEP-0060 §8.8.1 (P-U45, P-F21)', () => {
  it('examples 184 and 185: those subscribed, not those who wait (P-B31)', async () => {
    await h.must(FRANCISCO, 'set', subscribe('francisco@denmark.lit'));
    await h.must(HAMLET, 'set', subscriptions(subscription('bernardo@denmark.lit', 'subscribed')));
    await h.must(HAMLET, 'set', subscriptions(subscription('horatio@denmark.lit/x', 'subscribed')));
    const list = [subscription('bernardo@denmark.lit', 'subscribed'), subscription('horatio@denmark.lit/x', 'subscribed')];
    expect(canonical(await h.ask(xep0060(184)))).toBe(result(HAMLET, subscriptions(list.join('')), 'subman1'));
    const page = owner(`<subscriptions node='${NODE}'/>${rsm(`<max>1</max><before/>`)}`);
    expect(canonical(await h.request(HAMLET, 'get', page))).toContain("{http://jabber.org/protocol/rsm}first index='1'");
  });

  it.each([
    ['get', '<subscriptions/>', HAMLET, 'modify bad-request+nodeid-required'],
    ['get', `<subscriptions node='no'/>`, HAMLET, 'cancel item-not-found'], // P-E086
    ['get', `<subscriptions node='${NODE}'/>`, BERNARDO, 'auth forbidden'], // P-E085
    ['set', `<subscriptions node='no'>${subscription('a@b', 'none')}</subscriptions>`, HAMLET, 'cancel item-not-found'], // P-E089
    ['set', `<subscriptions node='${NODE}'>${subscription('a@b', 'none')}</subscriptions>`, BERNARDO, 'auth forbidden'], // P-E088
    ['set', `<subscriptions node='${NODE}'/>`, HAMLET, 'modify bad-request'],
  ] as const)('§8.8: refuses %s %s from %s', async (type, child, from, want) => {
    expect(errorOf(await h.request(from, type, owner(child)))).toBe(want);
  });
});

describe('owner changes subscriptions, XEP-0060 §8.8.2 (P-U46)', () => {
  it('example 190: subscribes another, who is told (P-U47)', async () => {
    const answer = await h.request(HAMLET, 'set', subscriptions(subscription('bard@shakespeare.lit', 'subscribed')), 'subman2');
    expect(canonical(answer)).toBe(canonical(xep0060(190).replace('id=', `to='${HAMLET}' id=`)));
    expect(await states()).toEqual(['bard@shakespeare.lit subscribed']);
    expect(h.interest()).toEqual([`${NODE} bard@shakespeare.lit`]);
    expect(h.sent().map((message) => message.attrs.to)).toEqual(['bard@shakespeare.lit']);
  });

  it('§8.8.3, example 196: none removes the subscriber, who is told (P-B32)', async () => {
    await h.must(HAMLET, 'set', subscriptions(subscription('polonius@denmark.lit', 'subscribed')));
    h.sent();
    await h.must(HAMLET, 'set', subscriptions(subscription('polonius@denmark.lit', 'none')));
    expect(await states()).toEqual([]);
    expect(h.sent().map((message) => canonical(message))).toEqual([
      canonical(xep0060(196).replace('<message', `<message id='made-2'`)),
    ]);
  });

  it('§8.8.2.1: without the attribute nothing changes, and nobody is told', async () => {
    await h.must(HAMLET, 'set', subscriptions(subscription('polonius@denmark.lit', 'subscribed')));
    const head = (await h.store.record(NODE))!.head;
    h.sent();
    await h.must(HAMLET, 'set', subscriptions(`<subscription jid='polonius@denmark.lit'/>`));
    await h.must(HAMLET, 'set', subscriptions(subscription('polonius@denmark.lit', 'subscribed')));
    expect((await h.store.record(NODE))!.head).toEqual(head);
    expect(h.sent()).toEqual([]);
  });

  it('approves a request that waits', async () => {
    await h.must(FRANCISCO, 'set', subscribe('francisco@denmark.lit'));
    await h.must(HAMLET, 'set', subscriptions(subscription('francisco@denmark.lit', 'subscribed')));
    expect(await states()).toEqual(['francisco@denmark.lit subscribed']);
  });

  it('§8.8.2.4, example 195: what failed is listed as it is, the rest is done (P-E090)', async () => {
    await h.must(HAMLET, 'set', subscriptions(subscription('polonius@denmark.lit', 'subscribed')));
    await h.must(HAMLET, 'set', affiliations(affiliation('outcast@denmark.lit', 'outcast')));
    const entries = [
      subscription('polonius@denmark.lit', 'unconfigured'),
      subscription('bard@shakespeare.lit', 'subscribed'),
      subscription('outcast@denmark.lit', 'subscribed'),
      subscription('@', 'subscribed'),
    ];
    const answer = await h.request(HAMLET, 'set', subscriptions(entries.join('')));
    const failed = [
      subscription('polonius@denmark.lit', 'subscribed'),
      subscription('outcast@denmark.lit', 'none'),
      subscription('@', 'none'),
    ];
    expect(canonical(answer)).toBe(
      canonical(
        `<iq type='error' from='${BROKER}' to='${HAMLET}' id='1'>${subscriptions(failed.join(''))}` +
          `<error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`,
      ),
    );
    expect(await states()).toEqual(['bard@shakespeare.lit subscribed', 'polonius@denmark.lit subscribed']);
  });

  it('§8.8.2.4: the same entity twice', async () => {
    const twice = subscription('a@b', 'subscribed') + subscription('A@B', 'none');
    expect(errorOf(await h.request(HAMLET, 'set', subscriptions(twice)))).toBe('modify bad-request');
    expect(await states()).toEqual([]);
  });
});

describe('owner lists affiliations, XEP-0060 §8.9.1 (P-U48, P-F24)', () => {
  it('examples 197 and 198', async () => {
    await h.must(HAMLET, 'set', affiliations(affiliation('polonius@denmark.lit', 'outcast')));
    expect(canonical(await h.ask(xep0060(197)))).toBe(canonical(xep0060(198)));
  });

  it.each([
    ['get', '<affiliations/>', HAMLET, 'modify bad-request+nodeid-required'],
    ['get', `<affiliations node='no'/>`, HAMLET, 'cancel item-not-found'], // P-E093
    ['get', `<affiliations node='${NODE}'/>`, BERNARDO, 'auth forbidden'], // P-E092
    ['set', `<affiliations node='no'>${affiliation('a@b', 'member')}</affiliations>`, HAMLET, 'cancel item-not-found'], // P-E097
    ['set', `<affiliations node='${NODE}'>${affiliation('a@b', 'member')}</affiliations>`, BERNARDO, 'auth forbidden'], // P-E096
    ['set', `<affiliations node='${NODE}'/>`, HAMLET, 'modify bad-request'],
  ] as const)('§8.9: refuses %s %s from %s', async (type, child, from, want) => {
    expect(errorOf(await h.request(from, type, owner(child)))).toBe(want);
  });
});

describe('owner changes affiliations, XEP-0060 §8.9.2 (P-U49)', () => {
  it('examples 202 and 203', async () => {
    expect(canonical(await h.ask(xep0060(202)))).toBe(canonical(xep0060(203).replace('id=', `to='${HAMLET}' id=`)));
    expect(await stored()).toEqual({ 'hamlet@denmark.lit': 'owner', 'bard@shakespeare.lit': 'publisher' });
  });

  it('§4.1: a full JID stands for its bare JID (P-B01)', async () => {
    await h.must(HAMLET, 'set', affiliations(affiliation('bard@shakespeare.lit/x', 'member')));
    expect(await stored()).toMatchObject({ 'bard@shakespeare.lit': 'member' });
  });

  it('§8.9.2.1: without the attribute nothing changes; the same entity twice is refused (P-B33)', async () => {
    await h.must(HAMLET, 'set', affiliations(`<affiliation jid='hamlet@denmark.lit'/>`));
    expect(await stored()).toEqual({ 'hamlet@denmark.lit': 'owner' });
    const twice = affiliation('a@b/x', 'member') + affiliation('a@b/y', 'publisher');
    expect(errorOf(await h.request(HAMLET, 'set', affiliations(twice)))).toBe('modify bad-request');
    expect(await stored()).toEqual({ 'hamlet@denmark.lit': 'owner' });
  });

  it('§8.9.2.4, examples 208 and 209: the last owner stays, the rest is done (P-U50, P-B34, P-E098)', async () => {
    await h.must(HAMLET, 'set', affiliations(affiliation('polonius@denmark.lit', 'member')));
    expect(canonical(await h.ask(xep0060(208)))).toBe(canonical(xep0060(209)));
    expect(await stored()).toEqual({ 'hamlet@denmark.lit': 'owner', 'bard@shakespeare.lit': 'publisher' });
  });

  it('§4.1 Table 2: of two owners one may resign, and none may remove the other (P-B04)', async () => {
    await h.must(HAMLET, 'set', affiliations(affiliation('gertrude@denmark.lit', 'owner')));
    expect(errorOf(await h.request(HAMLET, 'set', affiliations(affiliation('gertrude@denmark.lit', 'none'))))).toBe(
      'modify not-acceptable',
    );
    await h.must('gertrude@denmark.lit/x', 'set', affiliations(affiliation('gertrude@denmark.lit', 'none')));
    expect(await stored()).toEqual({ 'hamlet@denmark.lit': 'owner' });
  });

  it.each([
    ['an affiliation that is none', affiliation('bard@shakespeare.lit', 'friend'), affiliation('bard@shakespeare.lit', 'none')],
    ['what is no JID', affiliation('@', 'member'), affiliation('@', 'none')],
  ])('§8.9.2.4: lists %s', async (_, entry, failed) => {
    const answer = await h.request(HAMLET, 'set', affiliations(entry));
    expect(errorOf(answer)).toBe('modify not-acceptable');
    expect(answer.getChild('pubsub')!.toString()).toContain(failed.replaceAll("'", '"'));
    expect(await stored()).toEqual({ 'hamlet@denmark.lit': 'owner' });
  });

  it('§8.9.3: none takes the entity off the list (P-U51)', async () => {
    await h.must(HAMLET, 'set', affiliations(affiliation('bard@shakespeare.lit', 'publisher')));
    await h.must(HAMLET, 'set', affiliations(affiliation('bard@shakespeare.lit', 'none')));
    expect(await stored()).toEqual({ 'hamlet@denmark.lit': 'owner' });
  });

  it.each([
    ['outcast', 'authorize'],
    ['outcast', 'whitelist'],
    ['none', 'authorize'],
    ['none', 'whitelist'],
    ['publish-only', 'authorize'],
  ])('becoming %s at %s ends the subscription at once, and the subscriber is told (P-B35)', async (value, model) => {
    await h.must(HAMLET, 'set', createNode('m', { access_model: model }));
    await h.must(HAMLET, 'set', affiliations(affiliation('bernardo@denmark.lit', 'member'), 'm'));
    await h.must(BERNARDO, 'set', subscribe('bernardo@denmark.lit', 'm'));
    h.sent();
    h.interest();
    await h.must(HAMLET, 'set', affiliations(affiliation('bernardo@denmark.lit', value), 'm'));
    expect(await h.store.subscriptions('m')).toEqual([]);
    expect(h.interest()).toEqual(['m bernardo@denmark.lit']);
    expect(h.sent()[0]!.toString()).toContain('subscription="none"');
  });

  it('a member by role keeps the subscription when the owner takes an affiliation away (D11)', async () => {
    await h.close();
    h = await openHarness({ roleOf: { 'bernardo@denmark.lit': 'demo' } });
    await h.must(HAMLET, 'set', createNode(NODE));
    await h.must(HAMLET, 'set', affiliations(affiliation('bernardo@denmark.lit', 'publisher')));
    await h.must(BERNARDO, 'set', subscribe('bernardo@denmark.lit'));
    await h.must(HAMLET, 'set', affiliations(affiliation('bernardo@denmark.lit', 'none')));
    expect(await states()).toEqual(['bernardo@denmark.lit subscribed']);
  });
});
