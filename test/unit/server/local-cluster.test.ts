/** `cluster`: the files of deploy/ with this machine's addresses, and what its status line says. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { haproxyConfig, redisConfig, sentinelConfig } from '../../../packages/server/src/local-cluster/files.ts';
import { endLeftovers, PID_FILE } from '../../../packages/server/src/local-cluster/leftovers.ts';
import { assertFree, freePorts, redisInfo, sumOf } from '../../../packages/server/src/local-cluster/probe.ts';
import { findPrograms } from '../../../packages/server/src/local-cluster/programs.ts';
import { publishRate, type Snapshot, spellStates, spellStatus } from '../../../packages/server/src/local-cluster/snapshot.ts';
import { StatusLine } from '../../../packages/server/src/local-cluster/status-line.ts';
import { xmppGrid } from '../../support/xmpp-grid.ts';

describe('files', () => {
  const instances = [
    { starttls: 1001, directTls: 1002, http: 1003 },
    { starttls: 2001, directTls: 2002, http: 2003 },
  ];
  const text = haproxyConfig({ starttls: 1, directTls: 2, observe: 3 }, instances);
  const linesOf = (word: string) => text.split('\n').filter((line) => line.trimStart().startsWith(`${word} `));

  it('haproxy.cfg has the ports of this machine and its instances, and all else as deployed', () => {
    expect(linesOf('bind').map((line) => line.trim())).toEqual(['bind 127.0.0.1:1', 'bind 127.0.0.1:2', 'bind 127.0.0.1:3']);
    expect(linesOf('server').map((line) => line.trim())).toEqual([
      'server instance-1 127.0.0.1:1001 port 1003',
      'server instance-2 127.0.0.1:2001 port 2003',
      'server instance-1 127.0.0.1:1002 track starttls/instance-1',
      'server instance-2 127.0.0.1:2002 track starttls/instance-2',
    ]);
    for (const kept of ['send-proxy-v2', 'leastconn', 'uri /readyz', 'redispatch']) expect(text).toContain(kept);
  });

  it('the ports of the deployed files may be asked for here, too: they are the defaults', () => {
    const same = haproxyConfig({ starttls: 5222, directTls: 5223, observe: 8404 }, [{ starttls: 1, directTls: 2, http: 5280 }]);
    expect(same.match(/^ *bind .*$/gm)?.map((line) => line.trim())).toEqual([
      'bind 127.0.0.1:5222',
      'bind 127.0.0.1:5223',
      'bind 127.0.0.1:8404',
    ]);
    expect(redisConfig('/some/where', 6379)).toContain('\nport 6379\nbind 127.0.0.1\n');
    expect(sentinelConfig('/some/where', 26379, 6379, 3)).toContain('\nport 26379\nbind 127.0.0.1\n');
  });

  it('redis.conf is that of a primary, or of its replica', () => {
    expect(redisConfig('/some/where', 7, undefined)).toMatch(/^dir "\/some\/where"\nport 7\nbind 127\.0\.0\.1$/m);
    expect(redisConfig('/some/where', 7, undefined)).not.toContain('replicaof');
    expect(redisConfig('/some/where', 7, 8)).toMatch(/^replicaof 127\.0\.0\.1 8$/m);
  });

  it.each([
    [1, 1],
    [2, 2],
    [3, 2],
    [5, 3],
  ])('sentinel.conf of %i Sentinels asks for %i of them', (count, quorum) => {
    expect(sentinelConfig('/some/where', 7, 8, count)).toMatch(
      new RegExp(`^sentinel monitor grid 127\\.0\\.0\\.1 8 ${quorum}$`, 'm'),
    );
  });
});

describe('programs', () => {
  const directories: string[] = [];
  afterEach(() => {
    for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
  });
  const path = (...programs: string[]) => {
    const directory = mkdtempSync(join(tmpdir(), 'programs-'));
    directories.push(directory);
    for (const program of programs) writeFileSync(join(directory, program), '', { mode: 0o755 });
    mkdirSync(join(directory, 'empty'));
    return `${join(directory, 'empty')}:${directory}`;
  };

  it('are found along PATH; Valkey does for Redis', () => {
    expect(findPrograms(path('valkey-server', 'haproxy')).redis).toMatch(/\/valkey-server$/);
    expect(findPrograms(path('valkey-server', 'redis-server', 'haproxy')).redis).toMatch(/\/redis-server$/);
  });

  it('that are missing are named with the way to install them', () => {
    expect(() => findPrograms(path('redis-server'))).toThrow(
      /^not installed: haproxy\n +Debian, Ubuntu +apt-get install haproxy /,
    );
    expect(() => findPrograms(path())).toThrow(/redis-server or valkey-server, haproxy\n.*apt-get install redis-server haproxy/);
  });
});

describe('leftovers of a cluster that was killed', () => {
  it.skipIf(!existsSync('/proc/self/cwd'))('are ended, and nothing else that has an id by now', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'leftovers-'));
    const children = ['redis-1', 'stranger', 'gone'].map((name) => {
      mkdirSync(join(directory, name));
      const cwd = name === 'redis-1' ? join(directory, name) : tmpdir();
      const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { cwd, stdio: 'ignore' });
      writeFileSync(join(directory, name, PID_FILE), `${child.pid}\n`);
      return child;
    });
    const [leftover, stranger, gone] = children as [ChildProcess, ChildProcess, ChildProcess];
    mkdirSync(join(directory, 'tls'));
    const ends = [leftover, gone].map((child) => once(child, 'exit'));
    gone.kill('SIGKILL');
    await ends[1];
    expect(await endLeftovers(directory)).toBe(1);
    expect((await ends[0])?.[1]).toBe('SIGKILL');
    expect(await endLeftovers(directory)).toBe(0);
    expect(stranger.exitCode ?? stranger.signalCode).toBeNull();
    stranger.kill('SIGKILL');
    rmSync(directory, { recursive: true });
  });
});

describe('probes', () => {
  it('sum the samples of a metric that have the labels', () => {
    const page = 'a_total 1\na{x="1",result="ok"} 2\na{x="2",result="ok"} 3.5\na{result="bad"} 100\nab{result="ok"} 1000\n';
    expect(sumOf(page, 'a', 'result="ok"')).toBe(5.5);
    expect(sumOf(page, 'a_total')).toBe(1);
    expect(sumOf(page, 'missing')).toBe(0);
  });

  it('read what Redis tells of itself, and see when nobody answers', async () => {
    const [port] = (await freePorts(1)) as [number];
    expect(await redisInfo(port, 'replication')).toBeUndefined();
    const server = createServer((socket) => {
      socket.once('data', () => socket.end('$40\r\n# Replication\r\nrole:master\r\nslave0:ip=::1\r\n\r\n+OK\r\n'));
    });
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    const info = await redisInfo(port, 'replication');
    expect([info?.get('role'), info?.get('slave0')]).toEqual(['master', 'ip=::1']);
    await expect(assertFree(port)).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await new Promise((resolve) => server.close(resolve));
  });
});

const snapshot = (changes: Partial<Snapshot> = {}): Snapshot => ({
  instances: [
    { name: 'instance-1', state: 'ready', sessions: 2 },
    { name: 'instance-2', state: 'draining', sessions: 1 },
  ],
  redis: [
    { name: 'redis-1', port: 1, role: 'primary', links: 0 },
    { name: 'redis-2', port: 2, role: 'primary', links: 1 },
    { name: 'redis-3', port: 3, role: 'away', links: 0 },
  ],
  primaryPort: 2,
  sessions: 3,
  published: [10, 20],
  atMs: 1_000,
  ...changes,
});

describe('status', () => {
  it('is one line: instances, sessions, events, Redis as the Sentinels see it', () => {
    expect(spellStatus(snapshot(), 12.34)).toBe(
      '1/2 ready, instance-2 draining │ 3 sessions (2+1) │ 12 events/s │ Redis primary redis-2, 1 replica, redis-3 away',
    );
    expect(spellStatus(snapshot({ sessions: 1 }), 0.25)).toContain('1 session (2+1) │ 0.3 events/s');
  });

  it('does not take one for the primary that the Sentinels have replaced, or that is away', () => {
    expect(spellStates(snapshot({ primaryPort: 3 }))).toContain('Redis without a primary, redis-3 away');
    expect(spellStates(snapshot({ primaryPort: undefined }))).toContain('Redis without a primary');
  });

  it('counts events a second, also over the restart of an instance', () => {
    expect(publishRate(snapshot(), snapshot({ published: [16, 24], atMs: 3_000 }))).toBe(5);
    expect(publishRate(snapshot(), snapshot({ published: [16, 4], atMs: 3_000 }))).toBe(5);
    expect(publishRate(snapshot(), snapshot())).toBe(0);
  });

  /** A status line over these snapshots, one a look; what it wrote. */
  async function shown(output: { isTTY?: boolean; columns?: number }, snapshots: readonly Snapshot[]) {
    const written: string[] = [];
    const queue = [...snapshots];
    const line = new StatusLine(
      { snapshot: () => Promise.resolve(queue.shift()!) },
      { ...output, write: (text) => written.push(text) },
    );
    for (const _ of snapshots) {
      await line.look();
    }
    line.say('something happened');
    line.close();
    return written;
  }

  it('writes over itself on a terminal, cut to its width, and lets what happened stand above', async () => {
    const written = await shown({ isTTY: true, columns: 20 }, [snapshot(), snapshot()]);
    expect(written).toEqual([
      '\r\x1b[2K  1/2 ready, instan',
      '\r\x1b[2K  1/2 ready, instan',
      '\r\x1b[2Ksomething happened\n  1/2 ready, instan',
      '\n',
    ]);
  });

  it('shows nothing more once it is closed, though a look was under way', async () => {
    const written: string[] = [];
    const line = new StatusLine({ snapshot: () => Promise.resolve(snapshot()) }, { write: (text) => written.push(text) });
    const look = line.look();
    line.close();
    await look;
    expect(written).toEqual([]);
  });

  it('writes a line elsewhere when somebody’s state changes, or a minute later', async () => {
    const written = await shown({}, [
      snapshot(),
      snapshot({ sessions: 4, atMs: 2_000 }),
      snapshot({ primaryPort: undefined, atMs: 3_000 }),
      snapshot({ primaryPort: undefined, atMs: 62_999 }),
      snapshot({ primaryPort: undefined, atMs: 63_000 }),
    ]);
    expect(written.map((line) => /Redis (?:primary \S+|without a primary)|something/.exec(line)?.[0])).toEqual([
      'Redis primary redis-2,',
      'Redis without a primary',
      'Redis without a primary',
      'something',
    ]);
  });
});

describe('the command', () => {
  it('explains itself', async () => {
    const { code, stdout } = await xmppGrid(['cluster', '--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/--instances N .*\n.*--sentinels N/);
  });

  it.each([
    ['--instances=0', '--instances: expected a whole number from 1 to 9, got "0"'],
    ['--sentinels=6', '--sentinels: expected a whole number from 1 to 5, got "6"'],
    ['--port=99999', '--port: expected a whole number from 0 to 65535, got "99999"'],
  ])('refuses %s', async (argument, message) => {
    const { code, stderr } = await xmppGrid(['cluster', argument]);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });
});
