/** Owners answer subscription requests by message (XEP-0060 §8.6), and get those that wait when their session starts. */

import { NS, type Sender, type SessionPort, StanzaError } from '@xmpp-grid/stream';
import type { Element } from 'ltx';
import { decideOwn, decideSubscribe } from '../access/decide.ts';
import { demand, demandGrant, openTopic } from '../access/topic-access.ts';
import { PubsubError } from '../errors.ts';
import { untilFresh } from '../request/stale.ts';
import { guardOf } from '../store/topic-store.ts';
import { authorizationMessage, parseAuthorization } from './authorization-form.ts';
import type { VerbDeps } from './deps.ts';
import { affiliationOfOther, announceSubscriptions } from './subscription-changes.ts';

/**
 * Takes an owner's answer. The first one counts; a later one finds no request any more and is bounced.
 *
 * @throws StanzaError to bounce the message: `service-unavailable` when it is no answer, PubsubError otherwise
 */
export async function answerRequest(message: Element, from: Sender, deps: VerbDeps): Promise<void> {
  const x = message.getChild('x', NS.dataForms);
  if (!x) throw new StanzaError('service-unavailable'); // RFC 6121 §8.5.1: nothing else is for this service
  const answer = parseAuthorization(x);
  if (answer === 'cancelled') return; // §8.6: the request stays pending
  const { node, allow } = answer;
  const who = { account: from.jid.bareString, role: from.role };
  const subscriber = answer.subscriber.toString();
  const state = await untilFresh(async () => {
    const { record, affiliation } = await openTopic(node, who, deps);
    demandGrant('manage', node, who, deps);
    demand(decideOwn(affiliation), 'manage', node, who, deps);
    const account = answer.subscriber.bareString;
    const pending = (await deps.store.subscriptionsOf(node, account)).find(({ jid }) => jid === subscriber);
    if (pending?.state !== 'pending') return 'no-such-request';
    const other = await affiliationOfOther(node, account, await deps.store.affiliation(node, account), deps);
    // The model may have become a whitelist since the request was made; approval does not put anybody on it.
    const mayBe = decideSubscribe(other, record.config.accessModel).verdict !== 'deny';
    const next = allow && mayBe ? ('subscribed' as const) : ('none' as const);
    const done = await deps.store.commit(node, guardOf(record), {
      kind: 'access',
      affiliations: new Map(),
      subscriptions: new Map([[subscriber, next]]),
      publisher: who.account,
      stampMs: deps.now(),
    });
    if (done === 'stale') return done;
    if (done === 'gone') throw new PubsubError('node-does-not-exist');
    return next;
  });
  if (state === 'no-such-request') {
    // Whoever should have been told of an earlier answer may not have been (delivery.md §2.6).
    await deps.interest.changed(node, answer.subscriber.bareString);
    throw new StanzaError('item-not-found', { text: 'there is no such request any more' });
  }
  deps.audit.changed({ account: who.account, node, action: 'authorize', detail: `${subscriber} ${state}` });
  await announceSubscriptions(node, new Map([[subscriber, state]]), deps);
}

/** Most requests sent at once to a session that starts; the rest come at its next start. */
const MAX_RESENT = 100;

/** Sends an owner the requests that wait at its topics, to the session that just started. */
export async function resendRequests(session: SessionPort, deps: VerbDeps): Promise<void> {
  const account = session.jid.bareString;
  let sent = 0;
  for (const node of await deps.store.topicsOf(account)) {
    if ((await deps.store.affiliation(node, account)) !== 'owner') continue;
    for (const { jid, state, sinceMs } of await deps.store.subscriptions(node)) {
      if (state !== 'pending') continue;
      if (sent++ >= MAX_RESENT || !session.isAlive) return;
      session.sendStanza(authorizationMessage(deps.domain, session.jid.toString(), { node, jid, sinceMs }));
    }
  }
}
