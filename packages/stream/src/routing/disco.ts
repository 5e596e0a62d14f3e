/** Service discovery (XEP-0030 2.5.0): what a domain answers follows from its routes. */
import { Element } from 'ltx';
import { NS } from '../xml/ns.ts';
import type { IqContext, IqRoute } from './service.ts';

export interface DiscoIdentity {
  readonly category: string;
  readonly type: string;
  readonly name?: string;
}

export interface DiscoInfo {
  /** At least one (§3.1). */
  readonly identities: readonly [DiscoIdentity, ...DiscoIdentity[]];
  /** `disco#info` is added: every entity has it (§3.1). */
  readonly features: readonly string[];
  /** XEP-0128 */
  readonly forms?: readonly Element[];
}

export interface DiscoItem {
  readonly jid: string;
  readonly node?: string;
  readonly name?: string;
}

export interface DiscoItems {
  readonly items: readonly DiscoItem[];
  /** `<set/>` of XEP-0059, after the items. */
  readonly set?: Element;
}

/** Features of all routes, each once, in code point order. Add what no single route stands for with `more`. */
export function featuresOf(routes: readonly IqRoute[], more: readonly string[] = []): string[] {
  return [...new Set([...routes.flatMap((route) => route.features), ...more])].sort();
}

/** The node asked about; an empty attribute counts as none. */
export function discoNode(ctx: IqContext): string | undefined {
  return ctx.payload.attrs.node || undefined;
}

function renderQuery(ns: string, node: string | undefined): Element {
  return new Element('query', node === undefined ? { xmlns: ns } : { xmlns: ns, node }); // §3.2, §4.2: the node is mirrored
}

export function renderDiscoInfo(node: string | undefined, info: DiscoInfo): Element {
  const query = renderQuery(NS.discoInfo, node);
  for (const { category, type, name } of info.identities) {
    query.c('identity', name === undefined ? { category, type } : { category, type, name });
  }
  for (const feature of new Set([...info.features, NS.discoInfo])) query.c('feature', { var: feature });
  for (const form of info.forms ?? []) query.cnode(form);
  return query;
}

export function renderDiscoItems(node: string | undefined, answer: DiscoItems): Element {
  const query = renderQuery(NS.discoItems, node);
  for (const { jid, node: itemNode, name } of answer.items) {
    const attrs: Record<string, string> = {};
    if (itemNode !== undefined) attrs.node = itemNode;
    if (name !== undefined) attrs.name = name;
    attrs.jid = jid;
    query.c('item', attrs);
  }
  if (answer.set) query.cnode(answer.set);
  return query;
}

/** Answers disco#info. `describe` throws StanzaError `item-not-found` for a node that does not exist (§7). */
export function discoInfoRoute(describe: (node: string | undefined, ctx: IqContext) => Promise<DiscoInfo>): IqRoute {
  return {
    type: 'get',
    ns: NS.discoInfo,
    name: 'query',
    features: [NS.discoInfo],
    async handle(ctx) {
      const node = discoNode(ctx);
      return renderDiscoInfo(node, await describe(node, ctx));
    },
  };
}

/** Answers disco#items. `list` throws StanzaError `item-not-found` for a node that does not exist (§7). */
export function discoItemsRoute(list: (node: string | undefined, ctx: IqContext) => Promise<DiscoItems>): IqRoute {
  return {
    type: 'get',
    ns: NS.discoItems,
    name: 'query',
    features: [NS.discoItems],
    async handle(ctx) {
      const node = discoNode(ctx);
      return renderDiscoItems(node, await list(node, ctx));
    },
  };
}
