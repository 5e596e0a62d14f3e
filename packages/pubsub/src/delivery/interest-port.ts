/** What verbs tell delivery; everything else delivery learns from the log. */
export interface InterestPort {
  /** The account subscribed, unsubscribed or was approved here: look at its live sessions again. Resolves when they are served. */
  changed(node: string, account: string): Promise<void>;
  /** The account was told that the topic was deleted: it is not told again at its next login (delivery.md §1.5). Never rejects. */
  told(node: string, account: string): Promise<void>;
}
