import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const pbkdf2Async = promisify(pbkdf2);
/** More iterations than a server asks for in earnest would only cost us time. */
const MAX_ITERATIONS = 1_000_000;

/** The client's side of one SCRAM-SHA-256(-PLUS) exchange (RFC 5802, RFC 7677). */
export class ScramClient {
  readonly #password: string;
  readonly #gs2Header: string;
  readonly #binding: Buffer;
  readonly #bare: string;
  readonly #nonce = randomBytes(18).toString('base64');
  #serverSignature: Buffer | undefined;

  /** `binding`: `tls-exporter` data, for -PLUS. */
  constructor(username: string, password: string, binding?: Buffer) {
    this.#password = password;
    this.#gs2Header = binding === undefined ? 'n,,' : 'p=tls-exporter,,'; // RFC 9266
    this.#binding = binding ?? Buffer.alloc(0);
    this.#bare = `n=${username.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${this.#nonce}`;
  }

  first(): string {
    return this.#gs2Header + this.#bare;
  }

  /** Answers the server's challenge. @throws Error when it is none */
  async final(challenge: string): Promise<string> {
    const match = /^r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/=]+),i=(\d{1,7})(?:,.*)?$/.exec(challenge);
    const [, nonce = '', salt = '', iterations = '0'] = match ?? [];
    if (!nonce.startsWith(this.#nonce) || Number(iterations) < 4096 || Number(iterations) > MAX_ITERATIONS) {
      throw new Error('the server sent no acceptable SCRAM challenge');
    }
    const salted = await pbkdf2Async(this.#password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256');
    const clientKey = hmac(salted, 'Client Key');
    const storedKey = createHash('sha256').update(clientKey).digest();
    const bound = Buffer.concat([Buffer.from(this.#gs2Header), this.#binding]).toString('base64');
    const withoutProof = `c=${bound},r=${nonce}`;
    const authMessage = `${this.#bare},${challenge},${withoutProof}`;
    const signature = hmac(storedKey, authMessage);
    this.#serverSignature = hmac(hmac(salted, 'Server Key'), authMessage);
    const proof = Buffer.from(clientKey.map((byte, index) => byte ^ signature[index]!));
    return `${withoutProof},p=${proof.toString('base64')}`;
  }

  /** Does the server know the password too? @throws Error when it does not */
  verify(outcome: string): void {
    const given = Buffer.from(outcome.replace(/^v=/, ''), 'base64');
    const wanted = this.#serverSignature;
    if (wanted === undefined || given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
      throw new Error('the server could not prove that it knows the password');
    }
  }
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
