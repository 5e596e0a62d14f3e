/**
 * The Broker: the publish-subscribe service of XMPP-Grid (RFC 8600 §4; XEP-0060 1.30.0). Four routes lead to the verbs.
 * Missing: subscription options and SubIDs (§6.3, §6.4), publish options (§7.1.5), auto-create (§7.1.4), last published
 * item (§6.1.7), get-pending (§8.7), leases (§12.19), collections (XEP-0248), integration with IM accounts (§9).
 */

import {
  featuresOf,
  type IqContext,
  type IqRoute,
  NS,
  pingRoute,
  type SessionPort,
  StanzaError,
  type StanzaService,
} from '@xmpp-grid/stream';
import { Standings } from './access/standings.ts';
import { discoRoutes } from './disco.ts';
import { PubsubError, unsupported } from './errors.ts';
import type { Operation } from './metrics.ts';
import { NodeConfigForm } from './node/node-config.ts';
import { verbElement } from './request/parse.ts';
import type { Requester, SealedVerb, VerbKey, VerbNamespace } from './request/verb.ts';
import { StoreFull } from './store/store-error.ts';
import { answerRequest, resendRequests } from './verbs/authorize.ts';
import { type NotificationIds, takeBounce } from './verbs/bounce.ts';
import type { VerbDeps } from './verbs/deps.ts';
import { VERBS } from './verbs/index.ts';
import { UNSUPPORTED_VERBS } from './verbs/unsupported.ts';

export type BrokerDeps = Omit<VerbDeps, 'form' | 'standings'> & { readonly isNotificationFor: NotificationIds };

export interface Broker extends StanzaService {
  /** An owner's session started: sends it the subscription requests that wait (XEP-0060 §8.6). Never rejects. */
  ownerStarted(session: SessionPort): Promise<void>;
}

const pubsubFeature = (name: string): string => `${NS.pubsub}#${name}`;

export function createBroker(brokerDeps: BrokerDeps): Broker {
  const deps: VerbDeps = {
    ...brokerDeps,
    form: new NodeConfigForm(brokerDeps.profile, brokerDeps.limits),
    standings: new Standings(),
  };
  const verbs = new Map<VerbKey, SealedVerb<VerbDeps>>();
  for (const verb of VERBS) {
    if (verbs.has(verb.key)) throw new Error(`two verbs for ${verb.key}`);
    verbs.set(verb.key, verb);
  }

  const routes: IqRoute[] = [];
  for (const ns of ['pubsub', 'owner'] as const) {
    for (const type of ['get', 'set'] as const) routes.push(pubsubRoute(type, ns, verbs, deps));
  }
  routes.push({ ...pingRoute, handle: (ctx) => measured('ping', deps, () => pingRoute.handle(ctx)) });
  // §10: the feature of the default access model; RSM for everything that lists (XEP-0059 §4); forms in messages (XEP-0004 §6).
  const more = [pubsubFeature(`access-${deps.defaults.accessModel}`), pubsubFeature('meta-data'), NS.rsm, NS.dataForms];
  const disco = discoRoutes(deps, requesterOf, () => featuresOf(routes, more));
  routes.push(
    ...disco.map((route) => ({ ...route, handle: (ctx: IqContext) => measured('disco', deps, () => route.handle(ctx)) })),
  );

  return {
    domain: deps.domain,
    routes,
    message: (message, from) => orResourceConstraint(() => answerRequest(message, from, deps)),
    bounced: (message, from) => takeBounce(message, from, brokerDeps.isNotificationFor, deps),
    tooBig,
    async ownerStarted(session) {
      try {
        await resendRequests(session, deps);
      } catch (error) {
        // The requests are stored: they come at the next start of a session.
        deps.log.warn({ err: error, jid: session.jid.toString() }, 'could not send subscription requests to an owner');
      }
    },
  };
}

function pubsubRoute(
  type: 'get' | 'set',
  ns: VerbNamespace,
  verbs: ReadonlyMap<VerbKey, SealedVerb<VerbDeps>>,
  deps: VerbDeps,
): IqRoute {
  const prefix = `${type} ${ns} ` as const;
  const own = [...verbs.values()].filter(({ key }) => key.startsWith(prefix));
  return {
    type,
    ns: ns === 'owner' ? NS.pubsubOwner : NS.pubsub,
    name: 'pubsub',
    features: [NS.pubsub, ...own.flatMap(({ features }) => features.map(pubsubFeature))], // §5.1: the namespace itself too
    handle(ctx) {
      const element = verbElement(ctx.payload).getName();
      const key: VerbKey = `${prefix}${element}`;
      return measured(operationOf(element), deps, () => {
        const verb = verbs.get(key);
        if (!verb) throw noVerb(key);
        return verb.run(ctx.payload, requesterOf(ctx), deps);
      });
    },
  };
}

/** @throws StanzaError always: what the XEP says, else that there is no such request */
function noVerb(key: VerbKey): StanzaError {
  const feature = UNSUPPORTED_VERBS[key];
  if (feature !== undefined) return unsupported(feature);
  if (key === 'set pubsub configure') {
    return new PubsubError('malformed-configure', { text: '<configure/> must follow <create/>' }); // §8.1.3
  }
  return new PubsubError('malformed-request', { text: 'no such request' });
}

function requesterOf({ from, iq }: IqContext): Requester {
  return { jid: from.jid, account: from.jid.bareString, role: from.role, session: from.session, iqId: iq.attrs.id ?? '' };
}

const OPERATION_OF: Readonly<Record<string, Operation>> = {
  affiliations: 'affiliations',
  configure: 'configure',
  create: 'create',
  default: 'configure',
  delete: 'delete',
  items: 'items',
  publish: 'publish',
  purge: 'purge',
  retract: 'retract',
  subscribe: 'subscribe',
  subscriptions: 'subscriptions',
  unsubscribe: 'unsubscribe',
};

const operationOf = (element: string): Operation =>
  (Object.hasOwn(OPERATION_OF, element) ? OPERATION_OF[element] : undefined) ?? 'other';

async function measured<T>(operation: Operation, deps: VerbDeps, run: () => T | Promise<T>): Promise<T> {
  const start = performance.now();
  try {
    return await orResourceConstraint(run);
  } finally {
    deps.metrics.answered(operation, (performance.now() - start) / 1000);
  }
}

/** No room is no bug: the peer may try again (RFC 6120 §8.3.3.18). */
async function orResourceConstraint<T>(run: () => T | Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof StoreFull) throw new StanzaError('resource-constraint', { text: 'no room to store this', cause: error });
    throw error;
  }
}

/** A publish over the stanza limit is a payload too big (XEP-0060 §7.1.3.5); anything else broke a policy. */
function tooBig(path: readonly { readonly ns: string; readonly name: string }[], maxBytes: number): StanzaError {
  const [wrapper, verb] = path;
  const text = `a stanza may have ${maxBytes} bytes`;
  if (wrapper?.ns === NS.pubsub && wrapper.name === 'pubsub' && verb?.name === 'publish') {
    return new PubsubError('payload-too-big', { text });
  }
  return new StanzaError('policy-violation', { type: 'modify', text });
}
