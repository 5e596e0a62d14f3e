import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';

/**
 * The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding.
 * Salted keys are kept: a run logs thousands of accounts in, and PBKDF2 must not be what it measures.
 */

interface ClientKeys {
  readonly clientKey: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

/** Most cached keys: one per account of the largest run. */
const MAX_CACHED = 200_000;
const cache = new Map<string, ClientKeys>();

const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();

/** The keys of RFC 5802 §3; computed once per password, salt and iteration count. */
export function clientKeys(password: string, salt: Buffer, iterations: number): ClientKeys {
  const name = `${iterations}:${salt.toString('base64')}:${password}`;
  const known = cache.get(name);
  if (known !== undefined) return known;
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256');
  const clientKey = hmac(salted, 'Client Key');
  const keys = { clientKey, storedKey: createHash('sha256').update(clientKey).digest(), serverKey: hmac(salted, 'Server Key') };
  if (cache.size >= MAX_CACHED) cache.clear();
  cache.set(name, keys);
  return keys;
}

/** One login. Messages in the order of RFC 5802 §5: `first`, then `final` with the server's first, then `verify`. */
export class ScramClient {
  readonly first: string;
  readonly #bare: string;
  readonly #nonce: string;
  readonly #password: string;
  #expectedSignature: Buffer | undefined;

  /** @param nonce printable, without comma; random unless a test fixes it */
  constructor(user: string, password: string, nonce = randomBytes(18).toString('base64')) {
    this.#nonce = nonce;
    this.#password = password;
    this.#bare = `n=${user.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${nonce}`;
    this.first = `n,,${this.#bare}`;
  }

  /** Answers the server's first message. @throws Error when it is malformed or its nonce does not extend ours */
  final(serverFirst: string): string {
    const { nonce, salt, iterations } =
      /^r=(?<nonce>[^,]+),s=(?<salt>[^,]+),i=(?<iterations>\d+)/.exec(serverFirst)?.groups ?? {};
    if (nonce === undefined || salt === undefined || iterations === undefined || !nonce.startsWith(this.#nonce)) {
      throw new Error(`unusable SCRAM challenge: ${serverFirst}`);
    }
    const keys = clientKeys(this.#password, Buffer.from(salt, 'base64'), Number(iterations));
    const withoutProof = `c=biws,r=${nonce}`;
    const authMessage = `${this.#bare},${serverFirst},${withoutProof}`;
    const proof = hmac(keys.storedKey, authMessage);
    for (let i = 0; i < proof.length; i++) proof[i]! ^= keys.clientKey[i]!;
    this.#expectedSignature = hmac(keys.serverKey, authMessage);
    return `${withoutProof},p=${proof.toString('base64')}`;
  }

  /** Checks the server's signature. @throws Error when the server does not know the account's keys */
  verify(serverFinal: string): void {
    const signature = Buffer.from(/^v=([^,]+)/.exec(serverFinal)?.[1] ?? '', 'base64');
    const expected = this.#expectedSignature;
    if (expected === undefined || signature.length !== expected.length || !timingSafeEqual(signature, expected)) {
      throw new Error(`the server's SCRAM signature is wrong: ${serverFinal}`);
    }
  }
}
