/** What an item of a publish request may hold: one payload, of the topic's namespace, within its size (XEP-0060 §4.3, §7.1.3). */
import { createHash } from 'node:crypto';
import { OpaqueElement, serializeStanza } from '@xmpp-grid/stream';
import type { Element } from 'ltx';
import { PubsubError } from '../errors.ts';
import type { Payload } from '../log/entry.ts';
import type { TopicConfig } from '../store/topic-config.ts';
import type { RequestKey } from '../store/topic-store.ts';

/** An item as it came: nothing about it was checked but its id. */
export interface SubmittedItem {
  /** Undefined: the service makes one (§7.1.1). */
  readonly itemId: string | undefined;
  /** Child elements of `<item/>`; one is right. */
  readonly elements: readonly Element[];
}

/** Namespace of the payload's root; undefined when the item has no payload or several. */
export const payloadNamespace = (item: SubmittedItem): string | undefined =>
  item.elements.length === 1 ? (item.elements[0]?.getNS() ?? '') : undefined;

/**
 * Checks an item against the topic, in the order of §7.1.3: size, payload, event type.
 *
 * @returns the payload to store; undefined for an item without one
 * @throws PubsubError `payload-too-big` | `bad-payload` | `payload-required`
 */
export function checkItem(item: SubmittedItem, config: TopicConfig): Payload | undefined {
  const [element, second] = item.elements;
  if (element === undefined) {
    if (config.deliverPayloads) throw new PubsubError('payload-required'); // §7.1.3.7
    return undefined;
  }
  const payload = payloadOf(element);
  if (payload.bytes.length > config.maxPayloadSize) {
    throw new PubsubError('payload-too-big', { text: `at most ${config.maxPayloadSize} bytes` }); // §7.1.3.5
  }
  if (second !== undefined) throw new PubsubError('bad-payload', { text: 'an item holds exactly one payload element' }); // §7.1.3.6
  if (element instanceof OpaqueElement && element.invalid !== undefined) {
    throw new PubsubError('bad-payload', { text: element.invalid }); // delivery.md §4.7
  }
  const namespace = element.getNS() ?? '';
  if (config.type !== '' && namespace !== config.type) {
    throw new PubsubError('bad-payload', { text: `expected namespace ${config.type}, got ${namespace.slice(0, 200) || 'none'}` });
  }
  return payload;
}

function payloadOf(element: Element): Payload {
  if (!(element instanceof OpaqueElement)) return { bytes: serializeStanza(element) };
  return element.lang === undefined ? { bytes: element.bytes } : { bytes: element.bytes, lang: element.lang };
}

/**
 * Checks whether the request has an item where the event type wants one (§4.3 Table 4, §7.1.3.7).
 *
 * @throws PubsubError `item-required` | `payload-required` | `item-forbidden`
 */
export function checkItemPresence(hasItem: boolean, config: TopicConfig): void {
  if (hasItem) {
    if (!config.persistItems && !config.deliverPayloads) throw new PubsubError('item-forbidden');
  } else if (config.persistItems) {
    throw new PubsubError('item-required');
  } else if (config.deliverPayloads) {
    throw new PubsubError('payload-required');
  }
}

/** Tells a retry from a new request (delivery.md §2.3). Each part is preceded by its length, so that none runs into the next. */
export function requestKey(
  account: string,
  iqId: string,
  node: string,
  itemId: string | undefined,
  payload: Payload | undefined,
): RequestKey {
  const hash = createHash('sha256');
  for (const part of [account, iqId, node, itemId === undefined ? '-' : `+${itemId}`]) {
    const bytes = Buffer.from(part);
    hash.update(`${bytes.length}:`).update(bytes);
  }
  if (payload) hash.update(payload.bytes);
  return hash.digest('base64url');
}
