import { StreamError } from '../errors/stream-error.ts';
import type { XmlFaultKind } from '../xml/tokenizer.ts';

/** Every reason for which a stream ends: word in the log, label of the metric, entry of the audit. */
export const CLOSE_REASONS = [
  'peer-closed', // the peer sent </stream:stream>
  'connection-lost', // TCP ended without a closing tag
  'tls-handshake-failed',
  'tls-not-negotiated', // something other than STARTTLS on the plain-text stream
  'starttls-injection', // bytes behind <starttls/> (RFC 6120 §5.4.3.1)
  'negotiation-timeout',
  'authentication-failed', // retry limit reached
  'protocol-error', // a stream error that the peer caused
  'malformed-xml',
  'stanza-too-big',
  'displaced-by-new-session', // RFC 6120 §7.7.2.2
  'slow-consumer',
  'idle-timeout', // no answer to a ping, or to <r/>
  'account-disabled',
  'account-removed',
  'role-changed',
  'credential-cut', // another password, or a certificate that is no longer bound
  'right-cut', // the right to a topic, while its events waited to be written
  'certificate-expired',
  'resumed-elsewhere',
  'too-many-connections',
  'drain',
  'internal-error',
] as const;

export type CloseReason = (typeof CLOSE_REASONS)[number];

/** The tokenizer speaks of XML; the wire wants RFC 6120 §4.9.3. */
export function faultToStreamError(kind: XmlFaultKind, detail: string): { error: StreamError; reason: CloseReason } {
  switch (kind) {
    case 'restricted':
      return { error: new StreamError('restricted-xml', { text: detail }), reason: 'malformed-xml' }; // §11.1
    case 'unsupported-encoding':
      return { error: new StreamError('unsupported-encoding', { text: detail }), reason: 'malformed-xml' }; // §11.6
    case 'too-big':
    case 'too-deep':
    case 'too-many-attributes':
    case 'name-too-long':
      return { error: new StreamError('policy-violation', { text: detail }), reason: 'stanza-too-big' }; // §13.12
    case 'bad-utf8':
    case 'not-well-formed':
      return { error: new StreamError('not-well-formed', { text: detail }), reason: 'malformed-xml' }; // §4.9.3.13
  }
}
