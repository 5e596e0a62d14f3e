/** XEP-0060 on a running instance: an owner, a publisher and a subscriber, from creation to deletion, whole stanzas compared. */
import type { Element } from '@xmpp-grid/stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RawClient } from '../../support/raw-client.ts';
import { canonical, errorOf } from '../../support/stanzas.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';

const PUBSUB = 'http://jabber.org/protocol/pubsub';
const EVENT = `${PUBSUB}#event`;

let grid: TestInstance;
let hamlet: RawClient;
let horatio: RawClient;
let ids = 0;
let node = '';

beforeAll(async () => {
  grid = await startTestInstance();
  hamlet = await grid.login('hamlet', { resource: 'elsinore' });
  horatio = await grid.login('horatio', { resource: 'home' });
});
afterAll(async () => {
  await grid.stop();
});
beforeEach(() => {
  node = `topic-${++ids}`;
});

const pubsub = (child: string): string => `<pubsub xmlns='${PUBSUB}'>${child}</pubsub>`;
const owner = (child: string): string => `<pubsub xmlns='${PUBSUB}#owner'>${child}</pubsub>`;
const form = (fields: Record<string, string>): string =>
  `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>${PUBSUB}#node_config</value></field>${Object.entries(
    fields,
  )
    .map(([name, value]) => `<field var='pubsub#${name}'><value>${value}</value></field>`)
    .join('')}</x>`;

async function must(client: RawClient, type: 'get' | 'set', child: string): Promise<Element> {
  const answer = await client.iq(type, child, grid.broker);
  expect(answer.attrs.type, String(answer)).toBe('result');
  return answer;
}
const create = (fields: Record<string, string>) =>
  must(hamlet, 'set', pubsub(`<create node='${node}'/><configure>${form(fields)}</configure>`));
const makeMember = (affiliation = 'member') =>
  must(
    hamlet,
    'set',
    owner(`<affiliations node='${node}'><affiliation jid='horatio@${grid.domain}' affiliation='${affiliation}'/></affiliations>`),
  );
const subscribe = () => must(horatio, 'set', pubsub(`<subscribe node='${node}' jid='horatio@${grid.domain}'/>`));
const publish = (item: string) => must(hamlet, 'set', pubsub(`<publish node='${node}'>${item}</publish>`));

/** The child of `<event/>` in the next message, whose id and stanza-id are checked for what they promise. */
async function nextEvent(what: string): Promise<string> {
  const message = await horatio.nextMessage(what);
  expect(message.attrs).toMatchObject({ from: grid.broker, to: `horatio@${grid.domain}` });
  expect(message.attrs.type).toBeUndefined(); // §16.4.4: normal
  expect(message.attrs.id).toBeTruthy();
  const [event, ...more] = message.getChild('event', EVENT)!.getChildElements();
  expect(more).toEqual([]);
  return canonicalChild(event!);
}
const canonicalChild = (element: Element): string =>
  canonical(`<message><event xmlns='${EVENT}'>${element.toString()}</event></message>`);
const event = (child: string): string => canonical(`<message><event xmlns='${EVENT}'>${child}</event></message>`);

/** Nothing came in between: what is sent to a session is sent in order. */
async function nothingMore(): Promise<void> {
  await horatio.iq('get', `<ping xmlns='urn:xmpp:ping'/>`, grid.broker);
  expect(horatio.inbox.filter(({ name }) => name === 'message').map(String)).toEqual([]);
}

