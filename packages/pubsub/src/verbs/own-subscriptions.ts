import { parseRsm, type RsmRequest } from '@xmpp-grid/stream';
import { Element } from 'ltx';
import { openTopic } from '../access/topic-access.ts';
import { pageOfList, pageRequest, pageSet } from '../request/paging.ts';
import { optionalNode, verbElement } from '../request/parse.ts';
import { pubsubElement, subscriptionElement } from '../request/render.ts';
import type { Verb } from '../request/verb.ts';
import type { Page, Subscription } from '../store/topic-store.ts';
import type { VerbDeps } from './deps.ts';

interface OwnRequest {
  /** Undefined: all topics of the service. */
  readonly node: string | undefined;
  readonly rsm: RsmRequest | undefined;
}

interface OwnSubscription extends Pick<Subscription, 'jid' | 'state'> {
  readonly node: string;
}

/** Text that orders subscriptions by topic, then address; neither part can hold U+0000. */
const uidOf = ({ node, jid }: OwnSubscription): string => `${node}\u0020${jid}`;

/** @see XEP-0060 §5.6 */
export const ownSubscriptions: Verb<OwnRequest, Page<OwnSubscription>, VerbDeps> = {
  key: 'get pubsub subscriptions',
  features: ['retrieve-subscriptions'],

  parse: (pubsub) => ({ node: optionalNode(verbElement(pubsub)), rsm: parseRsm(pubsub) }),

  /**
   * Lists the subscriptions and requests of the asker's bare and full JIDs. Topics hidden from its role are left out.
   *
   * @throws PubsubError `node-does-not-exist`
   */
  async perform({ node, rsm }, who, deps) {
    if (node !== undefined) await openTopic(node, who, deps);
    const nodes = node === undefined ? await deps.store.topicsOf(who.account) : [node];
    const found: OwnSubscription[] = [];
    for (const each of nodes) {
      if (deps.policy.isHidden(who.role, each)) continue;
      for (const { jid, state } of await deps.store.subscriptionsOf(each, who.account)) found.push({ node: each, jid, state });
    }
    found.sort((a, b) => (uidOf(a) < uidOf(b) ? -1 : 1));
    return pageOfList(found, pageRequest(rsm, deps.limits.pageEntries), uidOf);
  },

  render(page, { node, rsm }) {
    const list = new Element('subscriptions', node === undefined ? {} : { node });
    for (const { node: each, jid, state } of page.entries) list.cnode(subscriptionElement(each, jid, state));
    return pubsubElement('pubsub', list, pageSet(page, rsm, uidOf));
  },
};
