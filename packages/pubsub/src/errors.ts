/** What goes wrong in the Broker, and how each failure looks on the wire. */

import { NS, type StanzaCondition, StanzaError, type StanzaErrorType } from '@xmpp-grid/stream';
import { Element } from 'ltx';

/**
 * [stanza condition, pubsub#errors condition, type where it is not the one that RFC 6120 recommends]. Failures are named
 * after the section titles of XEP-0060 1.30.0 and stand in its order; the rows of the requirements are beside them.
 */
export const PUBSUB_FAILURES = {
  'jids-do-not-match': ['bad-request', 'invalid-jid'], // §6.1.3.1, P-E003
  'not-on-whitelist': ['not-allowed', 'closed-node'], // §6.1.3.4, §6.5.9.8, P-E006, P-E038
  'subscription-pending': ['not-authorized', 'pending-subscription'], // §6.1.3.7, P-E009
  blocked: ['forbidden', undefined], // §6.1.3.8, §6.5.9.10, P-E010, P-E040
  'too-many-subscriptions': ['policy-violation', 'too-many-subscriptions', 'wait'], // §6.1.3.9, P-E011
  'node-has-moved': ['gone', undefined, 'modify'], // §6.1.3.11, P-E013
  'node-does-not-exist': ['item-not-found', undefined], // §6.1.3.12 and each verb's own section, P-E014 …
  'jid-required': ['bad-request', 'jid-required'], // §6.1.1, §6.2.1, P-B10
  'no-such-subscriber': ['unexpected-request', 'not-subscribed', 'cancel'], // §6.2.3.2, P-E017
  'entity-not-subscribed': ['not-authorized', 'not-subscribed'], // §6.5.9.3, P-E033
  'insufficient-privileges': ['forbidden', undefined], // §6.2.3.3, §7.1.3.1, §8.2.3.2 …, P-E018, P-E043, P-E067 …
  'payload-too-big': ['not-acceptable', 'payload-too-big'], // §7.1.3.5, P-E047
  'bad-payload': ['bad-request', 'invalid-payload'], // §7.1.3.6, P-E048, P-E049
  'item-required': ['bad-request', 'item-required'], // §7.1.3.7, §7.2.3.4, P-E050, P-E057
  'payload-required': ['bad-request', 'payload-required'], // §7.1.3.7, P-E051
  'item-forbidden': ['bad-request', 'item-forbidden'], // §7.1.3.7, P-E052
  'item-does-not-exist': ['item-not-found', undefined], // §7.2.3.2, P-E055
  'nodeid-required': ['bad-request', 'nodeid-required'], // §7.2.3.3, §8.2.3.3, P-E056, P-E068
  'nodeid-exists': ['conflict', undefined], // §8.1.1, P-E063
  'unsupported-access-model': ['not-acceptable', 'unsupported-access-model'], // §8.1.2, P-E065
  'malformed-configure': ['bad-request', undefined], // §8.1.3, P-B23
  'configuration-not-processable': ['not-acceptable', undefined], // §8.2.5.2, P-E071
  'duplicate-entries': ['bad-request', undefined], // §8.8.2.4, §8.9.2.4, P-B33
  'malformed-request': ['bad-request', undefined], // RFC 6120 §8.3.3.1: against the schema of §17
  unsupported: ['feature-not-implemented', 'unsupported'], // §5.6, §6.3.4.6, §6.5.9.4, §8.5.3.3 …
} as const satisfies Record<string, readonly [StanzaCondition, string | undefined, StanzaErrorType?]>;

export type PubsubFailure = keyof typeof PUBSUB_FAILURES;

/** Features named by `<unsupported/>` that this service answers with (XEP-0060 §10; `collections` is XEP-0248 §7.1.3.1). */
export type UnsupportedFeature =
  | 'collections'
  | 'persistent-items'
  | 'publish-options'
  | 'retrieve-default-sub'
  | 'subscription-options'
  | 'multi-subscribe';

export interface PubsubErrorOptions {
  /** English text for people, sent to the peer. */
  readonly text?: string;
  /** For `unsupported`. */
  readonly feature?: UnsupportedFeature;
  /** For `node-has-moved`. */
  readonly uri?: string;
  readonly cause?: unknown;
}

/** Answers one request with a failure of XEP-0060. Code throws the failure; the table above alone knows the wire. */
export class PubsubError extends StanzaError {
  override readonly name: string = 'PubsubError';
  readonly failure: PubsubFailure;

  constructor(failure: PubsubFailure, options: PubsubErrorOptions = {}) {
    const [condition, detail, type]: readonly [StanzaCondition, string | undefined, StanzaErrorType?] = PUBSUB_FAILURES[failure];
    super(condition, {
      type,
      text: options.text,
      uri: options.uri,
      cause: options.cause,
      child: detail === undefined ? undefined : detailElement(detail, options.feature),
    });
    this.failure = failure;
  }
}

function detailElement(name: string, feature: UnsupportedFeature | undefined): Element {
  return new Element(name, { xmlns: NS.pubsubErrors, ...(feature === undefined ? {} : { feature }) });
}

/** A verb or option of XEP-0060 that this service does not have. */
export const unsupported = (feature: UnsupportedFeature): PubsubError => new PubsubError('unsupported', { feature });
