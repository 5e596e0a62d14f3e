import { serialize } from '@xmpp-grid/stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { rfc8600, xep0060 } from '../../support/examples.ts';
import { canonical, errorOf } from '../../support/stanzas.ts';
import { BROKER, configForm, createNode, type Harness, openHarness, owner, pubsub } from './support/broker-harness.ts';

const HAMLET = 'hamlet@denmark.lit/elsinore';
const FRANCISCO = 'francisco@denmark.lit/barracks';
const HORATIO = 'horatio@denmark.lit/home';
const NODE = 'princely_musings';

let h: Harness;
afterEach(() => h.close());

const subscribe = (jid: string, node = NODE) => pubsub(`<subscribe node='${node}' jid='${jid}'/>`);
const unsubscribe = (jid: string, node = NODE) => pubsub(`<unsubscribe node='${node}' jid='${jid}'/>`);
const setAffiliation = (jid: string, affiliation: string) =>
  owner(`<affiliations node='${NODE}'><affiliation jid='${jid}' affiliation='${affiliation}'/></affiliations>`);
const states = async (node = NODE) => (await h.store.subscriptions(node)).map(({ jid, state }) => `${jid} ${state}`);
/** Example without what depends on SubIDs, which this service does not have. */
const withoutSubid = (text: string) => text.replace(/\s+subid='[^']*'/, '');

async function open(options: Parameters<typeof openHarness>[0] = {}, accessModel = 'authorize'): Promise<void> {
  h = await openHarness(options);
  await h.must(HAMLET, 'set', createNode(NODE, { access_model: accessModel }));
  h.sent();
}

