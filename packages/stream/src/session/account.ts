import type { JID } from '../jid.ts';

/** Limits that a role gives to its streams. Bytes and counts; all positive. */
export interface SessionLimits {
  /** Largest stanza that is handled; a larger one is skipped and answered. */
  readonly maxStanzaBytes: number;
  /** Largest stanza that is skipped; beyond it the stream ends with `policy-violation`. */
  readonly hardStanzaBytes: number;
  /** Most bound resources per account. */
  readonly maxResources: number;
}

/** Who logged in. `account` is a bare JID. */
export interface AuthenticatedAccount {
  readonly account: JID;
  readonly role: string;
  readonly mechanism: string;
  readonly limits: SessionLimits;
  /** Names the keys that the password was proved with, for SCRAM: an account that has others lets nobody stay who used these. */
  readonly credential?: string;
  /** SHA-256 fingerprint (hex) of the certificate that proved the account, for EXTERNAL. */
  readonly certificateFingerprint?: string;
  /** When that certificate expires (ms since the epoch): the stream ends then (RFC 6120 §13.7.2.3). */
  readonly certificateNotAfterMs?: number;
}
