import { Element } from 'ltx';
import { StanzaError } from '../errors/stanza-error.ts';
import { NS } from '../xml/ns.ts';
import { discoInfoRoute, discoItemsRoute, featuresOf } from './disco.ts';
import type { IqRoute, StanzaService } from './service.ts';

/**
 * The Controller's own domain, and what it answers on behalf of an account to its owner: what ordinary
 * clients ask when they come up.
 */

const OFFLINE_FEATURE = 'msgoffline'; // XEP-0160 §4

export const pingRoute: IqRoute = {
  type: 'get',
  ns: NS.ping,
  name: 'ping',
  features: [NS.ping],
  handle: async () => undefined, // XEP-0199 §4.2
};

/** Legacy: RFC 3921 §3 made clients ask for it; it changes nothing. */
const sessionRoute: IqRoute = { type: 'set', ns: NS.session, name: 'session', features: [], handle: async () => undefined };

/** `items` are the services that hang below the domain: the Broker. */
export function controllerService(domain: string, items: readonly { jid: string; name: string }[]): StanzaService {
  const routes: IqRoute[] = [pingRoute, sessionRoute];
  routes.push(
    discoInfoRoute(async (node) => {
      if (node !== undefined) throw new StanzaError('item-not-found'); // XEP-0030 §7
      return {
        identities: [{ category: 'server', type: 'im', name: 'XMPP-Grid Controller' }],
        features: featuresOf(routes, [OFFLINE_FEATURE]),
      };
    }),
    discoItemsRoute(async (node) => {
      if (node !== undefined) throw new StanzaError('item-not-found');
      return { items };
    }),
  );
  return {
    domain,
    routes,
    // RFC 6120 §10.5.1: the domain itself reads no messages.
    message: async () => {
      throw new StanzaError('service-unavailable');
    },
    bounced: async () => undefined,
  };
}

/** RFC 6120 §10.3.3: answered as the account's bare JID. */
export function accountRoutes(): readonly IqRoute[] {
  const routes: IqRoute[] = [
    pingRoute,
    sessionRoute,
    {
      // RFC 6121 §2.1.3: an account without contacts has an empty roster.
      type: 'get',
      ns: NS.roster,
      name: 'query',
      features: [],
      handle: async () => new Element('query', { xmlns: NS.roster }),
    },
    {
      type: 'set',
      ns: NS.roster,
      name: 'query',
      features: [],
      handle: async () => {
        throw new StanzaError('not-allowed', { text: 'this service keeps no rosters' }); // RFC 6121 §2.3.3
      },
    },
  ];
  routes.push(
    discoInfoRoute(async (node) => {
      if (node !== undefined) throw new StanzaError('item-not-found');
      return { identities: [{ category: 'account', type: 'registered' }], features: featuresOf(routes) };
    }),
    discoItemsRoute(async (node) => {
      if (node !== undefined) throw new StanzaError('item-not-found');
      return { items: [] };
    }),
  );
  return routes;
}
