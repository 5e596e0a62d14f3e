import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { errorOf } from '../../support/stanzas.ts';
import { BROKER, configForm, createNode, type Harness, openHarness, owner, pubsub } from './support/broker-harness.ts';

const HAMLET = 'hamlet@denmark.lit/elsinore';
/** Has the role `field`, which knows of `open/*` only. */
const FIELD = 'field@denmark.lit/x';
const LIMITS = { maxStanzaBytes: 1, hardStanzaBytes: 1, maxResources: 1 };

let h: Harness;
beforeEach(async () => {
  h = await openHarness({
    roles: [
      {
        name: 'field',
        grants: [{ verbs: ['subscribe', 'discover', 'publish', 'create'], topics: ['open/*'] }],
        approve: ['open/*'],
        limits: LIMITS,
      },
      {
        name: 'iodef-only',
        grants: [{ verbs: ['publish'], topics: ['*'], types: ['urn:ietf:params:xml:ns:iodef-2.0'] }],
        approve: [],
        limits: LIMITS,
      },
    ],
    roleOf: { 'field@denmark.lit': 'field', 'iodef@denmark.lit': 'iodef-only' },
  });
  for (const node of ['open/1', 'secret/1', 'secret/2']) await h.must(HAMLET, 'set', createNode(node));
});
afterEach(() => h.close());

const form = configForm({ title: 'x' });
const ENTITIES: [string, 'get' | 'set', (node: string) => string][] = [
  ['subscribe', 'set', (node) => pubsub(`<subscribe node='${node}' jid='field@denmark.lit'/>`)],
  ['unsubscribe', 'set', (node) => pubsub(`<unsubscribe node='${node}' jid='field@denmark.lit'/>`)],
  ['publish', 'set', (node) => pubsub(`<publish node='${node}'><item><a xmlns='u'/></item></publish>`)],
  ['retract', 'set', (node) => pubsub(`<retract node='${node}'><item id='i'/></retract>`)],
  ['items', 'get', (node) => pubsub(`<items node='${node}'/>`)],
  ['own subscriptions', 'get', (node) => pubsub(`<subscriptions node='${node}'/>`)],
  ['own affiliations', 'get', (node) => pubsub(`<affiliations node='${node}'/>`)],
  ['configure, get', 'get', (node) => owner(`<configure node='${node}'/>`)],
  ['configure, set', 'set', (node) => owner(`<configure node='${node}'>${form}</configure>`)],
  ['delete', 'set', (node) => owner(`<delete node='${node}'/>`)],
  ['purge', 'set', (node) => owner(`<purge node='${node}'/>`)],
  ['subscriptions, get', 'get', (node) => owner(`<subscriptions node='${node}'/>`)],
  [
    'subscriptions, set',
    'set',
    (node) => owner(`<subscriptions node='${node}'><subscription jid='a@b' subscription='none'/></subscriptions>`),
  ],
  ['affiliations, get', 'get', (node) => owner(`<affiliations node='${node}'/>`)],
  [
    'affiliations, set',
    'set',
    (node) => owner(`<affiliations node='${node}'><affiliation jid='a@b' affiliation='none'/></affiliations>`),
  ],
  ['disco#info', 'get', (node) => `<query xmlns='http://jabber.org/protocol/disco#info' node='${node}'/>`],
  ['disco#items', 'get', (node) => `<query xmlns='http://jabber.org/protocol/disco#items' node='${node}'/>`],
];

