import {
  discoInfoRoute,
  discoItemsRoute,
  featuresOf,
  IqFailure,
  type IqRoute,
  IqRouter,
  JID,
  StanzaError,
} from '@xmpp-grid/stream';
import { Element } from 'ltx';
import { describe, expect, it } from 'vitest';

const from = { jid: JID.parse('a@x.example/1'), session: undefined, role: 'platform' };
const to = JID.parse('service.example');

const route = (name: string, handle: IqRoute['handle'] = async () => undefined, type: 'get' | 'set' = 'get'): IqRoute => ({
  type,
  ns: 'urn:test',
  name,
  features: [`urn:test#${name}`],
  handle,
});
function iq(type: string, ...children: Element[]): Element {
  const element = new Element('iq', { xmlns: 'jabber:client', type, id: '7', from: 'a@x.example/1', to: 'service.example' });
  for (const child of children) element.cnode(child);
  return element;
}
const payload = (name: string, ns = 'urn:test') => new Element(name, { xmlns: ns });
const noBugs = (error: unknown) => {
  throw error;
};
const HEAD = 'from="service.example" to="a@x.example/1" id="7"';

describe('IQ routing, RFC 6120 §8.2.3', () => {
  it('answers a result with the child, ids copied, addresses exchanged', async () => {
    const router = new IqRouter([route('a', async () => new Element('b', { xmlns: 'urn:test' }))], noBugs);
    expect((await router.answer(iq('get', payload('a')), { from, to })).toString()).toBe(
      `<iq type="result" ${HEAD}><b xmlns="urn:test"/></iq>`,
    );
  });

  it('answers an empty result', async () => {
    const router = new IqRouter([route('a')], noBugs);
    expect((await router.answer(iq('get', payload('a')), { from, to })).toString()).toBe(`<iq type="result" ${HEAD}/>`);
  });

  it('hands the route who asks and what', async () => {
    let seen: unknown;
    const router = new IqRouter(
      [
        route('a', async (ctx) => {
          seen = { role: ctx.from.role, to: ctx.to.toString(), payload: ctx.payload.getName(), id: ctx.iq.attrs.id };
          return undefined;
        }),
      ],
      noBugs,
    );
    await router.answer(iq('get', payload('a')), { from, to });
    expect(seen).toEqual({ role: 'platform', to: 'service.example', payload: 'a', id: '7' });
  });

  it.each<[string, Element, string]>([
    ['§8.4 no route', iq('get', payload('b')), 'cancel service-unavailable'],
    ['§8.4 another type', iq('set', payload('a')), 'cancel service-unavailable'],
    ['§8.4 another namespace', iq('get', payload('a', 'urn:other')), 'cancel service-unavailable'],
    ['rule 4: no child', iq('get'), 'modify bad-request'],
    ['rule 4: two children', iq('get', payload('a'), payload('a')), 'modify bad-request'],
    ['a name of Object.prototype', iq('get', payload('constructor')), 'cancel service-unavailable'],
  ])('%s -> %s', async (_, request, want) => {
    const answer = await new IqRouter([route('a')], noBugs).answer(request, { from, to });
    const error = answer.getChild('error')!;
    expect(`${error.attrs.type} ${(error.children[0] as Element).getName()}`).toBe(want);
    expect(answer.attrs).toMatchObject({ type: 'error', id: '7', from: 'service.example', to: 'a@x.example/1' });
  });

  it('§8.3: a StanzaError is the answer', async () => {
    const router = new IqRouter(
      [
        route('a', async () => {
          throw new StanzaError('forbidden');
        }),
      ],
      noBugs,
    );
    expect((await router.answer(iq('get', payload('a')), { from, to })).toString()).toBe(
      `<iq type="error" ${HEAD}><error type="auth"><forbidden xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error></iq>`,
    );
  });

  it('an IqFailure puts its content before the error (XEP-0060 §8.8.2.4)', async () => {
    const router = new IqRouter(
      [
        route('a', async () => {
          throw new IqFailure('not-acceptable', new Element('list', { xmlns: 'urn:test' }));
        }),
      ],
      noBugs,
    );
    expect((await router.answer(iq('get', payload('a')), { from, to })).toString()).toBe(
      `<iq type="error" ${HEAD}><list xmlns="urn:test"/><error type="modify"><not-acceptable xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error></iq>`,
    );
  });

  it('a bug is told to the owner, and to the peer as internal-server-error without a word of it', async () => {
    const bugs: unknown[] = [];
    const bug = new TypeError('x is not a function');
    const router = new IqRouter(
      [
        route('a', () => Promise.reject(bug)),
        route('b', () => {
          throw bug;
        }),
      ],
      (error) => bugs.push(error),
    );
    for (const name of ['a', 'b']) {
      const answer = await router.answer(iq('get', payload(name)), { from, to });
      expect(answer.toString()).toBe(
        `<iq type="error" ${HEAD}><error type="cancel"><internal-server-error xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error></iq>`,
      );
    }
    expect(bugs).toEqual([bug, bug]);
  });

  it('two routes for one request are a mistake of the program', () => {
    expect(() => new IqRouter([route('a'), route('a')], noBugs)).toThrow(/two routes for get urn:test a/);
    expect(() => new IqRouter([route('a'), route('a', undefined, 'set')], noBugs)).not.toThrow();
  });
});

describe('discovery from the routes, XEP-0030 §3', () => {
  const routes = [route('b'), route('a'), route('a', undefined, 'set')];

  it('names each feature once, in order', () => {
    expect(featuresOf(routes, ['urn:more', 'urn:test#a'])).toEqual(['urn:more', 'urn:test#a', 'urn:test#b']);
  });

  it('answers identity and features, disco#info always among them, and mirrors the node (X-001, X-002)', async () => {
    const info = discoInfoRoute(async () => ({
      identities: [{ category: 'server', type: 'im', name: 'N' }],
      features: featuresOf(routes),
    }));
    const query = new Element('query', { xmlns: 'http://jabber.org/protocol/disco#info', node: 'n' });
    expect((await new IqRouter([info], noBugs).answer(iq('get', query), { from, to })).getChild('query')!.toString()).toBe(
      '<query xmlns="http://jabber.org/protocol/disco#info" node="n"><identity category="server" type="im" name="N"/>' +
        '<feature var="urn:test#a"/><feature var="urn:test#b"/><feature var="http://jabber.org/protocol/disco#info"/></query>',
    );
  });

  it('answers items, an empty query when there are none (X-004)', async () => {
    const items = (list: { jid: string; node?: string; name?: string }[]) => discoItemsRoute(async () => ({ items: list }));
    const query = () => new Element('query', { xmlns: 'http://jabber.org/protocol/disco#items' });
    const ask = async (route_: IqRoute) =>
      (await new IqRouter([route_], noBugs).answer(iq('get', query()), { from, to })).getChild('query')!.toString();
    expect(await ask(items([]))).toBe('<query xmlns="http://jabber.org/protocol/disco#items"/>');
    expect(await ask(items([{ jid: 'j', node: 'n', name: 'N' }, { jid: 'k' }]))).toBe(
      '<query xmlns="http://jabber.org/protocol/disco#items"><item node="n" name="N" jid="j"/><item jid="k"/></query>',
    );
  });
});
