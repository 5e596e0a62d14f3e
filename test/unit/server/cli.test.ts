/** The command line: help that suffices, exit codes, one clear line for what is wrong. G-088 */
import { spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseCommand, renderHelp, UsageError } from '../../../packages/server/src/cli/command.ts';
import { explain } from '../../../packages/server/src/cli/failure.ts';
import { table } from '../../../packages/server/src/cli/output.ts';
import { type Outcome, xmppGrid } from '../../support/xmpp-grid.ts';

const launcher = fileURLToPath(new URL('../../../packages/server/bin/xmpp-grid.mjs', import.meta.url));
const home = process.cwd();
let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'xmpp-grid-cli-'));
  process.chdir(directory);
});
afterAll(() => {
  process.chdir(home);
  rmSync(directory, { recursive: true });
});

/** Runs the launcher as a process of its own. */
function launch(args: readonly string[], input = ''): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--conditions=development', launcher, ...args], { cwd: directory });
    const written = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].on('data', (chunk: Buffer) => {
        written[name] += chunk.toString();
      });
    }
    child.on('close', (code) => resolve({ code, ...written }));
    child.stdin.end(input);
  });
}

describe('the launcher', { timeout: 30_000 }, () => {
  it('starts the command and hands on its exit code and output', async () => {
    expect(await launch(['--version'])).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^xmpp-grid \d+\.\d+\.\d+\n$/),
      stderr: '',
    });
    expect((await launch(['serve', '--port', 'abc'])).code).toBe(78);
  });

  it('passes stdin on: a password needs no terminal', async () => {
    expect(await launch(['platform', 'add', 'piped', '--data', 'piped'], 'secret\n')).toEqual({
      code: 0,
      stdout: '',
      stderr: 'piped@localhost has role platform\n',
    });
  });
});

describe('exit codes and messages', { timeout: 30_000 }, () => {
  it.each<[string[], number, RegExp]>([
    [['bogus'], 2, /^xmpp-grid: there is no command "bogus"\n/],
    [['platform'], 2, /^xmpp-grid: platform: which command\? add, list, show, disable, enable, remove\n/],
    [['platform', 'add'], 2, /^xmpp-grid: platform add: NAME is missing\n/],
    [['platform', 'list', 'more'], 2, /^xmpp-grid: platform list: unexpected argument "more"\n/],
    [['status', '--nope'], 2, /^xmpp-grid: Unknown option '--nope'\n/],
    [['serve', '--port', 'abc'], 78, /^xmpp-grid: --port: expected a port from 0 to 65535, got "abc"\n$/],
    [['serve'], 78, /^xmpp-grid: tls\.certificate and tls\.key: expected the files of the server certificate; .*\n$/],
    [['serve', '--config', 'none.yaml'], 78, /^xmpp-grid: none\.yaml: cannot be read: there is no such file\n$/],
    [['status', '--data', 'none'], 1, /^xmpp-grid: no instance runs on none\n$/],
  ])('%j ends with %i', async (args, code, message) => {
    const outcome = await xmppGrid(args);
    expect(outcome.stderr).toMatch(message);
    expect([outcome.code, outcome.stdout]).toEqual([code, '']);
  });

  it('--help is 0 and on stdout', async () => {
    const outcome = await xmppGrid(['--help']);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(outcome.stdout).toContain('platform add NAME');
  });

  it('config check lists everything at once', async () => {
    writeFileSync(join(directory, 'bad.yaml'), 'domian: x\nlog: {level: loud}\n');
    expect(await xmppGrid(['config', 'check', 'bad.yaml'])).toEqual({
      code: 78,
      stdout: '',
      stderr:
        'xmpp-grid: bad.yaml:1: domian: unknown setting; did you mean domain?\n' +
        'xmpp-grid: bad.yaml:2: log.level: expected one of debug, info, warn, error, got "loud"\n',
    });
  });
});

