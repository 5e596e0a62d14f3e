/**
 * Which channel binding types a stream offers (RFC 5929, RFC 9266, XEP-0440). The data itself comes from the TLS layer.
 */
import type { TlsFacts } from '@xmpp-grid/stream';

/**
 * Types in the order in which they are announced, strongest first: `tls-exporter` and `tls-unique` belong to one
 * connection, `tls-server-end-point` to a certificate, whoever holds its key.
 */
export const CHANNEL_BINDING_TYPES = ['tls-exporter', 'tls-unique', 'tls-server-end-point'] as const;
export type ChannelBindingType = (typeof CHANNEL_BINDING_TYPES)[number];

/** The types for which this connection has data; empty means that no -PLUS mechanism may be offered. */
export function availableBindings(tls: TlsFacts): readonly ChannelBindingType[] {
  return CHANNEL_BINDING_TYPES.filter((type) => tls.channelBinding(type) !== undefined);
}