describe('subscribe, XEP-0060 §6.1 (P-U11, P-F43)', () => {
  it('§6.1.2, examples 28 and 29: a member is subscribed, and delivery looks again before the answer', async () => {
    await open();
    await h.must(HAMLET, 'set', setAffiliation('francisco@denmark.lit', 'member'));
    h.interest();
    expect(canonical(await h.ask(xep0060(28)))).toBe(canonical(withoutSubid(xep0060(29))));
    expect(await states()).toEqual(['francisco@denmark.lit subscribed']);
    expect(h.interest()).toEqual([`${NODE} francisco@denmark.lit`]);
  });

  it('§6.1.4, example 42: somebody without affiliation waits for approval (P-U12)', async () => {
    await open();
    expect(canonical(await h.ask(xep0060(28)))).toBe(canonical(xep0060(42)));
    expect(await states()).toEqual(['francisco@denmark.lit pending']);
    expect(h.interest()).toEqual([]);
  });

  it('RFC 8600 §6: a role that approves subscribes at once, as in the RFC (G-032, §8.3.4)', async () => {
    h = await openHarness({ roleOf: { 'xmpp-grid-client@mile-host.example': 'demo', 'datasource@provider.example': 'demo' } });
    const at = (file: string) => rfc8600(file).replaceAll('broker.security-grid.example', BROKER);
    expect(canonical(await h.ask(at('05-s6-create-node-request')))).toBe(canonical(at('07-s6-create-node-result')));
    expect(canonical(await h.ask(at('08-s6-subscribe-request')))).toBe(canonical(at('09-s6-subscribe-result')));
  });

  it('§6.1.6: a second request answers the present state (P-B11)', async () => {
    await open({ profile: 'compat' }, 'open');
    const first = await h.must(FRANCISCO, 'set', subscribe('francisco@denmark.lit'));
    expect(canonical(await h.must(FRANCISCO, 'set', subscribe('francisco@denmark.lit')))).toBe(canonical(first));
    expect(await states()).toEqual(['francisco@denmark.lit subscribed']);
  });

  it('delivery looks again also when nothing changed: the first request may not have reached everybody (delivery.md §2.6)', async () => {
    await open({ profile: 'compat' }, 'open');
    for (const request of [subscribe('francisco@denmark.lit'), unsubscribe('francisco@denmark.lit')]) {
      await h.must(FRANCISCO, 'set', request);
      h.interest();
      const again = await h.request(FRANCISCO, 'set', request);
      expect(again.attrs.type).toBe(request.includes('unsubscribe') ? 'error' : 'result');
      expect(h.interest()).toEqual([`${NODE} francisco@denmark.lit`]);
    }
  });

  it('§6.1.1: bare and full JID are subscriptions of their own', async () => {
    await open({ profile: 'compat' }, 'open');
    await h.must(FRANCISCO, 'set', subscribe('francisco@denmark.lit'));
    await h.must(FRANCISCO, 'set', subscribe('francisco@denmark.lit/other'));
    expect(await states()).toEqual(['francisco@denmark.lit subscribed', 'francisco@denmark.lit/other subscribed']);
  });

  it('§6.1.1: the address is prepared (RFC 7622)', async () => {
    await open({ profile: 'compat' }, 'open');
    await h.must(FRANCISCO, 'set', subscribe('FRANCISCO@Denmark.lit'));
    expect(await states()).toEqual(['francisco@denmark.lit subscribed']);
  });

  it.each<[string, string, string]>([
    ['JIDs do not match (P-E003)', subscribe('bernardo@denmark.lit'), 'modify bad-request+invalid-jid'],
    ['what is no JID', subscribe('@'), 'modify bad-request+invalid-jid'],
    ['no jid (P-B10)', pubsub(`<subscribe node='${NODE}'/>`), 'modify bad-request+jid-required'],
    ['no node', pubsub(`<subscribe jid='francisco@denmark.lit'/>`), 'modify bad-request+nodeid-required'],
    ['no such node (P-E014)', subscribe('francisco@denmark.lit', 'no'), 'cancel item-not-found'],
    [
      'options with it, §6.3.7 (P-E026)',
      pubsub(`<subscribe node='${NODE}' jid='francisco@denmark.lit'/><options/>`),
      'cancel feature-not-implemented+unsupported[subscription-options]',
    ],
  ])('§6.1.3: refuses %s', async (_, child, want) => {
    await open();
    expect(errorOf(await h.request(FRANCISCO, 'set', child))).toBe(want);
    expect(await states()).toEqual([]);
  });

  it('§6.1.3.4: not on the whitelist (P-E006)', async () => {
    await open({}, 'whitelist');
    expect(canonical(await h.ask(xep0060(28)))).toBe(canonical(xep0060(33)));
  });

  it('§6.1.3.7: a request is pending already (P-E009)', async () => {
    await open();
    await h.ask(xep0060(28));
    expect(canonical(await h.ask(xep0060(28)))).toBe(canonical(xep0060(36)));
  });

  it('§6.1.3.8: blocked (P-E010)', async () => {
    await open();
    await h.must(HAMLET, 'set', setAffiliation('francisco@denmark.lit', 'outcast'));
    expect(canonical(await h.ask(xep0060(28)))).toBe(canonical(xep0060(37)));
  });

  it('§6.1.3.8: an owner keeps out also whom the role approves (D11)', async () => {
    await open({ roleOf: { 'francisco@denmark.lit': 'demo' } });
    await h.must(HAMLET, 'set', setAffiliation('francisco@denmark.lit', 'outcast'));
    expect(errorOf(await h.ask(xep0060(28)))).toBe('auth forbidden');
  });

  it('§4.1: publish-only entities may not subscribe', async () => {
    await open();
    await h.must(HAMLET, 'set', setAffiliation('francisco@denmark.lit', 'publish-only'));
    expect(errorOf(await h.ask(xep0060(28)))).toBe('auth forbidden');
  });

  it('§6.1.3.9: too many at one topic, and too many in all (P-E011)', async () => {
    await open({ profile: 'compat', limits: { subscriptionsPerAccount: 4, subscriptionsPerAccountAndTopic: 3 } }, 'open');
    await h.must(HAMLET, 'set', createNode('second', { access_model: 'open' }));
    for (const resource of ['a', 'b', 'c']) await h.must(FRANCISCO, 'set', subscribe(`francisco@denmark.lit/${resource}`));
    expect(canonical(await h.request(FRANCISCO, 'set', subscribe('francisco@denmark.lit/d'), 'sub1'))).toBe(
      canonical(xep0060(38)),
    );
    await h.must(FRANCISCO, 'set', subscribe('francisco@denmark.lit/a', 'second'));
    expect(errorOf(await h.request(FRANCISCO, 'set', subscribe('francisco@denmark.lit/b', 'second')))).toBe(
      'wait policy-violation+too-many-subscriptions',
    );
    expect((await h.request(FRANCISCO, 'set', subscribe('francisco@denmark.lit/a'))).attrs.type).toBe('result');
  });

  it('a role without the grant is forbidden and the denial is audited', async () => {
    await open({
      roles: [
        {
          name: 'sensor',
          grants: [{ verbs: ['publish'], topics: ['*'] }],
          approve: [],
          limits: { maxStanzaBytes: 1, hardStanzaBytes: 1, maxResources: 1 },
        },
      ],
      roleOf: { 'francisco@denmark.lit': 'sensor' },
    });
    expect(errorOf(await h.ask(xep0060(28)))).toBe('auth forbidden');
    expect(h.denied()).toEqual([{ account: 'francisco@denmark.lit', action: 'subscribe', why: 'verb-not-granted' }]);
  });
});

