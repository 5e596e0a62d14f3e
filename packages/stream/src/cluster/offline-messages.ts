import type { Element } from 'ltx';
import type { JID } from '../jid.ts';

/**
 * Messages for accounts that are away (RFC 6121 §8.5.2.2, XEP-0160). Topic events are not among them:
 * those are read again from the topic's log.
 */
export interface OfflineMessages {
  /**
   * Keeps one message until the account's next session that receives bare-JID traffic. Resolves when it is durable.
   * For an account that does not exist it resolves too and keeps nothing, so that nobody learns which exist (RFC 6120 §13.11).
   *
   * @throws StanzaError `service-unavailable` when the account's messages are at their bound (XEP-0160 §2)
   */
  store(account: JID, message: Element): Promise<void>;
  /** Takes out what is kept, oldest first, each a whole stanza with its `<delay/>`. */
  take(account: JID): Promise<readonly Buffer[]>;
}
