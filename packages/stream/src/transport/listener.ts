import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket, type TlsOptions, type Server as TlsServer } from 'node:tls';
import type { KeyedRateLimit } from '../limits/rate-limit.ts';
import type { Logger } from '../observe/log.ts';
import { networkList, type ProxiedPeer, ProxyHeaderError, showPeer, takeProxyHeader } from './proxy-protocol.ts';

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
  /**
   * Networks (`address/bits`) of load balancers. Connections from there must begin with a PROXY header of version 2, whose
   * address counts in limits, logs and TLS facts; from elsewhere such a header is nothing but bad input. Default: none.
   */
  readonly trustedProxies?: readonly string[];
  /** How long a load balancer may take to send its header, ms. Default 3,000. */
  readonly proxyHeaderTimeoutMs?: number;
  rejected?(why: 'limit' | 'rate' | 'tls' | 'proxy_header'): void;
}

const PROXY_HEADER_TIMEOUT_MS = 3_000;
/**
 * Handshakes begun in one turn of the event loop. Each costs it a millisecond or two, for which everybody else waits: where
 * thousands come back at once, they take turns with the events of those who are there. The wait is no handshake time, or all
 * would fail together and come again.
 */
const HANDSHAKES_PER_TURN = 4;

/** What happens to a connection: exactly one of the two is called for each handshake. */
interface Handshake {
  /** The client behind a load balancer. */
  readonly peer: ProxiedPeer | undefined;
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
  readonly #isTrustedProxy: (address: string) => boolean;
  /** Clients behind a load balancer, by their connection, and the key that it had under its own addresses. */
  readonly #proxied = new WeakMap<Socket, { readonly key: string; readonly peer: ProxiedPeer }>();
  /** Handshakes that wait for their turn, oldest first; no more than connections are open. */
  readonly #toBegin: (() => void)[] = [];
  #whenIdle: (() => void)[] = [];

  /** @throws RangeError when an entry of `trustedProxies` is no network */
  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#isTrustedProxy = networkList(options.trustedProxies ?? []);
    this.#tls = createTlsServer({ ...options.tls.options(), handshakeTimeout: options.handshakeTimeoutMs });
    this.#tls.on('secureConnection', (socket) => {
      const handshake = this.#handshakes.get(connectionKey(socket));
      this.#handshakes.delete(connectionKey(socket));
      if (handshake === undefined) {
        socket.destroy();
        return;
      }
      if (handshake.peer !== undefined) showPeer(socket, handshake.peer);
      handshake.resolve(socket);
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
      if (this.#isTrustedProxy(socket.remoteAddress ?? '')) this.#admitProxied(socket, accept);
      else if (this.#admit(socket)) accept(socket);
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

  /** Reads who the client is, then treats the connection as if it had come from there. */
  #admitProxied(socket: Socket, accept: (socket: Socket) => void): void {
    const { log, maxConnections, proxyHeaderTimeoutMs = PROXY_HEADER_TIMEOUT_MS } = this.#options;
    const proxy = socket.remoteAddress;
    if (this.#sockets.size >= maxConnections) {
      this.#refuse(socket, 'limit', { remote: proxy, open: this.#sockets.size }, 'too many are open');
      return;
    }
    this.#hold(socket);
    socket.on('error', (error) => log.debug({ proxy, err: error.message }, 'socket error'));
    takeProxyHeader(socket, proxyHeaderTimeoutMs).then(
      (peer) => {
        if (socket.destroyed) return;
        if (peer !== undefined) {
          this.#proxied.set(socket, { key: connectionKey(socket), peer });
          showPeer(socket, peer);
        }
        // Without a client it is the balancer's own health check: not limited by address, or it would find us dead.
        if (peer === undefined || this.#admit(socket)) accept(socket);
      },
      (error: unknown) => {
        if (!(error instanceof ProxyHeaderError)) log.error({ err: error, proxy }, 'a PROXY header could not be read');
        this.#refuse(socket, 'proxy_header', { proxy, why: (error as Error).message }, 'no valid PROXY header came');
      },
    );
  }

  #refuse(socket: Socket, why: 'limit' | 'rate' | 'proxy_header', fields: object, text: string): void {
    this.#options.rejected?.(why);
    this.#options.log.debug(fields, `connection refused: ${text}`);
    socket.destroy();
  }

  #admit(socket: Socket): boolean {
    const address = socket.remoteAddress ?? '';
    if (this.#options.connectionRate?.allows(address, performance.now()) === false) {
      this.#refuse(socket, 'rate', { remote: address }, 'this address connects too often');
      return false;
    }
    const fromHere = this.#perAddress.get(address) ?? 0;
    const others = this.#sockets.size - (this.#sockets.has(socket) ? 1 : 0);
    if (others >= this.#options.maxConnections || fromHere >= this.#options.maxConnectionsPerAddress) {
      this.#refuse(socket, 'limit', { remote: address, open: others, fromHere }, 'too many are open');
      return false;
    }
    this.#hold(socket);
    this.#perAddress.set(address, fromHere + 1);
    socket.once('close', () => {
      const left = (this.#perAddress.get(address) ?? 1) - 1;
      if (left === 0) this.#perAddress.delete(address);
      else this.#perAddress.set(address, left);
    });
    return true;
  }

  /** Counts a connection among all that are open, once. */
  #hold(socket: Socket): void {
    if (this.#sockets.has(socket)) return;
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      if (this.#sockets.size === 0) for (const resolve of this.#whenIdle.splice(0)) resolve();
    });
  }

  /** Does the TLS handshake on a connection. Rejects when it fails, times out or the peer leaves. */
  secure(socket: Socket): Promise<TLSSocket> {
    return new Promise((resolve, reject) => {
      const proxied = this.#proxied.get(socket);
      const key = proxied?.key ?? connectionKey(socket);
      this.#handshakes.set(key, { peer: proxied?.peer, resolve, reject });
      socket.once('close', () => {
        const handshake = this.#handshakes.get(key);
        if (handshake?.reject !== reject) return;
        this.#handshakes.delete(key);
        reject(new Error('the connection ended during the handshake'));
      });
      this.#begin(() => {
        if (!socket.destroyed) this.#tls.emit('connection', socket);
      });
    });
  }

  #begin(handshake: () => void): void {
    this.#toBegin.push(handshake);
    if (this.#toBegin.length === 1) setImmediate(this.#beginSome);
  }

  readonly #beginSome = (): void => {
    for (const begin of this.#toBegin.splice(0, HANDSHAKES_PER_TURN)) begin();
    if (this.#toBegin.length > 0) setImmediate(this.#beginSome);
  };

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