describe('unsubscribe, XEP-0060 §6.2 (P-U16)', () => {
  beforeEach(async () => {
    await open({ profile: 'compat' }, 'open');
    await h.must(FRANCISCO, 'set', subscribe('francisco@denmark.lit'));
    h.interest();
  });

  it('§6.2.2, examples 47 and 48', async () => {
    expect(canonical(await h.ask(xep0060(47)))).toBe(canonical(withoutSubid(xep0060(48))));
    expect(await states()).toEqual([]);
    expect(h.interest()).toEqual([`${NODE} francisco@denmark.lit`]);
  });

  it('§6.2.3.5: a SubID is ignored', async () => {
    await h.must(FRANCISCO, 'set', pubsub(`<unsubscribe node='${NODE}' jid='francisco@denmark.lit' subid='x'/>`));
    expect(await states()).toEqual([]);
  });

  it('withdraws a request', async () => {
    await h.must(HAMLET, 'set', createNode('a', { access_model: 'authorize' }));
    await h.must(FRANCISCO, 'set', subscribe('francisco@denmark.lit', 'a'));
    await h.must(FRANCISCO, 'set', unsubscribe('francisco@denmark.lit', 'a'));
    expect(await states('a')).toEqual([]);
  });

  it.each<[string, string, string]>([
    ['no such subscriber (P-E017)', unsubscribe('francisco@denmark.lit/x'), 'cancel unexpected-request+not-subscribed'],
    ['another entity (P-E018)', unsubscribe('bernardo@denmark.lit'), 'auth forbidden'],
    ['no such node (P-E019)', unsubscribe('francisco@denmark.lit', 'no'), 'cancel item-not-found'],
    ['no jid', pubsub(`<unsubscribe node='${NODE}'/>`), 'modify bad-request+jid-required'],
    ['no node', pubsub(`<unsubscribe jid='francisco@denmark.lit'/>`), 'modify bad-request+nodeid-required'],
  ])('§6.2.3: refuses %s', async (_, child, want) => {
    expect(errorOf(await h.request(FRANCISCO, 'set', child))).toBe(want);
    expect(await states()).toEqual(['francisco@denmark.lit subscribed']);
  });
});

