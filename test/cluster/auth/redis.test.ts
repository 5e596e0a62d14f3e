import { randomBytes } from 'node:crypto';
import { AccountRoles, type PlatformAccount, RedisAccountStore, redisClusterSecret } from '@xmpp-grid/auth';
import {
  checkDataFormat,
  DATA_FORMAT,
  JID,
  RedisConnections,
  RedisControlLog,
  RedisRefused,
  StoreUnavailable,
} from '@xmpp-grid/stream';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hasRedis, startRedis, type TestRedis } from '../../support/start-redis.ts';
import { startRedisCluster, type TestCluster } from '../../support/start-redis-cluster.ts';
import { until } from '../../support/until.ts';
import { connect, recordedLog } from '../stream/support.ts';

/** What only Redis does to accounts, the shared secret and the format of the data (G-012, M-15; design §5). */

const PROGRAM = 'xmpp-grid 0.1.0';
const account = (name: string, change: Partial<PlatformAccount> = {}): PlatformAccount => ({
  jid: JID.parse(`${name}@grid.example`),
  role: 'platform',
  state: 'enabled',
  scram: {},
  certificateFingerprints: [],
  createdAtMs: 1_700_000_000_000,
  ...change,
});
const namesOf = (page: readonly { account: PlatformAccount }[]) => page.map((each) => each.account.jid.local);

async function added(store: RedisAccountStore, name: string): Promise<string> {
  const stored = await store.put(account(name), undefined);
  if (stored === 'stale') throw new Error(`${name} exists`);
  return stored.version;
}

