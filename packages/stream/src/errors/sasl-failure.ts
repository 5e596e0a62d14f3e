import { Element } from 'ltx';
import { NS } from '../xml/ns.ts';

/** Every condition of RFC 6120 §6.5, in its order. */
export const SASL_CONDITIONS = [
  'aborted', // §6.5.1
  'account-disabled', // §6.5.2
  'credentials-expired', // §6.5.3
  'encryption-required', // §6.5.4
  'incorrect-encoding', // §6.5.5
  'invalid-authzid', // §6.5.6
  'invalid-mechanism', // §6.5.7
  'malformed-request', // §6.5.8
  'mechanism-too-weak', // §6.5.9
  'not-authorized', // §6.5.10
  'temporary-auth-failure', // §6.5.11
] as const;

export type SaslCondition = (typeof SASL_CONDITIONS)[number];

export interface SaslFailureOptions {
  /** English text for people, sent to a peer that has not proved who it is: no account facts in it. */
  readonly text?: string | undefined;
  /** The real reason, for log and audit; never on the wire. */
  readonly why?: string | undefined;
  /** What went wrong underneath; for the log, never on the wire. */
  readonly cause?: unknown;
}

/** Ends one authentication attempt; the stream lives on for a retry (RFC 6120 §6.4.5). @see RFC 6120 §6.5 */
export class SaslFailure extends Error {
  override readonly name: string = 'SaslFailure';
  readonly condition: SaslCondition;
  readonly text: string | undefined;
  readonly why: string | undefined;

  constructor(condition: SaslCondition, options: SaslFailureOptions = {}) {
    super(
      options.why === undefined ? condition : `${condition}: ${options.why}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.condition = condition;
    this.text = options.text;
    this.why = options.why;
  }

  /** Renders `<failure/>`. */
  toElement(): Element {
    const failure = new Element('failure', { xmlns: NS.sasl });
    failure.c(this.condition);
    if (this.text !== undefined) failure.c('text', { 'xml:lang': 'en' }).t(this.text);
    return failure;
  }
}
