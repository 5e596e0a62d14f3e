import type { AuthenticatedAccount } from '../session/account.ts';

export type { AuthenticatedAccount, SessionLimits } from '../session/account.ts';

/**
 * What `stream` asks of whoever knows credentials (`auth` fills it, `main.ts` hands it in).
 *
 * @see RFC 6120 §6; XEP-0440
 */

/** What the TLS layer of one stream can prove, gathered once after the handshake. */
export interface TlsFacts {
  /** `TLSv1.3` or `TLSv1.2`. */
  readonly version: string;
  /** Remote address after any PROXY header; for logs and limits only. */
  readonly remoteAddress: string;
  /** DER of the peer's leaf certificate, when it sent one. */
  readonly peerCertificate?: Buffer;
  /** Whether OpenSSL verified the chain against the configured client trust anchors. */
  readonly peerVerified: boolean;
  /** OpenSSL's verdict when it did not verify, for the log. */
  readonly peerVerifyError?: string;
  /** Channel binding data by type (RFC 9266, RFC 5929); only the types that are safe on this connection. */
  channelBinding(type: string): Buffer | undefined;
}

export type SaslStep =
  | { readonly kind: 'challenge'; readonly data: Buffer }
  | { readonly kind: 'success'; readonly data?: Buffer; readonly who: AuthenticatedAccount };

/** One run of one mechanism. `step` throws `SaslFailure`; after a throw or a success the exchange is over. */
export interface SaslExchange {
  /** `data` is undefined when `<auth/>` carried no initial response, empty for `=`. */
  step(data: Buffer | undefined): Promise<SaslStep>;
}

export interface Authenticator {
  /** Mechanisms to offer on this stream, best first (RFC 6120 §6.3.3). */
  mechanisms(domain: string, tls: TlsFacts): readonly string[];
  /** XEP-0440 types to announce; empty when no -PLUS mechanism is offered. */
  channelBindingTypes(domain: string, tls: TlsFacts): readonly string[];
  /** Begins a mechanism that was offered. Throws `SaslFailure('invalid-mechanism')` for any other. */
  begin(mechanism: string, domain: string, tls: TlsFacts): SaslExchange;
}
