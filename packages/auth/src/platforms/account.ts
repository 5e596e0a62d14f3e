/**
 * The account of a Platform: what is stored about it, and how the record looks in a store.
 */
import { randomBytes } from 'node:crypto';
import { JID } from '@xmpp-grid/stream';
import { SCRAM_HASHES, type ScramHash, type ScramKeys } from '../sasl/scram.ts';

export interface PlatformAccount {
  /** Bare JID. */
  readonly jid: JID;
  /** Name of a role template. */
  readonly role: string;
  readonly state: 'enabled' | 'disabled';
  /** Empty for an account that logs in by certificate only. Never a password (RFC 5802 §9). */
  readonly scram: Readonly<Partial<Record<ScramHash, ScramKeys>>>;
  /**
   * SHA-256 fingerprints, lower-case hex without colons. With any here, only these certificates may log in; with none,
   * every certificate of the trusted authorities that names the account.
   */
  readonly certificateFingerprints: readonly string[];
  /** Milliseconds since the epoch. */
  readonly createdAtMs: number;
}

/** A password for a new account: 24 base64url characters, 144 random bits. */
export function generatePassword(): string {
  return randomBytes(18).toString('base64url');
}

/** Brings a SHA-256 fingerprint as people write it (colons, capitals) into the stored form. Undefined when it is none. */
export function normalizeFingerprint(text: string): string | undefined {
  const hex = text.replaceAll(':', '').toLowerCase();
  return /^[0-9a-f]{64}$/.test(hex) ? hex : undefined;
}

interface StoredKeys {
  readonly storedKey: string;
  readonly serverKey: string;
  readonly salt: string;
  readonly iterations: number;
}

interface StoredAccount extends Omit<PlatformAccount, 'jid' | 'scram'> {
  readonly jid: string;
  readonly scram: Partial<Record<ScramHash, StoredKeys>>;
}

/** Writes a record as compact JSON; keys and salts in base 64. */
export function encodeAccount(account: PlatformAccount): string {
  const scram: Partial<Record<ScramHash, StoredKeys>> = {};
  for (const hash of SCRAM_HASHES) {
    const keys = account.scram[hash];
    if (!keys) continue;
    scram[hash] = {
      storedKey: keys.storedKey.toString('base64'),
      serverKey: keys.serverKey.toString('base64'),
      salt: keys.salt.toString('base64'),
      iterations: keys.iterations,
    };
  }
  const stored: StoredAccount = {
    jid: account.jid.bareString,
    role: account.role,
    state: account.state,
    scram,
    certificateFingerprints: account.certificateFingerprints,
    createdAtMs: account.createdAtMs,
  };
  return JSON.stringify(stored);
}

/** Reads a record that `encodeAccount` wrote. Throws when it is damaged: better no login than a wrong one. */
export function decodeAccount(json: string): PlatformAccount {
  const stored = JSON.parse(json) as StoredAccount;
  if (stored.state !== 'enabled' && stored.state !== 'disabled')
    throw new Error(`account ${stored.jid}: unknown state in the store`);
  const scram: Partial<Record<ScramHash, ScramKeys>> = {};
  for (const hash of SCRAM_HASHES) {
    const keys = stored.scram[hash];
    if (!keys) continue;
    scram[hash] = {
      storedKey: Buffer.from(keys.storedKey, 'base64'),
      serverKey: Buffer.from(keys.serverKey, 'base64'),
      salt: Buffer.from(keys.salt, 'base64'),
      iterations: keys.iterations,
    };
  }
  return {
    jid: JID.parse(stored.jid),
    role: stored.role,
    state: stored.state,
    scram,
    certificateFingerprints: stored.certificateFingerprints,
    createdAtMs: stored.createdAtMs,
  };
}
