/** Requests that XEP-0060 defines and this service does not serve, with the answer that the text prescribes. */
import type { UnsupportedFeature } from '../errors.ts';
import type { VerbKey } from '../request/verb.ts';

export const UNSUPPORTED_VERBS: Readonly<Partial<Record<VerbKey, UnsupportedFeature>>> = {
  'get pubsub options': 'subscription-options', // §6.3.4.6, P-E026
  'set pubsub options': 'subscription-options',
  'get pubsub default': 'retrieve-default-sub', // §6.4.3.2, P-E030
};
