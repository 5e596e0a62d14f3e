/**
 * Logs Platforms in: SASL EXTERNAL by client certificate and SCRAM by password (RFC 6120 §6, RFC 8600 §3).
 *
 * What is checked, in which order, and what a stranger can learn from the answers: `PlatformAuthenticator`.
 */
import type { KeyObject } from 'node:crypto';
import {
  type AuthenticatedAccount,
  type Authenticator,
  JID,
  type Logger,
  type SaslExchange,
  SaslFailure,
  type SaslStep,
  StanzaError,
  type TlsFacts,
} from '@xmpp-grid/stream';
import type { AuditSink } from './audit/audit-log.ts';
import type { PlatformAccount } from './platforms/account.ts';
import type { AccountStore } from './platforms/account-store.ts';
import { credentialOf, type Standing, standingOf } from './platforms/standing.ts';
import type { Authorizer } from './roles/authorizer.ts';
import { availableBindings } from './sasl/channel-binding.ts';
import { decideExternal, identitiesOf } from './sasl/external.ts';
import { offeredMechanisms, type Profile, SCRAM_MECHANISMS, type ScramMechanism } from './sasl/mechanism.ts';
import { fakeScramKeys, randomNonce, type ScramKeys, ScramServer } from './sasl/scram.ts';
import { DerError } from './x509/der.ts';
import { type CertificateIdentity, mayAuthenticateClients, readCertificate } from './x509/identity.ts';

export interface AuthenticatorDeps {
  readonly accounts: AccountStore;
  readonly roles: Authorizer;
  readonly profile: Profile;
  /** Domains whose accounts may log in, prepared. */
  readonly domains: readonly string[];
  /** Same on every instance and over restarts, at least 32 random bytes: salts of unknown accounts come from it. */
  readonly secret: KeyObject;
  /** Rounds told for unknown accounts: the ones with which accounts are made. */
  readonly iterations: number;
  /** Only certificates whose fingerprint stands in the account may log in, also where the account lists none. */
  readonly requireFingerprint?: boolean;
  readonly log: Logger;
  readonly audit: AuditSink;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Server's part of the SCRAM nonce; random unless a test says otherwise. */
  readonly nonce?: () => string;
}

/** The certificate of a stream, when it can log somebody in. */
interface ProvedCertificate {
  readonly identity: CertificateIdentity;
  readonly jids: readonly JID[];
}

/**
 * The only way into the grid.
 *
 * A stranger learns nothing about accounts: unknown names and wrong passwords take the same steps and end in the same
 * `not-authorized`; that an account is disabled, or an authzid not its own, is told to whoever proved its credential.
 * Every refusal goes to the audit sink with its reason. Keeping count of retries is the stream's business.
 */
export class PlatformAuthenticator implements Authenticator {
  readonly #deps: AuthenticatorDeps;
  /** Certificates read so far, by the stream that sent them. */
  readonly #certificates = new WeakMap<TlsFacts, CertificateIdentity | 'unusable'>();

  constructor(deps: AuthenticatorDeps) {
    if (deps.secret.symmetricKeySize! < 32) throw new RangeError('the authentication secret needs at least 32 bytes');
    this.#deps = deps;
  }

