/**
 * Access decisions: affiliation × access model × publish model → allow, pending, deny. Pure; the whole table is a test.
 *
 * @see XEP-0060 §4.1, §4.5; RFC 8600 §8.3.4 keeps only authorize and whitelist
 */
import type { PubsubFailure } from '../errors.ts';
import type { AccessModel, Affiliation, PublishModel } from '../store/topic-config.ts';

export type DenialReason = Extract<
  PubsubFailure,
  'blocked' | 'insufficient-privileges' | 'not-on-whitelist' | 'entity-not-subscribed'
>;

export type Decision =
  | { readonly verdict: 'allow' }
  | { readonly verdict: 'pending' }
  | { readonly verdict: 'deny'; readonly why: DenialReason };

export const ALLOW = { verdict: 'allow' } as const satisfies Decision;
export const PENDING = { verdict: 'pending' } as const satisfies Decision;
export const deny = (why: DenialReason) => ({ verdict: 'deny', why }) as const satisfies Decision;

type Verdict = typeof ALLOW | ReturnType<typeof deny>;

/** A role's approval makes a member of whoever has no affiliation; an owner's word, outcast included, stands (D11). */
export const effectiveAffiliation = (stored: Affiliation, isApprovedByRole: boolean): Affiliation =>
  stored === 'none' && isApprovedByRole ? 'member' : stored;

/** May this affiliation subscribe? §6.1.3, §6.1.4 */
export function decideSubscribe(affiliation: Affiliation, model: AccessModel): Decision {
  switch (affiliation) {
    case 'outcast':
      return deny('blocked'); // §6.1.3.8, whatever the model
    case 'publish-only':
      return deny('insufficient-privileges'); // §4.1
    case 'owner': // §4.5: always on the whitelist
    case 'publisher': // §12.12
    case 'member': // §6.1.4: service policy, members need no further approval
      return ALLOW;
    case 'none':
      switch (model) {
        case 'open':
          return ALLOW;
        case 'whitelist':
          return deny('not-on-whitelist'); // §6.1.3.4
        case 'authorize':
          return PENDING; // §6.1.4
      }
  }
}

/** May this affiliation retrieve items? A pending subscription counts as none (§6.5.9.3). §6.5.1 */
export function decideRetrieve(affiliation: Affiliation, model: AccessModel, isSubscribed: boolean): Verdict {
  switch (affiliation) {
    case 'outcast':
      return deny('blocked'); // §6.5.9.10
    case 'publish-only':
      return deny('insufficient-privileges'); // §4.1
    case 'owner':
    case 'publisher':
      return ALLOW; // §6.5.1, §12.12: subscribed or not
    case 'member':
    case 'none':
      if (model === 'open') return ALLOW;
      if (model === 'whitelist' && affiliation === 'none') return deny('not-on-whitelist'); // §6.5.9.8
      return isSubscribed ? ALLOW : deny('entity-not-subscribed'); // §6.5.1: MUST allow only subscribed entities
  }
}

/** May this affiliation publish? §7.1.3.1, §4.1; publish model: §16.4.4 */
export function decidePublish(affiliation: Affiliation, model: PublishModel, isSubscribed: boolean): Verdict {
  switch (affiliation) {
    case 'outcast':
      return deny('blocked');
    case 'owner':
    case 'publisher':
    case 'publish-only':
      return ALLOW;
    case 'member':
    case 'none':
      switch (model) {
        case 'open':
          return ALLOW;
        case 'subscribers':
          return isSubscribed ? ALLOW : deny('insufficient-privileges');
        case 'publishers':
          return deny('insufficient-privileges');
      }
  }
}

/**
 * May this affiliation retract an item? Of the choices in the note to §4.1 publishers may remove any item, as they may
 * overwrite any (§7.1.2); publish-only entities their own alone (P-B03).
 */
export function decideRetract(affiliation: Affiliation, isOwnItem: boolean): Verdict {
  switch (affiliation) {
    case 'owner':
    case 'publisher':
      return ALLOW;
    case 'publish-only':
      return isOwnItem ? ALLOW : deny('insufficient-privileges');
    case 'outcast':
      return deny('blocked');
    case 'member':
    case 'none':
      return deny('insufficient-privileges');
  }
}

/**
 * May this affiliation act as owner: configure, delete, purge, manage? §8, §14.2. Purge is the owner's alone: the note to
 * §4.1 lets a service choose, and §8.5.3.2 gives "not a node owner" as the case to refuse.
 */
export function decideOwn(affiliation: Affiliation): Verdict {
  switch (affiliation) {
    case 'owner':
      return ALLOW;
    case 'outcast':
      return deny('blocked');
    case 'publisher':
    case 'publish-only':
    case 'member':
    case 'none':
      return deny('insufficient-privileges');
  }
}

/** May a subscription of this affiliation go on after rights changed? An approved subscriber without affiliation may, unless listed models forbid. */
export function maySubscriptionStand(affiliation: Affiliation, model: AccessModel): boolean {
  return decideSubscribe(affiliation, model).verdict !== 'deny';
}

/**
 * Whether an owner may change one affiliation into the other. §4.1 Table 2, which §8.9.2.4 makes a rule: an owner can
 * only resign, and only themselves; a publisher becomes a member by way of none. `publish-only` is not in the table and
 * goes like publisher.
 */
export function mayChangeAffiliation(from: Affiliation, to: Affiliation, isOwnAffiliation: boolean): boolean {
  if (from === to) return true;
  switch (from) {
    case 'owner':
      return to === 'none' && isOwnAffiliation;
    case 'publisher':
    case 'publish-only':
      return to !== 'member';
    case 'member':
    case 'none':
    case 'outcast':
      return true;
  }
}
