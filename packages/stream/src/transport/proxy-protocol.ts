import { BlockList, isIP, type Socket, SocketAddress } from 'node:net';

/**
 * PROXY protocol version 2 (HAProxy, "The PROXY protocol", §2.2): a load balancer tells who the client is. Read only from
 * peers that are listed, and then before anything else; version 1, being text, is refused. TLVs are skipped.
 */

/** Where the client of a load balancer is. */
export interface ProxiedPeer {
  readonly address: string;
  readonly port: number;
}

export type ProxyHeaderResult =
  /** So far so good; more bytes are needed. */
  | { readonly kind: 'incomplete' }
  /** `peer` undefined: the load balancer speaks for itself (LOCAL, a health check) or does not know the client. */
  | { readonly kind: 'header'; readonly peer: ProxiedPeer | undefined; readonly length: number }
  | { readonly kind: 'invalid'; readonly why: string };

/** The connection did not begin with a header as it must. Its message is for the log. */
export class ProxyHeaderError extends Error {
  override readonly name = 'ProxyHeaderError';
}

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const FIXED_BYTES = 16;
/** Addresses take 36, the TLVs of a TLS-terminating balancer some hundred. */
const MAX_REST_BYTES = 1_024;

/** Reads a header from the first bytes of a connection. Never throws. */
export function parseProxyHeader(bytes: Buffer): ProxyHeaderResult {
  const common = Math.min(bytes.length, SIGNATURE.length);
  if (!bytes.subarray(0, common).equals(SIGNATURE.subarray(0, common))) {
    const isVersion1 = 'PROXY '.startsWith(bytes.toString('latin1', 0, Math.min(bytes.length, 6)));
    return { kind: 'invalid', why: isVersion1 ? 'PROXY protocol version 1; send version 2' : 'no PROXY header' };
  }
  if (bytes.length < FIXED_BYTES) return { kind: 'incomplete' };
  const versionAndCommand = bytes.readUInt8(12);
  const family = bytes.readUInt8(13);
  const rest = bytes.readUInt16BE(14);
  const command = versionAndCommand & 0x0f;
  if (versionAndCommand >> 4 !== 2) return { kind: 'invalid', why: `PROXY protocol version ${versionAndCommand >> 4}` };
  if (command > 1) return { kind: 'invalid', why: `PROXY command ${command}` };
  if (rest > MAX_REST_BYTES)
    return { kind: 'invalid', why: `a PROXY header of ${rest} bytes; at most ${MAX_REST_BYTES} are read` };
  const length = FIXED_BYTES + rest;
  if (bytes.length < length) return { kind: 'incomplete' };
  if (command === 0 || family === 0x00) return { kind: 'header', peer: undefined, length }; // LOCAL, or UNSPEC
  const addresses = bytes.subarray(FIXED_BYTES, length);
  if (family === 0x11) {
    if (rest < 12) return { kind: 'invalid', why: 'a PROXY header too short for TCP over IPv4' };
    return { kind: 'header', peer: { address: addresses.subarray(0, 4).join('.'), port: addresses.readUInt16BE(8) }, length };
  }
  if (family === 0x21) {
    if (rest < 36) return { kind: 'invalid', why: 'a PROXY header too short for TCP over IPv6' };
    const groups = Array.from({ length: 8 }, (_, i) => addresses.readUInt16BE(2 * i).toString(16));
    const { address } = new SocketAddress({ address: groups.join(':'), family: 'ipv6' });
    return { kind: 'header', peer: { address, port: addresses.readUInt16BE(32) }, length };
  }
  return { kind: 'invalid', why: `PROXY address family ${family.toString(16)}; only TCP over IPv4 or IPv6 comes here` };
}

/**
 * Takes the header off a connection of which nothing was read. What follows it stays in the socket, which then is as a new
 * one: nobody listens, nothing flows.
 *
 * @throws ProxyHeaderError when there is no valid header within `timeoutMs`, or the connection ends
 */
export async function takeProxyHeader(socket: Socket, timeoutMs: number): Promise<ProxiedPeer | undefined> {
  let taken: Buffer = Buffer.alloc(0);
  const peer = await new Promise<ProxiedPeer | undefined>((resolve, reject) => {
    const settle = (done: () => void): void => {
      clearTimeout(timer);
      socket.off('readable', onReadable);
      socket.off('end', onEnd);
      socket.off('close', onEnd);
      done();
    };
    const fail = (why: string): void => settle(() => reject(new ProxyHeaderError(why)));
    const onEnd = (): void => fail('the connection ended within the PROXY header');
    const onReadable = (): void => {
      for (;;) {
        const result = parseProxyHeader(taken);
        if (result.kind !== 'incomplete') {
          if (result.kind === 'header') settle(() => resolve(result.peer));
          else fail(result.why);
          return;
        }
        // Never a byte too many: what follows is the client's own.
        const wanted = taken.length < FIXED_BYTES ? FIXED_BYTES : FIXED_BYTES + taken.readUInt16BE(14);
        const available = Math.min(wanted - taken.length, socket.readableLength);
        const chunk = available === 0 ? null : (socket.read(available) as Buffer | null);
        if (chunk === null) {
          if (socket.readableLength === 0) socket.read(0); // asks for more
          return;
        }
        taken = Buffer.concat([taken, chunk]);
      }
    };
    const timer = setTimeout(() => fail(`no PROXY header within ${timeoutMs} ms`), timeoutMs);
    socket.on('readable', onReadable);
    socket.on('end', onEnd);
    socket.on('close', onEnd);
  });
  // Node notices on the next tick that nobody waits for 'readable' any more; before that a 'data' listener starts nothing.
  await new Promise((resolve) => setImmediate(resolve));
  return peer;
}

/**
 * Makes a test for addresses in a list of networks, `address/bits` or single addresses.
 *
 * @throws RangeError for an entry that is neither
 */
export function networkList(cidrs: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [network = '', bits] = cidr.split('/');
    const version = isIP(network);
    const most = version === 6 ? 128 : 32;
    if (
      version === 0 ||
      (bits !== undefined && !(/^\d{1,3}$/.test(bits) && Number(bits) <= most)) ||
      cidr.split('/').length > 2
    ) {
      throw new RangeError(`${cidr} is no network: write an address, or address/bits`);
    }
    list.addSubnet(network, bits === undefined ? most : Number(bits), version === 6 ? 'ipv6' : 'ipv4');
  }
  return (address) => {
    // A dual-stack socket shows IPv4 peers as ::ffff:a.b.c.d.
    const plain = address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
    const version = isIP(plain);
    return version !== 0 && list.check(plain, version === 6 ? 'ipv6' : 'ipv4');
  };
}

/** Whether `networkList` takes it: an address, or `address/bits`. */
export function isNetwork(text: string): boolean {
  try {
    networkList([text]);
    return true;
  } catch {
    return false;
  }
}

/** From now on the socket tells the client's address as its peer's. */
export function showPeer(socket: Socket, { address, port }: ProxiedPeer): void {
  const family = address.includes(':') ? 'IPv6' : 'IPv4';
  for (const [name, value] of Object.entries({ remoteAddress: address, remotePort: port, remoteFamily: family })) {
    Object.defineProperty(socket, name, { value, configurable: true, enumerable: true });
  }
}
