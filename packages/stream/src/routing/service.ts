import type { Element } from 'ltx';
import type { StanzaError } from '../errors/stanza-error.ts';
import type { JID } from '../jid.ts';
import type { SessionPort } from '../session/ports.ts';

/** Who sent a stanza, as the stream or the federation link proved it. Never read from the XML. */
export interface Sender {
  /** Full JID of a session, or whatever a federated server vouched for. */
  readonly jid: JID;
  /** Undefined for a sender outside this instance. */
  readonly session: SessionPort | undefined;
  /** Role of a local account; `remote` for a federated sender. */
  readonly role: string;
}

export interface IqContext {
  readonly iq: Element;
  /** The sole child of the IQ. */
  readonly payload: Element;
  readonly from: Sender;
  readonly to: JID;
}

/** One kind of request that a service answers. Disco advertises `features` because the route exists (XEP-0030 §3). */
export interface IqRoute {
  readonly type: 'get' | 'set';
  readonly ns: string;
  readonly name: string;
  readonly features: readonly string[];
  /** Returns the result's child, or nothing for an empty result. Throws `StanzaError` to answer an error. */
  handle(ctx: IqContext): Promise<Element | undefined>;
}

/** Something that owns a domain of its own behind the router: the Controller's domain, the Broker. */
export interface StanzaService {
  readonly domain: string;
  /** IQ get and set; the router makes the answer and sends it once. */
  readonly routes: readonly IqRoute[];
  /** Messages addressed to the service (approval forms). Throws `StanzaError` to bounce. */
  message(message: Element, from: Sender): Promise<void>;
  /** Which error answers a request that was too long to read; `path` names its elements from the payload down, as far as they were seen. */
  tooBig?(path: readonly { readonly ns: string; readonly name: string }[], maxBytes: number): StanzaError;
  /** Error messages that come back for something the service sent (bounces). Never answered. */
  bounced(message: Element, from: Sender): Promise<void>;
}

/** Sends stanzas on behalf of a service. */
export interface Outbound {
  /** Routes like any other stanza: to a session, an account's sessions, its offline store. `from` must be set. */
  send(stanza: Element): Promise<void>;
  /** Whether the account has a session, on whichever instance. */
  isConnected(account: JID): Promise<boolean>;
}
