/** The shape of a verb: what one element of `<pubsub/>` asks for. */

import type { JID, SessionPort } from '@xmpp-grid/stream';
import type { Element } from 'ltx';

/** Who asks, as the stream proved it. */
export interface Requester {
  /** As the request came: a full JID for a session. */
  readonly jid: JID;
  /** Bare JID as text; affiliations are based on it (XEP-0060 §4.1). */
  readonly account: string;
  readonly role: string;
  readonly session: SessionPort | undefined;
  /** The id of the IQ; part of what tells a retry from a new request (delivery.md §2.3). */
  readonly iqId: string;
}

export type VerbNamespace = 'pubsub' | 'owner';
/** IQ type, namespace of `<pubsub/>`, name of its first child. */
export type VerbKey = `${'get' | 'set'} ${VerbNamespace} ${string}`;

/** One verb; a file in `verbs/` exports one. `parse` → `perform` → `render`, and nothing else happens. */
export interface Verb<Request, Result, Deps> {
  readonly key: VerbKey;
  /** What disco#info says because this verb is there: names of XEP-0060 §10 without the namespace. */
  readonly features: readonly string[];
  /** XML in, request out. Touches no state; throws only StanzaError and PubsubError. */
  parse(pubsub: Element, who: Requester): Request;
  /** Decides and changes. What it changed is durable when it resolves (D7). */
  perform(request: Request, who: Requester, deps: Deps): Promise<Result>;
  /** The result's `<pubsub/>`, or nothing for an empty result. */
  render(result: Result, request: Request): Element | undefined;
}

/** A verb whose types are sealed inside, so that different ones fit in one table. */
export interface SealedVerb<Deps> {
  readonly key: VerbKey;
  readonly features: readonly string[];
  run(pubsub: Element, who: Requester, deps: Deps): Promise<Element | undefined>;
}

export function sealVerb<Request, Result, Deps>(verb: Verb<Request, Result, Deps>): SealedVerb<Deps> {
  return {
    key: verb.key,
    features: verb.features,
    async run(pubsub, who, deps) {
      const request = verb.parse(pubsub, who);
      return verb.render(await verb.perform(request, who, deps), request);
    },
  };
}
