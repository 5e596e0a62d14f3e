import { randomFillSync } from 'node:crypto';

const TOKEN_BYTES = 8;
/** A call into the system's randomness costs as much for one token as for this many. */
const pool = Buffer.alloc(512 * TOKEN_BYTES);
let taken = pool.length;

/** 64 random bits as 16 lower-case hex digits: a uid or a token. */
export function newToken(): string {
  if (taken === pool.length) {
    randomFillSync(pool);
    taken = 0;
  }
  taken += TOKEN_BYTES;
  return pool.toString('hex', taken - TOKEN_BYTES, taken);
}
