/** What the Broker asks about roles; filled from outside by whoever owns them. */
import type { Verb } from '@xmpp-grid/auth';

/** What a role can be granted; the list is auth's, since roles are. */
export type PolicyVerb = Verb;

/** `why` is one short phrase for audit and log, never sent to the peer. */
export type PolicyDecision = { readonly verdict: 'allow' } | { readonly verdict: 'deny'; readonly why: string };

/**
 * Grants of roles. Answers at once, from memory, and always the same: changed roles are another policy. Default deny: an unknown role, `remote` included, is granted what is
 * configured for it and nothing else. A grant permits asking; affiliation and access model decide as well (D11).
 */
export interface TopicPolicy {
  /** For create this covers reserved names too. `payloadType`: namespace of the payload's root, for publish. */
  decide(role: string, verb: PolicyVerb, node: string, payloadType?: string): PolicyDecision;
  /** True when the role is granted no verb on the topic: for it the topic does not exist. */
  isHidden(role: string, node: string): boolean;
  /** True when the role makes its platforms effective members of the topic (RFC 8600 §8.3.4). */
  approves(role: string, node: string): boolean;
  /** Role of an account that need not be connected. Undefined: no account of ours. */
  roleOf(account: string): Promise<string | undefined>;
}

/** What the audit log hears from the Broker. Accounts are bare JIDs. Never throws; what it does with a full disk is its own affair. */
export interface BrokerAudit {
  /** Somebody asked for what they may not do. */
  denied(event: {
    readonly account: string;
    readonly role: string;
    readonly node: string;
    readonly action: string;
    readonly why: string;
  }): void;
  /** Somebody changed a topic or another's rights. `detail` is compact and holds no payload. */
  changed(event: { readonly account: string; readonly node: string; readonly action: string; readonly detail?: string }): void;
}
