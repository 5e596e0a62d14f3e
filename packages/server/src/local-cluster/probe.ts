import { connect, createServer } from 'node:net';
import { HOST } from './files.ts';

/** Everything here is on this machine: what takes longer does not answer. */
const ANSWER_TIMEOUT_MS = 1_000;

/** Fields of Redis's INFO section; undefined when the server does not answer. */
export function redisInfo(port: number, section: 'replication' | 'sentinel'): Promise<ReadonlyMap<string, string> | undefined> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(port, HOST, () => socket.write(`INFO ${section}\r\nQUIT\r\n`));
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy());
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.on('error', () => undefined); // 'close' follows, and finds nothing read
    socket.on('close', () => {
      const fields = text.split('\r\n').map((line) => line.split(/:(.*)/s, 2) as [string, string]);
      resolve(text.startsWith('$') ? new Map(fields.filter(([, value]) => value !== undefined)) : undefined);
    });
  });
}

export interface Page {
  readonly status: number;
  readonly body: string;
}

/** A page of an instance or of HAProxy; undefined when it does not answer. */
export async function getPage(port: number, path: string): Promise<Page | undefined> {
  try {
    const response = await fetch(`http://${HOST}:${port}${path}`, { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
    return { status: response.status, body: await response.text() };
  } catch {
    return undefined; // refused, reset or late: it is away
  }
}

/** Sum of a metric's samples that have all these labels. */
export function sumOf(metrics: string, name: string, ...labels: readonly string[]): number {
  let sum = 0;
  for (const line of metrics.split('\n')) {
    if (!line.startsWith(`${name}{`) && !line.startsWith(`${name} `)) continue;
    if (labels.every((label) => line.includes(label))) sum += Number(line.slice(line.lastIndexOf(' ') + 1));
  }
  return sum;
}

/** Ports that are free now; all are held until all are found, so that they differ. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, () => listening(0)));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** @throws Error `EADDRINUSE` when somebody listens there */
export async function assertFree(port: number): Promise<void> {
  const server = await listening(port);
  await new Promise((resolve) => server.close(resolve));
}

function listening(port: number): Promise<ReturnType<typeof createServer>> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, HOST, () => resolve(server));
  });
}
