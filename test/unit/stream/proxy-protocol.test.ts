import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Listener, networkList, type ProxyHeaderResult, parseProxyHeader } from '@xmpp-grid/stream';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { testCertificates } from '../../support/certs.ts';

/** PROXY protocol version 2, believed from listed sources only (G-085). */

const SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);

function header(command: number, family: number, rest: Buffer, version = 2): Buffer {
  const fixed = Buffer.from([(version << 4) | command, family, 0, 0]);
  fixed.writeUInt16BE(rest.length, 2);
  return Buffer.concat([SIGNATURE, fixed, rest]);
}

const ipv4 = (address: readonly number[], port: number, tlvs = Buffer.alloc(0)): Buffer => {
  const rest = Buffer.from([...address, 10, 0, 0, 1, 0, 0, 0x14, 0x66]);
  rest.writeUInt16BE(port, 8);
  return header(1, 0x11, Buffer.concat([rest, tlvs]));
};
const ipv6 = (() => {
  const rest = Buffer.alloc(36);
  Buffer.from('20010db8000000000000000000000007', 'hex').copy(rest);
  rest.writeUInt16BE(4_000, 32);
  return header(1, 0x21, rest);
})();

describe('parseProxyHeader, PROXY protocol §2.2', () => {
  it.each<[string, Buffer, ProxyHeaderResult]>([
    ['TCP over IPv4', ipv4([192, 0, 2, 9], 5_000), { kind: 'header', peer: { address: '192.0.2.9', port: 5_000 }, length: 28 }],
    ['TCP over IPv6', ipv6, { kind: 'header', peer: { address: '2001:db8::7', port: 4_000 }, length: 52 }],
    [
      'TLVs, skipped',
      ipv4([192, 0, 2, 9], 5_000, Buffer.alloc(100, 1)),
      { kind: 'header', peer: { address: '192.0.2.9', port: 5_000 }, length: 128 },
    ],
    ['LOCAL, a health check', header(0, 0, Buffer.alloc(0)), { kind: 'header', peer: undefined, length: 16 }],
    ['LOCAL with addresses to be ignored', header(0, 0x11, Buffer.alloc(12)), { kind: 'header', peer: undefined, length: 28 }],
    ['UNSPEC', header(1, 0, Buffer.alloc(3)), { kind: 'header', peer: undefined, length: 19 }],
    [
      'version 1',
      Buffer.from('PROXY TCP4 192.0.2.9 10.0.0.1 5000 5222\r\n'),
      { kind: 'invalid', why: 'PROXY protocol version 1; send version 2' },
    ],
    ['a stream header', Buffer.from("<?xml version='1.0'?><stream:stream"), { kind: 'invalid', why: 'no PROXY header' }],
    ['a TLS hello', Buffer.from([0x16, 3, 1, 2, 0]), { kind: 'invalid', why: 'no PROXY header' }],
    ['a version to come', header(1, 0x11, Buffer.alloc(12), 3), { kind: 'invalid', why: 'PROXY protocol version 3' }],
    ['an unknown command', header(2, 0x11, Buffer.alloc(12)), { kind: 'invalid', why: 'PROXY command 2' }],
    [
      'a datagram',
      header(1, 0x12, Buffer.alloc(12)),
      { kind: 'invalid', why: 'PROXY address family 12; only TCP over IPv4 or IPv6 comes here' },
    ],
    [
      'a UNIX socket',
      header(1, 0x31, Buffer.alloc(216)),
      { kind: 'invalid', why: 'PROXY address family 31; only TCP over IPv4 or IPv6 comes here' },
    ],
    [
      'an address cut short',
      header(1, 0x11, Buffer.alloc(11)),
      { kind: 'invalid', why: 'a PROXY header too short for TCP over IPv4' },
    ],
    [
      'an IPv6 address cut short',
      header(1, 0x21, Buffer.alloc(35)),
      { kind: 'invalid', why: 'a PROXY header too short for TCP over IPv6' },
    ],
    [
      'too many bytes',
      header(1, 0x11, Buffer.alloc(1_025)).subarray(0, 16),
      { kind: 'invalid', why: 'a PROXY header of 1025 bytes; at most 1024 are read' },
    ],
  ])('%s', (_name, bytes, want) => {
    expect(parseProxyHeader(bytes)).toEqual(want);
    // Whatever follows belongs to the client and changes nothing.
    if (want.kind === 'header') expect(parseProxyHeader(Buffer.concat([bytes, Buffer.from('<x')]))).toEqual(want);
  });

  it('is incomplete at every byte before the last', () => {
    for (let i = 0; i < ipv6.length; i++) expect(parseProxyHeader(ipv6.subarray(0, i))).toEqual({ kind: 'incomplete' });
  });

  it('never throws, whatever comes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, isSigned) => {
        const input = isSigned ? Buffer.concat([SIGNATURE, bytes]) : Buffer.from(bytes);
        expect(['incomplete', 'header', 'invalid']).toContain(parseProxyHeader(input).kind);
      }),
    );
  });
});