describe('notifications, XEP-0060 §7 and §8', () => {
  it('§7.1.2.1, §7.1.2.3: one with payload and publisher for each publish (P-U26, P-B16, P-B17)', async () => {
    await create({ access_model: 'whitelist' });
    await makeMember();
    await subscribe();
    await publish(`<item id='a'><entry xmlns='urn:example:atom'>one</entry></item>`);
    await publish(`<item id='a'><entry xmlns='urn:example:atom'>two</entry></item>`);
    for (const text of ['one', 'two']) {
      expect(await nextEvent(`the event of ${text}`)).toBe(
        event(
          `<items node='${node}'><item id='a' publisher='hamlet@${grid.domain}'><entry xmlns='urn:example:atom'>${text}</entry></item></items>`,
        ),
      );
    }
    await nothingMore();
  });

  it('§7.1.2.2: without payload where the topic says so (P-U27, P-N06)', async () => {
    await create({ access_model: 'whitelist', deliver_payloads: '0' });
    await makeMember();
    await subscribe();
    await publish(`<item id='a'><entry xmlns='urn:example:atom'/></item>`);
    expect(await nextEvent('the event')).toBe(
      event(`<items node='${node}'><item id='a' publisher='hamlet@${grid.domain}'/></items>`),
    );
  });

  it('§7.2.2.1: of a retraction (P-U34, P-B21)', async () => {
    await create({ access_model: 'whitelist', notify_retract: '0' });
    await makeMember();
    await subscribe();
    await publish(`<item id='a'><entry xmlns='urn:example:atom'/></item>`);
    await publish(`<item id='b'><entry xmlns='urn:example:atom'/></item>`);
    await nextEvent('a');
    await nextEvent('b');
    await must(hamlet, 'set', pubsub(`<retract node='${node}'><item id='a'/></retract>`));
    await nothingMore();
    await must(hamlet, 'set', pubsub(`<retract node='${node}' notify='true'><item id='b'/></retract>`));
    expect(await nextEvent('the retraction')).toBe(event(`<items node='${node}'><retract id='b'/></items>`));
  });

  it('§8.5.2: one of a purge, however many items (P-U42, P-B27)', async () => {
    await create({ access_model: 'whitelist' });
    await makeMember();
    for (const id of ['a', 'b', 'c']) await publish(`<item id='${id}'><entry xmlns='urn:example:atom'/></item>`);
    await subscribe();
    await must(hamlet, 'set', owner(`<purge node='${node}'/>`));
    expect(await nextEvent('the purge')).toBe(event(`<purge node='${node}'/>`));
    await nothingMore();
  });

  it('§8.2.5.3: of a changed configuration, with the form (P-U38, P-N15)', async () => {
    await create({ access_model: 'whitelist' });
    await makeMember();
    await subscribe();
    await must(hamlet, 'set', owner(`<configure node='${node}'>${form({ title: 'silent' })}</configure>`));
    await nothingMore();
    await must(hamlet, 'set', owner(`<configure node='${node}'>${form({ title: 'told', notify_config: '1' })}</configure>`));
    const message = await horatio.nextMessage('the configuration');
    const x = message.getChild('event', EVENT)!.getChild('configuration')!.getChild('x', 'jabber:x:data')!;
    expect(x.attrs.type).toBe('result');
    expect((x.getChildByAttr('var', 'pubsub#title') as Element).getChildText('value')).toBe('told');
    await must(hamlet, 'set', owner(`<configure node='${node}'>${form({ deliver_payloads: '0' })}</configure>`));
    expect(await nextEvent('the configuration of a notification-only topic')).toBe(event(`<configuration node='${node}'/>`));
  });

  it('§8.4.2: of deletion, with where it went (P-U40, P-U41)', async () => {
    await create({ access_model: 'whitelist' });
    await makeMember();
    await subscribe();
    await must(hamlet, 'set', owner(`<delete node='${node}'><redirect uri='xmpp:${grid.broker}?;node=other'/></delete>`));
    expect(await nextEvent('the deletion')).toBe(
      event(`<delete node='${node}'><redirect uri='xmpp:${grid.broker}?;node=other'/></delete>`),
    );
    const answer = await horatio.iq('set', pubsub(`<subscribe node='${node}' jid='horatio@${grid.domain}'/>`), grid.broker);
    expect(errorOf(answer)).toBe('modify gone'); // §6.1.3.11
  });
});

describe('subscription requests, XEP-0060 §8.6 (P-U43, P-U58, G-028)', () => {
  const answer = async (allow: string): Promise<void> => {
    const request = await hamlet.nextMessage('the form');
    const x = request.getChild('x', 'jabber:x:data')!;
    expect(x.attrs.type).toBe('form');
    const values = Object.fromEntries(
      x.getChildren('field').map((field) => [field.attrs.var as string, field.getChildText('value')]),
    );
    expect(values).toEqual({
      FORM_TYPE: `${PUBSUB}#subscribe_authorization`,
      'pubsub#node': node,
      'pubsub#subscriber_jid': `horatio@${grid.domain}`,
      'pubsub#allow': '0',
    });
    const fields = Object.entries({ ...values, 'pubsub#allow': allow })
      .map(([name, value]) => `<field var='${name}'><value>${value}</value></field>`)
      .join('');
    hamlet.send(
      `<message to='${grid.broker}' id='${request.attrs.id}'><x xmlns='jabber:x:data' type='submit'>${fields}</x></message>`,
    );
  };

  it('approved: told, then receives what follows and nothing from before (P-B05, P-B29, G-030)', async () => {
    await create({ access_model: 'authorize' });
    expect((await subscribe()).toString()).toContain('subscription="pending"');
    await publish(`<item id='before'><entry xmlns='urn:example:atom'/></item>`);
    await answer('1');
    expect(await nextEvent('the approval')).toBe(
      event(`<subscription node='${node}' jid='horatio@${grid.domain}' subscription='subscribed'/>`),
    );
    await publish(`<item id='after'><entry xmlns='urn:example:atom'/></item>`);
    expect(await nextEvent('the event')).toContain(`id='after'`);
    await nothingMore();
  });

  it('denied: told, and may ask again', async () => {
    await create({ access_model: 'authorize' });
    await subscribe();
    await answer('false');
    expect(await nextEvent('the denial')).toBe(
      event(`<subscription node='${node}' jid='horatio@${grid.domain}' subscription='none'/>`),
    );
    expect((await subscribe()).toString()).toContain('subscription="pending"');
    await hamlet.nextMessage('the second form');
  });

  it('an owner who was away finds the request at the next login', async () => {
    await create({ access_model: 'authorize' });
    await hamlet.close();
    await subscribe();
    hamlet = await grid.login('hamlet', { resource: 'elsinore' });
    hamlet.send('<presence/>');
    const forms: Element[] = [];
    // Requests of earlier tests that still wait come as well.
    do forms.push(await hamlet.nextMessage('the form'));
    while (!forms.at(-1)!.toString().includes(`<value>${node}</value>`));
    hamlet.inbox.unshift(forms.at(-1)!);
    await answer('true');
    expect(await nextEvent('the approval')).toContain(`subscription='subscribed'`);
  });

  it('an answer that comes too late is bounced, and nothing changes (P-B28)', async () => {
    await create({ access_model: 'authorize' });
    await subscribe();
    await must(
      hamlet,
      'set',
      owner(
        `<subscriptions node='${node}'><subscription jid='horatio@${grid.domain}' subscription='subscribed'/></subscriptions>`,
      ),
    );
    await nextEvent('the approval');
    await answer('0');
    expect(errorOf(await hamlet.nextMessage('the bounce'))).toBe('cancel item-not-found');
    const list = await must(hamlet, 'get', owner(`<subscriptions node='${node}'/>`));
    expect(list.toString()).toContain(`jid="horatio@${grid.domain}" subscription="subscribed"`);
  });
});