describe('platforms without a running instance', { timeout: 30_000 }, () => {
  it('are added with a password of their own, listed, disabled, removed', async () => {
    const data = ['--data', 'platforms'];
    const added = await xmppGrid(['platform', 'add', 'Sensor', '--generate', ...data]);
    expect(added).toMatchObject({ code: 0, stdout: expect.stringMatching(/^[\w-]{24}\n$/) });
    expect(await xmppGrid(['platform', 'add', 'sensor', '--generate', ...data])).toMatchObject({
      code: 1,
      stderr: 'xmpp-grid: sensor@localhost exists already; --replace gives it new credentials\n',
    });
    expect((await xmppGrid(['platform', 'disable', 'sensor@localhost', ...data])).stderr).toBe(
      'sensor@localhost is disabled; 0 streams ended\n',
    );
    const listed = JSON.parse((await xmppGrid(['platform', 'list', '--json', ...data])).stdout);
    expect(listed).toMatchObject([{ jid: 'sensor@localhost', state: 'disabled', credentials: ['SCRAM-SHA-256'] }]);
    expect(await xmppGrid(['platform', 'remove', 'sensor', ...data])).toMatchObject({ code: 0 });
    expect(await xmppGrid(['platform', 'show', 'sensor', ...data])).toMatchObject({
      code: 1,
      stderr: 'xmpp-grid: there is no platform sensor@localhost; `xmpp-grid platform list` shows those there are\n',
    });
  });

  it.each([
    ['another domain', 'a@other.example', 'a@other.example: this Controller serves localhost alone'],
    ['a full JID', 'a@localhost/r', 'a@localhost/r: a platform is NAME or NAME@localhost'],
    ['no localpart', 'a b', 'a b is no platform name: '],
  ])('are refused with %s', async (_, name, message) => {
    const outcome = await xmppGrid(['platform', 'add', name, '--generate', '--data', 'refused']);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toContain(message);
  });

  it('need a role that exists', async () => {
    const outcome = await xmppGrid(['platform', 'add', 'a', '--generate', '--role', 'boss', '--data', 'refused']);
    expect(outcome).toMatchObject({ code: 1, stderr: 'xmpp-grid: there is no role boss; roles: platform, read-only, demo\n' });
  });
});

