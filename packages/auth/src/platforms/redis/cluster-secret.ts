import { randomBytes } from 'node:crypto';
import { asAnswer, type RedisConnections, RedisRefused } from '@xmpp-grid/stream';
import { authKeys } from './keys.ts';
import { authScript } from './scripts.ts';

const MAKE = authScript('make-secret-1');
const BYTES = 32;

/**
 * The secret behind the salts of accounts that do not exist, the same on every instance and over restarts: made by whichever
 * instance starts first, kept with the data.
 *
 * @throws StoreUnavailable; RedisRefused when its key holds something else
 */
export async function redisClusterSecret(redis: RedisConnections): Promise<Buffer> {
  const key = authKeys(redis.settings.keyPrefix).secret;
  const reply = await redis.runDurably(MAKE, [key], [randomBytes(BYTES).toString('base64')]);
  const [, kept = ''] = asAnswer(MAKE, ['secret'], reply);
  const secret = Buffer.from(kept, 'base64');
  if (secret.length !== BYTES) {
    throw new RedisRefused(`${key} in Redis holds no secret of ours; choose another key prefix, or restore it from a backup`);
  }
  return secret;
}
