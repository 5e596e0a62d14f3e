/**
 * The TLS settings of the front door, and what a finished handshake proves (RFC 6120 §13.7, RFC 7590, RFC 9325; channel
 * bindings RFC 5929, RFC 9266; extended master secret RFC 7627).
 */
import { constants, createHash } from 'node:crypto';
import { createSecureContext, type TLSSocket, type TlsOptions } from 'node:tls';
import type { TlsFacts } from '@xmpp-grid/stream';
import { children, contextTag, DerError, readDer, readIntegerHex, sequence } from './der.ts';
import { readCertificate } from './identity.ts';

export interface TlsCredentialsPem {
  /** PEM: the server's certificate, then intermediates. */
  readonly certificate: string | Buffer;
  /** PEM, without passphrase. */
  readonly key: string | Buffer;
  /** PEM: trust anchors for client certificates. Absent: no client is asked for a certificate. */
  readonly clientCa?: string | Buffer;
}

/** Ephemeral keys and authenticated encryption only (RFC 9325 §4.2); the names of TLS 1.3 first. */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** XEP-0368: what a client may offer on direct TLS. */
const ALPN = 'xmpp-client';

/** The credentials in use, exchanged whole by `reload`. */
/** Longer than any handshake may take. */
const SETTLED_MS = 600_000;

export class TlsContext {
  #options: TlsOptions;
  /** When the credentials changed; those of the start count as settled. */
  #changedMs = Number.NEGATIVE_INFINITY;
  /** The end-point binding of the certificate seen last: every handshake between two reloads has the same. */
  #endPoint: { readonly certificate: Buffer; readonly hash: Buffer | undefined } | undefined;

  /** @throws Error when the credentials are unusable or do not belong together */
  constructor(credentials: TlsCredentialsPem) {
    this.#options = usableOptions(credentials);
  }

  /**
   * Options for `tls.createServer`, `server.setSecureContext` and server-side `TLSSocket`s.
   *
   * TLS 1.2 and 1.3; no renegotiation; no compression; no 0-RTT (Node offers none). A client that offers ALPN must offer
   * `xmpp-client`, else it gets no_application_protocol (RFC 7301 §3.2); one without ALPN is welcome. Client
   * certificates are asked for and verified but never required: SCRAM is for those who have none. Where they are asked
   * for, sessions are not resumed: a resumed one would carry the certificate past a revocation.
   */
  options(): TlsOptions {
    return this.#options;
  }

  /**
   * Takes new credentials for what `options` gives from now on. Client certificates asked for or not at the start stays
   * so: a `tls.Server` cannot change that.
   *
   * @throws Error when they are unusable; the old ones stay
   */
  reload(credentials: TlsCredentialsPem): void {
    const options = usableOptions(credentials);
    if (options.requestCert !== this.#options.requestCert) {
      throw new Error('whether client certificates are asked for cannot change without a restart');
    }
    this.#options = options;
    this.#changedMs = performance.now();
  }

  /**
   * Gathers what the handshake of a server-side socket proved. To be called once, when it has finished; never throws. A
   * socket that has ended meanwhile proves nothing. Where TLS 1.2 came about without extended master secret there are no channel bindings at all (RFC 7677 §4).
   */
  facts(socket: TLSSocket): TlsFacts {
    const bindings = this.#bindings(socket);
    const peer = socket.destroyed ? undefined : socket.getPeerX509Certificate();
    const verifyError: unknown = socket.authorizationError;
    return {
      version: socket.getProtocol() ?? 'unknown',
      remoteAddress: socket.remoteAddress ?? 'unknown',
      peerVerified: peer !== undefined && socket.authorized,
      ...(peer && { peerCertificate: Buffer.from(peer.raw) }),
      // Node puts the code of OpenSSL's verdict here, whatever its types say.
      ...(peer && verifyError ? { peerVerifyError: String(verifyError) } : {}),
      channelBinding: (type) => bindings.get(type),
    };
  }

  #bindings(socket: TLSSocket): ReadonlyMap<string, Buffer> {
    const bindings = new Map<string, Buffer>();
    if (socket.destroyed) return bindings;
    const isTls13 = socket.getProtocol() === 'TLSv1.3';
    if (!isTls13 && !usedExtendedMasterSecret(socket)) return bindings;
    // RFC 9266 §2; the context is always the empty one, which in TLS 1.2 differs from none (RFC 5705 §4).
    bindings.set('tls-exporter', socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0)));
    if (!isTls13) {
      // RFC 5929 §3.1: the first Finished of the handshake, the client's unless the session was resumed.
      const finished = socket.isSessionReused() ? socket.getFinished() : socket.getPeerFinished();
      if (finished) bindings.set('tls-unique', finished);
    }
    const endPoint = this.#endPointBinding(socket);
    if (endPoint) bindings.set('tls-server-end-point', endPoint);
    return bindings;
  }

  /**
   * Of the socket's own certificate, which within a handshake's time after a reload need not be the current one. Asking
   * the socket costs a tenth of a login (bench/ scenario `login`), so only then it is asked.
   */
  #endPointBinding(socket: TLSSocket): Buffer | undefined {
    const isSettled = performance.now() - this.#changedMs > SETTLED_MS;
    if (isSettled && this.#endPoint) return this.#endPoint.hash;
    const certificate = socket.getX509Certificate()?.raw;
    if (!certificate) return undefined;
    if (!this.#endPoint?.certificate.equals(certificate)) {
      this.#endPoint = { certificate: Buffer.from(certificate), hash: endPointBinding(certificate) };
    }
    return this.#endPoint.hash;
  }
}

/** RFC 5929 §4.1. Undefined where the RFC leaves it undefined, and for a certificate that cannot be read. */
export function endPointBinding(certificate: Buffer): Buffer | undefined {
  try {
    const hash = readCertificate(certificate).endPointHash;
    return hash === undefined ? undefined : createHash(hash).update(certificate).digest();
  } catch (error) {
    if (error instanceof DerError) return undefined; // OpenSSL took it for our own; the other binding types remain
    throw error;
  }
}

/** The lowest bit of field [13], flags, of OpenSSL's SSL_SESSION: SSL_SESS_FLAG_EXTMS. */
function usedExtendedMasterSecret(socket: TLSSocket): boolean {
  const session = socket.getSession();
  if (!session) return false;
  try {
    const flags = sequence(readDer(session), 'session').find(({ tag }) => tag === contextTag(13, true));
    return flags !== undefined && (Number.parseInt(readIntegerHex(children(flags)[0]).slice(-2), 16) & 1) === 1;
  } catch (error) {
    if (error instanceof DerError) return false; // another OpenSSL: not known to be safe, so no channel binding
    throw error;
  }
}

function usableOptions({ certificate, key, clientCa }: TlsCredentialsPem): TlsOptions {
  const noTickets = clientCa === undefined ? 0 : constants.SSL_OP_NO_TICKET;
  const options: TlsOptions = {
    cert: certificate,
    key,
    minVersion: 'TLSv1.2',
    maxVersion: 'TLSv1.3',
    ciphers: CIPHERS,
    honorCipherOrder: true,
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION | noTickets,
    ALPNProtocols: [ALPN],
    requestCert: clientCa !== undefined,
    rejectUnauthorized: false,
    ...(clientCa === undefined ? {} : { ca: clientCa }),
  };
  createSecureContext(options); // throws what is wrong with the credentials before anybody depends on them
  return options;
}