  mechanisms(domain: string, tls: TlsFacts): readonly string[] {
    if (!this.#deps.domains.includes(domain)) return [];
    return offeredMechanisms({
      profile: this.#deps.profile,
      external: this.#provedCertificate(domain, tls) !== undefined,
      plus: availableBindings(tls).length > 0,
    });
  }

  channelBindingTypes(domain: string, tls: TlsFacts): readonly string[] {
    return this.#deps.domains.includes(domain) ? availableBindings(tls) : [];
  }

  begin(mechanism: string, domain: string, tls: TlsFacts): SaslExchange {
    if (!this.mechanisms(domain, tls).includes(mechanism)) {
      throw new SaslFailure('invalid-mechanism', { why: `${JSON.stringify(mechanism.slice(0, 40))} is not offered` });
    }
    const attempt = new Attempt(this.#deps, mechanism, tls);
    const scram = SCRAM_MECHANISMS.find(({ name }) => name === mechanism);
    const steps = scram
      ? scramSteps(this.#deps, scram, domain, tls, attempt)
      : externalSteps(this.#deps, this.#provedCertificate(domain, tls)!, attempt);
    return new GuardedExchange(steps, attempt);
  }

  /**
   * Reads the account again of somebody who was let in, and says whether that would be done today: after bind, so that no
   * change slips through between login and session (delivery.md §2.6), and when something changed. Rejects when the store fails.
   */
  async standing(who: AuthenticatedAccount): Promise<Standing> {
    return standingOf((await this.#deps.accounts.get(who.account))?.account, who, this.#deps.requireFingerprint);
  }

  /** EXTERNAL is offered only to whom it can let in (RFC 6120 §6.3.4, XEP-0178 §2 (9)). */
  #provedCertificate(domain: string, tls: TlsFacts): ProvedCertificate | undefined {
    if (!tls.peerVerified || !tls.peerCertificate) return undefined;
    let identity = this.#certificates.get(tls);
    if (identity === undefined) {
      identity = this.#readCertificate(tls, tls.peerCertificate);
      this.#certificates.set(tls, identity);
    }
    if (identity === 'unusable') return undefined;
    const now = this.#deps.now();
    if (now < identity.notBeforeMs || now > identity.notAfterMs) return undefined;
    const jids = identitiesOf(identity.xmppAddrs, domain);
    return jids.length === 0 ? undefined : { identity, jids };
  }

  #readCertificate(tls: TlsFacts, der: Buffer): CertificateIdentity | 'unusable' {
    const { log } = this.#deps;
    try {
      const identity = readCertificate(der);
      if (mayAuthenticateClients(identity)) return identity;
      log.warn(
        { remoteAddress: tls.remoteAddress, fingerprint: identity.fingerprint },
        'client certificate is not for clientAuth: EXTERNAL not offered',
      );
    } catch (error) {
      if (!(error instanceof DerError)) throw error;
      log.warn({ remoteAddress: tls.remoteAddress, err: error }, 'client certificate cannot be read: EXTERNAL not offered');
    }
    return 'unusable';
  }
}

/** What is known of one attempt, for audit and log. */
class Attempt {
  readonly #deps: AuthenticatorDeps;
  readonly #mechanism: string;
  readonly #tls: TlsFacts;
  /** Whom the client says it is, once it has. */
  account: JID | undefined;

  constructor(deps: AuthenticatorDeps, mechanism: string, tls: TlsFacts) {
    this.#deps = deps;
    this.#mechanism = mechanism;
    this.#tls = tls;
  }

  /** Reads an account; a store that fails is a failure of ours (RFC 6120 §6.5.11). */
  async find(jid: JID): Promise<PlatformAccount | undefined> {
    try {
      return (await this.#deps.accounts.get(jid))?.account;
    } catch (cause) {
      throw new SaslFailure('temporary-auth-failure', { why: 'the account store failed', cause });
    }
  }

  /** Last checks on an account whose credential is proved. */
  admit(account: PlatformAccount, proved: { keys: ScramKeys } | { certificate: CertificateIdentity }): AuthenticatedAccount {
    const certificate = 'certificate' in proved ? proved.certificate : undefined;
    if (account.state === 'disabled') throw new SaslFailure('account-disabled', { why: 'the account is disabled' });
    const limits = this.#deps.roles.limits(account.role);
    if (!limits)
      throw new SaslFailure('not-authorized', { why: `the account's role ${JSON.stringify(account.role)} does not exist` });
    this.#deps.audit.record({
      kind: 'login',
      account: account.jid.bareString,
      mechanism: this.#mechanism,
      role: account.role,
      remoteAddress: this.#tls.remoteAddress,
      ...(certificate && { certificateFingerprint: certificate.fingerprint }),
    });
    return {
      account: account.jid,
      role: account.role,
      mechanism: this.#mechanism,
      limits,
      ...('keys' in proved && { credential: credentialOf(proved.keys) }),
      ...(certificate && { certificateFingerprint: certificate.fingerprint, certificateNotAfterMs: certificate.notAfterMs }),
    };
  }

  refused(failure: SaslFailure): void {
    const fields = {
      account: this.account?.bareString,
      mechanism: this.#mechanism,
      condition: failure.condition,
      why: failure.why ?? failure.condition,
      remoteAddress: this.#tls.remoteAddress,
    };
    this.#deps.audit.record({ kind: 'login-refused', ...fields });
    this.#deps.log.info(failure.cause === undefined ? fields : { ...fields, err: failure.cause }, 'login refused');
  }
}

type Step = (data: Buffer) => Promise<SaslStep & { readonly next?: Step }>;

/**
 * Runs the steps of a mechanism. Adds what all share: the empty challenge for a missing initial response (RFC 4422 §3.2;
 * both mechanisms are client-first), an end after success or failure, and the record of a refusal.
 */
class GuardedExchange implements SaslExchange {
  readonly #attempt: Attempt;
  #next: Step | undefined;
  #isFirst = true;

  constructor(first: Step, attempt: Attempt) {
    this.#next = first;
    this.#attempt = attempt;
  }

  async step(data: Buffer | undefined): Promise<SaslStep> {
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    if (isFirst && data === undefined) return { kind: 'challenge', data: Buffer.alloc(0) };
    const step = this.#next;
    this.#next = undefined;
    try {
      if (!step) throw new SaslFailure('malformed-request', { why: 'data after the end of the exchange' });
      const { next, ...answer } = await step(data ?? Buffer.alloc(0));
      this.#next = next;
      return answer;
    } catch (error) {
      if (error instanceof SaslFailure) this.#attempt.refused(error);
      throw error;
    }
  }
}

function scramSteps(deps: AuthenticatorDeps, mechanism: ScramMechanism, domain: string, tls: TlsFacts, attempt: Attempt): Step {
  const server = new ScramServer({
    hash: mechanism.hash,
    plus: mechanism.plus,
    bindingTypes: availableBindings(tls),
    channelBinding: (type) => tls.channelBinding(type),
    acceptsFlagY: deps.profile === 'compat',
    nonce: deps.nonce ?? randomNonce,
  });
  return async (first) => {
    const { username, authzid, flag } = server.clientFirst(first);
    const jid = accountJid(username, domain);
    attempt.account = jid;
    if (flag.kind === 'y' && availableBindings(tls).length > 0) {
      deps.log.warn(
        { account: jid?.bareString, mechanism: mechanism.name, remoteAddress: tls.remoteAddress },
        'client saw no usable -PLUS mechanism (flag y): let in by profile compat; update the client, or someone altered the offer',
      );
    }
    const account = jid && (await attempt.find(jid));
    // Computed for known and unknown names alike, so that the time tells nothing.
    const fake = fakeScramKeys(deps.secret, mechanism.hash, jid?.bareString ?? `${username}@${domain}`, deps.iterations);
    const keys = account?.scram[mechanism.hash];
    const challenge = server.serverFirst(keys ?? fake);

    const last: Step = async (final) => {
      const serverFinal = server.clientFinal(final);
      if (!account || !keys) throw new SaslFailure('not-authorized', { why: 'no such account, or no key for this mechanism' });
      checkAuthzid(authzid, account.jid); // RFC 5802 §5: after the proof
      return { kind: 'success', data: Buffer.from(serverFinal), who: attempt.admit(account, { keys }) };
    };
    return { kind: 'challenge', data: Buffer.from(challenge), next: last };
  };
}

/** The account of a SASL user name: its localpart by RFC 7622 at the stream's domain. Undefined when there can be none. */
function accountJid(username: string, domain: string): JID | undefined {
  try {
    return JID.of(username, domain);
  } catch (error) {
    if (error instanceof StanzaError) return undefined; // jid-malformed: an unknown account like any other
    throw error;
  }
}

/** A user may act as itself only (RFC 6120 §6.3.8); an empty authzid does not pass SCRAM's grammar. */
function checkAuthzid(authzid: string | undefined, account: JID): void {
  if (authzid === undefined) return;
  let wanted: JID | undefined;
  try {
    wanted = JID.parse(authzid);
  } catch (error) {
    if (!(error instanceof StanzaError)) throw error;
  }
  if (!wanted?.equals(account))
    throw new SaslFailure('invalid-authzid', { why: 'the authorization identity is not the account' });
}

function externalSteps(deps: AuthenticatorDeps, proved: ProvedCertificate, attempt: Attempt): Step {
  return async (data) => {
    const jid = decideExternal(proved.jids, data);
    attempt.account = jid;
    const account = await attempt.find(jid);
    if (!account) throw new SaslFailure('not-authorized', { why: 'no such account' }); // XEP-0178 §2 (11)
    const bound = account.certificateFingerprints;
    if ((bound.length > 0 || deps.requireFingerprint) && !bound.includes(proved.identity.fingerprint)) {
      throw new SaslFailure('not-authorized', {
        why: `the account is bound to other certificates than ${proved.identity.fingerprint}`,
      });
    }
    return { kind: 'success', who: attempt.admit(account, { certificate: proved.identity }) };
  };
}
