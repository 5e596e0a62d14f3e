import { type SaslCondition, SaslFailure } from '../errors/sasl-failure.ts';

/** How one attempt ended, for metric and audit. */
export interface SaslOutcome {
  readonly mechanism: string;
  readonly result: 'ok' | SaslCondition;
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/**
 * Decodes the character data of `<auth/>` or `<response/>` (RFC 6120 §6.4.2, §6.4.3).
 *
 * @returns undefined for an `<auth/>` without initial response; an empty Buffer for `=` or an empty `<response/>`
 * @throws SaslFailure `incorrect-encoding` (§6.5.6)
 */
export function decodeSasl(text: string, element: 'auth' | 'response'): Buffer | undefined {
  if (text === '') return element === 'auth' ? undefined : Buffer.alloc(0);
  if (text === '=') return Buffer.alloc(0);
  if (!BASE64.test(text)) throw new SaslFailure('incorrect-encoding', { text: 'base64 without white space is needed' });
  return Buffer.from(text, 'base64');
}

export const encodeSasl = (data: Buffer): string => (data.length === 0 ? '=' : data.toString('base64'));
