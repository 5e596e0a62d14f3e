import { Element } from 'ltx';
import { NS } from '../xml/ns.ts';

/** RFC 6120 §8.3.2 */
export type StanzaErrorType = 'auth' | 'cancel' | 'continue' | 'modify' | 'wait';

/**
 * Every condition of RFC 6120 §8.3.3, in its order, with the type that it recommends. Where the text leaves a choice,
 * the first one named; `undefined-condition` has no recommendation, so it tells the sender not to retry.
 */
export const STANZA_CONDITIONS = {
  'bad-request': 'modify', // §8.3.3.1
  conflict: 'cancel', // §8.3.3.2
  'feature-not-implemented': 'cancel', // §8.3.3.3
  forbidden: 'auth', // §8.3.3.4
  gone: 'cancel', // §8.3.3.5
  'internal-server-error': 'cancel', // §8.3.3.6
  'item-not-found': 'cancel', // §8.3.3.7
  'jid-malformed': 'modify', // §8.3.3.8
  'not-acceptable': 'modify', // §8.3.3.9
  'not-allowed': 'cancel', // §8.3.3.10
  'not-authorized': 'auth', // §8.3.3.11
  'policy-violation': 'modify', // §8.3.3.12
  'recipient-unavailable': 'wait', // §8.3.3.13
  redirect: 'modify', // §8.3.3.14
  'registration-required': 'auth', // §8.3.3.15
  'remote-server-not-found': 'cancel', // §8.3.3.16
  'remote-server-timeout': 'wait', // §8.3.3.17
  'resource-constraint': 'wait', // §8.3.3.18
  'service-unavailable': 'cancel', // §8.3.3.19
  'subscription-required': 'auth', // §8.3.3.20
  'undefined-condition': 'cancel', // §8.3.3.21
  'unexpected-request': 'wait', // §8.3.3.22
} as const satisfies Record<string, StanzaErrorType>;

export type StanzaCondition = keyof typeof STANZA_CONDITIONS;

export interface StanzaErrorOptions {
  /** English text for people, sent to the peer. */
  readonly text?: string | undefined;
  /** Overrides the recommended type of the condition. */
  readonly type?: StanzaErrorType | undefined;
  /** Application-specific condition (§8.3.4), in its own namespace. Copied by reference into each `toElement()`. */
  readonly child?: Element | undefined;
  /** JID of the entity that found the error (§8.3.1 rule 5). */
  readonly by?: string | undefined;
  /** For `gone` and `redirect`: where to go instead, a URI (§8.3.3.5, §8.3.3.14). */
  readonly uri?: string | undefined;
  /** What went wrong underneath; for the log, never on the wire. */
  readonly cause?: unknown;
}

/** Answers one stanza with an error; the stream lives on. @see RFC 6120 §8.3 */
export class StanzaError extends Error {
  override readonly name: string = 'StanzaError';
  readonly condition: StanzaCondition;
  readonly type: StanzaErrorType;
  readonly text: string | undefined;
  readonly child: Element | undefined;
  readonly by: string | undefined;
  readonly uri: string | undefined;

  constructor(condition: StanzaCondition, options: StanzaErrorOptions = {}) {
    super(
      options.text === undefined ? condition : `${condition}: ${options.text}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.condition = condition;
    this.type = options.type ?? STANZA_CONDITIONS[condition];
    this.text = options.text;
    this.child = options.child;
    this.by = options.by;
    this.uri = options.uri;
  }

  /** Renders `<error/>`, to be put into the answer. Its namespace is the stanza's own. */
  toElement(): Element {
    const error = new Element('error', this.by === undefined ? { type: this.type } : { type: this.type, by: this.by });
    const condition = error.c(this.condition, { xmlns: NS.stanzaErrors });
    if (this.uri !== undefined) condition.t(this.uri);
    if (this.text !== undefined) error.c('text', { xmlns: NS.stanzaErrors, 'xml:lang': 'en' }).t(this.text);
    if (this.child !== undefined) error.cnode(this.child);
    return error;
  }
}