describe.skipIf(!hasRedis(true))('over one Redis', () => {
  let server: TestRedis;
  let keyPrefix: string;
  let open: RedisConnections[];
  beforeAll(async () => {
    server = await startRedis({ isOwn: true, args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
  });
  afterAll(async () => {
    await server.stop();
  });
  beforeEach(() => {
    keyPrefix = `test-${randomBytes(6).toString('hex')}:`;
    open = [];
  });
  afterEach(() => {
    for (const redis of open) redis.close();
  });
  const connected = async (): Promise<RedisConnections> => {
    const redis = await connect(server.url, { keyPrefix, durability: { kind: 'fsync' }, commandTimeoutMs: 1_000 });
    open.push(redis);
    return redis;
  };

  describe('accounts', () => {
    it('what one instance wrote the other reads, and its own change is refused', async () => {
      const [a, b] = [new RedisAccountStore(await connected()), new RedisAccountStore(await connected())];
      const version = await added(a, 'siem');
      expect((await b.get(account('siem').jid))?.version).toBe(version);
      expect(await b.put(account('siem', { state: 'disabled' }), version)).not.toBe('stale');
      expect(await a.put(account('siem', { role: 'observer' }), version)).toBe('stale');
      expect((await a.get(account('siem').jid))?.account).toEqual(account('siem', { state: 'disabled' }));
    });

    it('delivery.md §8.2 a role that one instance changed is the role on the other once the control log tells', async () => {
      const [here, there] = [await connected(), await connected()];
      const store = new RedisAccountStore(here);
      const version = await added(store, 'siem');
      const { bareString } = account('siem').jid;
      const roles = new AccountRoles({ accounts: new RedisAccountStore(there) });
      const heard: string[] = [];
      const follow = await new RedisControlLog(there, recordedLog()).follow({
        event: ({ body }) => {
          roles.invalidate(body);
          heard.push(body);
        },
        judgeAll: () => roles.invalidateAll(),
      });
      expect(await roles.roleOf(bareString)).toBe('platform');
      await store.put(account('siem', { role: 'observer' }), version);
      expect(await roles.roleOf(bareString)).toBe('platform');
      await new RedisControlLog(here, recordedLog()).append({ kind: 'account', body: bareString });
      await until('the other instance hears of it', () => heard.length === 1);
      expect(await roles.roleOf(bareString)).toBe('observer');
      await follow.close();
    });

    it('that are acknowledged outlive a kill of Redis; while it is away nothing is told as done (design §6)', async () => {
      const store = new RedisAccountStore(await connected());
      const version = await added(store, 'sensor');
      await server.kill();
      await expect(store.get(account('sensor').jid)).rejects.toBeInstanceOf(StoreUnavailable);
      await expect(store.put(account('other'), undefined)).rejects.toBeInstanceOf(StoreUnavailable);
      await expect(store.put(account('sensor', { state: 'disabled' }), version)).rejects.toBeInstanceOf(StoreUnavailable);
      await expect(store.remove(account('sensor').jid, version)).rejects.toBeInstanceOf(StoreUnavailable);
      await expect(store.list(undefined, 10)).rejects.toBeInstanceOf(StoreUnavailable);
      await expect(store.count()).rejects.toBeInstanceOf(StoreUnavailable);
      await server.restart();
      const again = new RedisAccountStore(await connected());
      expect(namesOf(await again.list(undefined, 10))).toEqual(['sensor']);
      expect((await again.get(account('sensor').jid))?.version).toBe(version);
    });

    it('scripts that Redis forgot are loaded again', async () => {
      const redis = await connected();
      const store = new RedisAccountStore(redis);
      await redis.commands.script('FLUSH');
      const version = await added(store, 'sensor');
      await redis.commands.script('FLUSH');
      expect(await store.remove(account('sensor').jid, version)).toBe('removed');
    });

    it('an entry that an interruption left lists nothing, and shortens no page', async () => {
      const redis = await connected();
      const store = new RedisAccountStore(redis);
      for (const name of ['a', 'c', 'e']) await added(store, name);
      for (const name of ['a', 'b', 'd', 'f']) {
        await redis.commands.zadd(`${keyPrefix}accounts`, 0, `${name}@grid.example\0left`);
      }
      expect(namesOf(await store.list(undefined, 2))).toEqual(['a', 'c']);
      expect(namesOf(await store.list('a@grid.example', 2))).toEqual(['c', 'e']);
      expect(namesOf(await store.list(undefined, 10))).toEqual(['a', 'c', 'e']);
    });

    it('a name that a failover took from the list is there again after the next change', async () => {
      const redis = await connected();
      const store = new RedisAccountStore(redis);
      const version = await added(store, 'a');
      await redis.commands.del(`${keyPrefix}accounts`);
      const changed = await store.put(account('a', { role: 'observer' }), version);
      if (changed === 'stale') throw new Error('stale');
      expect(namesOf(await store.list(undefined, 10))).toEqual(['a']);
      expect(await store.remove(account('a').jid, changed.version)).toBe('removed');
      expect(await store.count()).toBe(0);
    });

    it('a record that is damaged lets nobody in', async () => {
      const redis = await connected();
      const store = new RedisAccountStore(redis);
      await added(store, 'a');
      await redis.commands.hset(`${keyPrefix}{u:a@grid.example}:account`, 'r', '{"state":"enabledx"}');
      await expect(store.get(account('a').jid)).rejects.toThrow('unknown state');
    });
  });

  describe('the secret of the grid', () => {
    it('is made once, whoever comes first, and is the same for all', async () => {
      const connections = await Promise.all(Array.from({ length: 4 }, connected));
      const secrets = await Promise.all(connections.map(redisClusterSecret));
      expect(secrets[0]).toHaveLength(32);
      expect(new Set(secrets.map((secret) => secret.toString('hex'))).size).toBe(1);
      expect(await redisClusterSecret(await connected())).toEqual(secrets[0]);
    });

    it('is another one under another prefix', async () => {
      const first = await redisClusterSecret(await connected());
      keyPrefix = `${keyPrefix}other:`;
      expect(await redisClusterSecret(await connected())).not.toEqual(first);
    });

    it('is refused when the key holds something else', async () => {
      const redis = await connected();
      await redis.commands.set(`${keyPrefix}secret`, 'short');
      await expect(redisClusterSecret(redis)).rejects.toThrow(RedisRefused);
    });
  });

  describe('the format of the data', () => {
    it('is written at the first start and found at the next', async () => {
      const redis = await connected();
      await checkDataFormat(redis, PROGRAM);
      expect(await redis.commands.hgetall(`${keyPrefix}meta`)).toEqual({ format: String(DATA_FORMAT), program: PROGRAM });
      await checkDataFormat(await connected(), 'xmpp-grid 0.2.0');
      expect(await redis.commands.hget(`${keyPrefix}meta`, 'program')).toBe(PROGRAM);
    });

    it.each(['0', '2', 'x'])('%s is refused with the way to migrate, and left as it is', async (format) => {
      const redis = await connected();
      await redis.commands.hset(`${keyPrefix}meta`, { format, program: 'xmpp-grid 9.9.9' });
      const refused = await checkDataFormat(redis, PROGRAM).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(RedisRefused);
      const { message } = refused as RedisRefused;
      expect(message).toContain(`the data under ${keyPrefix} in Redis is in format ${format}, made by xmpp-grid 9.9.9`);
      expect(message).toContain(`${PROGRAM} reads format ${DATA_FORMAT}`);
      expect(message).toContain('To migrate, give xmpp-grid 0.1.0 another redis.keyPrefix');
      expect(await redis.commands.hgetall(`${keyPrefix}meta`)).toEqual({ format, program: 'xmpp-grid 9.9.9' });
    });

    it('a key of somebody else is refused as such', async () => {
      const redis = await connected();
      await redis.commands.set(`${keyPrefix}meta`, 'theirs');
      await expect(checkDataFormat(redis, PROGRAM)).rejects.toThrow(/meta in Redis is not ours.*choose another/);
    });
  });
});

describe.skipIf(!hasRedis(true))('over a Cluster', () => {
  let cluster: TestCluster;
  let redis: RedisConnections;
  beforeAll(async () => {
    cluster = await startRedisCluster({ primaries: 2 });
    redis = await RedisConnections.open(
      { servers: cluster.servers, keyPrefix: 'xg:', durability: { kind: 'memory' } },
      { log: recordedLog(), retryMs: 20 },
    );
  });
  afterAll(async () => {
    redis.close();
    await cluster.stop();
  });

  it('accounts live on all primaries and are listed as one, in order', async () => {
    const store = new RedisAccountStore(redis);
    const names = Array.from({ length: 60 }, (_, i) => `p${String(i).padStart(2, '0')}`);
    const versions = await Promise.all(names.map((name) => added(store, name)));
    expect(namesOf(await store.list(undefined, 100))).toEqual(names);
    expect(namesOf(await store.list('p29@grid.example', 10))).toEqual(names.slice(30, 40));
    expect(await store.count()).toBe(60);
    const perNode = await Promise.all(
      (redis.commands as { nodes(role: string): { dbsize(): Promise<number> }[] }).nodes('master').map((node) => node.dbsize()),
    );
    expect(Math.min(...perNode)).toBeGreaterThan(5);
    expect(await store.put(account('p00', { state: 'disabled' }), versions[0])).not.toBe('stale');
    for (const [i, name] of names.slice(1).entries())
      expect(await store.remove(account(name).jid, versions[i + 1] as string)).toBe('removed');
    expect((await store.list(undefined, 10)).map((each) => each.account)).toEqual([account('p00', { state: 'disabled' })]);
  });

  it('the secret and the format are found again', async () => {
    await checkDataFormat(redis, PROGRAM);
    await checkDataFormat(redis, PROGRAM);
    expect(await redisClusterSecret(redis)).toEqual(await redisClusterSecret(redis));
  });
});
