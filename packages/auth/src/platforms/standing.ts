/**
 * What an account says today of somebody whom it let in before. Pure: no clock, no store.
 */
import { createHash } from 'node:crypto';
import type { AuthenticatedAccount } from '@xmpp-grid/stream';
import { SCRAM_HASHES, type ScramKeys } from '../sasl/scram.ts';
import type { PlatformAccount } from './account.ts';

/** `credential-cut`: what was proved at login no longer opens the account (delivery.md §8.3). */
export type Standing = 'stands' | 'missing' | 'disabled' | 'role-changed' | 'credential-cut';

/** Names a set of SCRAM keys without telling anything of them: another salt or password, another name. */
export function credentialOf(keys: ScramKeys): string {
  return createHash('sha256').update(keys.storedKey).digest('base64url').slice(0, 16);
}

/**
 * Judges a login against the account as it is now.
 *
 * @param requireFingerprint certificates must stand in the account, also where it lists none
 */
export function standingOf(
  account: PlatformAccount | undefined,
  who: AuthenticatedAccount,
  requireFingerprint = false,
): Standing {
  if (account === undefined) return 'missing';
  if (account.state === 'disabled') return 'disabled';
  if (account.role !== who.role) return 'role-changed';
  return provesStill(account, who, requireFingerprint) ? 'stands' : 'credential-cut';
}

function provesStill(account: PlatformAccount, who: AuthenticatedAccount, requireFingerprint: boolean): boolean {
  if (who.certificateFingerprint !== undefined) {
    const bound = account.certificateFingerprints;
    return (bound.length === 0 && !requireFingerprint) || bound.includes(who.certificateFingerprint);
  }
  return SCRAM_HASHES.some((hash) => {
    const keys = account.scram[hash];
    return keys !== undefined && credentialOf(keys) === who.credential;
  });
}
