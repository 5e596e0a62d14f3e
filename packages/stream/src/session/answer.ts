import { Element } from 'ltx';
import type { StanzaError } from '../errors/stanza-error.ts';

/**
 * Makes the error answer to any stanza, or nothing where none may be sent: to an error, and to an IQ
 * result (RFC 6120 §8.3.1).
 */
export function errorReply(stanza: Element, error: StanzaError): Element | undefined {
  const type = stanza.attrs.type as string | undefined;
  if (type === 'error' || (stanza.name === 'iq' && type === 'result')) return undefined;
  const reply = new Element(stanza.name, { type: 'error' });
  if (stanza.attrs.id !== undefined) reply.attrs.id = stanza.attrs.id;
  if (stanza.attrs.to !== undefined) reply.attrs.from = stanza.attrs.to;
  if (stanza.attrs.from !== undefined) reply.attrs.to = stanza.attrs.from;
  reply.cnode(error.toElement());
  return reply;
}
