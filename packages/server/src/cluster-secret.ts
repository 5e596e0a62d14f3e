import { randomBytes } from 'node:crypto';
import type { RootDatabase } from 'lmdb';

/** The secret behind the salts of accounts that do not exist: made once, kept with the data, never leaves the process. */
export async function clusterSecret(root: RootDatabase): Promise<Buffer> {
  const secrets = root.openDB<string, string>('secrets', { encoding: 'string', keyEncoding: 'ordered-binary' });
  const secret = await secrets.transaction(() => {
    const known = secrets.get('scram');
    if (known !== undefined) return known;
    const made = randomBytes(32).toString('base64');
    secrets.put('scram', made);
    return made;
  });
  await secrets.flushed;
  return Buffer.from(secret, 'base64');
}
