/** Pieces of answers and messages that several verbs write. */

import { NS } from '@xmpp-grid/stream';
import { Element } from 'ltx';
import type { VerbNamespace } from './verb.ts';

/** `<pubsub/>` with these children. */
export function pubsubElement(ns: VerbNamespace, ...children: readonly (Element | undefined)[]): Element {
  const pubsub = new Element('pubsub', { xmlns: ns === 'owner' ? NS.pubsubOwner : NS.pubsub });
  for (const child of children) if (child) pubsub.cnode(child);
  return pubsub;
}

export type ShownSubscription = 'none' | 'pending' | 'subscribed';

/** `<subscription/>` as told to the subscriber (§6.1.2, §12.14). */
export function subscriptionElement(node: string, jid: string, subscription: ShownSubscription): Element {
  return new Element('subscription', { node, jid, subscription });
}

/** The message that tells somebody of the new state of their subscription (§12.14), to the address subscribed. */
export function subscriptionChangedMessage(
  from: string,
  id: string,
  node: string,
  jid: string,
  state: ShownSubscription,
): Element {
  const message = new Element('message', { from, to: jid, id });
  message.c('event', { xmlns: NS.pubsubEvent }).cnode(subscriptionElement(node, jid, state));
  return message;
}
