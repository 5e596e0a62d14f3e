import { once } from 'node:events';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Listener } from '@xmpp-grid/stream';
import { afterEach, describe, expect, it } from 'vitest';
import { testCertificates } from '../../support/certs.ts';
import { until } from '../../support/until.ts';

/** Handshakes take turns, so that a storm of logins leaves time for the others. */

let listener: Listener;
afterEach(async () => {
  listener.close();
  await listener.idle(0);
});

async function start() {
  const { server, ca } = await testCertificates('localhost');
  const secured: number[] = [];
  const failed: unknown[] = [];
  const silent = () => undefined;
  listener = new Listener({
    tls: { options: () => ({ cert: server.certificate, key: server.key }) },
    handshakeTimeoutMs: 10_000,
    maxConnections: 1_000,
    maxConnectionsPerAddress: 1_000,
    log: { debug: silent, info: silent, warn: silent, error: silent },
  });
  let accepted = 0;
  const { port } = await listener.listen(0, '127.0.0.1', (socket) => {
    const number = ++accepted;
    socket.on('error', silent);
    listener.secure(socket).then(
      (tls) => {
        tls.on('error', silent);
        secured.push(number);
      },
      (error: unknown) => failed.push(error),
    );
  });
  return { port, ca: ca.certificate, secured, failed };
}

describe('handshakes that come at once', () => {
  it('all succeed, whatever their number', async () => {
    const { port, ca, secured, failed } = await start();
    const clients = Array.from({ length: 60 }, () => connectTls({ port, host: '127.0.0.1', servername: 'localhost', ca }));
    await Promise.all(clients.map((client) => once(client, 'secureConnect')));
    await until('the listener has all', () => secured.length === 60);
    expect(failed).toEqual([]);
    for (const client of clients) client.destroy();
  });

  it('one that leaves while it waits is told as failed and holds up nobody', async () => {
    const { port, ca, secured, failed } = await start();
    const leaving = Array.from({ length: 20 }, () => connect({ port, host: '127.0.0.1' }));
    await Promise.all(leaving.map((client) => once(client, 'connect')));
    for (const client of leaving) client.destroy();
    const staying = connectTls({ port, host: '127.0.0.1', servername: 'localhost', ca });
    await once(staying, 'secureConnect');
    await until('all are settled', () => secured.length === 1 && failed.length === 20);
    staying.destroy();
  });
});
