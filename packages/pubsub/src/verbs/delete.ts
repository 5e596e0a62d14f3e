import { JID, NS } from '@xmpp-grid/stream';
import { Element } from 'ltx';
import { decideOwn } from '../access/decide.ts';
import { demand, demandGrant, openTopic } from '../access/topic-access.ts';
import { PubsubError } from '../errors.ts';
import { requiredNode, verbElement } from '../request/parse.ts';
import { untilFresh } from '../request/stale.ts';
import type { Verb } from '../request/verb.ts';
import { guardOf } from '../store/topic-store.ts';
import type { VerbDeps } from './deps.ts';
import { bareOf } from './subscription-changes.ts';

interface DeleteRequest {
  readonly node: string;
  readonly redirect: string | undefined;
}

/** Longest URI that is kept in a tombstone, in bytes: twice a JID and a node name. */
const MAX_REDIRECT_BYTES = 4096;

/** @see XEP-0060 §8.4 */
export const deleteTopic: Verb<DeleteRequest, void, VerbDeps> = {
  key: 'set owner delete',
  features: ['delete-nodes'],

  parse(pubsub) {
    const element = verbElement(pubsub);
    const node = requiredNode(element);
    const redirect = element.getChild('redirect', pubsub.getNS());
    if (!redirect) return { node, redirect: undefined };
    const uri: string | undefined = redirect.attrs.uri;
    if (!uri || Buffer.byteLength(uri) > MAX_REDIRECT_BYTES || !/^[A-Za-z][A-Za-z0-9+.-]*:/.test(uri)) {
      throw new PubsubError('malformed-request', { text: '<redirect/> has a URI in its attribute uri' });
    }
    return { node, redirect: uri };
  },

  /**
   * Deletes the topic with its items. Subscribers hear of it from the log; requests that wait have no place in the log,
   * so those who made them are told from here (§8.4.2).
   *
   * @throws PubsubError `node-does-not-exist` | `insufficient-privileges` | `blocked`
   */
  async perform({ node, redirect }, who, deps) {
    const { pending, subscribed, notify, notificationType } = await untilFresh(async () => {
      const { record, affiliation } = await openTopic(node, who, deps);
      demandGrant('delete', node, who, deps);
      demand(decideOwn(affiliation), 'delete', node, who, deps);
      const subscriptions = await deps.store.subscriptions(node);
      const pending = subscriptions.filter(({ state }) => state === 'pending');
      const subscribed = new Set(subscriptions.filter(({ state }) => state === 'subscribed').map(({ jid }) => bareOf(jid)));
      const { notifyDelete: notify, notificationType } = record.config;
      const done = await deps.store.commit(node, guardOf(record), {
        kind: 'delete',
        publisher: who.account,
        stampMs: deps.now(),
        notify,
        ...(redirect === undefined ? {} : { redirect }),
      });
      if (done === 'stale') return done;
      if (done === 'gone') throw new PubsubError('node-does-not-exist');
      return { pending, subscribed, notify, notificationType };
    });
    deps.audit.changed({ account: who.account, node, action: 'delete' });
    if (!notify) return;
    for (const { jid } of pending) {
      const type = notificationType === 'normal' ? {} : { type: notificationType }; // §16.4.4
      const message = new Element('message', { from: deps.domain, to: jid, id: deps.randomId(), ...type });
      const element = message.c('event', { xmlns: NS.pubsubEvent }).c('delete', { node });
      if (redirect !== undefined) element.c('redirect', { uri: redirect });
      await deps.outbound.send(message);
    }
    for (const account of new Set(pending.map(({ jid }) => bareOf(jid)))) {
      if (subscribed.has(account)) continue; // told from the log
      // A headline is kept for nobody who is away (XEP-0160 §3): the next login tells.
      const isKept = notificationType !== 'headline' || (await deps.outbound.isConnected(JID.parse(account)));
      if (isKept) await deps.interest.told(node, account);
    }
  },

  render: () => undefined,
};
