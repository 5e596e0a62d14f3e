import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { SwarmAnswer, SwarmMessage, SwarmOperation, SwarmRequests } from './swarm-requests.ts';

const PROGRAM = fileURLToPath(new URL('./swarm.ts', import.meta.url));

interface Waiting {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** A swarm process, seen from the driver. Its end fails every open request. */
export class SwarmProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;

  constructor() {
    this.#child = fork(PROGRAM, [], { serialization: 'advanced', stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.#child.on('message', (message) => {
      const reply = message as SwarmAnswer;
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if ('error' in reply) waiting?.reject(new Error(reply.error));
      else waiting?.resolve(reply.answer);
    });
    this.#child.on('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`a swarm process ended (${signal ?? code})`));
      this.#waiting.clear();
    });
  }

  /** Asks and waits. @param deadlineMs rejects after this time; left out: waits without end */
  ask<Op extends SwarmOperation>(
    operation: Op,
    ask: SwarmRequests[Op]['ask'],
    deadlineMs?: number,
  ): Promise<SwarmRequests[Op]['answer']> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const settle = (then: () => void) => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        then();
      };
      if (deadlineMs !== undefined) {
        timer = setTimeout(() => settle(() => reject(new SwarmDeadline(operation, deadlineMs))), deadlineMs);
      }
      this.#waiting.set(id, {
        resolve: (answer) => settle(() => resolve(answer as SwarmRequests[Op]['answer'])),
        reject: (error) => settle(() => reject(error)),
      });
      this.#child.send({ id, operation, ask } satisfies SwarmMessage, (error) => {
        if (error !== null) this.#waiting.get(id)?.reject(error);
      });
    });
  }

  stop(): void {
    if (this.#child.connected) this.#child.disconnect();
  }
}

/** A swarm did not answer in time: for `received` this means that events are missing. */
export class SwarmDeadline extends Error {
  constructor(operation: SwarmOperation, deadlineMs: number) {
    super(`a swarm process did not finish "${operation}" within ${deadlineMs / 1000} s`);
  }
}
