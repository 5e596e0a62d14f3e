import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { Listener } from '@xmpp-grid/stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testCertificates } from '../../support/certs.ts';
import { freePort } from '../../support/free-ports.ts';
import { until } from '../../support/until.ts';
import { recordedLog } from './support.ts';

/** The listener behind a real HAProxy in tcp mode that sends PROXY headers of version 2 (G-085). */

const hasHaproxy = (() => {
  if (spawnSync('haproxy', ['-v']).status === 0) return true;
  if (process.env.CI === 'true') throw new Error('haproxy is not installed');
  console.warn('SKIPPED: haproxy is not installed');
  return false;
})();

describe.skipIf(!hasHaproxy)('behind HAProxy', () => {
  let haproxy: ChildProcess;
  let listener: Listener;
  let folder: string;
  let port: number;
  const accepted: { address: string | undefined; port: number | undefined }[] = [];
  const rejected: string[] = [];

  beforeAll(async () => {
    const { server } = await testCertificates('localhost');
    const tell = (socket: Socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (data) => socket.write(`${socket.remoteAddress}:${socket.remotePort} ${data}`));
    };
    listener = new Listener({
      tls: { options: () => ({ cert: server.certificate, key: server.key }) },
      handshakeTimeoutMs: 5_000,
      maxConnections: 100,
      maxConnectionsPerAddress: 100,
      log: recordedLog(),
      trustedProxies: ['127.0.0.1/32'],
      rejected: (why) => rejected.push(why),
    });
    const { port: backend } = await listener.listen(0, '127.0.0.1', (socket) => {
      accepted.push({ address: socket.remoteAddress, port: socket.remotePort });
      listener.secure(socket).then(tell, () => socket.destroy());
    });
    port = await freePort();
    folder = mkdtempSync(join(tmpdir(), 'haproxy-'));
    const config = join(folder, 'haproxy.cfg');
    writeFileSync(
      config,
      `defaults
  mode tcp
  timeout connect 2s
  timeout client 10s
  timeout server 10s
listen grid
  bind 127.0.0.1:${port}
  balance leastconn
  server one 127.0.0.1:${backend} send-proxy-v2 check check-send-proxy inter 100ms
`,
    );
    haproxy = spawn('haproxy', ['-db', '-f', config], { stdio: 'ignore' });
    await until('HAProxy listens', () => {
      const probe = connect(port, '127.0.0.1');
      return new Promise((resolve) => {
        probe.once('connect', () => resolve(true));
        probe.once('error', () => resolve(false));
      }).finally(() => probe.destroy()) as Promise<boolean>;
    });
  });

  afterAll(async () => {
    const exited = once(haproxy, 'exit');
    haproxy.kill('SIGKILL');
    await exited;
    listener.close();
    await listener.idle(0);
    rmSync(folder, { recursive: true, force: true });
  });

  it('the address is the client’s, before TLS and on the secured socket', async () => {
    // Another loopback address than HAProxy's own: what is told can only come from the header.
    const plain = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.2' });
    await once(plain, 'connect');
    const own = `127.0.0.2:${plain.localPort}`;
    const secured = connectTls({ socket: plain, rejectUnauthorized: false });
    await once(secured, 'secureConnect');
    secured.write('hello');
    const [answer] = (await once(secured, 'data')) as [Buffer];
    expect(answer.toString()).toBe(`${own} hello`);
    expect(accepted.map((peer) => `${peer.address}:${peer.port}`)).toContain(own);
    secured.destroy();
  });

  it('its health checks are accepted and not counted as refused', async () => {
    const before = accepted.length;
    await until('some checks came', () => accepted.length >= before + 3);
    expect(rejected).toEqual([]);
  });
});
