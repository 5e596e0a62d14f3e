/**
 * The SASL mechanisms, their order of preference and the profile each belongs to (RFC 6120 §6.3.3, §6.3.4, §13.8).
 */
import type { ScramHash } from './scram.ts';

/**
 * `grid` holds to the letter of the specifications; `compat` also lets deployed clients in that would fail there:
 * SCRAM-SHA-1, and the channel binding flag `y` from clients that know none of our binding types.
 */
export type Profile = 'grid' | 'compat';

export interface ScramMechanism {
  readonly name: string;
  readonly hash: ScramHash;
  readonly plus: boolean;
}

/** Best first: EXTERNAL stands before all of them (RFC 6120 §6.3.4). */
export const SCRAM_MECHANISMS: readonly ScramMechanism[] = [
  { name: 'SCRAM-SHA-256-PLUS', hash: 'sha256', plus: true },
  { name: 'SCRAM-SHA-256', hash: 'sha256', plus: false },
  { name: 'SCRAM-SHA-1-PLUS', hash: 'sha1', plus: true },
  { name: 'SCRAM-SHA-1', hash: 'sha1', plus: false },
];

/** Hashes that a profile accepts, and so the ones for which keys are stored. */
export function profileHashes(profile: Profile): readonly ScramHash[] {
  return profile === 'compat' ? ['sha256', 'sha1'] : ['sha256'];
}

/** Mechanisms to offer, best first. */
export function offeredMechanisms(offer: {
  readonly profile: Profile;
  /** The client's certificate is verified and names somebody of this domain. */
  readonly external: boolean;
  /** The connection has channel binding data. */
  readonly plus: boolean;
}): readonly string[] {
  const hashes = profileHashes(offer.profile);
  const scram = SCRAM_MECHANISMS.filter(({ hash, plus }) => hashes.includes(hash) && (offer.plus || !plus));
  return [...(offer.external ? ['EXTERNAL'] : []), ...scram.map(({ name }) => name)];
}
