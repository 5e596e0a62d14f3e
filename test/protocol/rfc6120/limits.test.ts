import { connect } from 'node:net';
import { issuePlatformCertificate } from '@xmpp-grid/auth';
import { JID } from '@xmpp-grid/stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RawClient } from '../../support/raw-client.ts';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';

/** RFC 6120 §13: what one address, one stream and one certificate may use. */

let grid: TestInstance;
beforeAll(async () => {
  grid = await startTestInstance({
    clientCertificates: true,
    settings: {
      'limits.maxConnectionsPerAddress': 12,
      'limits.bytesPerSecond': 400_000,
      'ping.intervalMs': 1_000,
      'ping.timeoutMs': 1_000,
    },
  });
});
afterAll(async () => {
  await grid.stop();
});

const metrics = async (of: TestInstance) => (await fetch(`http://127.0.0.1:${of.httpPort}/metrics`)).text();

/** Whether a fresh connection is served: it gets the server's header. */
function isServed(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () =>
      socket.write(
        "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
      ),
    );
    socket.once('data', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('close', () => resolve(false));
    socket.once('error', () => resolve(false));
  });
}

function answerPings(client: RawClient): void {
  client.tap = (element) => {
    if (element.name !== 'iq' || element.attrs.type !== 'get') return false;
    client.send(`<iq type='result' id='${element.attrs.id}'/>`);
    return true;
  };
}

describe('connections, §13.12', () => {
  it('refuses more at once from one address than configured, and lets them in again when some ended (C-078)', async () => {
    const clients = await Promise.all(Array.from({ length: 12 }, () => grid.connect()));
    for (const client of clients) await client.openStream();
    expect(await isServed(grid.port)).toBe(false);
    expect(await metrics(grid)).toMatch(/xmppgrid_connections_rejected_total\{reason="limit"\} [1-9]/);
    for (const client of clients) client.kill();
    await expect.poll(() => isServed(grid.port)).toBe(true);
  });

  it('refuses an address that connects too often, and counts it (C-079, G-086)', async () => {
    const strict = await startTestInstance({
      settings: { 'limits.connectionsPerSecondPerAddress': 1, 'limits.connectionBurstPerAddress': 5 },
    });
    try {
      const served: boolean[] = [];
      for (let i = 0; i < 8; i++) served.push(await isServed(strict.port));
      expect(served.slice(0, 5)).toEqual([true, true, true, true, true]);
      expect(served.slice(5)).toContain(false);
      expect(await metrics(strict)).toMatch(
        /xmppgrid_ratelimit_rejected_total\{limiter="connections",scope="ip",action="close"\} [1-9]/,
      );
    } finally {
      await strict.stop();
    }
  });
});

describe('bandwidth, §13.12', () => {
  it('reads a stream no faster than its rate, loses nothing, and counts the delay (C-083)', async () => {
    const fast = await grid.login('fast');
    const other = await grid.login('other');
    answerPings(fast);
    answerPings(other);
    const stanza = `<message to='${other.jid}'><body>${'x'.repeat(9_000)}</body></message>`;
    const count = 240; // 2.2 MB: over the burst of 1 MiB (two of the largest stanzas) by some three seconds' worth
    const start = performance.now();
    for (let i = 0; i < count; i++) fast.send(stanza);
    for (let i = 0; i < count; i++) await other.nextMessage(`message ${i}`, 20_000);
    // The lower bound is arithmetic of the limit, not a promise about this machine's speed.
    expect(performance.now() - start).toBeGreaterThan(2_000);
    expect(await metrics(grid)).toMatch(/xmppgrid_ratelimit_delay_seconds_count\{limiter="bandwidth"\} [1-9]/);
    await other.marker();
    await fast.close();
    await other.close();
  });
});

describe('certificates, §13.7 and §13.8', () => {
  it('EXTERNAL logs in over TLS with a client certificate, as does SCRAM without one (C-011, C-013, C-014, A-023 to A-025)', async () => {
    const certificate = await grid.certificates.platform('sensor');
    await grid.addPlatform('sensor');
    for (const authzid of [undefined, 'sensor@localhost']) {
      const client = await grid.connect({ cert: certificate.certificate, key: certificate.key });
      await client.openStream();
      const features = await client.startTls();
      expect(features.getChild('mechanisms')?.getChildElements()[0]?.text()).toBe('EXTERNAL');
      await client.external(authzid);
      expect(await client.bind('r')).toBe('sensor@localhost/r');
      await client.close();
    }
    const scram = await grid.login('sensor');
    await scram.close();
  });

  it('§13.7.2 a certificate of an authority that is not trusted proves nothing: EXTERNAL is not offered (C-049, A-024)', async () => {
    const stranger = await startTestInstance({ domain: 'stranger.example' });
    const foreign = await stranger.certificates.platform('sensor');
    await stranger.stop();
    const client = await grid.connect({ cert: foreign.certificate, key: foreign.key });
    await client.openStream();
    const features = await client.startTls();
    const offered = features
      .getChild('mechanisms')
      ?.getChildElements()
      .map((element) => element.text());
    expect(offered).not.toContain('EXTERNAL');
    await expect(client.external()).rejects.toThrow('invalid-mechanism');
    client.kill();
  });

  it('§13.7.2.3 a stream ends with reset when its certificate expires (C-076)', async () => {
    await grid.addPlatform('mayfly');
    const validity = { nowMs: Date.now() - 86_400_000 + 3_000, days: 1 };
    const certificate = await issuePlatformCertificate(grid.certificates.ca, { ...validity, jid: JID.of('mayfly', 'localhost') });
    const client = await grid.connect({ cert: certificate.certificate, key: certificate.key });
    await client.openStream();
    await client.startTls();
    await client.external();
    await client.bind();
    answerPings(client);
    expect(await client.streamError()).toBe('reset');
  });

  it('offers no compression, no PLAIN, no anonymous login and no early data (A-003, A-005, A-009, C-012)', async () => {
    const client = await grid.connect();
    const before = await client.openStream();
    const after = await client.startTls();
    for (const features of [before, after]) expect(features.getChild('compression')).toBeUndefined();
    const offered =
      after
        .getChild('mechanisms')
        ?.getChildElements()
        .map((element) => element.text()) ?? [];
    for (const mechanism of ['PLAIN', 'ANONYMOUS', 'DIGEST-MD5', 'LOGIN', 'SCRAM-SHA-1'])
      expect(offered).not.toContain(mechanism);
    // Where client certificates are asked for there are no tickets at all, so nothing that 0-RTT could start from.
    expect(client.tlsSocket.getSession()?.length ?? 0).toBeGreaterThan(0);
    expect(client.tlsSocket.isSessionReused()).toBe(false);
    client.kill();
  });

  it('§13.8 SCRAM-SHA-1 and SCRAM-SHA-1-PLUS log in where they are switched on (C-010)', async () => {
    const compat = await startTestInstance({ profile: 'compat' });
    try {
      for (const mechanism of ['SCRAM-SHA-1', 'SCRAM-SHA-1-PLUS']) {
        const client = await compat.login('old', { mechanism });
        await client.marker();
        await client.close();
      }
    } finally {
      await compat.stop();
    }
  });
});
