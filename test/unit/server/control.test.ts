/** The control socket: who may connect, what is refused, what is bounded. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AdminError, type AdminOperations } from '../../../packages/server/src/admin/operations.ts';
import { connectControl } from '../../../packages/server/src/control/client.ts';
import { LineSplitter, MAX_REQUEST_BYTES } from '../../../packages/server/src/control/protocol.ts';
import { type ControlServer, serveControl } from '../../../packages/server/src/control/server.ts';

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
let directory: string;
let server: ControlServer | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'xmpp-grid-control-'));
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(directory, { recursive: true });
});

/** Answers what the tests ask; anything else is a bug of theirs. */
const admin = (changes: Partial<AdminOperations> = {}): AdminOperations =>
  new Proxy(changes as AdminOperations, {
    get: (target, name) =>
      target[name as keyof AdminOperations] ?? (() => Promise.reject(new Error(`unexpected ${String(name)}`))),
  });

/** Sends bytes as they stand; resolves with all that came back once the other side closes. */
const raw = (bytes: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(join(directory, 'control.sock'));
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString();
      if (text.endsWith('\n')) socket.end();
    });
    socket.on('close', () => resolve(text));
    socket.on('error', reject);
    socket.write(bytes);
  });

describe('control socket', () => {
  it('is the owner’s alone', async () => {
    server = await serveControl(directory, admin(), quiet);
    expect(statSync(join(directory, 'control.sock')).mode & 0o777).toBe(0o600);
  });

  it('carries an operation, its argument and its result', async () => {
    const seen: unknown[] = [];
    server = await serveControl(
      directory,
      admin({
        platformRemove: async (argument) => {
          seen.push(argument);
          return { endedStreams: 2 };
        },
      }),
      quiet,
    );
    const client = await connectControl(directory);
    expect(await client?.admin.platformRemove({ name: 'a' })).toEqual({ endedStreams: 2 });
    expect(seen).toEqual([{ name: 'a' }]);
    client?.close();
  });

  it('carries what the caller got wrong with its code', async () => {
    const platformShow = () => Promise.reject(new AdminError('no-such-platform', 'there is no platform b@x'));
    server = await serveControl(directory, admin({ platformShow }), quiet);
    const client = await connectControl(directory);
    await expect(client?.admin.platformShow({ name: 'b' })).rejects.toMatchObject({
      code: 'no-such-platform',
      message: 'there is no platform b@x',
    });
    client?.close();
  });

  it('tells a failure of the instance and logs it', async () => {
    const logged: object[] = [];
    const sessionList = () => Promise.reject(new Error('disk on fire'));
    server = await serveControl(directory, admin({ sessionList }), { ...quiet, error: (fields) => logged.push(fields) });
    const client = await connectControl(directory);
    await expect(client?.admin.sessionList({})).rejects.toThrow('disk on fire');
    expect(logged).toHaveLength(1);
    client?.close();
  });

  it('answers many requests of one connection in order', async () => {
    server = await serveControl(
      directory,
      admin({ platformRemove: async ({ name }) => ({ endedStreams: Number(name) }) }),
      quiet,
    );
    const client = await connectControl(directory);
    const results = await Promise.all([1, 2, 3].map((n) => client?.admin.platformRemove({ name: String(n) })));
    expect(results).toEqual([1, 2, 3].map((endedStreams) => ({ endedStreams })));
    client?.close();
  });

  it.each([
    ['no JSON', 'hello\n'],
    ['no known operation', '{"id":1,"operation":"constructor"}\n'],
    ['an argument that does not fit', '{"id":1,"operation":"platformShow","argument":{"name":7}}\n'],
    ['an argument too many', '{"id":1,"operation":"platformShow","argument":{"name":"a","more":1}}\n'],
    ['another shape', '[]\n'],
  ])('refuses %s', async (_, bytes) => {
    server = await serveControl(directory, admin(), quiet);
    expect(JSON.parse(await raw(bytes))).toMatchObject({ error: { code: 'bad-request' } });
  });

  it('ends a connection whose request has no end', async () => {
    server = await serveControl(directory, admin(), quiet);
    expect(JSON.parse(await raw('x'.repeat(MAX_REQUEST_BYTES + 1)))).toMatchObject({ error: { code: 'bad-request' } });
  });

  it('takes a path that is left over from a crash', async () => {
    writeFileSync(join(directory, 'control.sock'), '');
    expect(await connectControl(directory)).toBeUndefined();
    server = await serveControl(
      directory,
      admin({ platformEnable: () => Promise.reject(new AdminError('no-such-platform', 'x')) }),
      quiet,
    );
    const client = await connectControl(directory);
    expect(client).toBeDefined();
    client?.close();
  });

  it('says that nobody serves where there is no socket', async () => {
    expect(await connectControl(directory)).toBeUndefined();
  });

  it('rejects what is unanswered when the instance goes', async () => {
    let arrived = () => {};
    const inside = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const status = () => {
      arrived();
      return new Promise<never>(() => {});
    };
    server = await serveControl(directory, admin({ status }), quiet);
    const client = await connectControl(directory);
    const outcome = expect(client?.admin.status()).rejects.toThrow('closed the control connection');
    await inside;
    await server.close();
    server = undefined;
    await outcome;
  });
});

describe('line splitter', () => {
  it.each([1, 2, 3, 7, 100])('gives the same lines in chunks of %i bytes', (size) => {
    const bytes = Buffer.from('{"a":"ü"}\n\nlast\n');
    const splitter = new LineSplitter(100);
    const lines: string[] = [];
    for (let at = 0; at < bytes.length; at += size) lines.push(...splitter.push(bytes.subarray(at, at + size)));
    expect(lines).toEqual(['{"a":"ü"}', '', 'last']);
  });

  it('throws at a line over its limit, also over several chunks', () => {
    const splitter = new LineSplitter(10);
    splitter.push(Buffer.from('12345'));
    expect(() => splitter.push(Buffer.from('678901'))).toThrow(RangeError);
  });
});
