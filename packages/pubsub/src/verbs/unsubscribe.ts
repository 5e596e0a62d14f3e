import type { JID } from '@xmpp-grid/stream';
import { openTopic } from '../access/topic-access.ts';
import { PubsubError } from '../errors.ts';
import { requiredNode, subscriberJid, verbElement } from '../request/parse.ts';
import { pubsubElement, subscriptionElement } from '../request/render.ts';
import { untilFresh } from '../request/stale.ts';
import type { Verb } from '../request/verb.ts';
import type { VerbDeps } from './deps.ts';

interface UnsubscribeRequest {
  readonly node: string;
  readonly jid: JID;
}

/** @see XEP-0060 §6.2 */
export const unsubscribe: Verb<UnsubscribeRequest, void, VerbDeps> = {
  key: 'set pubsub unsubscribe',
  features: ['subscribe'],

  /** A SubID is ignored, since there are none (§6.2.3.5). */
  parse(pubsub, who) {
    const element = verbElement(pubsub);
    const jid = subscriberJid(element);
    if (jid.bareString !== who.account) throw new PubsubError('insufficient-privileges'); // §6.2.3.3
    return { node: requiredNode(element), jid };
  },

  /**
   * Ends a subscription or withdraws a request. Needs no grant: whoever is in may leave.
   *
   * @throws PubsubError `node-does-not-exist` | `no-such-subscriber`
   */
  async perform({ node, jid }, who, deps) {
    const subscribed = jid.toString();
    const done = await untilFresh(async () => {
      await openTopic(node, who, deps);
      const own = await deps.store.subscriptionsOf(node, who.account);
      if (!own.some((subscription) => subscription.jid === subscribed)) return 'no-such-subscriber';
      const done = await deps.store.commit(
        node,
        {},
        { kind: 'own-subscription', jid: subscribed, state: 'none', stampMs: deps.now() },
      );
      if (done === 'gone') throw new PubsubError('node-does-not-exist');
      return done;
    });
    // Also when nothing changed: whoever should have been told may not have been (delivery.md §2.6).
    await deps.interest.changed(node, who.account);
    if (done === 'no-such-subscriber') throw new PubsubError(done); // §6.2.3.2
  },

  render: (_, { node, jid }) => pubsubElement('pubsub', subscriptionElement(node, jid.toString(), 'none')),
};
