import type { Element } from 'ltx';

/** What a resource told of itself by presence without `to` (RFC 6121 §4). */
export type PresenceState =
  | { readonly kind: 'never-sent' }
  | { readonly kind: 'available'; readonly priority: number }
  | { readonly kind: 'unavailable' };

/** Reads available or unavailable presence; undefined when its priority is no integer from -128 to 127 (§4.7.2.3). */
export function decidePresence(stanza: Element): PresenceState | undefined {
  if (stanza.attrs.type === 'unavailable') return { kind: 'unavailable' };
  const text = stanza.getChildText('priority');
  if (text === null || text === undefined || text.trim() === '') return { kind: 'available', priority: 0 };
  if (!/^[+-]?[0-9]{1,3}$/.test(text.trim())) return undefined;
  const priority = Number(text);
  return priority >= -128 && priority <= 127 ? { kind: 'available', priority } : undefined;
}