describe('rights that end, XEP-0060 §8.9 (P-B35, P-B43, G-038)', () => {
  it.each(['outcast', 'none'])('becoming %s: told, and no event after it', async (affiliation) => {
    await create({ access_model: 'whitelist' });
    await makeMember();
    await subscribe();
    await makeMember(affiliation);
    expect(await nextEvent('the end')).toBe(
      event(`<subscription node='${node}' jid='horatio@${grid.domain}' subscription='none'/>`),
    );
    await publish(`<item><entry xmlns='urn:example:atom'/></item>`);
    await nothingMore();
    expect(errorOf(await horatio.iq('get', pubsub(`<items node='${node}'/>`), grid.broker))).toBe(
      affiliation === 'outcast' ? 'auth forbidden' : 'cancel not-allowed+closed-node',
    );
  });

  it('unsubscribing: no event after the answer (P-U16)', async () => {
    await create({ access_model: 'whitelist' });
    await makeMember();
    await subscribe();
    await must(horatio, 'set', pubsub(`<unsubscribe node='${node}' jid='horatio@${grid.domain}'/>`));
    await publish(`<item><entry xmlns='urn:example:atom'/></item>`);
    await nothingMore();
  });

  it('§12.4: an error from the subscriber ends the subscription that bounced (P-U54, P-B37)', async () => {
    await create({ access_model: 'whitelist' });
    await makeMember();
    await subscribe();
    await publish(`<item id='a'><entry xmlns='urn:example:atom'/></item>`);
    const message = await horatio.nextMessage('the event');
    horatio.send(
      `<message type='error' to='${grid.broker}' id='${message.attrs.id}'><error type='cancel'>` +
        `<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`,
    );
    const list = await must(horatio, 'get', pubsub(`<subscriptions node='${node}'/>`)); // handled in order: RFC 6120 §10.1
    expect(list.getChild('pubsub')!.getChild('subscriptions')!.children).toEqual([]);
    await publish(`<item id='b'><entry xmlns='urn:example:atom'/></item>`);
    await nothingMore();
  });
});

describe('what is stored', () => {
  it('survives a restart: configuration, affiliations, subscriptions, requests, items (G-029)', async () => {
    await create({ access_model: 'authorize', title: 'kept', max_items: '5' });
    await must(
      hamlet,
      'set',
      owner(`<affiliations node='${node}'><affiliation jid='yorick@${grid.domain}' affiliation='outcast'/></affiliations>`),
    );
    await subscribe();
    await publish(`<item id='a'><entry xmlns='urn:example:atom'>kept</entry></item>`);
    await grid.restart();
    hamlet = await grid.login('hamlet', { resource: 'elsinore' });
    horatio = await grid.login('horatio', { resource: 'home' });
    expect((await must(hamlet, 'get', owner(`<configure node='${node}'/>`))).toString()).toContain('<value>kept</value>');
    expect((await must(hamlet, 'get', owner(`<affiliations node='${node}'/>`))).toString()).toContain(
      `yorick@${grid.domain}" affiliation="outcast"`,
    );
    expect((await must(horatio, 'get', pubsub(`<subscriptions node='${node}'/>`))).toString()).toContain(
      'subscription="pending"',
    );
    expect((await must(hamlet, 'get', pubsub(`<items node='${node}'/>`))).toString()).toContain('>kept</entry>');
  });
});
