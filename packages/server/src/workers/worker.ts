import cluster from 'node:cluster';
import { explain } from '../cli/failure.ts';
import type { Config } from '../config.ts';
import { startInstance } from '../instance.ts';
import { type RunningProgram, startProgram } from '../main.ts';
import { createLogger, type ProgramLogger } from '../observe/log.ts';
import { BEAT_MS, type FromWorker, type ToWorker } from './messages.ts';

/**
 * Runs one worker of `serve --workers`: a whole instance whose listeners are shared with the other workers, and whose probes and
 * metrics the parent serves. Resolves with its exit code when it has drained, or could not start; why, it tells the parent. It dies
 * with its parent: nothing could reach it then.
 */
export async function runWorker(number: number): Promise<number> {
  const config = await configOfParent();
  const log = withWorker(createLogger(config.log), number);
  let program: RunningProgram | undefined;
  const beat = () => {
    if (program === undefined) send({ kind: 'beat', state: 'starting', ready: { ok: false, reasons: ['starting'] } });
    else send({ kind: 'beat', state: program.state(), ready: program.probes.ready() });
  };
  beat();
  const timer = setInterval(beat, BEAT_MS);
  try {
    program = await startProgram(config, startInstance, log);
    const { registry, addresses } = program;
    registry.setDefaultLabels({ worker: String(number) });
    process.on('message', (message: ToWorker) => {
      if (message.kind !== 'scrape') return;
      registry.metrics().then(
        (text) => send({ kind: 'metrics', id: message.id, text }),
        (error: unknown) => log.error({ err: error }, 'the metrics cannot be read'), // the scrape goes on without this worker
      );
    });
    send({ kind: 'serving', addresses });
    beat();
    await stopSignal();
    log.info({}, 'draining');
    const stopped = program.stop();
    beat();
    await stopped;
    log.info({}, 'stopped');
    return 0;
  } catch (error) {
    const failure = explain(error);
    send({ kind: 'failed', ...failure });
    return failure.exitCode;
  } finally {
    clearInterval(timer);
    cluster.worker?.disconnect();
  }
}

function configOfParent(): Promise<Config> {
  return new Promise((resolve) => {
    process.on('message', (message: ToWorker) => {
      if (message.kind === 'run') resolve(message.config);
    });
    send({ kind: 'hello' });
  });
}

function send(message: FromWorker): void {
  // The parent may be gone already; then this process is about to end.
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
}

/** Signals after the first change nothing: a terminal and a service manager send theirs to parent and workers alike. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => resolve());
  });
}

function withWorker(log: ProgramLogger, worker: number): ProgramLogger {
  return {
    debug: (fields, message) => log.debug({ worker, ...fields }, message),
    info: (fields, message) => log.info({ worker, ...fields }, message),
    warn: (fields, message) => log.warn({ worker, ...fields }, message),
    error: (fields, message) => log.error({ worker, ...fields }, message),
  };
}
