/** Pieces of requests that several verbs read. All throw PubsubError. */

import { JID, StanzaError } from '@xmpp-grid/stream';
import type { Element } from 'ltx';
import { PubsubError } from '../errors.ts';

/** The first child of `<pubsub/>`, which names the verb. */
export function verbElement(pubsub: Element): Element {
  const first = pubsub.getChildElements()[0];
  if (first === undefined) throw new PubsubError('malformed-request', { text: '<pubsub/> is empty' });
  return first;
}

/** The node of a request that must name one; an empty name is none. */
export function requiredNode(element: Element): string {
  const node: string | undefined = element.attrs.node;
  if (!node) throw new PubsubError('nodeid-required'); // §7.2.3.3, §8.2.3.3
  return node;
}

export function optionalNode(element: Element): string | undefined {
  return element.attrs.node || undefined;
}

/**
 * The address that subscribes or unsubscribes (§6.1.1, §6.2.1).
 *
 * @throws PubsubError `jid-required` | `jids-do-not-match` when it is no JID, since none can match it
 */
export function subscriberJid(element: Element): JID {
  const text: string | undefined = element.attrs.jid;
  if (!text) throw new PubsubError('jid-required');
  const jid = tryJid(text);
  if (jid === undefined) throw new PubsubError('jids-do-not-match', { text: 'the jid attribute is no JID' });
  return jid;
}

/** Undefined for what is no JID. */
export function tryJid(text: string): JID | undefined {
  try {
    return JID.parse(text);
  } catch (error) {
    if (error instanceof StanzaError) return undefined;
    throw error;
  }
}

/** xs:positiveInteger (XEP-0060 §17.1). */
export function positiveInteger(text: string, name: string): number {
  const value = /^\+?\d{1,15}$/.test(text.trim()) ? Number(text) : 0;
  if (value < 1) throw new PubsubError('malformed-request', { text: `${name} takes a positive integer` });
  return value;
}
