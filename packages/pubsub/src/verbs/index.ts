/** Every verb of this service. What is not here is in unsupported.ts or no verb of XEP-0060. */
import { type SealedVerb, sealVerb } from '../request/verb.ts';
import { configureGet, configureSet, defaultGet } from './configure.ts';
import { create } from './create.ts';
import { deleteTopic } from './delete.ts';
import type { VerbDeps } from './deps.ts';
import { items } from './items.ts';
import { ownAffiliations } from './own-affiliations.ts';
import { ownSubscriptions } from './own-subscriptions.ts';
import { ownerAffiliationsGet, ownerAffiliationsSet } from './owner-affiliations.ts';
import { ownerSubscriptionsGet, ownerSubscriptionsSet } from './owner-subscriptions.ts';
import { publish } from './publish.ts';
import { purge } from './purge.ts';
import { retract } from './retract.ts';
import { subscribe } from './subscribe.ts';
import { unsubscribe } from './unsubscribe.ts';

export const VERBS: readonly SealedVerb<VerbDeps>[] = [
  sealVerb(configureGet),
  sealVerb(configureSet),
  sealVerb(create),
  sealVerb(defaultGet),
  sealVerb(deleteTopic),
  sealVerb(items),
  sealVerb(ownAffiliations),
  sealVerb(ownSubscriptions),
  sealVerb(ownerAffiliationsGet),
  sealVerb(ownerAffiliationsSet),
  sealVerb(ownerSubscriptionsGet),
  sealVerb(ownerSubscriptionsSet),
  sealVerb(publish),
  sealVerb(purge),
  sealVerb(retract),
  sealVerb(subscribe),
  sealVerb(unsubscribe),
];
