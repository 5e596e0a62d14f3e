/** What verbs tell delivery; everything else delivery learns from the log. */
export interface InterestPort {
  /** The account subscribed, unsubscribed or was approved here: look at its live sessions again. Resolves when they are served. */
  changed(node: string, account: string): Promise<void>;
}