describe('subscription requests, XEP-0060 §8.6 (P-U43, P-A01 to P-A03)', () => {
  const answer = (from: string, allow: string, id = 'approve1', jid = 'horatio@denmark.lit') =>
    `<message from='${from}' to='${BROKER}' id='${id}'><x xmlns='jabber:x:data' type='submit'>` +
    `<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#subscribe_authorization</value></field>` +
    `<field var='pubsub#node'><value>${NODE}</value></field><field var='pubsub#subscriber_jid'><value>${jid}</value></field>` +
    `<field var='pubsub#allow'><value>${allow}</value></field></x></message>`;
  const stateMessage = (id: string, state: string) =>
    canonical(
      `<message from='${BROKER}' to='horatio@denmark.lit' id='${id}'><event xmlns='http://jabber.org/protocol/pubsub#event'>` +
        `<subscription node='${NODE}' jid='horatio@denmark.lit' subscription='${state}'/></event></message>`,
    );

  beforeEach(async () => {
    await open();
    h.online.add('hamlet@denmark.lit');
    await h.must(HORATIO, 'set', subscribe('horatio@denmark.lit'));
  });

  it('§8.6: the owner gets a form with node, subscriber and the question', () => {
    const [message, ...more] = h.sent();
    expect(more).toEqual([]);
    const id = message!.attrs.id as string;
    expect(id).toMatch(/^approve-[0-9a-f]{32}$/);
    expect(canonical(message!)).toBe(
      canonical(
        `<message to='hamlet@denmark.lit' from='${BROKER}' id='${id}'><x xmlns='jabber:x:data' type='form'>` +
          `<title>Subscription request</title>` +
          `<instructions>Submit the form with the last field set to allow the subscription, unset to deny it; cancel it to decide later.</instructions>` +
          `<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#subscribe_authorization</value></field>` +
          `<field var='pubsub#node' type='text-single' label='The NodeID of the relevant node'><value>${NODE}</value></field>` +
          `<field var='pubsub#subscriber_jid' type='jid-single' label='The address (JID) of the subscriber'><value>horatio@denmark.lit</value></field>` +
          `<field var='pubsub#allow' type='boolean' label='Whether to allow the subscription'><value>0</value></field></x></message>`,
      ),
    );
  });

  it('§8.6, example 171: approval subscribes and tells the subscriber (P-U58, P-B29, P-B41)', async () => {
    h.sent();
    expect(await h.message(xep0060(171).replaceAll('pubsub.shakespeare.lit', BROKER))).toBeUndefined();
    expect(await states()).toEqual(['horatio@denmark.lit subscribed']);
    expect(h.interest()).toEqual([`${NODE} horatio@denmark.lit`]);
    expect(h.sent().map((message) => canonical(message))).toEqual([stateMessage('made-1', 'subscribed')]);
  });

  it('§8.6, example 173: denial ends the request and tells the subscriber', async () => {
    h.sent();
    expect(await h.message(xep0060(173).replaceAll('pubsub.shakespeare.lit', BROKER))).toBeUndefined();
    expect(await states()).toEqual([]);
    expect(h.sent().map((message) => canonical(message))).toEqual([stateMessage('made-1', 'none')]);
  });

  it('§8.6, example 175: a cancelled form leaves the request pending (P-B28)', async () => {
    h.sent();
    expect(await h.message(xep0060(175).replaceAll('pubsub.shakespeare.lit', BROKER))).toBeUndefined();
    expect(await states()).toEqual(['horatio@denmark.lit pending']);
    expect(h.sent()).toEqual([]);
  });

  it('§12.13: any owner may answer, the first answer counts (P-B28)', async () => {
    await h.must(HAMLET, 'set', setAffiliation('gertrude@denmark.lit', 'owner'));
    expect(await h.message(answer('gertrude@denmark.lit/throne', '1'))).toBeUndefined();
    expect(errorOf(await h.message(answer(HAMLET, '0')))).toBe('cancel item-not-found');
    expect(await states()).toEqual(['horatio@denmark.lit subscribed']);
  });

  it('§14.2: nobody else may answer, the subscriber least of all', async () => {
    expect(errorOf(await h.message(answer(HORATIO, '1')))).toBe('auth forbidden');
    expect(await states()).toEqual(['horatio@denmark.lit pending']);
  });

  it.each<[string, string, string]>([
    ['without form', `<message from='${HAMLET}' to='${BROKER}'><body>yes</body></message>`, 'cancel service-unavailable'],
    ['with a value that is none', answer(HAMLET, 'maybe'), 'modify bad-request'],
    ['about no JID', answer(HAMLET, '1', 'x', '@@'), 'modify bad-request'],
    ['with half a form', answer(HAMLET, '1').replace(/<field var='pubsub#allow'>.*?<\/field>/, ''), 'modify bad-request'],
    ['with another FORM_TYPE', answer(HAMLET, '1').replace('subscribe_authorization', 'node_config'), 'modify bad-request'],
    ['about who did not ask', answer(HAMLET, '1', 'x', 'yorick@denmark.lit'), 'cancel item-not-found'],
  ])('bounces a message %s', async (_, xml, want) => {
    expect(errorOf(await h.message(xml))).toBe(want);
    expect(await states()).toEqual(['horatio@denmark.lit pending']);
  });

  it('an owner who was away gets the same form, to the session that starts', async () => {
    const [first] = h.sent();
    const session = h.session(HAMLET);
    await h.broker.ownerStarted(session);
    expect(session.stanzas.map((stanza) => serialize(stanza))).toEqual([
      serialize(first!).replace(`to='hamlet@denmark.lit'`, `to='${HAMLET}'`),
    ]);
    const other = h.session(HORATIO);
    await h.broker.ownerStarted(other);
    expect(other.stanzas).toEqual([]);
  });

  it('sends nothing at once to an owner of ours without a session, and always to one elsewhere', async () => {
    await h.close();
    await open({ roleOf: { 'foreign@elsewhere.example': null } });
    await h.must(HAMLET, 'set', setAffiliation('foreign@elsewhere.example', 'owner'));
    h.sent();
    await h.must(HORATIO, 'set', subscribe('horatio@denmark.lit'));
    expect(h.sent().map((message) => message.attrs.to)).toEqual(['foreign@elsewhere.example']);
  });

  it.each<[string, string, string[]]>([
    ['member', 'subscribed', ['horatio@denmark.lit subscribed']],
    ['publisher', 'subscribed', ['horatio@denmark.lit subscribed']],
    ['owner', 'subscribed', ['horatio@denmark.lit subscribed']],
    ['outcast', 'none', []],
    ['publish-only', 'none', []],
  ])('§8.7.4: becoming %s settles the request (P-B30)', async (affiliation, told, want) => {
    h.sent();
    await h.must(HAMLET, 'set', setAffiliation('horatio@denmark.lit', affiliation));
    expect(await states()).toEqual(want);
    expect(h.sent().map((message) => canonical(message))).toEqual([stateMessage('made-1', told)]);
  });

  it('approval puts nobody on a whitelist that came in between', async () => {
    await h.must(HAMLET, 'set', owner(`<configure node='${NODE}'>${configForm({ access_model: 'whitelist' })}</configure>`));
    expect(errorOf(await h.message(answer(HAMLET, '1')))).toBe('cancel item-not-found'); // the request ended with the model
    expect(await states()).toEqual([]);
  });
});

