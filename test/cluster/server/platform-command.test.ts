import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RedisAccountStore } from '@xmpp-grid/auth';
import { openRedisTopicStore } from '@xmpp-grid/pubsub';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Admin } from '../../../packages/server/src/admin/admin.ts';
import { serveControl } from '../../../packages/server/src/control/server.ts';
import { hasRedis, startRedis, type TestRedis } from '../../support/start-redis.ts';
import { xmppGrid } from '../../support/xmpp-grid.ts';
import { connect, recordedLog } from '../stream/support.ts';

/** `xmpp-grid platform` on a Redis: from several machines, and while it is away (G-012; delivery.md §8.2). */

describe.skipIf(!hasRedis(true))('platform commands on Redis', () => {
  let server: TestRedis;
  let directory: string;
  let keyPrefix: string;
  beforeAll(async () => {
    server = await startRedis({ isOwn: true, args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    directory = mkdtempSync(join(tmpdir(), 'xg-'));
  });
  afterAll(async () => {
    await server.stop();
    rmSync(directory, { recursive: true });
  });
  beforeEach(() => {
    keyPrefix = `test-${randomBytes(6).toString('hex')}:`;
  });

  /** Options that name the configuration of one machine. */
  const machine = (name: string): readonly string[] => {
    const dataDir = join(directory, name);
    mkdirSync(dataDir, { recursive: true });
    const file = join(dataDir, 'config.yaml');
    const redis = `{ nodes: ["127.0.0.1:${server.port}"], keyPrefix: "${keyPrefix}", durability: fsync }`;
    writeFileSync(file, `dataDir: ${dataDir}\nstore: { kind: redis }\nredis: ${redis}\n`);
    return ['--config', file];
  };
  const direct = async <T>(use: (client: Redis) => Promise<T>): Promise<T> => {
    const client = new Redis({ host: server.host, port: server.port });
    try {
      return await use(client);
    } finally {
      client.disconnect();
    }
  };

  it('work on what all machines share, and tell the instances', async () => {
    const [one, two] = [machine('one'), machine('two')];
    expect(await xmppGrid(['platform', 'add', 'siem', '--generate', ...one])).toMatchObject({ code: 0 });
    expect(await xmppGrid(['platform', 'add', 'siem', '--generate', ...two])).toMatchObject({
      code: 1,
      stderr: 'xmpp-grid: siem@localhost exists already; --replace gives it new credentials\n',
    });
    expect((await xmppGrid(['platform', 'disable', 'siem', ...two])).stderr).toBe(
      'siem@localhost is disabled; 0 streams ended here, those of other instances end now\n',
    );
    expect(JSON.parse((await xmppGrid(['platform', 'list', '--json', ...one])).stdout)).toMatchObject([
      { jid: 'siem@localhost', state: 'disabled' },
    ]);
    expect(await direct((client) => client.xlen(`${keyPrefix}control`))).toBe(2);
  });

  it('data of another version is refused with the way to migrate, and nothing is written', async () => {
    const options = machine('one');
    await direct((client) => client.hset(`${keyPrefix}meta`, { format: '2', program: 'xmpp-grid 2.0.0' }));
    const outcome = await xmppGrid(['platform', 'add', 'siem', '--generate', ...options]);
    expect(outcome).toMatchObject({ code: 78, stdout: '' });
    expect(outcome.stderr).toContain('is in format 2, made by xmpp-grid 2.0.0');
    expect(outcome.stderr).toContain('To migrate');
    expect(await direct((client) => client.keys(`${keyPrefix}*`))).toEqual([`${keyPrefix}meta`]);
  });

  it('a running instance whose Redis went away says what was done, without delay', async () => {
    const options = machine('running');
    const redis = await connect(server.url, { keyPrefix, durability: { kind: 'fsync' }, commandTimeoutMs: 1_000 });
    const topics = await openRedisTopicStore({ connections: redis, log: recordedLog() });
    const admin = new Admin({
      accounts: new RedisAccountStore(redis),
      topics,
      domain: 'localhost',
      profile: 'grid',
      scramIterations: 4096,
      roles: ['platform'],
    });
    const control = await serveControl(join(directory, 'running'), admin, recordedLog());
    try {
      expect(await xmppGrid(['platform', 'add', 'siem', '--generate', ...options])).toMatchObject({ code: 0 });
      await server.kill();
      const outcome = await xmppGrid(['platform', 'add', 'other', '--generate', ...options]);
      expect(outcome).toEqual({ code: 1, stdout: '', stderr: 'xmpp-grid: the store cannot be reached, try again later\n' });
      await server.restart();
      expect(await direct((client) => client.exists(`${keyPrefix}{u:other@localhost}:account`))).toBe(0);
      expect(await direct((client) => client.exists(`${keyPrefix}{u:siem@localhost}:account`))).toBe(1);
    } finally {
      await control.close();
      await topics.close();
      redis.close();
    }
  });

  it('without an instance and without Redis they give up after 10 s and say so', async () => {
    const options = machine('one');
    await server.kill();
    const outcome = await xmppGrid(['platform', 'add', 'siem', '--generate', ...options]);
    await server.restart();
    expect(outcome).toMatchObject({ code: 1, stdout: '' });
    expect(outcome.stderr.split('\n').at(-2)).toBe(
      `xmpp-grid: Redis at 127.0.0.1:${server.port} does not answer: nothing was done; try again when it does`,
    );
  });
});
