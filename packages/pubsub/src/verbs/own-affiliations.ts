import { parseRsm, type RsmRequest } from '@xmpp-grid/stream';
import { Element } from 'ltx';
import { effectiveAffiliation } from '../access/decide.ts';
import { openTopic } from '../access/topic-access.ts';
import { pageOfList, pageRequest, pageSet } from '../request/paging.ts';
import { optionalNode, verbElement } from '../request/parse.ts';
import { pubsubElement } from '../request/render.ts';
import type { Verb } from '../request/verb.ts';
import type { Affiliation } from '../store/topic-config.ts';
import type { Page } from '../store/topic-store.ts';
import type { VerbDeps } from './deps.ts';

interface OwnRequest {
  /** Undefined: all topics of the service. */
  readonly node: string | undefined;
  readonly rsm: RsmRequest | undefined;
}

interface OwnAffiliation {
  readonly node: string;
  readonly affiliation: Affiliation;
}

/** @see XEP-0060 §5.7 */
export const ownAffiliations: Verb<OwnRequest, Page<OwnAffiliation>, VerbDeps> = {
  key: 'get pubsub affiliations',
  features: ['retrieve-affiliations'],

  parse: (pubsub) => ({ node: optionalNode(verbElement(pubsub)), rsm: parseRsm(pubsub) }),

  /**
   * Lists the asker's affiliations, those by a role's approval too where the account has anything to do with the topic.
   * Topics hidden from its role are left out.
   *
   * @throws PubsubError `node-does-not-exist`
   */
  async perform({ node, rsm }, who, deps) {
    if (node !== undefined) await openTopic(node, who, deps);
    const nodes = node === undefined ? await deps.store.topicsOf(who.account) : [node];
    const found: OwnAffiliation[] = [];
    for (const each of nodes) {
      if (deps.policy.isHidden(who.role, each) || !(await deps.store.record(each))) continue;
      const stored = await deps.store.affiliation(each, who.account);
      const affiliation = effectiveAffiliation(stored, deps.policy.approves(who.role, each));
      if (affiliation !== 'none') found.push({ node: each, affiliation });
    }
    found.sort((a, b) => (a.node < b.node ? -1 : 1));
    return pageOfList(found, pageRequest(rsm, deps.limits.pageEntries), nodeOf);
  },

  render(page, { rsm }) {
    const list = new Element('affiliations'); // example 27: without 'node', even when one was asked about
    for (const { node, affiliation } of page.entries) list.c('affiliation', { node, affiliation });
    return pubsubElement('pubsub', list, pageSet(page, rsm, nodeOf));
  },
};

const nodeOf = ({ node }: OwnAffiliation): string => node;
