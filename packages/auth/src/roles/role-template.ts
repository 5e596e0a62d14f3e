/**
 * Role templates: what a kind of Platform may do, as plain data that configuration can state (design: default deny).
 */
import type { SessionLimits } from '@xmpp-grid/stream';

/**
 * What a role can grant on a topic. `manage` is the owner's handling of affiliations and subscriptions; `retrieve` reads
 * items back; `discover` lists and describes.
 */
export const VERBS = [
  'create',
  'configure',
  'delete',
  'publish',
  'retract',
  'purge',
  'subscribe',
  'retrieve',
  'discover',
  'manage',
] as const;
export type Verb = (typeof VERBS)[number];

/** A grant permits asking: the topic's affiliation and access model must permit it too. */
export interface Grant {
  readonly verbs: readonly Verb[];
  /** Patterns of node names: `*` any run of characters, `?` exactly one, everything else itself. */
  readonly topics: readonly string[];
  /** Payload namespaces that may be published; any when absent. Other verbs take no notice of it. */
  readonly types?: readonly string[];
}

export interface RoleTemplate {
  readonly name: string;
  readonly grants: readonly Grant[];
  /** Topics on which the role is as good as a member, so that a subscription needs no owner's approval (RFC 8600 §8.3.4). */
  readonly approve: readonly string[];
  readonly limits: SessionLimits;
}

/** 512 KiB stanzas for ordinary work; up to 4 MiB are read over and answered; ten resources per account. */
export const DEFAULT_LIMITS: SessionLimits = { maxStanzaBytes: 512 * 1024, hardStanzaBytes: 4 * 1024 * 1024, maxResources: 10 };

/** The roles that exist without any configuration. */
export const BUILT_IN_ROLES: readonly RoleTemplate[] = [
  { name: 'platform', grants: [{ verbs: VERBS, topics: ['*'] }], approve: [], limits: DEFAULT_LIMITS },
  // RFC 8600 §8.3.2: for platforms that are exposed. G-088
  {
    name: 'read-only',
    grants: [{ verbs: ['subscribe', 'retrieve', 'discover'], topics: ['*'] }],
    approve: [],
    limits: DEFAULT_LIMITS,
  },
  { name: 'demo', grants: [{ verbs: VERBS, topics: ['*'] }], approve: ['*'], limits: DEFAULT_LIMITS },
];
