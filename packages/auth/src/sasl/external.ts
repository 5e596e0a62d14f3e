/**
 * SASL EXTERNAL for clients: the TLS layer has proved a certificate, this decides which of its JIDs is meant
 * (RFC 4422 Appendix A, XEP-0178 1.2 §2, RFC 6120 §6.3.8, §13.7.1.4).
 */
import { JID, SaslFailure, StanzaError } from '@xmpp-grid/stream';

/**
 * The JIDs of a certificate that can be accounts of this domain: bare, with a localpart. Others (malformed, of other
 * domains, with a resource) are no identities here. Each once.
 */
export function identitiesOf(xmppAddrs: readonly string[], domain: string): readonly JID[] {
  const found = new Map<string, JID>();
  for (const text of xmppAddrs) {
    const jid = parseAccount(text);
    if (jid?.domain === domain) found.set(jid.bareString, jid);
  }
  return [...found.values()];
}

function parseAccount(text: string): JID | undefined {
  try {
    const jid = JID.parse(text);
    return jid.local !== undefined && jid.isBare ? jid : undefined;
  } catch (error) {
    if (error instanceof StanzaError) return undefined; // jid-malformed: not an identity
    throw error;
  }
}

/**
 * Decides whom a client with these identities logs in as. `data` is the client's only message, empty for no authzid.
 *
 * @see XEP-0178 §2 (10), (11)
 * @throws SaslFailure `malformed-request` | `invalid-authzid` | `not-authorized`
 */
export function decideExternal(identities: readonly JID[], data: Buffer): JID {
  const authzid = decodeAuthzid(data);
  if (authzid !== '') {
    // The bare JID of an account, and one that the certificate names (RFC 6120 §6.3.8).
    const wanted = parseAccount(authzid);
    const match = wanted && identities.find((jid) => jid.equals(wanted));
    if (!match) throw new SaslFailure('invalid-authzid', { why: 'the authorization identity is not one of the certificate' });
    return match;
  }
  const [only, second] = identities;
  if (!only) throw new SaslFailure('not-authorized', { why: 'the certificate names no account of this domain' });
  if (second)
    throw new SaslFailure('invalid-authzid', { why: 'the certificate names several accounts and the client chose none' });
  return only;
}

/** RFC 4422 Appendix A.1: UTF-8 without NUL. */
function decodeAuthzid(data: Buffer): string {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data);
  } catch (cause) {
    throw new SaslFailure('malformed-request', { why: 'authorization identity is not UTF-8', cause });
  }
  if (text.includes('\0')) throw new SaslFailure('malformed-request', { why: 'authorization identity has a NUL' });
  return text;
}
