import { chmodSync, unlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { type Logger, StoreUnavailable } from '@xmpp-grid/stream';
import { AdminError, type AdminOperations } from '../admin/operations.ts';
import {
  ARGUMENTS,
  type ControlResponse,
  controlSocketPath,
  IDLE_TIMEOUT_MS,
  LineSplitter,
  MAX_CONNECTIONS,
  MAX_REQUEST_BYTES,
  requestSchema,
} from './protocol.ts';

export interface ControlServer {
  close(): Promise<void>;
}

/**
 * Serves `admin` on `control.sock` in the data directory, mode 0600: whoever may read the store may command the instance.
 * The caller holds the store's claim, so a socket file that is there already is left over from a crash.
 *
 * @throws Error of `listen`, such as `ENAMETOOLONG`-like failures for a path over 107 bytes
 */
export async function serveControl(dataDir: string, admin: AdminOperations, log: Logger): Promise<ControlServer> {
  const path = controlSocketPath(dataDir);
  if (Buffer.byteLength(path) > 103) {
    throw new Error(`${path}: a Unix socket path may have 103 bytes; choose a shorter dataDir`); // sun_path, least of the systems
  }
  unlinkIfThere(path);
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    connections.add(socket);
    socket.on('close', () => connections.delete(socket));
    serveConnection(socket, admin, log);
  });
  server.maxConnections = MAX_CONNECTIONS;
  await listen(server, path);
  return {
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of connections) socket.destroy();
      await closed;
    },
  };
}

async function listen(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // The directory is 0700 already; the umask closes the moment between bind and chmod as well.
    const umask = process.umask(0o177);
    // Exclusive: workers of one parent share what they listen on otherwise, and this socket is each one's own.
    server.listen({ path, exclusive: true }, () => {
      server.off('error', reject);
      resolve();
    });
    process.umask(umask);
  });
  chmodSync(path, 0o600);
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

function serveConnection(socket: Socket, admin: AdminOperations, log: Logger): void {
  const lines = new LineSplitter(MAX_REQUEST_BYTES);
  let work: Promise<void> = Promise.resolve();
  const fail = (message: string) => socket.end(`${JSON.stringify({ id: 0, error: { code: 'bad-request', message } })}\n`);
  socket.setTimeout(IDLE_TIMEOUT_MS, () => socket.destroy());
  socket.on('error', (error) => log.debug({ err: error.message }, 'control connection failed'));
  socket.on('data', (chunk: Buffer) => {
    let complete: string[];
    try {
      complete = lines.push(chunk);
    } catch (error) {
      socket.pause();
      fail((error as Error).message);
      return;
    }
    if (complete.length === 0) return;
    // One at a time: what is read while a request runs is bounded by the socket's buffer.
    socket.pause();
    work = work.then(async () => {
      for (const line of complete) {
        const response = await answer(line, admin, log);
        if (!socket.writable) return;
        socket.write(`${JSON.stringify(response)}\n`);
      }
      socket.resume();
    });
  });
}

async function answer(line: string, admin: AdminOperations, log: Logger): Promise<ControlResponse> {
  let id = 0;
  try {
    const request = requestSchema.parse(JSON.parse(line));
    id = request.id;
    const argument = ARGUMENTS[request.operation].parse(request.argument);
    const perform = admin[request.operation] as (argument: unknown) => Promise<unknown>;
    return { id, result: await perform.call(admin, argument) };
  } catch (error) {
    if (error instanceof AdminError) return { id, error: { code: error.code, message: error.message } };
    if (error instanceof StoreUnavailable) {
      log.warn({ err: error }, 'control request failed: the store cannot be reached');
      return { id, error: { code: 'store-unavailable', message: error.text ?? error.message } };
    }
    if (error instanceof SyntaxError || (error as Error).name === 'ZodError' || (error as Error).name === '$ZodError') {
      return { id, error: { code: 'bad-request', message: 'the request is malformed; are both sides of the same version?' } };
    }
    log.error({ err: error }, 'control request failed'); // a bug, or the embedded store fails
    return { id, error: { code: 'internal', message: (error as Error).message } };
  }
}