describe('a topic for which the role grants nothing (D11, P-U04)', () => {
  it.each(ENTITIES)('%s answers as for a topic that does not exist', async (_, type, child) => {
    const hidden = (await h.request(FIELD, type, child('secret/1'))).toString();
    expect(hidden).toContain('item-not-found');
    expect(hidden.replaceAll('secret/1', '')).toBe(
      (await h.request(FIELD, type, child('secret/none'))).toString().replaceAll('secret/none', ''),
    );
  });

  it('is neither listed nor counted', async () => {
    const answer = await h.must(
      FIELD,
      'get',
      `<query xmlns='http://jabber.org/protocol/disco#items'><set xmlns='http://jabber.org/protocol/rsm'><max>10</max></set></query>`,
    );
    expect(
      answer
        .getChild('query')!
        .getChildren('item')
        .map(({ attrs }) => attrs.node),
    ).toEqual(['open/1']);
    expect(answer.toString()).toContain('<count>1</count>');
  });

  it('stays hidden although an owner gave an affiliation or a subscription there', async () => {
    await h.must(
      HAMLET,
      'set',
      owner(`<affiliations node='secret/1'><affiliation jid='field@denmark.lit' affiliation='publisher'/></affiliations>`),
    );
    await h.must(
      HAMLET,
      'set',
      owner(`<subscriptions node='secret/1'><subscription jid='field@denmark.lit' subscription='subscribed'/></subscriptions>`),
    );
    expect((await h.must(FIELD, 'get', pubsub('<affiliations/>'))).toString()).not.toContain('secret');
    expect((await h.must(FIELD, 'get', pubsub('<subscriptions/>'))).toString()).not.toContain('secret');
    expect(errorOf(await h.request(FIELD, 'set', pubsub(`<publish node='secret/1'><item><a xmlns='u'/></item></publish>`)))).toBe(
      'cancel item-not-found',
    );
  });

  it('does not tell where it went (§6.1.3.11)', async () => {
    await h.must(HAMLET, 'set', owner(`<delete node='secret/1'><redirect uri='xmpp:elsewhere'/></delete>`));
    expect(errorOf(await h.request(FIELD, 'set', pubsub(`<subscribe node='secret/1' jid='field@denmark.lit'/>`)))).toBe(
      'cancel item-not-found',
    );
  });

  it('creating one is forbidden, whether it exists or not', async () => {
    for (const node of ['secret/1', 'secret/none'])
      expect(errorOf(await h.request(FIELD, 'set', createNode(node)))).toBe('auth forbidden');
    await h.must(FIELD, 'set', createNode('open/2'));
  });

  it('is refused to a remote sender, whose role is granted nothing', async () => {
    await h.close();
    h = await openHarness({ roleOf: { 'stranger@elsewhere.example': null } });
    await h.must(HAMLET, 'set', createNode('n'));
    const answer = await h.request(
      'stranger@elsewhere.example/x',
      'set',
      pubsub(`<subscribe node='n' jid='stranger@elsewhere.example'/>`),
    );
    expect(errorOf(answer)).toBe('cancel item-not-found');
    expect(answer.attrs).toMatchObject({ from: BROKER, to: 'stranger@elsewhere.example/x' });
  });
});

describe('a topic for which the role grants something', () => {
  it('answers forbidden for a verb that is not granted', async () => {
    expect(errorOf(await h.request(FIELD, 'get', pubsub(`<items node='open/1'/>`)))).toBe('auth forbidden');
    expect(h.denied()).toEqual([{ account: 'field@denmark.lit', action: 'retrieve', why: 'verb-not-granted' }]);
  });

  it('subscribes a member by role at once', async () => {
    expect((await h.must(FIELD, 'set', pubsub(`<subscribe node='open/1' jid='field@denmark.lit'/>`))).toString()).toContain(
      'subscription="subscribed"',
    );
  });

  it('a role bound to payload types may publish no other (D11)', async () => {
    await h.must(
      HAMLET,
      'set',
      owner(`<affiliations node='open/1'><affiliation jid='iodef@denmark.lit' affiliation='publisher'/></affiliations>`),
    );
    const publish = (payload: string) =>
      h.request('iodef@denmark.lit/x', 'set', pubsub(`<publish node='open/1'><item>${payload}</item></publish>`));
    expect(errorOf(await publish(`<a xmlns='u'/>`))).toBe('auth forbidden');
    expect(h.denied()).toEqual([{ account: 'iodef@denmark.lit', action: 'publish', why: 'payload-type-not-granted' }]);
    expect((await publish(`<IODEF-Document xmlns='urn:ietf:params:xml:ns:iodef-2.0'/>`)).attrs.type).toBe('result');
  });

  it('read-only platforms subscribe and retrieve, and change nothing (RFC 8600 §8.3.2, G-088, G-089)', async () => {
    await h.close();
    h = await openHarness({ roleOf: { 'exposed@denmark.lit': 'read-only' } });
    await h.must(HAMLET, 'set', createNode('n'));
    // Even as an owner by affiliation: the grant and the affiliation must both allow it (D11).
    await h.must(
      HAMLET,
      'set',
      owner(`<affiliations node='n'><affiliation jid='exposed@denmark.lit' affiliation='owner'/></affiliations>`),
    );
    const outcome = async (type: 'get' | 'set', child: string) => {
      const answer = await h.request('exposed@denmark.lit/x', type, child);
      return answer.attrs.type === 'result' ? 'result' : errorOf(answer);
    };
    const outcomes: Record<string, string> = {};
    for (const [what, type, child] of ENTITIES) outcomes[what] = await outcome(type, child('n').replaceAll('field@', 'exposed@'));
    expect(outcomes).toEqual({
      subscribe: 'result',
      unsubscribe: 'result',
      publish: 'auth forbidden',
      retract: 'auth forbidden',
      items: 'result',
      'own subscriptions': 'result',
      'own affiliations': 'result',
      'configure, get': 'auth forbidden',
      'configure, set': 'auth forbidden',
      delete: 'auth forbidden',
      purge: 'auth forbidden',
      'subscriptions, get': 'auth forbidden',
      'subscriptions, set': 'auth forbidden',
      'affiliations, get': 'auth forbidden',
      'affiliations, set': 'auth forbidden',
      'disco#info': 'result',
      'disco#items': 'result',
    });
    expect(await outcome('set', createNode('mine'))).toBe('auth forbidden');
  });
});
