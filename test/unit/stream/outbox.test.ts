import { createHash } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import { connect, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Outbox } from '../../../packages/stream/src/transport/outbox.ts';
import { type TestCertificates, testCertificates } from '../../support/certs.ts';

/** Design D4: what a tick produces leaves in whole records, in order, byte for byte, whatever the peer's pace. */

let certificates: TestCertificates;
beforeAll(async () => {
  certificates = await testCertificates('localhost');
});
const closing: (() => void)[] = [];
afterAll(() => {
  for (const close of closing) close();
});

async function tlsPair(): Promise<{ server: TLSSocket; client: TLSSocket }> {
  const { ca, server } = certificates;
  const listener = createTlsServer({ cert: server.certificate, key: server.key });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const accepted = new Promise<TLSSocket>((resolve) => listener.once('secureConnection', resolve));
  const client = connect({
    port: (listener.address() as { port: number }).port,
    host: '127.0.0.1',
    servername: 'localhost',
    ca: ca.certificate,
  });
  closing.push(() => {
    client.destroy();
    listener.close();
  });
  return { server: await accepted, client };
}

/** Parts of every size from 1 byte to more than a record, each telling where it belongs. */
function parts(count: number, seed: number): Buffer[] {
  const made: Buffer[] = [];
  for (let i = 0; i < count; i++) {
    const size = 1 + ((i * 7_919 + seed * 104_729) % (i % 50 === 0 ? 20_000 : 900));
    made.push(Buffer.alloc(size, `${i}:${seed};`));
  }
  return made;
}

const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

function received(client: Socket, bytes: number): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;
    client.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.length;
      if (size >= bytes) resolve(Buffer.concat(chunks));
    });
  });
}

describe('outbox, design D4', () => {
  it('delivers every byte of many streams in order, though they share one scratch buffer', async () => {
    const pairs = await Promise.all(Array.from({ length: 5 }, () => tlsPair()));
    const streams = pairs.map(({ server, client }, i) => {
      const sent = parts(1_500, i);
      const whole = Buffer.concat(sent);
      return { outbox: new Outbox(server, () => undefined), sent, whole, got: received(client, whole.length) };
    });
    // In turns and in small groups, so that flushes of different streams follow one another.
    for (let at = 0; at < 1_500; at += 10) {
      for (const { outbox, sent } of streams) for (const part of sent.slice(at, at + 10)) outbox.push(part);
      if (at % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    for (const { got, whole } of streams) expect(digest(await got)).toBe(digest(whole));
  });

  it('holds back for a peer that does not read, then gives it everything', async () => {
    const { server, client } = await tlsPair();
    client.pause();
    let drained = 0;
    const outbox = new Outbox(server, () => drained++);
    const sent = parts(3_000, 9);
    const whole = Buffer.concat(sent);
    for (const part of sent) {
      outbox.push(part);
      if (outbox.bytes > 100_000) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(outbox.bytes).toBeGreaterThan(0);
    const got = received(client, whole.length);
    client.resume();
    expect(digest(await got)).toBe(digest(whole));
    await expect.poll(() => outbox.bytes).toBe(0);
    expect(drained).toBeGreaterThan(0);
  });

  it('a tick leaves in one write per record (at most 16 KiB)', async () => {
    const { server, client } = await tlsPair();
    const writes: number[] = [];
    const write = server.write.bind(server);
    server.write = ((chunk: Buffer) => {
      writes.push(chunk.length);
      return write(chunk);
    }) as typeof server.write;
    const outbox = new Outbox(server, () => undefined);
    const got = received(client, 30_000);
    for (let i = 0; i < 30; i++) outbox.push2(Buffer.alloc(100, 'a'), Buffer.alloc(900, 'b'));
    await got;
    expect(writes).toEqual([16_000 + 100, 30_000 - 16_100]);
  });

  it('plain sockets, which may read the bytes later, get buffers of their own', async () => {
    const listener = createServer();
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    const accepted = new Promise<Socket>((resolve) => listener.once('connection', resolve));
    const { connect: connectTcp } = await import('node:net');
    const client = connectTcp((listener.address() as { port: number }).port, '127.0.0.1');
    closing.push(() => {
      client.destroy();
      listener.close();
    });
    const outbox = new Outbox(await accepted, () => undefined);
    const sent = parts(2_000, 3);
    const whole = Buffer.concat(sent);
    const got = received(client, whole.length);
    for (const part of sent) outbox.push(part);
    expect(digest(await got)).toBe(digest(whole));
  });
});