describe('networkList', () => {
  it.each([
    ['10.0.0.0/8', '10.255.0.1', true],
    ['10.0.0.0/8', '11.0.0.1', false],
    ['10.0.0.1', '10.0.0.1', true],
    ['10.0.0.1', '10.0.0.2', false],
    ['10.0.0.0/8', '::ffff:10.1.2.3', true],
    ['2001:db8::/32', '2001:db8:1::1', true],
    ['2001:db8::/32', '2001:db9::1', false],
    ['0.0.0.0/0', '2001:db8::1', false],
  ])('%s, %s -> %s', (cidr, address, want) => {
    expect(networkList([cidr])(address)).toBe(want);
  });

  it('holds nothing when it is empty', () => {
    expect(networkList([])('127.0.0.1')).toBe(false);
  });

  it.each(['', 'localhost', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '2001:db8::/129', '10.0.0/8'])('refuses %j', (cidr) => {
    expect(() => networkList([cidr])).toThrow(RangeError);
  });
});

describe('a listener behind a load balancer', () => {
  const closing: (() => void)[] = [];
  afterEach(() => {
    for (const close of closing.splice(0)) close();
  });

  interface Options {
    readonly trustedProxies?: readonly string[];
    readonly maxConnectionsPerAddress?: number;
    readonly proxyHeaderTimeoutMs?: number;
  }

  async function listen(accept: (socket: Socket, listener: Listener) => void, options: Options = {}) {
    const rejected: string[] = [];
    const { server } = await testCertificates('localhost');
    const quiet = () => undefined;
    const listener = new Listener({
      tls: { options: () => ({ cert: server.certificate, key: server.key }) },
      handshakeTimeoutMs: 5_000,
      maxConnections: 10,
      maxConnectionsPerAddress: options.maxConnectionsPerAddress ?? 10,
      log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
      rejected: (why) => rejected.push(why),
      trustedProxies: options.trustedProxies ?? ['127.0.0.0/8'],
      ...(options.proxyHeaderTimeoutMs === undefined ? {} : { proxyHeaderTimeoutMs: options.proxyHeaderTimeoutMs }),
    });
    const { port } = await listener.listen(0, '127.0.0.1', (socket) => accept(socket, listener));
    closing.push(() => listener.close());
    return { listener, port, rejected };
  }

  function client(port: number): Socket {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.on('error', () => undefined);
    closing.push(() => socket.destroy());
    return socket;
  }

  const echoWho = (socket: Socket): void => {
    socket.on('error', () => undefined);
    socket.on('data', (data) => socket.write(`${socket.remoteAddress}:${socket.remotePort} ${data}`));
  };

  async function firstBytes(socket: Socket): Promise<string> {
    const [data] = (await once(socket, 'data')) as [Buffer];
    return data.toString();
  }

  it('shows the client’s address, and the client’s first bytes are all there', async () => {
    const { port } = await listen(echoWho);
    const socket = client(port);
    socket.write(Buffer.concat([ipv4([192, 0, 2, 9], 5_000), Buffer.from('<hello/>')]));
    expect(await firstBytes(socket)).toBe('192.0.2.9:5000 <hello/>');
    socket.write('<more/>');
    expect(await firstBytes(socket)).toBe('192.0.2.9:5000 <more/>');
  });

  it('takes a header that comes byte by byte', async () => {
    const { port } = await listen(echoWho);
    const socket = client(port);
    socket.setNoDelay(true);
    for (const byte of ipv6) {
      socket.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    socket.write('<later/>');
    expect(await firstBytes(socket)).toBe('2001:db8::7:4000 <later/>');
  });

  it('keeps the load balancer’s own address for its health checks', async () => {
    const { port } = await listen(echoWho);
    const socket = client(port);
    socket.write(Buffer.concat([header(0, 0, Buffer.alloc(0)), Buffer.from('?')]));
    expect(await firstBytes(socket)).toMatch(/^127\.0\.0\.1:\d+ \?$/);
  });

  it('goes on to TLS, direct and after STARTTLS, with the client’s address on the secured socket too', async () => {
    let isStartTls = false;
    const { port } = await listen((socket, listener) => {
      const secure = (plain: Socket) => listener.secure(plain).then(echoWho, () => plain.destroy());
      if (isStartTls) {
        socket.once('data', () => {
          socket.pause();
          socket.write('proceed');
          void secure(socket);
        });
      } else void secure(socket);
    });
    for (isStartTls of [false, true]) {
      const socket = client(port);
      socket.write(ipv4([192, 0, 2, 9], 5_000));
      if (isStartTls) {
        socket.write('starttls');
        expect(await firstBytes(socket)).toBe('proceed');
      }
      const secured = connectTls({ socket, rejectUnauthorized: false });
      await once(secured, 'secureConnect');
      secured.write('<hello/>');
      expect(await firstBytes(secured)).toBe('192.0.2.9:5000 <hello/>');
    }
  });

  it('counts connections by the client’s address', async () => {
    const { port, rejected } = await listen(echoWho, { maxConnectionsPerAddress: 1 });
    const [first, second, other] = [client(port), client(port), client(port)];
    first.write(Buffer.concat([ipv4([192, 0, 2, 9], 1), Buffer.from('a')]));
    expect(await firstBytes(first)).toBe('192.0.2.9:1 a');
    second.write(ipv4([192, 0, 2, 9], 2));
    await once(second, 'close');
    expect(rejected).toEqual(['limit']);
    other.write(Buffer.concat([ipv4([192, 0, 2, 10], 3), Buffer.from('b')]));
    expect(await firstBytes(other)).toBe('192.0.2.10:3 b');
  });

  it.each([
    ['no header', Buffer.from('<?xml version="1.0"?>')],
    ['version 1', Buffer.from('PROXY TCP4 192.0.2.9 10.0.0.1 5000 5222\r\n')],
  ])('refuses a listed peer that sends %s', async (_name, bytes) => {
    const accepted: Socket[] = [];
    const { port, rejected, listener } = await listen((socket) => accepted.push(socket));
    const socket = client(port);
    socket.write(bytes);
    await once(socket, 'close');
    expect({ accepted: accepted.length, rejected }).toEqual({ accepted: 0, rejected: ['proxy_header'] });
    await listener.idle(5_000);
    expect(listener.openConnections).toBe(0);
  });

  it('refuses a listed peer that sends half a header and then nothing', async () => {
    const { port, rejected } = await listen(echoWho, { proxyHeaderTimeoutMs: 50 });
    const socket = client(port);
    socket.write(ipv6.subarray(0, 20));
    await once(socket, 'close');
    expect(rejected).toEqual(['proxy_header']);
  });

  it('believes nobody else: from a peer that is not listed a header is the first bytes of its stream', async () => {
    const { port } = await listen(echoWho, { trustedProxies: ['192.0.2.0/24'] });
    const socket = client(port);
    socket.write(ipv4([192, 0, 2, 9], 5_000));
    expect(await firstBytes(socket)).toMatch(/^127\.0\.0\.1:\d+ \r\n\r\n/);
  });

  it('survives a connection that ends at once', async () => {
    const { port, rejected, listener } = await listen(echoWho);
    const socket = client(port);
    await once(socket, 'connect');
    socket.resetAndDestroy();
    await listener.idle(5_000);
    expect(rejected.filter((why) => why !== 'proxy_header')).toEqual([]);
  });
});
