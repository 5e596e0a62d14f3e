/** Several instances in one start: what their parent says for all of them, and when it starts one again. */
import { type ChildProcess, spawn } from 'node:child_process';
import { loadConfig } from '@xmpp-grid/server';
import { afterEach, describe, expect, it } from 'vitest';
import type { Verdict } from '../../../packages/server/src/health.ts';
import {
  type Exit,
  RESTART_POLICY,
  RestartingProcess,
  restartDelayMs,
} from '../../../packages/server/src/supervise/restarting-process.ts';
import { mergeMetrics } from '../../../packages/server/src/workers/merge-metrics.ts';
import { probesOfAll, workerConfig } from '../../../packages/server/src/workers/parent.ts';
import { xmppGrid } from '../../support/xmpp-grid.ts';

describe('starting again', () => {
  it('waits twice as long after each short life, and never longer than its bound', () => {
    const delays = [0, 1, 2, 5, 6, 1_000].map((failures) => restartDelayMs(RESTART_POLICY, failures));
    expect(delays).toEqual([500, 1_000, 2_000, 16_000, 30_000, 30_000]);
  });

  const processes: RestartingProcess[] = [];
  afterEach(async () => {
    for (const process of processes.splice(0)) await process.stop('SIGKILL', 0);
  });

  /** Runs `script` again and again; `exits` resolves with the first ends and the waits behind them. */
  function restarting(script: string, settledMs: number, count: number) {
    const seen: { exit: Exit; retryInMs: number }[] = [];
    let children = 0;
    let resolve: (ends: typeof seen) => void;
    const exits = new Promise<typeof seen>((done) => {
      resolve = done;
    });
    const restarting = new RestartingProcess({
      launch(): ChildProcess {
        children++;
        return spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
      },
      died(exit, retryInMs) {
        seen.push({ exit, retryInMs });
        if (seen.length === count) resolve(seen);
      },
      policy: { firstDelayMs: 1, maxDelayMs: 4, settledMs },
    });
    processes.push(restarting);
    restarting.start();
    return { restarting, exits, children: () => children };
  }

  it('happens after each end, with growing waits while lives are short', async () => {
    const { exits, restarting: each } = restarting('process.exit(3)', 60_000, 4);
    expect((await exits).map(({ exit, retryInMs }) => [exit.code, retryInMs])).toEqual([
      [3, 1],
      [3, 2],
      [3, 4],
      [3, 4],
    ]);
    expect(each.restarts).toBe(3);
  });

  it('begins with the short wait after a life that was long enough', async () => {
    const { exits } = restarting('process.exit(0)', 0, 3);
    expect((await exits).map(({ retryInMs }) => retryInMs)).toEqual([1, 1, 1]);
  });

  it('does not happen after stop, which kills what ignores its signal', async () => {
    const { restarting: stubborn, children } = restarting("process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)", 0, 1);
    const child = stubborn.child;
    await stubborn.stop('SIGTERM', 10);
    expect([child?.signalCode !== null, stubborn.child, children()]).toEqual([true, undefined, 1]);
  });

  it('counts a program that is not there as an end', async () => {
    const ended = await new Promise<Exit>((resolve) => {
      const missing = new RestartingProcess({ launch: () => spawn('/nonexistent/program'), died: resolve });
      processes.push(missing);
      missing.start();
    });
    expect(ended.code).toBe(127);
  });
});

describe('the metrics of several', () => {
  it('have each HELP and TYPE once, and all samples behind it', () => {
    const page = (worker: string) =>
      [
        '# HELP a_total First',
        '# TYPE a_total counter',
        `a_total{worker="${worker}"} 1`,
        '',
        '# HELP b Second # HELP not a head',
        '# TYPE b histogram',
        `b_bucket{le="1",worker="${worker}"} 2`,
        `b_sum{worker="${worker}"} 3`,
        '',
      ].join('\n');
    expect(mergeMetrics([page('1'), '', page('2')])).toBe(
      [
        '# HELP a_total First',
        '# TYPE a_total counter',
        'a_total{worker="1"} 1',
        'a_total{worker="2"} 1',
        '',
        '# HELP b Second # HELP not a head',
        '# TYPE b histogram',
        'b_bucket{le="1",worker="1"} 2',
        'b_sum{worker="1"} 3',
        'b_bucket{le="1",worker="2"} 2',
        'b_sum{worker="2"} 3',
        '',
      ].join('\n'),
    );
  });
});

describe('the probes of several', () => {
  const worker = (number: number, ...reasons: string[]) => ({
    number,
    ready: (): Verdict => ({ ok: reasons.length === 0, reasons }),
  });

  it('are ready while one is, and say what is wrong with the others', () => {
    expect(probesOfAll(() => 'ready', [worker(1, 'draining'), worker(2)]).ready()).toEqual({
      ok: true,
      reasons: ['worker 1: draining'],
    });
    expect(probesOfAll(() => 'ready', [worker(1, 'draining'), worker(2, 'stopped')]).ready()).toEqual({
      ok: false,
      reasons: ['worker 1: draining', 'worker 2: stopped'],
    });
  });

  it('are not ready before all have served once, nor while all drain', () => {
    expect(probesOfAll(() => 'starting', [worker(1)]).ready().ok).toBe(false);
    expect(probesOfAll(() => 'starting', [worker(1)]).started().ok).toBe(false);
    expect(probesOfAll(() => 'draining', [worker(1)]).ready()).toEqual({ ok: false, reasons: ['draining'] });
    expect(probesOfAll(() => 'draining', [worker(1)]).started().ok).toBe(true);
  });
});

describe('serve --workers', () => {
  it('gives each worker a directory of its own, and leaves HTTP to the parent', () => {
    const config = loadConfig({ cwd: '/srv', preset: new Map([['dataDir', 'grid']]) });
    const second = workerConfig(config, 2);
    expect([second.dataDir, second.listeners.http.enabled]).toEqual(['/srv/grid/worker-2', false]);
    expect(second.listeners.starttls).toEqual(config.listeners.starttls);
  });

  it('needs a store that several can share, and says so (exit 78)', async () => {
    const refused = await xmppGrid(['serve', '--workers', '2', '--data', '/nonexistent/data']);
    expect(refused.code).toBe(78);
    expect(refused.stderr).toBe(
      'xmpp-grid: --workers: 2 instances need a store that they can share: set store.kind to redis (it is embedded), or leave --workers out\n',
    );
  });

  it.each(['0', '65', 'two', '-1', '1.5', ''])('refuses %j as a number of workers', async (text) => {
    const refused = await xmppGrid(['serve', `--workers=${text}`, '--data', '/nonexistent/data']);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain('--workers: expected a whole number from 1 to 64');
  });
});
