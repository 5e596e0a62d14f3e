import { connect, type Socket } from 'node:net';
import { AdminError, type AdminErrorCode, type AdminOperations } from '../admin/operations.ts';
import { ARGUMENTS, controlSocketPath, LineSplitter, MAX_MESSAGE_BYTES, type OperationName, responseSchema } from './protocol.ts';

/** Time for one answer; a request may wait for a durable write, no longer. */
const ANSWER_TIMEOUT_MS = 15_000;
const CONNECT_TIMEOUT_MS = 2000;

/** The running instance, spoken to over its socket. */
export interface ControlClient {
  readonly admin: AdminOperations;
  close(): void;
}

/** Connects to the instance that serves `dataDir`. Undefined: none does (no socket, or one left over from a crash). */
export async function connectControl(dataDir: string): Promise<ControlClient | undefined> {
  const socket = await open(controlSocketPath(dataDir));
  return socket === undefined ? undefined : new SocketClient(socket);
}

function open(path: string): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`${path}: the instance does not answer`));
    }, CONNECT_TIMEOUT_MS);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      // No file, or a file that nobody listens on.
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') resolve(undefined);
      else if (error.code === 'EACCES')
        reject(new Error(`${path}: permission denied; run this as the user that runs the instance`));
      else reject(error);
    });
  });
}

class SocketClient implements ControlClient {
  readonly #socket: Socket;
  readonly #lines = new LineSplitter(MAX_MESSAGE_BYTES);
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void; timer: NodeJS.Timeout }>();
  #nextId = 1;
  readonly admin: AdminOperations;

  constructor(socket: Socket) {
    this.#socket = socket;
    const names = Object.keys(ARGUMENTS) as OperationName[];
    this.admin = Object.fromEntries(
      names.map((name) => [name, (argument: unknown) => this.#call(name, argument)]),
    ) as unknown as AdminOperations;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('the instance closed the control connection')));
  }

  close(): void {
    this.#socket.destroy();
  }

  #call(operation: OperationName, argument: unknown): Promise<unknown> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.#settle(id)?.reject(new Error(`the instance did not answer ${operation} in time`)),
        ANSWER_TIMEOUT_MS,
      );
      this.#waiting.set(id, { resolve, reject, timer });
      this.#socket.write(`${JSON.stringify({ id, operation, argument })}\n`);
    });
  }

  #settle(id: number) {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return undefined;
    clearTimeout(waiting.timer);
    this.#waiting.delete(id);
    return waiting;
  }

  #read(chunk: Buffer): void {
    try {
      for (const line of this.#lines.push(chunk)) {
        const response = responseSchema.parse(JSON.parse(line));
        const waiting = this.#settle(response.id);
        if ('error' in response) waiting?.reject(new AdminError(response.error.code as AdminErrorCode, response.error.message));
        else waiting?.resolve(response.result);
      }
    } catch (error) {
      this.#fail(error as Error);
      this.#socket.destroy();
    }
  }

  #fail(error: Error): void {
    for (const id of [...this.#waiting.keys()]) this.#settle(id)?.reject(error);
  }
}
