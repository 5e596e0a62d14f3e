import type { JID } from '@xmpp-grid/stream';
import { decideSubscribe } from '../access/decide.ts';
import { demand, demandGrant, openTopic } from '../access/topic-access.ts';
import { PubsubError, unsupported } from '../errors.ts';
import { isNodeName } from '../node/node-name.ts';
import { requiredNode, subscriberJid, verbElement } from '../request/parse.ts';
import { pubsubElement, subscriptionElement } from '../request/render.ts';
import { untilFresh } from '../request/stale.ts';
import type { Verb } from '../request/verb.ts';
import { guardOf, type Subscription } from '../store/topic-store.ts';
import { askOwners } from './authorization-form.ts';
import type { VerbDeps } from './deps.ts';

interface SubscribeRequest {
  readonly node: string;
  readonly jid: JID;
}

/** @see XEP-0060 §6.1; RFC 8600 §6, §8.3.4 */
export const subscribe: Verb<SubscribeRequest, Subscription['state'], VerbDeps> = {
  key: 'set pubsub subscribe',
  features: ['subscribe', 'subscription-notifications'],

  parse(pubsub, who) {
    const element = verbElement(pubsub);
    const jid = subscriberJid(element);
    if (jid.bareString !== who.account) throw new PubsubError('jids-do-not-match'); // §6.1.3.1
    const node = requiredNode(element);
    if (pubsub.getChild('options', pubsub.getNS())) throw unsupported('subscription-options'); // §6.3.7
    return { node, jid };
  },

  /**
   * Subscribes at once, or leaves a request and asks the owners. Somebody who is subscribed already is told so again (§6.1.6).
   *
   * Checks in the order of §6.1.3, as far as one request can meet several: exists, rights, pending, too many.
   *
   * @throws PubsubError `node-does-not-exist` | `node-has-moved` | `insufficient-privileges` | `blocked` |
   *   `not-on-whitelist` | `subscription-pending` | `too-many-subscriptions`
   */
  async perform({ node, jid }, who, deps) {
    const subscribed = jid.toString();
    const outcome = await untilFresh(async () => {
      const topic = await openTopic(node, who, deps).catch((error: unknown) => movedOr(error, node, who.role, deps));
      demandGrant('subscribe', node, who, deps);
      const { accessModel } = topic.record.config;
      const decision = demand(decideSubscribe(topic.affiliation, accessModel), 'subscribe', node, who, deps);
      const own = await deps.store.subscriptionsOf(node, who.account);
      const existing = own.find((subscription) => subscription.jid === subscribed);
      if (existing?.state === 'subscribed') return { state: existing.state, isNew: false } as const;
      if (existing?.state === 'pending' && decision.verdict === 'pending') throw new PubsubError('subscription-pending'); // §6.1.3.7
      if (!existing) await checkNumber(own.length, who.account, deps); // §6.1.3.9
      const state = decision.verdict === 'allow' ? 'subscribed' : 'pending';
      const stampMs = deps.now();
      const done = await deps.store.commit(node, guardOf(topic.record), {
        kind: 'own-subscription',
        jid: subscribed,
        state,
        stampMs,
      });
      if (done === 'stale') return done;
      if (done === 'gone') throw new PubsubError('node-does-not-exist');
      const isByRole = topic.stored === 'none' && topic.affiliation === 'member' && accessModel !== 'open';
      return { state, isNew: true, stampMs, isByRole } as const;
    });
    if (outcome.isNew) {
      if (outcome.isByRole)
        deps.audit.changed({ account: who.account, node, action: 'subscribe', detail: `member by role ${who.role}` });
      if (outcome.state === 'pending') await askOwners({ node, jid: subscribed, sinceMs: outcome.stampMs }, deps);
    }
    // Also when nothing changed: whoever should have been told may not have been (delivery.md §2.6).
    if (outcome.state === 'subscribed') await deps.interest.changed(node, who.account);
    return outcome.state;
  },

  render: (state, { node, jid }) => pubsubElement('pubsub', subscriptionElement(node, jid.toString(), state)),
};

/** A topic that is gone may have said where it went (§6.1.3.11). */
async function movedOr(error: unknown, node: string, role: string, deps: VerbDeps): Promise<never> {
  const isMissing = error instanceof PubsubError && error.failure === 'node-does-not-exist';
  if (isMissing && isNodeName(node) && !deps.policy.isHidden(role, node)) {
    const uri = (await deps.store.tombstone(node))?.redirect;
    if (uri !== undefined) throw new PubsubError('node-has-moved', { uri });
  }
  throw error;
}

/** Counts exactly only near the limit: below it the number of topics alone settles the matter. */
async function checkNumber(atThisTopic: number, account: string, deps: VerbDeps): Promise<void> {
  const { subscriptionsPerAccount: most, subscriptionsPerAccountAndTopic: mostHere } = deps.limits;
  if (atThisTopic >= mostHere) throw new PubsubError('too-many-subscriptions');
  const topics = await deps.store.topicsOf(account);
  if ((topics.length + 1) * mostHere <= most) return;
  let count = 0;
  for (const topic of topics) {
    count += (await deps.store.subscriptionsOf(topic, account)).length;
    if (count >= most) throw new PubsubError('too-many-subscriptions');
  }
}
