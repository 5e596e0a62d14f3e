/**
 * Thrown when a change was not made because there is no room for it: the log of the topic is at its byte maximum and
 * nothing in it may be trimmed yet (delivery.md §9.1), the disk is full, or Redis takes no more writes. Nothing was stored
 * and nobody will be told; the request is answered `resource-constraint` (RFC 6120 §8.3.3.18).
 */
export class StoreFull extends Error {
  readonly what: 'topic-bytes' | 'disk' | 'memory';

  constructor(what: 'topic-bytes' | 'disk' | 'memory', message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'StoreFull';
    this.what = what;
  }
}

/** Thrown on opening data that this program cannot read. The message says what to do; shown to the operator as it is. */
export class StoreFormatError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'StoreFormatError';
  }
}
