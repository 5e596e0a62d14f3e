import { hashTag, type JID } from '@xmpp-grid/stream';

/** Every Redis key of this package. The part in braces picks the Cluster slot. */
export interface AuthKeys {
  /**
   * hash: `v` version, `r` record (JSON), `t` token of its entry in the list. In the slot of the account's sessions and
   * resumption states. No expiry. Written by put-account, remove-account.
   */
  account(account: JID): string;
  /**
   * zset, all scores 0: "<bare JID> NUL <token>". A superset: an entry without a record is what an interrupted change left.
   * Written by list-account, unlist-account.
   */
  accounts: string;
  /** string: 32 random bytes in base64. Made once, by make-secret. */
  secret: string;
}

/** @param prefix put before every key */
export function authKeys(prefix: string): AuthKeys {
  return {
    account: (account) => `${prefix}{u:${hashTag(account.bareString)}}:account`,
    accounts: `${prefix}accounts`,
    secret: `${prefix}secret`,
  };
}
