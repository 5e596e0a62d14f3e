import { setTimeout as delay } from 'node:timers/promises';
import type { HeapUse } from './server.ts';

const OPEN_DEADLINE_MS = 10_000;
const SAMPLE_MICROS = 500;

/** The inspector of another Node process, opened by SIGUSR1: to collect garbage and ask what is left, and to sample where time goes. */
export class Inspector {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (result: unknown) => void>();
  #lastId = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => {
      const answer = JSON.parse(String(data)) as { id?: number; result?: unknown };
      if (answer.id === undefined) return; // a notification
      this.#waiting.get(answer.id)?.(answer.result);
      this.#waiting.delete(answer.id);
    });
  }

  /** @param log what the process has written so far; there it tells the inspector's address */
  static async open(pid: number, log: () => string): Promise<Inspector> {
    process.kill(pid, 'SIGUSR1');
    const deadline = Date.now() + OPEN_DEADLINE_MS;
    let address: string | undefined;
    while (address === undefined) {
      if (Date.now() > deadline) throw new Error('the server did not open its inspector on SIGUSR1');
      await delay(20);
      address = /Debugger listening on (ws:\S+)/.exec(log())?.[1];
    }
    const socket = new WebSocket(address);
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener('open', () => resolve(), { once: true });
      socket.addEventListener('error', () => reject(new Error(`cannot connect to ${address}`)), { once: true });
    });
    return new Inspector(socket);
  }

  /** Collects twice (finalizers of the first pass free more) and returns what the heap then holds. */
  async collectGarbage(): Promise<HeapUse> {
    await this.#call('HeapProfiler.collectGarbage');
    await this.#call('HeapProfiler.collectGarbage');
    const evaluated = (await this.#call('Runtime.evaluate', { expression: 'JSON.stringify(process.memoryUsage())' })) as {
      result: { value: string };
    };
    const { heapUsed, external, arrayBuffers } = JSON.parse(evaluated.result.value) as HeapUse;
    return { heapUsed, external, arrayBuffers };
  }

  /** Samples until the returned function is called, which resolves with the text of a `.cpuprofile`. */
  async startProfile(): Promise<() => Promise<string>> {
    await this.#call('Profiler.enable');
    await this.#call('Profiler.setSamplingInterval', { interval: SAMPLE_MICROS });
    await this.#call('Profiler.start');
    return async () => {
      const { profile } = (await this.#call('Profiler.stop')) as { profile: object };
      return JSON.stringify(profile);
    };
  }

  close(): void {
    this.#socket.close();
  }

  #call(method: string, params: object = {}): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }
}
