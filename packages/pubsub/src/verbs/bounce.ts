/** What an error means that comes back for a notification (XEP-0060 §12.4; delivery.md §10). */

import { NS, type Sender } from '@xmpp-grid/stream';
import type { Element } from 'ltx';
import type { VerbDeps } from './deps.ts';

/** Tells which subscription a notification with this message id was sent for; filled by delivery, which makes the ids. */
export type NotificationIds = (messageId: string, node: string, subscribedJid: string) => boolean;

/**
 * Conditions that say "not now" or "not like this", whatever type they came with: the subscription stays. A client that
 * does not know pubsub answers `service-unavailable` to every message, and so does a full offline store.
 */
const HELD = new Set([
  'feature-not-implemented',
  'internal-server-error',
  'remote-server-not-found',
  'remote-server-timeout',
  'resource-constraint',
  'service-unavailable',
]);

/** Whether the error ends a subscription: `gone`, or type cancel with a condition that is final (§12.4). */
export function endsSubscription(error: Element): boolean {
  const condition = error.getChildElements().find((child) => child.getNS() === NS.stanzaErrors && child.getName() !== 'text');
  if (condition === undefined) return false;
  const name = condition.getName();
  return name === 'gone' || (error.attrs.type === 'cancel' && !HELD.has(name));
}

/** Most topics looked at for one error; beyond it the error is dropped, and the next one comes with the next event. */
const MAX_TOPICS = 10_000;

/**
 * Ends the subscription that bounced. Believes only the subscribed address itself, and only for an id that was made for
 * its subscription; all else is dropped without a word, since errors are never answered (RFC 6120 §8.3.1).
 */
export async function takeBounce(message: Element, from: Sender, isFor: NotificationIds, deps: VerbDeps): Promise<void> {
  const id: string | undefined = message.attrs.id;
  const error = message.getChild('error');
  if (!id || !error || !endsSubscription(error)) return;
  const account = from.jid.bareString;
  const full = from.jid.toString();
  const nodes = await deps.store.topicsOf(account);
  for (const node of nodes.slice(0, MAX_TOPICS)) {
    for (const { jid } of await deps.store.subscriptionsOf(node, account)) {
      if ((jid !== account && jid !== full) || !isFor(id, node, jid)) continue;
      const done = await deps.store.commit(node, {}, { kind: 'own-subscription', jid, state: 'none', stampMs: deps.now() });
      if (done === 'gone') return;
      deps.audit.changed({ account, node, action: 'unsubscribe', detail: `${jid} bounced` });
      await deps.interest.changed(node, account);
      return;
    }
  }
}
