import { createHash, createHmac, createSecretKey, pbkdf2Sync } from 'node:crypto';
import {
  type AccountStore,
  type AuditEvent,
  type AuthenticatorDeps,
  Authorizer,
  decodeAccount,
  deriveScramKeys,
  encodeAccount,
  type PlatformAccount,
  PlatformAuthenticator,
  type Profile,
  profileHashes,
  type ScramHash,
  type VersionedAccount,
} from '@xmpp-grid/auth';
import { JID, type SaslExchange, SaslFailure, type SaslStep, type TlsFacts } from '@xmpp-grid/stream';

/** Accounts in a Map, written and read through the stored form. */
export class MemoryAccountStore implements AccountStore {
  readonly #records = new Map<string, { json: string; version: string }>();
  #versions = 0;
  /** Set to make every read fail. */
  failure: Error | undefined;

  async get(jid: JID): Promise<VersionedAccount | undefined> {
    if (this.failure) throw this.failure;
    const found = this.#records.get(jid.bareString);
    return found && { account: decodeAccount(found.json), version: found.version };
  }

  async put(account: PlatformAccount, expected: string | undefined): Promise<{ readonly version: string } | 'stale'> {
    const key = account.jid.bareString;
    if (this.#records.get(key)?.version !== expected) return 'stale';
    const version = `v${++this.#versions}`;
    this.#records.set(key, { json: encodeAccount(account), version });
    return { version };
  }

  async remove(jid: JID, expected: string): Promise<'removed' | 'stale'> {
    if (this.#records.get(jid.bareString)?.version !== expected) return 'stale';
    this.#records.delete(jid.bareString);
    return 'removed';
  }

  async list(): Promise<readonly VersionedAccount[]> {
    return [...this.#records.values()].map(({ json, version }) => ({ account: decodeAccount(json), version }));
  }

  async count(): Promise<number> {
    return this.#records.size;
  }
}

export const NO_TLS_EXTRAS: TlsFacts = {
  version: 'TLSv1.2',
  remoteAddress: '192.0.2.1',
  peerVerified: false,
  channelBinding: () => undefined,
};

/** A TLS 1.3 connection with these bindings. */
export function tlsWith(bindings: Readonly<Record<string, string>>, extra: Partial<TlsFacts> = {}): TlsFacts {
  return {
    version: 'TLSv1.3',
    remoteAddress: '192.0.2.1',
    peerVerified: false,
    channelBinding: (type) => (bindings[type] === undefined ? undefined : Buffer.from(bindings[type])),
    ...extra,
  };
}

export const silent = { debug() {}, info() {}, warn() {}, error() {} };

export interface Grid {
  readonly accounts: MemoryAccountStore;
  readonly authenticator: PlatformAuthenticator;
  readonly events: AuditEvent[];
  add(jid: string, password: string | undefined, change?: Partial<PlatformAccount>): Promise<PlatformAccount>;
}

export function makeGrid(profile: Profile, change: Partial<AuthenticatorDeps> = {}): Grid {
  const accounts = new MemoryAccountStore();
  const events: AuditEvent[] = [];
  const authenticator = new PlatformAuthenticator({
    accounts,
    roles: new Authorizer(),
    profile,
    domains: ['example.com'],
    secret: createSecretKey(Buffer.alloc(32, 7)),
    iterations: 4096,
    log: silent,
    audit: { record: (event) => void events.push(event) },
    now: () => Date.now(),
    ...change,
  });
  return {
    accounts,
    authenticator,
    events,
    async add(jid, password, overrides = {}) {
      const account: PlatformAccount = {
        jid: JID.parse(jid),
        role: 'platform',
        state: 'enabled',
        scram:
          password === undefined ? {} : await deriveScramKeys(password, { hashes: profileHashes(profile), iterations: 4096 }),
        certificateFingerprints: [],
        createdAtMs: 0,
        ...overrides,
      };
      await accounts.put(account, undefined);
      return account;
    },
  };
}

export interface ScramClientOptions {
  readonly hash?: ScramHash;
  /** gs2 header, `n,,` by default. */
  readonly gs2?: string;
  readonly binding?: string | Buffer;
  /** Sent as it is in the first message. */
  readonly rawName?: string;
  /** Changes the final message just before the proof is computed (without proof) or after (whole). */
  readonly alterFinal?: (message: string) => string;
  readonly alterFirst?: (message: string) => string;
}

/** A SCRAM client written from RFC 5802 §3 alone, so that it shares no code with the server under test. */
export async function scramLogin(
  exchange: SaslExchange,
  name: string,
  password: string,
  options: ScramClientOptions = {},
): Promise<{ step: Extract<SaslStep, { kind: 'success' }>; serverFirst: string }> {
  const hash = options.hash ?? 'sha256';
  const mac = (key: Buffer, text: string) => createHmac(hash, key).update(text).digest();
  const gs2 = options.gs2 ?? 'n,,';
  const bare = `n=${options.rawName ?? name.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=clientNonce`;
  const clientFirst = options.alterFirst?.(gs2 + bare) ?? gs2 + bare;
  const challenge = await exchange.step(Buffer.from(clientFirst));
  if (challenge.kind !== 'challenge') throw new Error('expected a challenge');
  const serverFirst = challenge.data.toString();
  const [, nonce, salt, rounds] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst)!;
  const salted = pbkdf2Sync(password, Buffer.from(salt!, 'base64'), Number(rounds), hash === 'sha256' ? 32 : 20, hash);
  const clientKey = mac(salted, 'Client Key');
  const cbind = Buffer.concat([Buffer.from(gs2), Buffer.from(options.binding ?? '')]).toString('base64');
  const withoutProof = `c=${cbind},r=${nonce}`;
  const authMessage = `${bare},${serverFirst},${withoutProof}`;
  const signature = mac(createHash(hash).update(clientKey).digest(), authMessage);
  const proof = Buffer.from(clientKey.map((byte, i) => byte ^ signature[i]!)).toString('base64');
  const final = `${withoutProof},p=${proof}`;
  const step = await exchange.step(Buffer.from(options.alterFinal?.(final) ?? final));
  if (step.kind !== 'success') throw new Error('expected success');
  const want = `v=${mac(mac(salted, 'Server Key'), authMessage).toString('base64')}`;
  if (step.data?.toString() !== want) throw new Error('the server did not prove itself');
  return { step, serverFirst };
}

/** The condition of the SaslFailure that an action ends in, or `accepted`. */
export async function conditionOf(act: () => unknown): Promise<string> {
  try {
    await act();
  } catch (error) {
    if (error instanceof SaslFailure) return error.condition;
    throw error;
  }
  return 'accepted';
}
