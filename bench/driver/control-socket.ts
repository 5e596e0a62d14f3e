import { connect, type Socket } from 'node:net';

/** The instance answers in milliseconds, or it hangs. */
const ANSWER_DEADLINE_MS = 30_000;

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** The control socket of a running instance: one JSON object a line, answers by id. */
export class ControlSocket {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  #text = '';
  #lastId = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#onText(text));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('the server closed its control socket')));
  }

  static open(path: string): Promise<ControlSocket> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new ControlSocket(socket));
      });
    });
  }

  /** @throws Error with the instance's message */
  call(operation: string, argument?: object): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`the server did not answer ${operation} on its control socket within ${ANSWER_DEADLINE_MS / 1000} s`));
      }, ANSWER_DEADLINE_MS);
      const settle = (then: () => void) => {
        clearTimeout(timer);
        then();
      };
      this.#waiting.set(id, {
        resolve: (result) => settle(() => resolve(result)),
        reject: (error) => settle(() => reject(error)),
      });
      this.#socket.write(`${JSON.stringify({ id, operation, ...(argument === undefined ? {} : { argument }) })}\n`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #onText(text: string): void {
    const lines = (this.#text + text).split('\n');
    this.#text = lines.pop() ?? '';
    for (const line of lines) {
      const response = JSON.parse(line) as { id: number; result?: unknown; error?: { message: string } };
      const waiting = this.#waiting.get(response.id);
      this.#waiting.delete(response.id);
      if (response.error === undefined) waiting?.resolve(response.result);
      else waiting?.reject(new Error(`the control socket answered: ${response.error.message}`));
    }
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
