import { Element } from 'ltx';
import { NS } from '../xml/ns.ts';

/** Every condition of RFC 6120 §4.9.3, in its order. */
export const STREAM_CONDITIONS = [
  'bad-format', // §4.9.3.1
  'bad-namespace-prefix', // §4.9.3.2
  'conflict', // §4.9.3.3
  'connection-timeout', // §4.9.3.4
  'host-gone', // §4.9.3.5
  'host-unknown', // §4.9.3.6
  'improper-addressing', // §4.9.3.7
  'internal-server-error', // §4.9.3.8
  'invalid-from', // §4.9.3.9
  'invalid-namespace', // §4.9.3.10
  'invalid-xml', // §4.9.3.11
  'not-authorized', // §4.9.3.12
  'not-well-formed', // §4.9.3.13
  'policy-violation', // §4.9.3.14
  'remote-connection-failed', // §4.9.3.15
  'reset', // §4.9.3.16
  'resource-constraint', // §4.9.3.17
  'restricted-xml', // §4.9.3.18
  'see-other-host', // §4.9.3.19
  'system-shutdown', // §4.9.3.20
  'undefined-condition', // §4.9.3.21
  'unsupported-encoding', // §4.9.3.22
  'unsupported-feature', // §4.9.3.23
  'unsupported-stanza-type', // §4.9.3.24
  'unsupported-version', // §4.9.3.25
] as const;

export type StreamCondition = (typeof STREAM_CONDITIONS)[number];

export interface StreamErrorOptions {
  /** English text for people, sent to the peer. */
  readonly text?: string | undefined;
  /** Application-specific condition (§4.9.4), in its own namespace. */
  readonly child?: Element | undefined;
  /** For `see-other-host`: `domainpart` or `domainpart:port` (§4.9.3.19). */
  readonly host?: string | undefined;
  /** What went wrong underneath; for the log, never on the wire. */
  readonly cause?: unknown;
}

/** Ends a stream: sent once, then the stream is closed. @see RFC 6120 §4.9 */
export class StreamError extends Error {
  override readonly name: string = 'StreamError';
  readonly condition: StreamCondition;
  readonly text: string | undefined;
  readonly child: Element | undefined;
  readonly host: string | undefined;

  constructor(condition: StreamCondition, options: StreamErrorOptions = {}) {
    super(
      options.text === undefined ? condition : `${condition}: ${options.text}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.condition = condition;
    this.text = options.text;
    this.child = options.child;
    this.host = options.host;
  }

  /** Renders `<stream:error/>`; the stream header that went before it declares the prefix (§4.8.5). */
  toElement(): Element {
    const error = new Element('stream:error');
    const condition = error.c(this.condition, { xmlns: NS.streamErrors });
    if (this.host !== undefined) condition.t(this.host);
    if (this.text !== undefined) error.c('text', { xmlns: NS.streamErrors, 'xml:lang': 'en' }).t(this.text);
    if (this.child !== undefined) error.cnode(this.child);
    return error;
  }
}