describe('errors that come back, XEP-0060 §12.4 (P-U54, P-B37)', () => {
  const bounce = (from: string, id: string, type: string, condition: string) =>
    `<message type='error' from='${from}' to='${BROKER}' id='${id}'><error type='${type}'>` +
    `<${condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`;
  const ID = `for ${NODE} francisco@denmark.lit`;
  const FULL_ID = `for ${NODE} ${FRANCISCO}`;

  beforeEach(async () => {
    await open({ profile: 'compat' }, 'open');
    await h.must(FRANCISCO, 'set', subscribe('francisco@denmark.lit'));
    await h.must(FRANCISCO, 'set', subscribe(FRANCISCO));
    h.interest();
  });

  it.each<[string, string, string, string, number]>([
    ['item-not-found, cancel', ID, 'cancel', 'item-not-found', 1],
    ['gone, whatever its type', ID, 'modify', 'gone', 1],
    ['not-allowed, cancel', ID, 'cancel', 'not-allowed', 1],
    ['service-unavailable', ID, 'cancel', 'service-unavailable', 2],
    ['remote-server-not-found', ID, 'cancel', 'remote-server-not-found', 2],
    ['registration-required, auth', ID, 'auth', 'registration-required', 2],
    ['remote-server-timeout, wait', ID, 'wait', 'remote-server-timeout', 2],
    ['bad-request', ID, 'modify', 'bad-request', 2],
    ['not-acceptable', ID, 'modify', 'not-acceptable', 2],
    ['an id that was never made', 'something', 'cancel', 'item-not-found', 2],
    ['an id for another topic', 'for other francisco@denmark.lit', 'cancel', 'item-not-found', 2],
  ])('%s', async (_, id, type, condition, left) => {
    await h.bounce(bounce(FRANCISCO, id, type, condition));
    expect((await states()).length).toBe(left);
    expect(h.interest()).toEqual(left === 1 ? [`${NODE} francisco@denmark.lit`] : []);
  });

  it('ends only the subscription that bounced', async () => {
    await h.bounce(bounce(FRANCISCO, FULL_ID, 'cancel', 'item-not-found'));
    expect(await states()).toEqual(['francisco@denmark.lit subscribed']);
  });

  it('believes nobody else', async () => {
    await h.bounce(bounce('bernardo@denmark.lit/x', ID, 'cancel', 'gone'));
    await h.bounce(bounce('francisco@denmark.lit/other', FULL_ID, 'cancel', 'gone'));
    expect((await states()).length).toBe(2);
  });

  it('takes an error without error element or id for nothing', async () => {
    await h.bounce(`<message type='error' from='${FRANCISCO}' to='${BROKER}' id='${ID}'/>`);
    await h.bounce(bounce(FRANCISCO, ID, 'cancel', 'gone').replace(/ id='[^']*'/, ''));
    expect((await states()).length).toBe(2);
  });
});
