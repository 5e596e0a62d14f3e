import { createServer } from 'node:net';

const FIRST_PORT = 12_000;
/** Linux gives 32,768 and above to connections. */
const PORTS = 20_000;

/**
 * Ports that were free a moment ago; the same ones serve every life of the process. Below those that the system gives to
 * connections, or a client of the next test sits on one of them.
 */
export async function freePorts(count: number): Promise<number[]> {
  const found = new Set<number>();
  while (found.size < count) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    found.add(port);
  }
  return [...found];
}

export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  return port as number;
}
