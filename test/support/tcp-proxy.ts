import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';

export type Direction = 'to-server' | 'to-client';

/** A man in the middle of TCP: sees, changes, injects, holds back, delays and cuts what passes (RFC 8600 §8.2.1). */
export interface TcpProxy {
  readonly port: number;
  /** Bytes seen so far, by direction, of all connections; empty unless the proxy records. */
  readonly toServer: Buffer[];
  readonly toClient: Buffer[];
  /** Connections of clients that are open. */
  readonly openConnections: number;
  /** Looks at each chunk on its way; what it returns goes on. Connections are numbered as they come. */
  change: (chunk: Buffer, direction: Direction, connection: number) => Buffer;
  /** Where new connections go: a failover moves it. Open connections stay where they are. */
  targetPort: number;
  /** How long each chunk is held back, ms; called per chunk, so that it can be drawn at random. Order is kept. */
  delayMs: ((direction: Direction) => number) | undefined;
  /** Writes bytes of the attacker's own to the server on the newest connection. */
  inject(bytes: Buffer): void;
  /** Nothing passes any more, what comes is thrown away, and nobody is told: a half-open connection for ever. */
  blackHole(): void;
  /**
   * Nothing passes in these directions until `heal`, and nobody is told: a partition. New connections are accepted and
   * stay silent; what was sent meanwhile passes after healing, as TCP would send it again.
   */
  partition(...directions: Direction[]): void;
  heal(): void;
  /** Resets every open connection (RST) at once; new ones are let in. Returns how many. */
  cut(): number;
  close(): Promise<void>;
}

export interface TcpProxyOptions {
  /** Keeps every byte in `toServer` and `toClient`; default true, false for load. */
  readonly records?: boolean;
}

interface Flow {
  readonly from: Socket;
  readonly to: Socket;
  readonly direction: Direction;
  /** What is held back, and until when. */
  readonly waiting: { readonly act: () => void; readonly atMs: number }[];
}

export async function startTcpProxy(targetPort: number, { records = true }: TcpProxyOptions = {}): Promise<TcpProxy> {
  const flows = new Set<Flow>();
  const held = new Set<Direction>();
  let newest: Socket | undefined;
  let isHole = false;
  let connections = 0;
  const toServer: Buffer[] = [];
  const toClient: Buffer[] = [];

  const pass = (flow: Flow, chunk: Buffer) => {
    if (isHole || flow.to.destroyed) return;
    if (flow.to.write(chunk)) return;
    flow.from.pause(); // as much back-pressure as without us
    flow.to.once('drain', () => {
      if (!held.has(flow.direction)) flow.from.resume();
    });
  };
  /** Runs in turn, behind everything of this flow that is still held back. */
  const inTurn = (flow: Flow, act: () => void, delay = 0) => {
    const now = performance.now();
    const atMs = Math.max(now + delay, flow.waiting.at(-1)?.atMs ?? 0);
    if (flow.waiting.length === 0 && atMs <= now) {
      act();
      return;
    }
    flow.waiting.push({ act, atMs });
    if (flow.waiting.length === 1) later(flow);
  };
  const later = (flow: Flow) => {
    const [first] = flow.waiting;
    if (first === undefined) return;
    // One timer at a time: two of them may end in either order.
    setTimeout(
      () => {
        flow.waiting.shift();
        first.act();
        later(flow);
      },
      Math.max(0, first.atMs - performance.now()),
    );
  };
  const connect = (from: Socket, to: Socket, direction: Direction, connection: number) => {
    const flow: Flow = { from, to, direction, waiting: [] };
    flows.add(flow);
    if (held.has(direction)) from.pause();
    from.on('data', (chunk: Buffer) => {
      if (records) (direction === 'to-server' ? toServer : toClient).push(chunk);
      const changed = proxy.change(chunk, direction, connection);
      inTurn(flow, () => pass(flow, changed), proxy.delayMs?.(direction));
    });
    from.on('close', () => {
      flows.delete(flow);
      if (!isHole) inTurn(flow, () => to.destroy());
    });
    from.on('error', () => from.destroy());
  };

  const server = createServer({ noDelay: true }, (client) => {
    const upstream = createConnection({ host: '127.0.0.1', port: proxy.targetPort, noDelay: true });
    newest = upstream;
    connections++;
    connect(client, upstream, 'to-server', connections);
    connect(upstream, client, 'to-client', connections);
  });
  await new Promise<void>((resolve) => server.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 }, resolve));
  const proxy: TcpProxy = {
    port: (server.address() as AddressInfo).port,
    toServer,
    toClient,
    get openConnections() {
      return flows.size / 2;
    },
    change: (chunk) => chunk,
    targetPort,
    delayMs: undefined,
    inject: (bytes) => newest?.write(bytes),
    blackHole: () => {
      isHole = true;
    },
    partition(...directions) {
      for (const direction of directions) held.add(direction);
      for (const { from, direction } of flows) if (held.has(direction)) from.pause();
    },
    heal() {
      held.clear();
      for (const { from } of flows) from.resume();
    },
    cut() {
      const clients = [...flows].filter(({ direction }) => direction === 'to-server');
      for (const { from, to } of clients) {
        from.resetAndDestroy();
        to.resetAndDestroy();
      }
      return clients.length;
    },
    async close() {
      for (const { from, to } of flows) {
        from.destroy();
        to.destroy();
      }
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}
