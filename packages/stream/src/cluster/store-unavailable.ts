import { StanzaError } from '../errors/stanza-error.ts';

/**
 * The store did not do what it was asked, or did not say so in time. On the wire it is a `resource-constraint` of type
 * `wait` (RFC 6120 §8.3.3.18): the peer may try again.
 *
 * @see delivery.md §2.5: an outcome that is not known is never told as success
 */
export class StoreUnavailable extends StanzaError {
  override readonly name = 'StoreUnavailable';
  /** `not-done`: nothing was changed. `unknown`: the change may still show. */
  readonly outcome: 'not-done' | 'unknown';

  constructor(outcome: 'not-done' | 'unknown', cause: unknown) {
    super('resource-constraint', { type: 'wait', text: 'the store cannot be reached, try again later', cause });
    this.outcome = outcome;
  }
}