describe('certificates', { timeout: 30_000 }, () => {
  it('come from an authority of one’s own and can be bound', async () => {
    expect(await xmppGrid(['cert', 'ca', '--out', 'pki'])).toMatchObject({ code: 0 });
    expect(await xmppGrid(['cert', 'server', 'grid.example', '--out', 'pki'])).toMatchObject({ code: 0 });
    const issued = await xmppGrid(['cert', 'platform', 'siem@grid.example', '--out', 'pki', '--pkcs12']);
    expect(issued.code).toBe(0);
    expect(issued.stdout).toMatch(/^[\w-]{24}\n$/); // the passphrase, once
    const [ca, server, siem] = ['ca', 'server', 'siem'].map(
      (name) => new X509Certificate(readFileSync(join(directory, 'pki', `${name}.crt`))),
    );
    expect(server!.checkIssued(ca!) && siem!.checkIssued(ca!)).toBe(true);
    expect([server!.checkHost('grid.example'), server!.checkHost('broker.grid.example')]).toEqual([
      'grid.example',
      'broker.grid.example',
    ]);
    for (const secret of ['ca.key', 'server.key', 'siem.key', 'siem.p12'])
      expect(statSync(join(directory, 'pki', secret)).mode & 0o777).toBe(0o600);

    const added = await xmppGrid([
      'platform',
      'add',
      'siem',
      '--certificate',
      'pki/siem.crt',
      '--domain',
      'grid.example',
      '--data',
      'bound',
      '--json',
    ]);
    expect(JSON.parse(added.stdout)).toMatchObject({
      jid: 'siem@grid.example',
      credentials: [],
      certificates: [siem!.fingerprint256.replaceAll(':', '').toLowerCase()],
    });
  });

  it('are not overwritten', async () => {
    await xmppGrid(['cert', 'ca', '--out', 'kept']);
    expect(await xmppGrid(['cert', 'ca', '--out', 'kept'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('kept/ca.crt and kept/ca.key exist already; --force replaces them'),
    });
  });

  it('need their authority', async () => {
    const outcome = await xmppGrid(['cert', 'server', 'grid.example', '--out', 'nowhere']);
    expect(outcome.code).toBe(2);
    expect(outcome.stderr).toContain('`xmpp-grid cert ca --out nowhere` makes one');
  });

  it.each([
    [
      'the key of another',
      { certificate: 'a/server.crt', key: 'b/server.key' },
      /^tls\.key: .*b\/server\.key is not the key of .*a\/server\.crt$/,
    ],
    [
      'a file that is none',
      { certificate: 'bad.yaml', key: 'a/server.key' },
      /^tls\.certificate: .*bad\.yaml is no certificate in PEM$/,
    ],
    [
      'a file that is not there',
      { certificate: 'a/none.crt', key: 'a/server.key' },
      /^tls\.certificate: .*a\/none\.crt cannot be read: ENOENT/,
    ],
  ])('of the server: %s ends with 78 and one line', async (_, tls, message) => {
    for (const name of ['a', 'b']) {
      await xmppGrid(['cert', 'ca', '--out', name]);
      await xmppGrid(['cert', 'server', 'localhost', '--out', name]);
    }
    writeFileSync(join(directory, 'bad.yaml'), 'x');
    writeFileSync(join(directory, 'tls.yaml'), JSON.stringify({ tls, dataDir: 'unused' }));
    for (const command of [
      ['config', 'check', 'tls.yaml'],
      ['serve', '--config', 'tls.yaml'],
    ]) {
      const outcome = await xmppGrid(command);
      expect(outcome.code).toBe(78);
      expect(outcome.stderr.trimEnd().replace(/^xmpp-grid: /, '')).toMatch(message);
    }
  });
});

describe('failures in words', () => {
  const failure = (fields: object) => Object.assign(new Error('raw'), fields);
  it.each([
    [
      { code: 'EADDRINUSE', syscall: 'listen', address: '127.0.0.1', port: 5222 },
      1,
      'port 5222 on 127.0.0.1 is in use: stop the program that uses it, or choose another port (--port, --direct-tls-port, --http-port)',
    ],
    [
      { code: 'EACCES', syscall: 'listen', address: '::', port: 22 },
      1,
      'port 22 on :: needs more rights than this user has: choose a port above 1023',
    ],
    [
      { code: 'EADDRNOTAVAIL', syscall: 'listen', address: '192.0.2.1', port: 5222 },
      78,
      'port 5222 on 192.0.2.1: this machine has no such address (--bind, listeners.*.host)',
    ],
  ])('%j', (fields, exitCode, line) => {
    expect(explain(failure(fields))).toEqual({ lines: [line], exitCode });
  });

  it('a bug keeps its stack', () => {
    expect(explain(new TypeError('x is not a function')).lines[0]).toContain('cli.test.ts');
  });
});

describe('command definitions', () => {
  const command = {
    name: 'thing do',
    args: ['NAME', '[MORE]'],
    summary: 'Do it.',
    options: { out: { type: 'string', short: 'o', value: 'DIR', doc: 'Where to.' }, json: { type: 'boolean', doc: 'As JSON.' } },
    run: async () => 0,
  } as const;

  it('render help with aligned options', () => {
    expect(renderHelp(command)).toBe(`Usage: xmpp-grid thing do [options] NAME [MORE]

Do it.

Options:
  -o, --out DIR  Where to.
      --json     As JSON.
  -h, --help     Show this help.
`);
  });

  it('take options anywhere, and --help without arguments', () => {
    const { values, args } = parseCommand(command, ['a', '-o', 'x', 'b', '--json']);
    expect([values.text('out'), values.has('json'), args]).toEqual(['x', true, ['a', 'b']]);
    expect(parseCommand(command, ['--help']).wantsHelp).toBe(true);
  });

  it.each([[[]], [['a', 'b', 'c']], [['--out']], [['a', '--json=1']]])('refuse %j', (argv) => {
    expect(() => parseCommand(command, argv)).toThrow(UsageError);
  });

  it('print tables that a name cannot disturb', () => {
    expect(
      table(
        ['A', 'B'],
        [
          ['x\u001b[31m', 'y'],
          ['long name', 'z'],
        ],
      ),
    ).toBe('A          B\nx\\x1b[31m  y\nlong name  z');
  });
});
