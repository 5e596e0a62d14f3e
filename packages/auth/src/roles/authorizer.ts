/**
 * Decides what a role may do. Pure: no clock, no store, no topic records.
 */
import type { SessionLimits } from '@xmpp-grid/stream';
import { BUILT_IN_ROLES, type RoleTemplate, type Verb } from './role-template.ts';

/** Why a role may not; quoted by audit and log. `topic-hidden` is to be answered as if the topic did not exist. */
export type RoleDenial = 'unknown-role' | 'topic-hidden' | 'verb-not-granted' | 'payload-type-not-granted';

export type RoleDecision = { readonly verdict: 'allow' } | { readonly verdict: 'deny'; readonly why: RoleDenial };

const ALLOW: RoleDecision = { verdict: 'allow' };

/**
 * Whether a name matches a pattern: `*` stands for any run of characters, also none, `?` for exactly one code point.
 * There is no escape. Never worse than the length of the pattern times that of the name.
 */
export function matchesPattern(pattern: string, name: string): boolean {
  let p = 0;
  let n = 0;
  let star = -1; // the last `*` seen, and how much of the name it has taken so far
  let taken = 0;
  while (n < name.length) {
    if (pattern[p] === '*') {
      star = p++;
      taken = n;
    } else if (pattern[p] === '?') {
      p++;
      n += codeUnitsAt(name, n);
    } else if (p < pattern.length && pattern[p] === name[n]) {
      p++;
      n++;
    } else if (star >= 0) {
      p = star + 1;
      taken += codeUnitsAt(name, taken);
      n = taken;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}

function codeUnitsAt(s: string, index: number): number {
  return s.codePointAt(index)! > 0xffff ? 2 : 1;
}

function matchesAny(patterns: readonly string[], node: string): boolean {
  return patterns.some((pattern) => pattern === '*' || matchesPattern(pattern, node));
}

/** The roles of one instance: the built-in ones and those of the configuration, which may replace them by name. */
export class Authorizer {
  readonly #roles: ReadonlyMap<string, RoleTemplate>;

  constructor(configured: readonly RoleTemplate[] = []) {
    this.#roles = new Map([...BUILT_IN_ROLES, ...configured].map((role) => [role.name, role]));
  }

  get names(): readonly string[] {
    return [...this.#roles.keys()];
  }

  /** Undefined for a role that does not exist; such an account cannot log in. */
  limits(role: string): SessionLimits | undefined {
    return this.#roles.get(role)?.limits;
  }

  /**
   * May this role ask for the verb on the topic? `type` is the payload's namespace, for `publish`: a grant that names
   * types does not cover a publish whose type is unknown.
   */
  decide(role: string, verb: Verb, node: string, type?: string): RoleDecision {
    const template = this.#roles.get(role);
    if (!template) return { verdict: 'deny', why: 'unknown-role' };
    let why: RoleDenial = 'topic-hidden';
    for (const grant of template.grants) {
      if (grant.verbs.length === 0 || !matchesAny(grant.topics, node)) continue;
      if (!grant.verbs.includes(verb)) {
        if (why === 'topic-hidden') why = 'verb-not-granted';
        continue;
      }
      if (verb !== 'publish' || grant.types === undefined || (type !== undefined && grant.types.includes(type))) return ALLOW;
      why = 'payload-type-not-granted';
    }
    return { verdict: 'deny', why };
  }

  /** True when the role grants no verb at all on the topic: every verb answers as if it did not exist (design D11). */
  isHidden(role: string, node: string): boolean {
    const grants = this.#roles.get(role)?.grants ?? [];
    return !grants.some((grant) => grant.verbs.length > 0 && matchesAny(grant.topics, node));
  }

  /** True when the role makes its accounts effective members of the topic (RFC 8600 §8.3.4); never of a hidden one. */
  approves(role: string, node: string): boolean {
    return !this.isHidden(role, node) && matchesAny(this.#roles.get(role)?.approve ?? [], node);
  }
}
