import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';

/** A man in the middle of TCP: sees, changes, injects, holds back and cuts what passes (RFC 8600 §8.2.1). */
export interface TcpProxy {
  readonly port: number;
  /** Bytes seen so far, by direction, of all connections. */
  readonly toServer: Buffer[];
  readonly toClient: Buffer[];
  /** Looks at each chunk on its way; what it returns goes on. */
  change: (chunk: Buffer, direction: 'to-server' | 'to-client') => Buffer;
  /** Writes bytes of the attacker's own to the server on the newest connection. */
  inject(bytes: Buffer): void;
  /** Nothing passes any more, and nobody is told: a half-open connection. */
  blackHole(): void;
  close(): Promise<void>;
}

export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let newest: Socket | undefined;
  let isHole = false;
  const toServer: Buffer[] = [];
  const toClient: Buffer[] = [];
  const server = createServer((client) => {
    const upstream = createConnection({ host: '127.0.0.1', port: targetPort });
    newest = upstream;
    for (const [from, to, seen, direction] of [
      [client, upstream, toServer, 'to-server'],
      [upstream, client, toClient, 'to-client'],
    ] as const) {
      sockets.add(from);
      from.on('data', (chunk) => {
        seen.push(chunk);
        if (!isHole) to.write(proxy.change(chunk, direction));
      });
      from.on('close', () => {
        sockets.delete(from);
        if (!isHole) to.destroy();
      });
      from.on('error', () => from.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const proxy: TcpProxy = {
    port: (server.address() as AddressInfo).port,
    toServer,
    toClient,
    change: (chunk) => chunk,
    inject: (bytes) => newest?.write(bytes),
    blackHole: () => {
      isHole = true;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}
