import { Element } from 'ltx';
import { NS } from '../xml/ns.ts';

/** Stream features by state (RFC 6120 §4.3.2). What is not built is not offered. */

export interface AnnouncedLimits {
  readonly maxBytes: number;
  readonly idleSeconds: number;
}

const features = (): Element => new Element('stream:features');

/** XEP-0478 §3.1 */
function limitsElement(limits: AnnouncedLimits): Element {
  const element = new Element('limits', { xmlns: NS.streamLimits });
  element.c('max-bytes').t(String(limits.maxBytes));
  element.c('idle-seconds').t(String(limits.idleSeconds));
  return element;
}

/** Before TLS: STARTTLS alone, and required (RFC 6120 §5.3.1, RFC 7590 §3.1). */
export function plainFeatures(): Element {
  return features().c('starttls', { xmlns: NS.tls }).c('required').root();
}

/** After TLS: mechanisms, best first, and the channel bindings that go with them (RFC 6120 §6.3.3, XEP-0440). */
export function secureFeatures(mechanisms: readonly string[], bindings: readonly string[], limits: AnnouncedLimits): Element {
  const element = features();
  const list = element.c('mechanisms', { xmlns: NS.sasl });
  for (const mechanism of mechanisms) list.c('mechanism').t(mechanism);
  if (bindings.length > 0) {
    const types = element.c('sasl-channel-binding', { xmlns: NS.saslChannelBinding });
    for (const type of bindings) types.c('channel-binding', { type });
  }
  element.cnode(limitsElement(limits));
  return element;
}

/** After SASL: binding or resumption. The legacy session is marked optional, so that old clients come up. */
export function authenticatedFeatures(limits: AnnouncedLimits): Element {
  const element = features();
  element.c('bind', { xmlns: NS.bind }).c('required');
  element.c('session', { xmlns: NS.session }).c('optional');
  element.c('sm', { xmlns: NS.streamManagement });
  element.cnode(limitsElement(limits));
  return element;
}
