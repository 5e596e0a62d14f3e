import { once } from 'node:events';
import { createConnection, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { StreamError } from '../../../packages/stream/src/errors/stream-error.ts';
import { ALWAYS_OPEN, Gate } from '../../../packages/stream/src/transport/gate.ts';
import { Outbox } from '../../../packages/stream/src/transport/outbox.ts';
import { XmlStream } from '../../../packages/stream/src/transport/xml-stream.ts';

/** An instance that may not serve writes nothing, and goes on when it may (delivery.md §7.2 (c), (d)). */

const opened: (() => void)[] = [];
afterEach(() => {
  for (const close of opened.splice(0)) close();
});

async function pair(): Promise<{ server: Socket; client: Socket }> {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const client = createConnection((listener.address() as { port: number }).port, '127.0.0.1');
  const [server] = (await once(listener, 'connection')) as [Socket];
  opened.push(() => {
    client.destroy();
    server.destroy();
    listener.close();
  });
  return { server, client };
}

describe('gate', () => {
  it('holds an outbox back, and lets it go on in order', async () => {
    let serves = false;
    const gate = new Gate(() => serves);
    const { server, client } = await pair();
    let got = '';
    client.on('data', (data) => {
      got += data.toString();
    });
    const held = new Outbox(server, () => undefined, gate);
    const free = new Outbox(server, () => undefined, ALWAYS_OPEN);
    held.push(Buffer.from('1'));
    held.push(Buffer.from('2'));
    held.flush();
    free.push(Buffer.from('first '));
    while (got === '') await new Promise((resolve) => setImmediate(resolve));
    expect(got).toBe('first ');
    expect(held.unwritten).toBe(2);
    serves = true;
    held.push(Buffer.from('3'));
    while (got.length < 9) await new Promise((resolve) => setImmediate(resolve));
    expect(got).toBe('first 123');
  });

  it('tells each that waits once, and says until when it was closed', async () => {
    let serves = false;
    const gate = new Gate(() => serves);
    expect(gate.closedMs).toBe(0);
    const before = performance.now();
    expect(gate.isOpen).toBe(false);
    expect(gate.closedMs).toBeGreaterThanOrEqual(before);
    let told = 0;
    const stopped = { opened: () => void told++ };
    gate.wait(stopped);
    gate.wait(stopped);
    const alsoTold = gate.opened();
    serves = true;
    await alsoTold;
    expect(told).toBe(1);
    expect(gate.isOpen).toBe(true);
  });
});

describe('a stream that ends while its instance may not serve', () => {
  async function start(isOpen: boolean) {
    const { server, client } = await pair();
    let serves = isOpen;
    let got = '';
    client.on('data', (data) => {
      got += data.toString();
    });
    const silent = () => undefined;
    const stream = new XmlStream(server, 'localhost', {
      limits: { maxStanzaBytes: 10_000, hardStanzaBytes: 10_000, maxDepth: 8, maxAttributes: 8, maxNameBytes: 64 },
      isOpaque: () => false,
      log: { debug: silent, info: silent, warn: silent, error: silent },
      gate: new Gate(() => serves),
    });
    const ended: string[] = [];
    stream.setHandler({
      header: silent,
      stanza: silent,
      oversize: silent,
      drained: silent,
      ended: (reason) => ended.push(reason),
    });
    return { stream, client, ended, got: () => got, stopServing: () => (serves = false) };
  }
  const timedOut = () => new StreamError('connection-timeout');

  it('within a stream that the peer has not seen says nothing: an error would stand outside of it (RFC 6120 §4.9.1.2)', async () => {
    const { stream, client, ended, got } = await start(false);
    stream.sendHeader('localhost', undefined, undefined);
    stream.close('negotiation-timeout', timedOut());
    await once(client, 'close');
    expect(got()).toBe('');
    expect(ended).toEqual(['negotiation-timeout']);
  });

  it('within one that it has seen says why', async () => {
    const { stream, client, got, stopServing } = await start(true);
    stream.sendHeader('localhost', undefined, undefined);
    while (got() === '') await new Promise((resolve) => setImmediate(resolve));
    stopServing();
    stream.sendBytes(Buffer.from('<message/>'));
    stream.close('negotiation-timeout', timedOut());
    await once(client, 'end');
    expect(got()).toMatch(
      /^<\?xml [^>]*><stream:stream [^>]*><stream:error><connection-timeout[^>]*\/><\/stream:error><\/stream:stream>$/,
    );
  });
});
