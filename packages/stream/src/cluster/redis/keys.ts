import type { JID } from '../../jid.ts';
import { hashTag } from './slot.ts';

/** Every Redis key of this package. The part in braces picks the Cluster slot. */
export interface StreamKeys {
  /**
   * hash: resource -> "<instanceId> <sessionId> <since>", one field per bound session. No expiry: a field counts as long as
   * its instance does, and the account's next bind drops the rest. Written by bind-resource, drop-resource, reclaim-resource.
   */
  sessions(account: JID): string;
  /** hash: SM-ID -> "<expiry, ms of Redis's clock> <state>". Expires with its last field. Written by put-, append-, take-resume. */
  resume(account: JID): string;
  /** stream: field `m` the message, `t` the bytes since it was last empty. No expiry, capped. Written by store-offline, drop-offline. */
  offline(account: JID): string;
  /** hash: instanceId -> "live <counter>" | "dead" | "cleaning <by> <until, ms of Redis's clock>". Written by the instance scripts. */
  instances: string;
  /** stream: fields `k` kind, `b` body. Made by its instance, removed by the cleaner. Written by make-, send-, handle-, remove-inbox. */
  inbox(instanceId: string): string;
  /** string: sum of the bytes in the inbox's entries. Written with it. */
  inboxBytes(instanceId: string): string;
  /** stream: fields `k` kind, `b` body, `p` id of the entry before. Capped. Written by append-control. */
  control: string;
  /** hash: `format` of all our data, `program` that wrote it first. Written once, by claim-format. */
  meta: string;
}

/** @param prefix put before every key; `xg:` unless several grids share one Redis */
export function streamKeys(prefix: string): StreamKeys {
  const account = (jid: JID, noun: string) => `${prefix}{u:${hashTag(jid.bare.toString())}}:${noun}`;
  return {
    sessions: (jid) => account(jid, 'sessions'),
    resume: (jid) => account(jid, 'resume'),
    offline: (jid) => account(jid, 'offline'),
    instances: `${prefix}instances`,
    inbox: (instanceId) => `${prefix}{i:${hashTag(instanceId)}}:inbox`,
    inboxBytes: (instanceId) => `${prefix}{i:${hashTag(instanceId)}}:inbox-bytes`,
    control: `${prefix}control`,
    meta: `${prefix}meta`,
  };
}
