import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { CalibrationAnswer, CalibrationMessage } from './calibrate.ts';
import type { Issued } from './certificates.ts';

const PROGRAM = fileURLToPath(new URL('./calibrate.ts', import.meta.url));

/** The calibration process, seen from the driver: one request at a time. */
export class Calibrator {
  readonly #child: ChildProcess;
  readonly pid: number;

  constructor() {
    this.#child = fork(PROGRAM, [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    if (this.#child.pid === undefined) throw new Error('the calibration process did not start');
    this.pid = this.#child.pid;
  }

  /** Returns the port, on 127.0.0.1, direct TLS. @param clientCa asks each client for a certificate of this authority */
  async listen(identity: Issued, clientCa?: string): Promise<number> {
    const { cert, key } = identity;
    const answer = await this.#ask({ operation: 'listen', cert, key, ...(clientCa === undefined ? {} : { clientCa }) });
    if (!('port' in answer)) throw new Error('the calibration process did not tell its port');
    return answer.port;
  }

  /** Waits until so many clients have connected. */
  async gather(sockets: number): Promise<void> {
    await this.#ask({ operation: 'gather', sockets });
  }

  /** Returns the number of sockets written to. */
  async broadcast(before: string, after: string, burst: number): Promise<number> {
    const answer = await this.#ask({ operation: 'broadcast', before, after, burst });
    if (!('sockets' in answer)) throw new Error('the calibration process did not broadcast');
    return answer.sockets;
  }

  stop(): void {
    if (this.#child.connected) this.#child.disconnect();
  }

  #ask(message: CalibrationMessage): Promise<CalibrationAnswer> {
    return new Promise((resolve, reject) => {
      const onExit = () => reject(new Error('the calibration process ended'));
      this.#child.once('exit', onExit);
      this.#child.once('message', (answer) => {
        this.#child.off('exit', onExit);
        resolve(answer as CalibrationAnswer);
      });
      this.#child.send(message);
    });
  }
}
