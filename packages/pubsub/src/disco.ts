/** What the service and its topics tell of themselves (XEP-0060 §5.1 to §5.5; RFC 8600 §5; XEP-0030; XEP-0059). */

import {
  type DiscoInfo,
  type DiscoItems,
  discoInfoRoute,
  discoItemsRoute,
  FORM_TYPE,
  type IqContext,
  type IqRoute,
  NS,
  parseRsm,
  type RsmRequest,
  renderForm,
  type ShownField,
} from '@xmpp-grid/stream';
import type { Element } from 'ltx';
import type { TopicPolicy } from './access/policy.ts';
import { demandGrant, openTopic } from './access/topic-access.ts';
import { knownPage, pageRequest, pageSet } from './request/paging.ts';
import type { Requester } from './request/verb.ts';
import type { Affiliation } from './store/topic-config.ts';
import type { TopicRecord } from './store/topic-store.ts';
import type { VerbDeps } from './verbs/deps.ts';
import { demandRetrieval } from './verbs/items.ts';

const isoSecond = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`; // XEP-0082

/**
 * The disco routes of the Broker. `features` are those of all routes and verbs; they are asked for at each answer,
 * because the routes made here are among them.
 */
export function discoRoutes(
  deps: VerbDeps,
  asRequester: (ctx: IqContext) => Requester,
  features: () => readonly string[],
): IqRoute[] {
  return [
    discoInfoRoute(async (node, ctx) => {
      if (node === undefined) {
        return { identities: [{ category: 'pubsub', type: 'service', name: 'XMPP-Grid Broker' }], features: features() };
      }
      return await topicInfo(node, asRequester(ctx), deps);
    }),
    discoItemsRoute(async (node, ctx) => {
      const rsm = parseRsm(ctx.payload);
      const who = asRequester(ctx);
      return node === undefined ? await topicList(rsm, who, deps) : await itemList(node, rsm, who, deps);
    }),
  ];
}

/** @throws PubsubError `node-does-not-exist` | `insufficient-privileges` */
async function topicInfo(node: string, who: Requester, deps: VerbDeps): Promise<DiscoInfo> {
  const { record } = await openTopic(node, who, deps);
  demandGrant('discover', node, who, deps);
  const [affiliations, subscribers] = await Promise.all([deps.store.affiliations(node), deps.store.countSubscriptions(node)]);
  return {
    identities: [{ category: 'pubsub', type: 'leaf', ...(record.config.title === '' ? {} : { name: record.config.title }) }],
    features: [NS.pubsub],
    forms: [metaData(record, affiliations, subscribers)],
  };
}

/** Most JIDs of one kind in the form; a topic with more publishers says so by its own means. */
const MAX_JIDS = 100;

/** §5.4, §16.4.3. RFC 8600 §5: `pubsub#type` MUST be there, so it is also for a topic that takes any namespace. */
function metaData(record: TopicRecord, affiliations: ReadonlyMap<string, Affiliation>, subscribers: number): Element {
  const { config } = record;
  const withAffiliation = (wanted: Affiliation): string[] =>
    [...affiliations]
      .filter(([, affiliation]) => affiliation === wanted)
      .map(([jid]) => jid)
      .slice(0, MAX_JIDS);
  const text = (name: string, label: string, value: string): ShownField => ({
    var: name,
    type: 'text-single',
    label,
    values: [value],
  });
  const jids = (name: string, label: string, values: readonly string[]): ShownField => ({
    var: name,
    type: 'jid-multi',
    label,
    values,
  });
  return renderForm('result', FORM_TYPE.metaData, [
    text('pubsub#type', 'Payload type', config.type),
    { var: 'pubsub#creator', type: 'jid-single', label: 'The JID of the node creator', values: [record.creator] },
    text('pubsub#creation_date', 'The datetime when the node was created', isoSecond(record.createdMs)),
    text('pubsub#title', 'The name of the node', config.title),
    text('pubsub#description', 'A description of the node', config.description),
    { var: 'pubsub#access_model', type: 'list-single', label: 'Access model', values: [config.accessModel] },
    { var: 'pubsub#publish_model', type: 'list-single', label: 'Publish model', values: [config.publishModel] },
    text('pubsub#max_items', 'Max # of items to persist', String(config.maxItems)),
    jids('pubsub#owner', 'The JIDs of those with an affiliation of owner', withAffiliation('owner')),
    jids('pubsub#publisher', 'The JIDs of those with an affiliation of publisher', withAffiliation('publisher')),
    text('pubsub#num_subscribers', 'The number of subscribers to the node', String(subscribers)),
  ]);
}

type Filter = (node: string) => boolean;
/** One filter for each role and policy, because stores keep what the same filter let through. As many as there are roles. */
const filters = new WeakMap<TopicPolicy, Map<string, Filter>>();

function visibleTo(role: string, { policy }: VerbDeps): Filter {
  const byRole = filters.get(policy) ?? new Map<string, Filter>();
  filters.set(policy, byRole);
  const filter: Filter = byRole.get(role) ?? ((node) => policy.decide(role, 'discover', node).verdict === 'allow');
  byRole.set(role, filter);
  return filter;
}

/** §5.2. Topics that the role may not discover are neither listed nor counted. */
async function topicList(rsm: RsmRequest | undefined, who: Requester, deps: VerbDeps): Promise<DiscoItems> {
  const isVisible = visibleTo(who.role, deps);
  const page = knownPage(await deps.store.topics(pageRequest(rsm, deps.limits.pageEntries), isVisible));
  const titles = await Promise.all(page.entries.map(async (node) => (await deps.store.record(node))?.config.title));
  const set = pageSet(page, rsm, (node) => node);
  return {
    items: page.entries.map((node, at) => ({ jid: deps.domain, node, ...(titles[at] ? { name: titles[at] } : {}) })),
    ...(set === undefined ? {} : { set }),
  };
}

/** §5.5: names are item ids, and there is no node. Whoever may retrieve the items may list them. */
async function itemList(node: string, rsm: RsmRequest | undefined, who: Requester, deps: VerbDeps): Promise<DiscoItems> {
  await demandRetrieval('retrieve', node, who, deps);
  const page = knownPage(await deps.store.items(node, pageRequest(rsm, deps.limits.pageEntries)));
  const set = pageSet(page, rsm, ({ itemId }) => itemId);
  return {
    items: page.entries.map(({ itemId }) => ({ jid: deps.domain, name: itemId })),
    ...(set === undefined ? {} : { set }),
  };
}
