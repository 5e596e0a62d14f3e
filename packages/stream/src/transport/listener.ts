import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type TlsOptions, type Server as TlsServer } from 'node:tls';
import type { KeyedRateLimit } from '../limits/rate-limit.ts';
import type { Logger } from '../observe/log.ts';

/**
 * Accepts TCP connections and carries them over to TLS, at once (direct TLS, XEP-0368) or later (STARTTLS).
 * One `tls.Server` does every handshake, so that options, verification and reload are the same for both ways.
 */

export interface TlsSettings {
  /** Options for every handshake: certificate, versions, client verification, ALPN. */
  options(): TlsOptions;
}

export interface ListenerOptions {
  readonly tls: TlsSettings;
  readonly handshakeTimeoutMs: number;
  /** Most connections at once, all addresses together. */
  readonly maxConnections: number;
  /** Most connections at once from one address (RFC 6120 §13.12). */
  readonly maxConnectionsPerAddress: number;
  readonly log: Logger;
  /** New connections from one address over time (RFC 6120 §13.12). */
  readonly connectionRate?: KeyedRateLimit;
  rejected?(why: 'limit' | 'rate' | 'tls'): void;
}

/** What happens to a connection: exactly one of the two is called for each handshake. */
interface Handshake {
  readonly resolve: (socket: TLSSocket) => void;
  readonly reject: (error: Error) => void;
}

export class Listener {
  readonly #options: ListenerOptions;
  readonly #tls: TlsServer;
  readonly #servers: Server[] = [];
  readonly #perAddress = new Map<string, number>();
  /** Handshakes under way by the peer's address and port and ours: unique among open connections. */
  readonly #handshakes = new Map<string, Handshake>();
  readonly #sockets = new Set<Socket>();
  #whenIdle: (() => void)[] = [];

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#tls = createTlsServer({ ...options.tls.options(), handshakeTimeout: options.handshakeTimeoutMs });
    this.#tls.on('secureConnection', (socket) => {
      const handshake = this.#handshakes.get(connectionKey(socket));
      this.#handshakes.delete(connectionKey(socket));
      if (handshake === undefined) socket.destroy();
      else handshake.resolve(socket);
    });
    this.#tls.on('tlsClientError', (error, socket) => {
      const key = connectionKey(socket);
      const handshake = this.#handshakes.get(key);
      this.#handshakes.delete(key);
      handshake?.reject(error);
    });
  }

  get openConnections(): number {
    return this.#sockets.size;
  }

  /** Listens; every accepted connection within the limits goes to `accept`. Rejects when the port cannot be had. */
  async listen(port: number, host: string, accept: (socket: Socket) => void): Promise<AddressInfo> {
    const server = createTcpServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 }, (socket) => {
      if (!this.#admit(socket)) return;
      accept(socket);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ port, host, backlog: 4_096 }, () => {
        server.off('error', reject);
        server.on('error', (error) => this.#options.log.error({ err: error }, 'a listener failed; it accepts nothing more'));
        resolve();
      });
    });
    this.#servers.push(server);
    return server.address() as AddressInfo;
  }

  #admit(socket: Socket): boolean {
    const address = socket.remoteAddress ?? '';
    if (this.#options.connectionRate?.allows(address, Date.now()) === false) {
      this.#options.rejected?.('rate');
      this.#options.log.debug({ remote: address }, 'connection refused: this address connects too often');
      socket.destroy();
      return false;
    }
    const fromHere = this.#perAddress.get(address) ?? 0;
    if (this.#sockets.size >= this.#options.maxConnections || fromHere >= this.#options.maxConnectionsPerAddress) {
      this.#options.rejected?.('limit');
      this.#options.log.debug({ remote: address, open: this.#sockets.size, fromHere }, 'connection refused: too many are open');
      socket.destroy();
      return false;
    }
    this.#sockets.add(socket);
    this.#perAddress.set(address, fromHere + 1);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      if (this.#sockets.size === 0) for (const resolve of this.#whenIdle.splice(0)) resolve();
      const left = (this.#perAddress.get(address) ?? 1) - 1;
      if (left === 0) this.#perAddress.delete(address);
      else this.#perAddress.set(address, left);
    });
    return true;
  }

  /** Does the TLS handshake on a connection. Rejects when it fails, times out or the peer leaves. */
  secure(socket: Socket): Promise<TLSSocket> {
    return new Promise((resolve, reject) => {
      const key = connectionKey(socket);
      this.#handshakes.set(key, { resolve, reject });
      socket.once('close', () => {
        const handshake = this.#handshakes.get(key);
        if (handshake?.reject !== reject) return;
        this.#handshakes.delete(key);
        reject(new Error('the connection ended during the handshake'));
      });
      this.#tls.emit('connection', socket);
    });
  }

  /** Takes a new certificate or new trust anchors for handshakes from now on. Throws when they are unusable; the old ones stay. */
  reload(): void {
    this.#tls.setSecureContext(this.#options.tls.options());
  }

  /** Waits until every connection has ended; those that have not after `graceMs` are cut. */
  async idle(graceMs: number): Promise<void> {
    if (this.#sockets.size === 0) return;
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      new Promise<void>((resolve) => this.#whenIdle.push(resolve)),
      new Promise<void>((resolve) => {
        timer = setTimeout(resolve, graceMs);
      }),
    ]);
    clearTimeout(timer);
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Stops accepting; open connections stay. */
  close(): void {
    for (const server of this.#servers) server.close();
    this.#servers.length = 0;
  }
}

const connectionKey = (socket: Socket): string =>
  `${socket.remoteAddress}|${socket.remotePort}|${socket.localAddress}|${socket.localPort}`;
