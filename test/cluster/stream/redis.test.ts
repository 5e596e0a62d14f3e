import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  Instances,
  type OpenInbox,
  RedisConnections,
  RedisControlLog,
  RedisInboxes,
  RedisInstanceTable,
  RedisRefused,
  RedisResumeStates,
  RedisSessionRegistry,
  StoreUnavailable,
} from '@xmpp-grid/stream';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { testCertificates } from '../../support/certs.ts';
import { hasRedis, startRedis, type TestRedis } from '../../support/start-redis.ts';
import { until } from '../../support/until.ts';
import { account, connect, recordedLog } from './support.ts';

/** What only Redis can do to the cluster: stop, forget scripts, lose to a race (G-011, G-012, M-15; delivery.md §2, §7). */

const LEASE_MS = 800;
const claim = (instanceId: string, sessionId: string) => ({ instanceId, sessionId, sinceMs: 1 });

describe.skipIf(!hasRedis(true))('over a Redis that is hurt', () => {
  let server: TestRedis;
  let keyPrefix: string;
  let open: RedisConnections[];
  const stopping: (() => Promise<void>)[] = [];
  beforeAll(async () => {
    server = await startRedis({ isOwn: true });
  });
  afterAll(async () => {
    await server.stop();
  });
  beforeEach(() => {
    keyPrefix = `test-${randomBytes(6).toString('hex')}:`;
    open = [];
  });
  afterEach(async () => {
    for (const redis of open) redis.close();
    for (const stop of stopping.splice(0)) await stop();
  });

  const connected = async (options: { commandTimeoutMs?: number } = {}): Promise<RedisConnections> => {
    const redis = await connect(server.url, { keyPrefix, ...options });
    open.push(redis);
    return redis;
  };

  const instance = async (leaseMs = LEASE_MS) => {
    const redis = await connected({ commandTimeoutMs: 200 });
    const declared: string[] = [];
    const rejoined: string[] = [];
    const cleaned: string[] = [];
    const log = recordedLog();
    const table = new RedisInstanceTable(redis);
    const instances = new Instances({ table, leaseMs, beatMs: LEASE_MS / 5, log });
    instances.observe({ declaredDead: (id) => declared.push(id), rejoined: async (id) => void rejoined.push(id) });
    instances.addCleaner(async (id) => void cleaned.push(id));
    await instances.start();
    return { redis, instances, declared, rejoined, cleaned, log, table };
  };

  it('§7.1 an instance that ends is declared dead once, and one of the others cleans up behind it', async () => {
    const [a, b, c] = [await instance(), await instance(), await instance()];
    const dead = c.instances.id;
    c.redis.close(); // as if it were killed: its heartbeats fail
    await until('it is cleaned up behind', async () => (await a.table.claimCleaning(dead, 'test', 1)) === 'gone');
    expect([...a.declared, ...b.declared]).toEqual([dead]);
    expect([...a.cleaned, ...b.cleaned]).toEqual([dead]);
    expect(c.instances.isFenced).toBe(true);
    expect([a.rejoined, b.rejoined]).toEqual([[], []]);
  });

  it('§7.1 Redis stopped for longer than the lease: nobody is declared dead; all are fenced and come back under new ids', async () => {
    const all = [await instance(), await instance(), await instance()];
    const before = all.map(({ instances }) => instances.id);
    await until('they have seen each other', () => all.every(({ instances }) => instances.live().length === 3));
    process.kill(server.pid as number, 'SIGSTOP');
    try {
      await until('all are fenced', () => all.every(({ instances }) => instances.isFenced));
    } finally {
      process.kill(server.pid as number, 'SIGCONT');
    }
    await until('all serve again', () => all.every(({ instances }) => !instances.isFenced));
    await until('their former ids are cleaned up behind', () => {
      const cleaned = all.flatMap((each) => each.cleaned);
      return before.every((id) => cleaned.includes(id));
    });
    await until('they see each other', () => all.every(({ instances }) => instances.live().length === 3));
    expect(all.flatMap(({ declared }) => declared)).toEqual([]);
    expect(all.every(({ rejoined, instances }) => rejoined.at(-1) === instances.id)).toBe(true);
    expect(new Set(all.map(({ instances }) => instances.id).concat(before)).size).toBe(6);
  });

  it('§7.1 Redis stopped for less than the lease changes nothing', async () => {
    const all = [await instance(10_000), await instance(10_000)];
    const before = all.map(({ instances }) => instances.id);
    process.kill(server.pid as number, 'SIGSTOP');
    await until('a heartbeat failed', () =>
      all.some(({ log }) => log.lines.some(({ message }) => message === 'heartbeat failed')),
    ).finally(() => process.kill(server.pid as number, 'SIGCONT'));
    await until('heartbeats go on', () => all.every(({ instances }) => instances.leaseAgeMs < LEASE_MS / 2));
    expect(all.flatMap(({ declared }) => declared)).toEqual([]);
    expect(all.map(({ instances }) => instances.id)).toEqual(before);
  });

  it('§7.2 a paused instance is fenced when it wakes, before it does anything, and its late commands harm nothing', async () => {
    let skewMs = 0; // how long the paused one was away, as its monotonic clock tells
    const a = await instance();
    const table = new RedisInstanceTable(await connected());
    const log = recordedLog();
    const paused = new Instances({ table, leaseMs: LEASE_MS, beatMs: 60_000, log, now: () => performance.now() + skewMs });
    await paused.start(); // its next heartbeat is a minute away: paused
    const formerId = paused.id;
    const who = account('paused');
    const registry = new RedisSessionRegistry(a.redis, a.instances);
    await registry.bind(who, 'r', claim(formerId, 'old'), 5);
    expect(paused.isFenced).toBe(false);
    await until('it is declared dead', () => a.declared.includes(formerId));
    expect(await registry.sessionsOf(who)).toEqual([]);
    const bound = await registry.bind(who, 'r', claim(a.instances.id, 'new'), 5);
    expect(bound).toEqual({ kind: 'bound', displaced: undefined }); // the dead one's field was dropped

    skewMs += LEASE_MS; // it wakes
    expect(paused.isFenced).toBe(true);
    const late = new RedisSessionRegistry(await connected(), paused);
    expect(await late.drop(who, 'r', 'old')).toBe(false);
    expect(await late.reclaim(who, 'r', claim(formerId, 'old'))).toBe(false);
    expect(await table.beat(formerId, 99, 'beat')).toBe('fenced');
    expect(await registry.sessionsOf(who)).toEqual([{ resource: 'r', claim: claim(a.instances.id, 'new') }]);
    await paused.beat();
    await until('it serves again under a new id', () => !paused.isFenced && paused.id !== formerId);
    await paused.close();
  });

  it('§7.2 a process stopped past its lease finds itself fenced in the first thing that it does', async () => {
    const a = await instance();
    const script = `
      import { Instances, RedisConnections, RedisInstanceTable } from '@xmpp-grid/stream';
      const quiet = () => undefined;
      const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
      const redis = await RedisConnections.open(
        { servers: { kind: 'standalone', url: '${server.url}' }, keyPrefix: '${keyPrefix}', durability: { kind: 'memory' } }, { log });
      const instances = new Instances({ table: new RedisInstanceTable(redis), leaseMs: ${LEASE_MS}, log });
      await instances.start();
      const formerId = instances.id;
      console.log('started ' + formerId);
      // What stands for a stanza: each one handled is told, so that one handled after the pause would be seen.
      setInterval(() => console.log(instances.id === formerId ? (instances.isFenced ? 'fenced' : 'handled') : 'new ' + instances.id), 10);
    `;
    const child = spawn(process.execPath, ['--conditions=development', '--input-type=module', '-e', script], {
      cwd: fileURLToPath(new URL('../../../', import.meta.url)),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.on('data', (data) => (output += String(data)));
    try {
      await until('it handles stanzas', () => output.includes('handled'));
      const formerId = /started (\S+)/.exec(output)?.[1] as string;
      child.kill('SIGSTOP');
      await until('it is declared dead', () => a.declared.includes(formerId));
      const before = output.length;
      child.kill('SIGCONT');
      await until('it serves under a new id', () => output.includes('new '));
      expect(output.slice(before)).not.toContain('handled');
      expect(a.rejoined).toEqual([]);
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('§7.1 a cleaner that dies in it is followed by another one, which begins again', async () => {
    const a = await instance();
    await a.table.beat('dead', 1, 'join');
    await a.table.markDead('dead', undefined);
    expect(['yours', 'theirs']).toContain(await a.table.claimCleaning('dead', 'crashed', LEASE_MS));
    await until('it was cleaned', () => a.cleaned.includes('dead'));
    await until('it is forgotten', async () => (await a.table.claimCleaning('dead', 'test', 1)) === 'gone');
  });

  it('RFC 6120 §7.7.2.2 two instances race for one resource: each claim but the last is handed back once', async () => {
    const registries = [await connected(), await connected()].map(
      (redis) => new RedisSessionRegistry(redis, { live: () => ['i0', 'i1'], goneOf: async () => new Set() }),
    );
    const who = account('raced');
    const outcomes = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        (registries[i % 2] as RedisSessionRegistry).bind(who, 'r', claim(`i${i % 2}`, `s${i}`), 1),
      ),
    );
    const displaced = outcomes.map((outcome) => (outcome.kind === 'bound' ? outcome.displaced?.sessionId : 'refused'));
    const [last] = await (registries[0] as RedisSessionRegistry).sessionsOf(who);
    const all = Array.from({ length: 100 }, (_, i) => `s${i}`);
    expect(displaced.filter((each) => each === undefined)).toHaveLength(1); // the first found nobody
    expect([...displaced.filter((each) => each !== undefined), last?.claim.sessionId].sort()).toEqual(all.sort());
  });

  it('a bind drops the fields of dead instances, so that they do not count towards the limit', async () => {
    const a = await instance();
    const registry = new RedisSessionRegistry(a.redis, a.instances);
    const who = account('ghosts');
    await registry.bind(who, 'ghost', claim('gone-long-ago', 's1'), 2);
    await registry.bind(who, 'mine', claim(a.instances.id, 's2'), 1);
    expect(await a.redis.commands.hkeys(`${keyPrefix}{u:ghosts@grid.example}:sessions`)).toEqual(['mine']);
    // One that joined after the last heartbeat is not yet known here, and lives.
    await a.table.beat('just-joined', 1, 'join');
    await registry.bind(who, 'theirs', claim('just-joined', 's3'), 2);
    expect(await registry.bind(who, 'third', claim(a.instances.id, 's4'), 2)).toEqual({ kind: 'full', resources: 2 });
  });

  it('scripts are loaded again after SCRIPT FLUSH, for plain and for durable writes', async () => {
    const redis = await connected();
    const resume = new RedisResumeStates(redis);
    const registry = new RedisSessionRegistry(redis, { live: () => ['i'], goneOf: async () => new Set() });
    const who = account('flush');
    const state = { sessionId: 's', resource: 'r', boundAtMs: 1, handled: 0, acknowledged: 0, unacknowledged: [], extra: {} };
    for (let i = 0; i < 3; i++) {
      await redis.commands.script('FLUSH');
      const kept = await Promise.all(Array.from({ length: 20 }, (_, n) => resume.put(who, `sm${n}`, state, 60_000)));
      expect(new Set(kept)).toEqual(new Set(['stored']));
      await redis.commands.script('FLUSH');
      expect(await registry.bind(who, `r${i}`, claim('i', `s${i}`), 5)).toMatchObject({ kind: 'bound' });
    }
    expect(await registry.sessionsOf(who)).toHaveLength(3);
  });

  it('§8.2 a follower past which the control log was trimmed is told to judge all again, and then goes on', async () => {
    const redis = await connected();
    const control = new RedisControlLog(redis, recordedLog(), 10);
    const got: string[] = [];
    let release: (() => void) | undefined;
    const follow = await control.follow({
      event: ({ body }) => {
        got.push(body);
        if (body === 'slow') return new Promise<void>((resolve) => (release = resolve));
        return undefined;
      },
      judgeAll: () => void got.push('judge all'),
    });
    await control.append({ kind: 'account', body: 'slow' });
    await until('the follower is busy', () => got.length === 1);
    for (let i = 0; i < 30; i++) await control.append({ kind: 'account', body: `missed ${i}` });
    expect(follow.headAgeMs).toBeGreaterThan(0);
    release?.();
    await until('it judged all', () => got.includes('judge all'));
    await control.append({ kind: 'account', body: 'after' });
    await until('it goes on', () => got.at(-1) === 'after');
    expect(got.filter((each) => each === 'judge all')).toHaveLength(1);
    expect(got).not.toContain('missed 0');
    await follow.close();
  });

  it('§8.2 a control log that lost its tail in a failover is judged again', async () => {
    const redis = await connected();
    const control = new RedisControlLog(redis, recordedLog());
    const got: string[] = [];
    const follow = await control.follow({ event: ({ body }) => void got.push(body), judgeAll: () => void got.push('judge all') });
    await control.append({ kind: 'account', body: 'lost' });
    await until('it came', () => got.length === 1);
    await redis.commands.del(`${keyPrefix}control`);
    await until('all are judged', () => got.includes('judge all'));
    await control.append({ kind: 'account', body: 'new' });
    await until('it goes on', () => got.at(-1) === 'new');
    await follow.close();
  });

  it('§7.2 (d) the age of the confirmed head grows while Redis is stopped', async () => {
    const control = new RedisControlLog(await connected(), recordedLog());
    const follow = await control.follow({ event: () => undefined, judgeAll: () => undefined });
    process.kill(server.pid as number, 'SIGSTOP');
    await until('the head is old', () => follow.headAgeMs > 1_000).finally(() => process.kill(server.pid as number, 'SIGCONT'));
    await until('it is confirmed again', () => follow.headAgeMs < 500);
    await follow.close();
  });

  it('§7.3 an inbox that Redis lost is made again, and what comes then is handled', async () => {
    const redis = await connected();
    const inboxes = new RedisInboxes(redis, recordedLog());
    const got: string[] = [];
    const box: OpenInbox = await inboxes.open(
      'i',
      ({ body }) => void got.push(body),
      () => true,
    );
    await inboxes.send('i', { kind: 'k', body: 'one' });
    await until('one came', () => got.length === 1);
    await redis.commands.del(`${keyPrefix}{i:i}:inbox`);
    expect(await inboxes.send('i', { kind: 'k', body: 'lost with it' })).toBe('no-such-instance');
    await until('it is there again', async () => (await inboxes.send('i', { kind: 'k', body: 'two' })) === 'sent');
    await until('two came', () => got.includes('two'));
    await box.close();
    expect(await redis.commands.keys(`${keyPrefix}*inbox-bytes*`)).toEqual([]); // nothing is left, and its sum neither
  });

  it('§2.5 a durable write whose answer does not come is told as unknown, never as done', async () => {
    const redis = await connected({ commandTimeoutMs: 200 });
    const inboxes = new RedisInboxes(redis, recordedLog());
    const box = await inboxes.open(
      'i',
      () => undefined,
      () => true,
    );
    expect(await inboxes.send('i', { kind: 'k', body: 'a' })).toBe('sent'); // connected
    process.kill(server.pid as number, 'SIGSTOP');
    const failure = await inboxes.send('i', { kind: 'k', body: 'b' }).catch((error: unknown) => error);
    process.kill(server.pid as number, 'SIGCONT');
    expect(failure).toBeInstanceOf(StoreUnavailable);
    expect(failure).toMatchObject({ outcome: 'unknown', condition: 'resource-constraint', type: 'wait' });
    await until('it works again', async () =>
      inboxes.send('i', { kind: 'k', body: 'b' }).then(
        (outcome) => outcome === 'sent',
        () => false,
      ),
    );
    await box.close();
  });

  it('a killed Redis that comes back is used again without a restart of ours', async () => {
    const own = await startRedis({ isOwn: true, args: ['--appendonly', 'yes', '--appendfsync', 'always'] });
    stopping.push(() => own.stop());
    const redis = await connect(own.url, { keyPrefix, durability: 'auto' });
    open.push(redis);
    expect(redis.durability).toEqual({ kind: 'fsync' });
    const resume = new RedisResumeStates(redis);
    const state = { sessionId: 's', resource: 'r', boundAtMs: 1, handled: 0, acknowledged: 0, unacknowledged: [], extra: {} };
    await resume.put(account('kept'), 'sm', state, 60_000);
    await own.kill();
    await until('commands fail', () =>
      redis
        .ask((client) => client.ping())
        .then(
          () => false,
          (error) => error instanceof StoreUnavailable,
        ),
    );
    await own.restart();
    await until('writes succeed', () =>
      resume.put(account('kept'), 'sm 2', state, 60_000).then(
        () => true,
        () => false,
      ),
    );
    expect(await resume.take(account('kept'), 'sm')).toEqual(state);
  });
});

describe.skipIf(!hasRedis(true))('start-up checks, delivery.md §2.4', () => {
  const started: TestRedis[] = [];
  afterEach(async () => {
    for (const server of started.splice(0)) await server.stop();
  });
  const start = async (args: readonly string[] = []) => {
    const server = await startRedis({ isOwn: true, args });
    started.push(server);
    return server;
  };
  const refusal = async (server: TestRedis, durability: Parameters<typeof connect>[1]) => {
    const error = await connect(server.url, durability).then(
      (redis) => redis.close(),
      (failure: unknown) => failure,
    );
    expect(error).toBeInstanceOf(RedisRefused);
    return (error as Error).message.replaceAll(`${server.host}:${server.port}`, 'HOST');
  };

  it('refuse eviction', async () => {
    const server = await start(['--maxmemory-policy', 'allkeys-lru']);
    expect(await refusal(server, {})).toBe(
      'Redis at HOST has maxmemory-policy allkeys-lru, which would throw data away; set it to noeviction',
    );
  });

  it('refuse a version before 7.0', async () => {
    // None that old is at hand: what the real one says of its version is changed on the way.
    const server = await start();
    const sockets: Socket[] = [];
    const proxy = createServer((client) => {
      const upstream = createConnection(server.port, server.host);
      sockets.push(client, upstream);
      for (const socket of [client, upstream]) socket.on('error', () => undefined);
      client.pipe(upstream);
      upstream.on('data', (data) =>
        client.write(data.toString('latin1').replace(/redis_version:\d/, 'redis_version:6'), 'latin1'),
      );
    }).listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    const { port } = proxy.address() as AddressInfo;
    const failure = await connect(`redis://127.0.0.1:${port}`).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(RedisRefused);
    expect((failure as Error).message).toMatch(/^Redis at 127\.0\.0\.1:\d+ is version 6\.\S+; 7\.0 or newer is needed$/);
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });

  it('refuse a server that can keep nothing, unless durability memory is chosen by name', async () => {
    const server = await start();
    expect(await refusal(server, { durability: 'auto' })).toBe(
      'Redis at HOST has no replica and does not write each command to disk: attach a replica, or set appendonly yes and appendfsync always, or choose durability memory by name',
    );
    expect(await refusal(server, { durability: { kind: 'fsync' } })).toBe(
      'Redis at HOST has appendonly no; durability fsync needs appendonly yes',
    );
    expect(await refusal(server, { durability: { kind: 'replicas', count: 1 } })).toBe(
      'Redis at HOST has min-replicas-to-write 0; durability replicas: 1 needs 1',
    );
    const redis = await connect(server.url, { durability: { kind: 'memory' } });
    redis.close();
  });

  it('wait for a replica that is still to come, as after a failover', async () => {
    const primary = await start(['--min-replicas-to-write', '1']);
    const log = recordedLog();
    const opening = RedisConnections.open(
      {
        servers: { kind: 'standalone', url: primary.url },
        keyPrefix: 'x:',
        durability: { kind: 'replicas', count: 1 },
      },
      { log, retryMs: 20 },
    );
    await until('it is said', () => log.lines.some((line) => JSON.stringify(line).includes('0 connected replica(s)')));
    await start(['--replicaof', primary.host, String(primary.port)]);
    const redis = await opening;
    expect(redis.durability).toEqual({ kind: 'replicas', count: 1 });
    redis.close();
  });

  it('refuse a password that is wrong or missing', async () => {
    // A server that asks for a password answers the test's PING with NOAUTH: it is set afterwards.
    const server = await start();
    const admin = await connect(server.url);
    await admin.commands.config('SET', 'requirepass', 'right');
    admin.close();
    expect(await refusal(server, {})).toBe('Redis at HOST asks for a password and none is configured');
    const open = (url: string) => connect(url).then((redis) => redis.close());
    const at = `${server.host}:${server.port}`;
    await expect(open(`redis://:wrong@${at}`)).rejects.toThrow(`Redis at ${at} refuses the password of the default user`);
    await expect(open(`redis://someone:wrong@${at}`)).rejects.toThrow(`Redis at ${at} refuses the password of user someone`);
    await open(`redis://:right@${at}`);
  });

  it('§2.5 replicas: writes wait for them; with none left nothing is told as done', async () => {
    const primary = await start(['--min-replicas-to-write', '1', '--repl-ping-replica-period', '1']);
    const replica = await start(['--replicaof', primary.host, String(primary.port)]);
    const probe = await connectWhenReplicated(primary);
    expect(probe.durability).toEqual({ kind: 'replicas', count: 1 });
    const resume = new RedisResumeStates(probe);
    const state = { sessionId: 's', resource: 'r', boundAtMs: 1, handled: 0, acknowledged: 0, unacknowledged: [], extra: {} };
    const stored = await Promise.all(Array.from({ length: 30 }, (_, i) => resume.put(account(`a${i}`), 'sm', state, 60_000)));
    expect(new Set(stored)).toEqual(new Set(['stored']));
    process.kill(replica.pid as number, 'SIGSTOP');
    try {
      const failure = await resume.put(account('late'), 'sm', state, 60_000).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(StoreUnavailable);
      expect((failure as StoreUnavailable).outcome).toBe('unknown');
    } finally {
      process.kill(replica.pid as number, 'SIGCONT');
    }
    probe.close();
  });

  async function connectWhenReplicated(primary: TestRedis): Promise<RedisConnections> {
    let redis: RedisConnections | undefined;
    await until('the replica is attached', async () => {
      redis = await RedisConnections.open(
        { servers: { kind: 'standalone', url: primary.url }, keyPrefix: 'x:', durability: 'auto', replicaTimeoutMs: 3_000 },
        { log: recordedLog() },
      ).catch(() => undefined);
      return redis !== undefined;
    });
    return redis as RedisConnections;
  }

  it('take an ACL user that may not read the configuration, and say what could not be checked', async () => {
    const server = await start(['--appendonly', 'yes', '--appendfsync', 'always']);
    const admin = await connect(server.url);
    await admin.commands.call('ACL', 'SETUSER', 'grid', 'on', '>secret', '~acl:*', '+@all', '-config');
    admin.close();
    const log = recordedLog();
    const redis = await RedisConnections.open(
      {
        servers: { kind: 'standalone', url: server.url },
        username: 'grid',
        password: 'secret',
        keyPrefix: 'acl:',
        durability: { kind: 'fsync' },
      },
      { log },
    );
    expect(log.lines.filter(({ level }) => level === 'warn').map(({ message }) => message)).toEqual([
      'CONFIG GET is forbidden here: that appendfsync is always could not be checked',
    ]);
    // Everything it does stays within its prefix.
    const registry = new RedisSessionRegistry(redis, { live: () => ['i'], goneOf: async () => new Set() });
    expect(await registry.bind(account('acl'), 'r', claim('i', 's'), 1)).toMatchObject({ kind: 'bound' });
    redis.close();
  });

  it('TLS: verify the server, and talk to it', async () => {
    const { ca, server: own } = await testCertificates('localhost');
    const folder = mkdtempSync(join(tmpdir(), 'redis-tls-'));
    const file = (name: string, text: string) => {
      writeFileSync(join(folder, name), text, { mode: 0o600 });
      return join(folder, name);
    };
    const probe = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address() as AddressInfo;
    probe.close();
    await once(probe, 'close');
    const files = ['--tls-cert-file', file('cert.pem', own.certificate), '--tls-key-file', file('key.pem', own.key)];
    await start([
      '--tls-port',
      String(port),
      ...files,
      '--tls-ca-cert-file',
      file('ca.pem', ca.certificate),
      '--tls-auth-clients',
      'no',
    ]);
    const open = (tls: object, signal?: AbortSignal, log = recordedLog()) =>
      RedisConnections.open(
        {
          servers: { kind: 'standalone', url: `rediss://127.0.0.1:${port}` },
          tls,
          keyPrefix: 'x:',
          durability: { kind: 'memory' },
        },
        { log, retryMs: 20, ...(signal === undefined ? {} : { signal }) },
      );
    const redis = await open({ ca: ca.certificate, servername: 'localhost' });
    const resume = new RedisResumeStates(redis);
    const state = { sessionId: 's', resource: 'r', boundAtMs: 1, handled: 0, acknowledged: 0, unacknowledged: [], extra: {} };
    expect(await resume.put(account('tls'), 'sm', state, 60_000)).toBe('stored');
    redis.close();
    const ending = new AbortController();
    const log = recordedLog();
    const refused = open({ servername: 'localhost' }, ending.signal, log); // the authority is not trusted
    await until('it says why it waits', () => log.lines.some(({ fields }) => /certificate|issuer/i.test(String(fields.err))));
    ending.abort();
    await expect(refused).rejects.toThrow(/abort/i);
    rmSync(folder, { recursive: true });
  });

  it('wait for a Redis that is not there yet, and say so', async () => {
    const server = await start();
    await server.kill();
    const log = recordedLog();
    const opening = connect(server.url, { log });
    await until('it says that it waits', () => log.lines.some(({ message }) => message.includes('waiting for it, not ready')));
    await server.restart();
    const redis = await opening;
    expect(log.lines.filter(({ message }) => message.includes('waiting for it'))).toHaveLength(1);
    redis.close();
  });

  it('end the wait when asked to', async () => {
    const server = await start();
    await server.kill();
    const ending = new AbortController();
    const opening = RedisConnections.open(
      { servers: { kind: 'standalone', url: server.url }, keyPrefix: 'x:', durability: { kind: 'memory' } },
      { log: recordedLog(), signal: ending.signal },
    );
    ending.abort();
    await expect(opening).rejects.toThrow(/abort/i);
  });
});
