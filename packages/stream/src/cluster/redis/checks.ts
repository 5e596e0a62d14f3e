import type { Logger } from '../../observe/log.ts';
import { type Durability, RedisRefused } from './settings.ts';

/** What one primary says of itself. */
export interface PrimaryFacts {
  /** `host:port`, for messages. */
  readonly at: string;
  readonly version: string;
  readonly role: string;
  readonly maxmemoryPolicy: string;
  readonly isAppendOnly: boolean;
  readonly connectedReplicas: number;
  /** Undefined where CONFIG is forbidden to us. */
  readonly appendFsync: string | undefined;
  readonly minReplicasToWrite: number | undefined;
}

/** The lines `name:value` of INFO. */
export function parseInfo(text: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon > 0 && !line.startsWith('#')) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return fields;
}

/**
 * Judges a primary before it is used, and settles what `auto` durability means for it.
 *
 * @throws RedisRefused with the setting to change; another Error for what passes when one waits
 */
export function decideDurability(facts: PrimaryFacts, asked: Durability | 'auto', log: Logger): Durability {
  const { at, version } = facts;
  const [major = 0] = version.split('.').map(Number);
  if (!(major >= 7)) throw new RedisRefused(`Redis at ${at} is version ${version || 'unknown'}; 7.0 or newer is needed`);
  if (facts.role !== 'master') throw new RedisRefused(`Redis at ${at} is a replica; name its primary, or use Sentinel`);
  if (facts.maxmemoryPolicy !== 'noeviction') {
    throw new RedisRefused(
      `Redis at ${at} has maxmemory-policy ${facts.maxmemoryPolicy}, which would throw data away; set it to noeviction`,
    );
  }
  const writesEach = facts.isAppendOnly && facts.appendFsync === 'always';
  if (asked === 'auto') {
    if (facts.connectedReplicas > 0) return decideDurability(facts, { kind: 'replicas', count: 1 }, log);
    if (writesEach) return { kind: 'fsync' };
    throw new RedisRefused(
      `Redis at ${at} has no replica and does not write each command to disk: attach a replica, ` +
        'or set appendonly yes and appendfsync always, or choose durability memory by name',
    );
  }
  switch (asked.kind) {
    case 'memory':
      return asked;
    case 'fsync':
      if (!facts.isAppendOnly) throw new RedisRefused(`Redis at ${at} has appendonly no; durability fsync needs appendonly yes`);
      if (facts.appendFsync === undefined) {
        log.warn({ redis: at }, 'CONFIG GET is forbidden here: that appendfsync is always could not be checked');
      } else if (facts.appendFsync !== 'always') {
        throw new RedisRefused(`Redis at ${at} has appendfsync ${facts.appendFsync}; durability fsync needs appendfsync always`);
      }
      if (facts.connectedReplicas > 0) {
        log.warn(
          { redis: at, replicas: facts.connectedReplicas },
          'durability fsync promises nothing across a failover to a replica; durability replicas does',
        );
      }
      return asked;
    case 'replicas':
      if (facts.minReplicasToWrite === undefined) {
        log.warn(
          { redis: at },
          `CONFIG GET is forbidden here: that min-replicas-to-write is at least ${asked.count} could not be checked`,
        );
      } else if (facts.minReplicasToWrite < asked.count) {
        throw new RedisRefused(
          `Redis at ${at} has min-replicas-to-write ${facts.minReplicasToWrite}; durability replicas: ${asked.count} needs ${asked.count}`,
        );
      }
      // Set up as it should be, and they will be back: after a failover the old primary is still to return as a replica.
      if (facts.connectedReplicas < asked.count) {
        throw new Error(
          `${facts.connectedReplicas} connected replica(s), durability replicas: ${asked.count} needs ${asked.count}`,
        );
      }
      return asked;
  }
}

/**
 * What an error at connecting means: a message for somebody to act on, or undefined where waiting may help.
 */
export function refusalOf(error: Error, at: string, username: string | undefined): string | undefined {
  const { message } = error;
  const who = username === undefined ? 'the default user' : `user ${username}`;
  if (message.includes('WRONGPASS') || message.includes('invalid password'))
    return `Redis at ${at} refuses the password of ${who}`;
  if (message.includes('NOAUTH')) return `Redis at ${at} asks for a password and none is configured`;
  if (message.includes('NOPERM')) return `Redis at ${at} does not permit ${who} what is needed: ${message}`;
  return undefined;
}
