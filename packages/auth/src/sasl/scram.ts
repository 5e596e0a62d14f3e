/**
 * SCRAM, the server's side: SCRAM-SHA-256 (RFC 7677) and SCRAM-SHA-1 (RFC 5802), each with and without channel
 * binding. This file is the messages and the arithmetic; who the user is and where keys come from is the caller's.
 */
import { createHash, createHmac, createSecretKey, type KeyObject, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import saslprep from '@mongodb-js/saslprep';
import { randomText, SaslFailure } from '@xmpp-grid/stream';

const pbkdf2Async = promisify(pbkdf2);

/** Hash functions by the names that `node:crypto` and stored accounts use. */
export const SCRAM_HASHES = ['sha256', 'sha1'] as const;
export type ScramHash = (typeof SCRAM_HASHES)[number];

/** What a server stores in place of a password (RFC 5802 §3): a login can be checked with it, not made. */
export interface ScramKeys {
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
  /** At least 16 random bytes. */
  readonly salt: Buffer;
  /** PBKDF2 rounds; at least 4096 (RFC 7677 §4). */
  readonly iterations: number;
}

/** RFC 7677 §4 */
export const MIN_ITERATIONS = 4096;
/** Cost to the client alone: the server needs two HMACs whatever the number. */
export const DEFAULT_ITERATIONS = 10_000;

/**
 * Computes what is stored for a password, once per hash. The password is prepared by SASLprep first.
 *
 * @see RFC 5802 §3, §5.1
 * @throws RangeError when the password is empty or not allowed by SASLprep, or there are too few iterations
 */
export async function deriveScramKeys(
  password: string,
  options: { readonly hashes: readonly ScramHash[]; readonly iterations?: number; readonly salt?: Buffer },
): Promise<Partial<Record<ScramHash, ScramKeys>>> {
  const iterations = options.iterations ?? DEFAULT_ITERATIONS;
  if (!Number.isInteger(iterations) || iterations < MIN_ITERATIONS) {
    throw new RangeError(`SCRAM needs at least ${MIN_ITERATIONS} iterations`);
  }
  const prepared = preparePassword(password);
  const keys: Partial<Record<ScramHash, ScramKeys>> = {};
  for (const hash of options.hashes) {
    const salt = options.salt ?? randomBytes(16);
    const salted = await pbkdf2Async(prepared, salt, iterations, hashBytes(hash), hash);
    keys[hash] = {
      storedKey: digest(hash, hmac(hash, salted, 'Client Key')),
      serverKey: hmac(hash, salted, 'Server Key'),
      salt,
      iterations,
    };
  }
  return keys;
}

function preparePassword(password: string): string {
  let prepared: string;
  try {
    prepared = saslprep(password); // a stored string: unassigned code points are refused (RFC 4013 §2.5)
  } catch (cause) {
    throw new RangeError('the password has characters that SASLprep (RFC 4013) does not allow', { cause });
  }
  if (prepared === '') throw new RangeError('the password is empty');
  return prepared;
}

function hashBytes(hash: ScramHash): number {
  return hash === 'sha256' ? 32 : 20;
}

function digest(hash: ScramHash, data: Buffer): Buffer {
  return createHash(hash).update(data).digest();
}

/** A key object, because Node 24 takes three times as long with a Buffer (bench/ scenario `login`). */
function hmac(hash: ScramHash, key: Buffer, data: string): Buffer {
  return createHmac(hash, createSecretKey(key)).update(data).digest();
}

/**
 * Keys for a name that has none, so that the exchange looks like any other: the same name gets the same salt each time,
 * and nobody can tell it from a real one without the secret. No proof fits them; callers refuse at the end all the same.
 *
 * @see RFC 5802 §5.1 ("unknown-user" need not be told), RFC 6120 §6.5.10
 */
export function fakeScramKeys(secret: KeyObject | Buffer, hash: ScramHash, name: string, iterations: number): ScramKeys {
  const size = hashBytes(hash);
  // Only the salt is ever told; the keys overlap, since nothing is made of them but the time that it takes.
  const derived = createHmac('sha512', secret).update(`${hash}\0${name}`).digest();
  return {
    salt: derived.subarray(0, 16),
    storedKey: derived.subarray(16, 16 + size),
    serverKey: derived.subarray(32, 32 + size),
    iterations,
  };
}

/** gs2-cbind-flag (RFC 5802 §7): `n` cannot bind, `y` could but saw no -PLUS, else the binding type of `p=`. */
export type ChannelBindingFlag = { readonly kind: 'n' } | { readonly kind: 'y' } | { readonly kind: 'p'; readonly type: string };

export interface ClientFirst {
  readonly flag: ChannelBindingFlag;
  /** Undefined when absent. */
  readonly authzid: string | undefined;
  /** Prepared by SASLprep; not empty. */
  readonly username: string;
}

export interface ScramSettings {
  readonly hash: ScramHash;
  /** Whether the client chose the -PLUS variant. */
  readonly plus: boolean;
  /** Binding types that this stream offers with the -PLUS variants; empty when they are not offered. */
  readonly bindingTypes: readonly string[];
  readonly channelBinding: (type: string) => Buffer | undefined;
  /** Let in a client that says `y` although -PLUS was offered (profile `compat`). */
  readonly acceptsFlagY: boolean;
  /** Server's part of the nonce: printable ASCII without comma. */
  readonly nonce: () => string;
}

/** Reasons for the log, named after server-error-value (RFC 5802 §7) where one fits; the wire shows the SASL condition. */
function fail(condition: 'malformed-request' | 'not-authorized', why: string, text?: string, cause?: unknown): SaslFailure {
  return new SaslFailure(condition, { why, text, cause });
}

const GS2_HEADER = /^(?:(n)|(y)|p=([A-Za-z0-9.-]+)),(?:a=([^,]+))?,/;
const SASLNAME = /^(?:[^\0,=]|=2C|=3D)+$/;
const PRINTABLE = /^[\x21-\x2B\x2D-\x7E]+$/;
const ATTRIBUTE = /^[A-Za-z]=[^\0,]+$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
/** More attributes than any client sends. */
const MAX_ATTRIBUTES = 32;

/**
 * One exchange. Call `clientFirst`, then `serverFirst`, then `clientFinal`, each once; a throw ends it.
 *
 * A pure state machine: randomness comes in by the settings, keys by `serverFirst`.
 */
export class ScramServer {
  readonly #settings: ScramSettings;
  #gs2Header = '';
  #clientFirstBare = '';
  #clientNonce = '';
  #serverFirst = '';
  #nonce = '';
  #keys: ScramKeys | undefined;
  #binding: Buffer = Buffer.alloc(0);

  constructor(settings: ScramSettings) {
    this.#settings = settings;
  }

  /**
   * Reads the client-first-message and checks its channel binding flag.
   *
   * @see RFC 5802 §5, §6, §7
   * @throws SaslFailure `malformed-request` | `not-authorized`
   */
  clientFirst(data: Buffer): ClientFirst {
    const message = decodeUtf8(data);
    const header = GS2_HEADER.exec(message);
    if (!header) throw fail('malformed-request', 'other-error: no valid GS2 header');
    this.#gs2Header = header[0];
    const flag: ChannelBindingFlag =
      header[1] !== undefined ? { kind: 'n' } : header[2] !== undefined ? { kind: 'y' } : { kind: 'p', type: header[3]! };
    const authzid = header[4] === undefined ? undefined : unescapeName(header[4]);

    this.#clientFirstBare = message.slice(header[0].length);
    const [name, nonce, ...extensions] = splitAttributes(this.#clientFirstBare);
    if (!name?.startsWith('n=')) throw fail('malformed-request', 'other-error: no user name');
    if (!nonce?.startsWith('r=') || !PRINTABLE.test(nonce.slice(2)))
      throw fail('malformed-request', 'other-error: no valid nonce');
    checkExtensions(extensions);
    this.#clientNonce = nonce.slice(2);
    this.#checkFlag(flag);
    return { flag, authzid, username: prepareUsername(unescapeName(name.slice(2))) };
  }

  #checkFlag(flag: ChannelBindingFlag): void {
    const { plus, bindingTypes, acceptsFlagY, channelBinding } = this.#settings;
    if (flag.kind !== 'p') {
      if (plus) throw fail('malformed-request', 'other-error: a -PLUS mechanism without channel binding');
      // RFC 5802 §6: the client can bind and believes that we cannot, so somebody may have cut -PLUS out of our offer.
      if (flag.kind === 'y' && bindingTypes.length > 0 && !acceptsFlagY) {
        throw fail(
          'not-authorized',
          'server-does-support-channel-binding: the client saw no -PLUS mechanism or knows none of our channel binding types ' +
            `(${bindingTypes.join(', ')}). Either somebody tampered with the stream, or the client is too old: ` +
            'update it, let it use a client certificate, or run the profile "compat", which lets it in',
          'This server supports channel binding; use a -PLUS mechanism',
        );
      }
      return;
    }
    if (!plus)
      throw fail('malformed-request', 'channel-binding-not-supported: channel binding with a mechanism that is not -PLUS');
    const binding = bindingTypes.includes(flag.type) ? channelBinding(flag.type) : undefined;
    if (!binding) {
      throw fail('not-authorized', `unsupported-channel-binding-type: ${flag.type}`, 'Unsupported channel binding type');
    }
    this.#binding = binding;
  }

  /** Makes the server-first-message for the keys of the user, real or fake. */
  serverFirst(keys: ScramKeys): string {
    this.#keys = keys;
    this.#nonce = this.#clientNonce + this.#settings.nonce();
    this.#serverFirst = `r=${this.#nonce},s=${keys.salt.toString('base64')},i=${keys.iterations}`;
    return this.#serverFirst;
  }

  /**
   * Reads the client-final-message, checks binding, nonce and proof, and returns the server-final-message.
   *
   * @see RFC 5802 §3, §5.1, §6
   * @throws SaslFailure `malformed-request` | `not-authorized`
   */
  clientFinal(data: Buffer): string {
    const keys = this.#keys;
    if (!keys) throw new Error('clientFinal before serverFirst');
    const message = decodeUtf8(data);
    const attributes = splitAttributes(message);
    const [binding, nonce] = attributes;
    const proof = attributes.at(-1);
    if (attributes.length < 3 || !binding?.startsWith('c=') || !nonce?.startsWith('r=') || !proof?.startsWith('p=')) {
      throw fail('malformed-request', 'other-error: not a client-final-message');
    }
    checkExtensions(attributes.slice(2, -1));
    const { hash } = this.#settings;
    const clientProof = decodeBase64(proof.slice(2));
    const expectedBinding = Buffer.concat([Buffer.from(this.#gs2Header), this.#binding]);
    if (!isEqual(decodeBase64(binding.slice(2)), expectedBinding)) {
      throw fail(
        'not-authorized',
        'channel-bindings-dont-match: the client is bound to another TLS connection, or its first message was altered',
      );
    }
    if (!isEqual(Buffer.from(nonce.slice(2)), Buffer.from(this.#nonce)))
      throw fail('not-authorized', 'other-error: nonce differs');

    const withoutProof = message.slice(0, message.length - proof.length - 1);
    const authMessage = `${this.#clientFirstBare},${this.#serverFirst},${withoutProof}`;
    const signature = hmac(hash, keys.storedKey, authMessage);
    if (clientProof.length !== signature.length) throw fail('not-authorized', 'invalid-proof');
    const clientKey = Buffer.from(clientProof.map((byte, i) => byte ^ signature[i]!));
    if (!isEqual(digest(hash, clientKey), keys.storedKey)) throw fail('not-authorized', 'invalid-proof');
    return `v=${hmac(hash, keys.serverKey, authMessage).toString('base64')}`;
  }
}

/** Random part of a nonce: 18 bytes, 144 bits. */
export function randomNonce(): string {
  return randomText(18);
}

function decodeUtf8(data: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data);
  } catch (cause) {
    throw fail('malformed-request', 'invalid-encoding: not UTF-8', undefined, cause);
  }
}

function splitAttributes(s: string): string[] {
  const attributes = s.split(',', MAX_ATTRIBUTES + 1);
  if (attributes.length > MAX_ATTRIBUTES) throw fail('malformed-request', 'other-error: too many attributes');
  // RFC 5802 §5.1: the mandatory extension attribute, wherever it stands, is one that we do not understand.
  if (attributes.some((attribute) => attribute.startsWith('m='))) throw fail('malformed-request', 'extensions-not-supported');
  return attributes;
}

/** Optional extensions are ignored (RFC 5802 §5.1), provided that they are attributes at all. */
function checkExtensions(extensions: readonly string[]): void {
  if (!extensions.every((extension) => ATTRIBUTE.test(extension)))
    throw fail('malformed-request', 'other-error: malformed extension');
}

function unescapeName(name: string): string {
  if (!SASLNAME.test(name)) throw fail('malformed-request', 'invalid-username-encoding: bad escape or character');
  return name.replaceAll('=2C', ',').replaceAll('=3D', '=');
}

function prepareUsername(name: string): string {
  let prepared: string;
  try {
    prepared = saslprep(name, { allowUnassigned: true }); // a query string (RFC 5802 §5.1)
  } catch (cause) {
    throw fail('malformed-request', 'invalid-username-encoding: SASLprep', undefined, cause);
  }
  if (prepared === '') throw fail('malformed-request', 'invalid-username-encoding: empty');
  return prepared;
}

function decodeBase64(s: string): Buffer {
  const decoded = Buffer.from(s, 'base64');
  // The second test refuses padding bits that are not zero (RFC 4648 §3.5).
  if (!BASE64.test(s) || decoded.toString('base64') !== s) throw fail('malformed-request', 'invalid-encoding: not base 64');
  return decoded;
}

function isEqual(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
