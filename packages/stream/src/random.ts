import { randomFillSync } from 'node:crypto';

/** One call into the system's randomness costs some 10 µs, for 9 bytes as for 4,096 (bench/ scenario `login`). */
const pool = Buffer.allocUnsafeSlow(4_096);
let taken = pool.length;

/** Text of that many bytes from the system's random generator; no byte is ever given out twice. At most 64 bytes. */
export function randomText(bytes: number, encoding: 'base64url' | 'hex' = 'base64url'): string {
  if (taken + bytes > pool.length) {
    randomFillSync(pool);
    taken = 0;
  }
  taken += bytes;
  const text = pool.toString(encoding, taken - bytes, taken);
  pool.fill(0, taken - bytes, taken); // nothing that was given out stays behind in memory
  return text;
}
