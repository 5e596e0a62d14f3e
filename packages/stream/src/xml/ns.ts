/** Every XML namespace that this product reads or writes, once. Names follow the texts that define them. */
export const NS = {
  /** Bound to the prefix `xml` everywhere (Namespaces in XML §3). */
  xml: 'http://www.w3.org/XML/1998/namespace',
  /** Bound to the prefix `xmlns` everywhere (Namespaces in XML §3). */
  xmlns: 'http://www.w3.org/2000/xmlns/',

  // RFC 6120 §4.8
  client: 'jabber:client',
  server: 'jabber:server',
  streams: 'http://etherx.jabber.org/streams',
  /** RFC 6120 §4.9.2 */
  streamErrors: 'urn:ietf:params:xml:ns:xmpp-streams',
  /** RFC 6120 §8.3.2 */
  stanzaErrors: 'urn:ietf:params:xml:ns:xmpp-stanzas',
  /** RFC 6120 §5 */
  tls: 'urn:ietf:params:xml:ns:xmpp-tls',
  /** RFC 6120 §6 */
  sasl: 'urn:ietf:params:xml:ns:xmpp-sasl',
  /** RFC 6120 §7 */
  bind: 'urn:ietf:params:xml:ns:xmpp-bind',
  /** RFC 3921 §3: legacy, a no-op since RFC 6121. */
  session: 'urn:ietf:params:xml:ns:xmpp-session',
  /** RFC 6121 §2 */
  roster: 'jabber:iq:roster',

  /** XEP-0030 */
  discoInfo: 'http://jabber.org/protocol/disco#info',
  discoItems: 'http://jabber.org/protocol/disco#items',
  /** XEP-0004 */
  dataForms: 'jabber:x:data',
  /** XEP-0059 */
  rsm: 'http://jabber.org/protocol/rsm',
  /** XEP-0060 */
  pubsub: 'http://jabber.org/protocol/pubsub',
  pubsubOwner: 'http://jabber.org/protocol/pubsub#owner',
  pubsubEvent: 'http://jabber.org/protocol/pubsub#event',
  pubsubErrors: 'http://jabber.org/protocol/pubsub#errors',
  /** XEP-0092 */
  version: 'jabber:iq:version',
  /** XEP-0131 */
  shim: 'http://jabber.org/protocol/shim',
  /** XEP-0198 */
  streamManagement: 'urn:xmpp:sm:3',
  /** XEP-0199 */
  ping: 'urn:xmpp:ping',
  /** XEP-0203 */
  delay: 'urn:xmpp:delay',
  /** XEP-0359 */
  stanzaIds: 'urn:xmpp:sid:0',
  /** XEP-0440 */
  saslChannelBinding: 'urn:xmpp:sasl-cb:0',
  /** XEP-0478 */
  streamLimits: 'urn:xmpp:stream-limits:0',

  /** RFC 5070: IODEF version 1. */
  iodef1: 'urn:ietf:params:xml:ns:iodef-1.0',
  /** RFC 7970: IODEF version 2. */
  iodef2: 'urn:ietf:params:xml:ns:iodef-2.0',

  /** Our own extensions: `<gap/>`. */
  grid: 'urn:xmpp-grid:0',
} as const;

/** Values of the hidden field FORM_TYPE (XEP-0068) in the forms of XEP-0060 §16.4. */
export const FORM_TYPE = {
  nodeConfig: 'http://jabber.org/protocol/pubsub#node_config',
  metaData: 'http://jabber.org/protocol/pubsub#meta-data',
  publishOptions: 'http://jabber.org/protocol/pubsub#publish-options',
  subscribeAuthorization: 'http://jabber.org/protocol/pubsub#subscribe_authorization',
  subscribeOptions: 'http://jabber.org/protocol/pubsub#subscribe_options',
} as const;
