import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError, loadConfig } from '../../../packages/server/src/config-load.ts';
import { parseRedisNode } from '../../../packages/server/src/redis-node.ts';
import { redisSettings } from '../../../packages/server/src/redis-settings.ts';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'redis-settings-'));
  writeFileSync(join(directory, 'password'), 'secret\n');
  writeFileSync(join(directory, 'ca.pem'), 'the authority');
});
afterAll(() => rmSync(directory, { recursive: true }));

const load = (yaml: string) => {
  writeFileSync(join(directory, 'grid.yaml'), yaml);
  return loadConfig({ cwd: directory, file: 'grid.yaml' });
};
const problemsOf = (yaml: string): readonly string[] => {
  try {
    load(yaml);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
};

describe('where Redis is', () => {
  it.each([
    ['127.0.0.1:6379', { host: '127.0.0.1', port: 6379 }],
    ['redis-0.redis:7000', { host: 'redis-0.redis', port: 7000 }],
    ['[2001:db8::1]:6379', { host: '2001:db8::1', port: 6379 }],
    ['redis', undefined],
    ['redis:0', undefined],
    ['redis:65536', undefined],
    ['redis://redis:6379', undefined],
    ['2001:db8::1:6379', undefined],
  ])('%s', (text, address) => expect(parseRedisNode(text)).toEqual(address));
});

describe('the settings of Redis', () => {
  it('one server by its address alone, durability found out', () => {
    expect(redisSettings(load('store: {kind: redis}\nredis: {nodes: ["r:6379"]}'))).toEqual({
      servers: { kind: 'standalone', url: 'redis://r:6379' },
      db: 0,
      keyPrefix: 'xg:',
      durability: 'auto',
      commandTimeoutMs: 5_000,
      replicaTimeoutMs: 2_000,
    });
  });

  it('Sentinels, TLS, users and passwords from files', () => {
    const yaml = `
redis:
  mode: sentinel
  nodes: ['s1:26379', 's2:26379']
  sentinelName: grid
  username: xmpp-grid
  passwordFile: password
  sentinelPasswordFile: password
  tls: {enabled: true, ca: ca.pem}
  durability: replicas
  replicas: 2`;
    expect(redisSettings(load(yaml))).toMatchObject({
      servers: {
        kind: 'sentinel',
        name: 'grid',
        sentinels: [
          { host: 's1', port: 26379 },
          { host: 's2', port: 26379 },
        ],
        password: 'secret',
      },
      username: 'xmpp-grid',
      password: 'secret',
      tls: { ca: 'the authority' },
      durability: { kind: 'replicas', count: 2 },
    });
  });

  it('a file that is not there is named', () => {
    const config = load('store: {kind: redis}\nredis: {nodes: ["r:6379"], passwordFile: absent}');
    expect(() => redisSettings(config)).toThrow(/^redis\.passwordFile: .*absent cannot be read: ENOENT/);
  });

  it.each([
    ['no address', 'store: {kind: redis}', 'redis.nodes: store.kind redis needs to know where Redis is, as `[host:port]`'],
    [
      'several for one server',
      'redis: {nodes: ["a:1", "b:1"]}',
      'redis.nodes: names several servers: redis.mode must be sentinel or cluster',
    ],
    [
      'a database of a Cluster',
      'redis: {mode: cluster, nodes: ["a:1"], database: 1}',
      'redis.database: a Redis Cluster has only database 0',
    ],
    ['no host:port', 'redis: {nodes: [a]}', 'redis.nodes.0: '],
    [
      'half a client certificate',
      'redis: {tls: {certificate: a}}',
      'redis.tls.certificate: redis.tls.certificate and redis.tls.key go together',
    ],
    ['no network', 'listeners: {trustedProxies: [proxy.example]}', 'listeners.trustedProxies.0: '],
  ])('%s is refused', (_, yaml, problem) => expect(problemsOf(yaml).join('\n')).toContain(problem));
});
