/** The store cannot be used; the message says what to do. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
  /** Another process works on it. */
  readonly isBusy: boolean;

  constructor(message: string, options: { readonly isBusy?: boolean; readonly cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.isBusy = options.isBusy ?? false;
  }
}
