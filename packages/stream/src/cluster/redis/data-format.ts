import type { RedisConnections } from './connections.ts';
import { isReply } from './durable-writes.ts';
import { streamKeys } from './keys.ts';
import { asAnswer, streamScript } from './scripts.ts';
import { RedisRefused } from './settings.ts';

const CLAIM = streamScript('claim-format-1');

/** Raised when a key or a record of any package changes; another program then refuses the data instead of misreading it. */
export const DATA_FORMAT = 1;

/**
 * Checks, before anything else is read or written, that the data under the key prefix is of this program's format, and says
 * so in data that does not exist yet.
 *
 * @param program name and version of this program, kept with the data for the message of another one
 * @throws RedisRefused when the data is of another format, with the way out; StoreUnavailable
 */
export async function checkDataFormat(redis: RedisConnections, program: string): Promise<void> {
  const { keyPrefix } = redis.settings;
  const key = streamKeys(keyPrefix).meta;
  let reply: unknown;
  try {
    reply = await redis.runDurably(CLAIM, [key], [String(DATA_FORMAT), program]);
  } catch (error) {
    if (!isReply(error as Error) || !(error as Error).message.includes('WRONGTYPE')) throw error;
    throw new RedisRefused(`${key} in Redis is not ours: another program uses this key prefix; choose another one`, {
      cause: error,
    });
  }
  const [, found, maker] = asAnswer(CLAIM, ['format'], reply);
  if (found === String(DATA_FORMAT)) return;
  const of = maker === '' ? `in format ${found}` : `in format ${found}, made by ${maker}`;
  throw new RedisRefused(
    `the data under ${keyPrefix} in Redis is ${of}; ${program} reads format ${DATA_FORMAT} alone and leaves it as it is. ` +
      `To go on with it, run the version that made it. To migrate, give ${program} another redis.keyPrefix, make the ` +
      'platforms and topics there, move the clients over, then delete the old keys',
  );
}
