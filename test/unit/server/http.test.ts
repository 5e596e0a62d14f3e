/** Metrics and probes: their verdicts, and nothing but GET and HEAD. */
import { request } from 'node:http';
import { connect } from 'node:net';
import { Registry } from 'prom-client';
import { afterEach, describe, expect, it } from 'vitest';
import {
  alive,
  type HealthFacts,
  MAX_ALIVE_LAG_MS,
  MAX_READY_LAG_MS,
  probesOf,
  ready,
  started,
} from '../../../packages/server/src/health.ts';
import { type HttpServer, serveHttp } from '../../../packages/server/src/http.ts';
import { createRegistry, type LifecycleState, registerState } from '../../../packages/server/src/observe/metrics.ts';

const facts = (
  changes: Partial<{
    state: LifecycleState;
    writable: boolean;
    serves: boolean;
    notAfterMs: number;
    lagMs: number;
    lastingLagMs: number;
  }> = {},
): HealthFacts => ({
  state: () => changes.state ?? 'ready',
  storeWritable: () => changes.writable ?? true,
  mayServe: () => changes.serves ?? true,
  certificateNotAfterMs: () => changes.notAfterMs ?? 2000,
  lagMs: () => changes.lagMs ?? 0,
  lastingLagMs: () => changes.lastingLagMs ?? 0,
  nowMs: () => 1000,
});

describe('the probes decide', () => {
  it.each<[string, Parameters<typeof facts>[0], boolean, boolean, boolean]>([
    ['a healthy instance', {}, true, true, true],
    ['one that starts', { state: 'starting' }, false, false, true],
    ['one that drains', { state: 'draining' }, true, false, true],
    ['a store that cannot be written', { writable: false }, true, false, true],
    ['an instance past its lease', { serves: false }, true, false, true],
    ['an expired certificate', { notAfterMs: 1000 }, true, false, true],
    ['a burst of work', { lagMs: 10 * MAX_READY_LAG_MS }, true, true, true],
    ['a busy event loop', { lastingLagMs: MAX_READY_LAG_MS + 1 }, true, false, true],
    ['a stuck event loop', { lagMs: MAX_ALIVE_LAG_MS + 1 }, true, true, false],
  ])('%s', (_, changes, isStarted, isReady, isAlive) => {
    const health = facts(changes);
    expect([started(health).ok, ready(health).ok, alive(health).ok]).toEqual([isStarted, isReady, isAlive]);
  });

  it('and name every reason', () => {
    expect(ready(facts({ state: 'draining', writable: false, notAfterMs: 0, lastingLagMs: 900 })).reasons).toEqual([
      'draining',
      'the store cannot be written',
      'the server certificate has expired',
      'the event loop is 900 ms behind',
    ]);
  });
});

describe('the endpoint', () => {
  let server: HttpServer;
  afterEach(() => server.close());

  const start = async (state: () => LifecycleState = () => 'ready', registry = new Registry()) => {
    server = await serveHttp({ host: '127.0.0.1', port: 0, metrics: registry, probes: probesOf({ ...facts(), state }) });
  };

  const ask = (path: string, method = 'GET'): Promise<{ status: number; body: string; headers: Record<string, unknown> }> =>
    new Promise((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port: server.address.port, path, method, agent: false }, (response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          body += chunk;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body, headers: response.headers }));
      });
      asked.on('error', reject);
      asked.end();
    });

  it('follows the state of the instance', async () => {
    let state: LifecycleState = 'starting';
    await start(() => state);
    expect(await ask('/startupz')).toMatchObject({ status: 503, body: 'starting\n' });
    state = 'ready';
    expect(await ask('/readyz')).toMatchObject({ status: 200, body: 'ok\n' });
    state = 'draining';
    expect(await ask('/readyz')).toMatchObject({ status: 503, body: 'draining\n' });
    expect(await ask('/livez')).toMatchObject({ status: 200, body: 'ok\n' });
  });

  it('shows the metrics of the registry it was handed', async () => {
    const registry = createRegistry('1.2.3');
    registerState(registry, () => 'ready');
    await start(() => 'ready', registry);
    const { status, body, headers } = await ask('/metrics?x=1');
    expect(status).toBe(200);
    expect(headers['content-type']).toContain('text/plain');
    expect(body).toContain('xmppgrid_build_info{version="1.2.3"');
    expect(body).toContain('xmppgrid_up_state{state="ready"} 1');
    expect(body).toContain('xmppgrid_up_state{state="draining"} 0');
    expect(body).toContain('process_cpu_seconds_total');
  });

  it('answers HEAD without a body, and the index at /', async () => {
    await start();
    expect(await ask('/', 'HEAD')).toMatchObject({ status: 200, body: '' });
    expect((await ask('/')).body).toContain('/readyz');
  });

  it.each(['POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE'])('refuses %s with 405 and says what is allowed', async (method) => {
    await start();
    expect(await ask('/metrics', method)).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' } });
  });

  it.each(['/nothing', '/metrics/', '/../etc/passwd', '/%2e%2e/', '//metrics'])('knows no %s', async (path) => {
    await start();
    expect((await ask(path)).status).toBe(404);
  });

  it('bounds request headers', async () => {
    await start();
    const socket = connect(server.address.port, '127.0.0.1');
    const answer = new Promise<string>((resolve) => {
      let text = '';
      socket.on('data', (chunk) => {
        text += chunk.toString();
      });
      socket.on('error', () => resolve(text)); // reset behind the answer
      socket.on('close', () => resolve(text));
    });
    socket.write(`GET / HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(9000)}\r\n\r\n`);
    expect(await answer).toMatch(/^HTTP\/1\.1 431 /);
  });
});
