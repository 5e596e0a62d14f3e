/** Configuration: what is accepted, what is refused and with which words. G-088 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { SETTINGS } from '../../../packages/server/src/config.ts';
import { ConfigError, editDistance, loadConfig } from '../../../packages/server/src/config-load.ts';
import { renderConfig, renderReference } from '../../../packages/server/src/config-reference.ts';
import { spellDuration, spellSize } from '../../../packages/server/src/setting.ts';

const topLevel = Object.keys(SETTINGS).join(', ');
const directory = mkdtempSync(join(tmpdir(), 'xmpp-grid-config-'));
afterAll(() => rmSync(directory, { recursive: true }));

const load = (yaml: string, flags?: ReadonlyMap<string, { value: unknown; name: string }>) => {
  writeFileSync(join(directory, 'grid.yaml'), yaml);
  return loadConfig({ cwd: directory, file: 'grid.yaml', ...(flags === undefined ? {} : { flags }) });
};

const problems = (yaml: string, flags?: ReadonlyMap<string, { value: unknown; name: string }>): readonly string[] => {
  try {
    load(yaml, flags);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
};

describe('configuration that is accepted', () => {
  it('has the defaults of a laptop when nothing is stated', () => {
    const config = loadConfig({ cwd: directory });
    expect(config).toMatchObject({
      domain: 'localhost',
      brokerDomain: 'broker.localhost',
      profile: 'grid',
      dataDir: join(directory, 'var'),
      listeners: { starttls: { port: 5222 }, directTls: { port: 5223 }, http: { host: '127.0.0.1', port: 5280 } },
      limits: { preAuthBytes: 10_240, maxStanzaBytes: 524_288 },
      retention: { minAgeMs: 600_000 },
      topics: { defaultAccessModel: 'authorize' },
    });
    expect(config.roles.map(({ name }) => name)).toEqual(['platform', 'read-only', 'demo']);
  });

  it('derives the Broker from the domain, in lower case', () => {
    expect(load('domain: Grid.Example').brokerDomain).toBe('broker.grid.example');
  });

  it('reads durations and sizes with units, and plain numbers as base units', () => {
    const config = load('ping: {intervalMs: 90s, timeoutMs: 5000}\nlimits: {maxStanzaBytes: 1MiB, hardStanzaBytes: 8388608}');
    expect(config.ping).toEqual({ intervalMs: 90_000, timeoutMs: 5000 });
    expect(config.limits).toMatchObject({ maxStanzaBytes: 1_048_576, hardStanzaBytes: 8_388_608 });
  });

  it('takes paths relative to the file that names them, flags relative to the working directory', () => {
    const flags = new Map([['dataDir', { value: 'data', name: '--data' }]]);
    const config = load('tls: {certificate: tls/a.crt, key: /etc/a.key}', flags);
    expect(config.tls).toMatchObject({ certificate: join(directory, 'tls/a.crt'), key: '/etc/a.key' });
    expect(config.dataDir).toBe(join(directory, 'data'));
  });

  it('lets flags win over the file, and the file over a preset', () => {
    writeFileSync(join(directory, 'grid.yaml'), 'domain: file.example\nprofile: compat');
    const config = loadConfig({
      cwd: directory,
      file: 'grid.yaml',
      preset: new Map([
        ['domain', 'preset.example'],
        ['log.level', 'warn'],
      ]),
      flags: new Map([['profile', { value: 'grid', name: '--profile' }]]),
    });
    expect([config.domain, config.profile, config.log.level]).toEqual(['file.example', 'grid', 'warn']);
  });

  it('gives a role the limits of the instance where it states none, and all roles the configured ones', () => {
    const config = load(`
limits: {maxStanzaBytes: 600KiB, maxResources: 3}
roles:
  evidence:
    grants: [{verbs: [publish], topics: ['incident/*']}]
    limits: {maxStanzaBytes: 16MiB}`);
    expect(config.roles.find(({ name }) => name === 'platform')?.limits).toEqual({
      maxStanzaBytes: 614_400,
      hardStanzaBytes: 4_194_304,
      maxResources: 3,
    });
    expect(config.roles.find(({ name }) => name === 'evidence')).toEqual({
      name: 'evidence',
      grants: [{ verbs: ['publish'], topics: ['incident/*'] }],
      approve: [],
      limits: { maxStanzaBytes: 16_777_216, hardStanzaBytes: 16_777_216, maxResources: 3 },
    });
  });

  it('an empty file and empty sections are the defaults', () => {
    expect(load('')).toEqual(load('limits:\nlog: {}\n'));
  });

  it('printed and read again is the same', () => {
    const config = load('domain: grid.example\nping: {intervalMs: 7s}\nroles: {a: {grants: [{verbs: [create], topics: [x]}]}}');
    expect(load(renderConfig(config))).toEqual(config);
  });
});

describe('configuration that is refused', () => {
  it.each<[string, string, string[]]>([
    ['a mistyped name', 'brokerdomain: x.example', ['grid.yaml:1: brokerdomain: unknown setting; did you mean brokerDomain?']],
    [
      'a mistyped name below another',
      'listeners:\n  starttls:\n    prot: 1',
      ['grid.yaml:3: listeners.starttls.prot: unknown setting; did you mean listeners.starttls.port?'],
    ],
    [
      'a name in the wrong place',
      'maxStanzaBytes: 1MiB',
      ['grid.yaml:1: maxStanzaBytes: unknown setting; did you mean limits.maxStanzaBytes?'],
    ],
    [
      'a name like none',
      'ping:\n  colour: red',
      ['grid.yaml:2: ping.colour: unknown setting; known here: intervalMs, timeoutMs'],
    ],
    ['a name of every object', '__proto__: 1', [`grid.yaml:1: __proto__: unknown setting; known here: ${topLevel}`]],
    [
      'a value in place of settings',
      'limits: 7',
      [`grid.yaml:1: limits: expected settings below it (${Object.keys(SETTINGS.limits).join(', ')})`],
    ],
    [
      'a port out of range',
      '\nlisteners: {http: {port: 70000}}',
      ['grid.yaml:2: listeners.http.port: expected a port from 0 to 65535, got 70000'],
    ],
    [
      'a port in words',
      'listeners: {http: {port: "http"}}',
      ['grid.yaml:1: listeners.http.port: expected a port from 0 to 65535, got "http"'],
    ],
    ['no domain', 'domain: "a b"', ['grid.yaml:1: domain: expected a domain name, got "a b"']],
    ['a word of no list', 'log: {level: loud}', ['grid.yaml:1: log.level: expected one of debug, info, warn, error, got "loud"']],
    [
      'a duration with a unit of sizes',
      'ping: {intervalMs: 4KiB}',
      [
        'grid.yaml:1: ping.intervalMs: expected a duration from 1s to 1d (milliseconds, or a number with ms, s, min, h or d), got "4KiB"',
      ],
    ],
    [
      'fewer SASL attempts than RFC 6120 §6.4.5 allows',
      'sasl: {maxAttempts: 1}',
      ['grid.yaml:1: sasl.maxAttempts: expected a whole number from 2 to 5 (attempts), got 1'],
    ],
    [
      'a stanza limit below RFC 6120 §13.12',
      'limits: {preAuthBytes: 9999}',
      [
        'grid.yaml:1: limits.preAuthBytes: expected a size from 10000B to 1MiB (bytes, or a number with B, KiB, MiB or GiB), got 9999',
      ],
    ],
    [
      'a grant of no verb',
      'roles:\n  a:\n    grants:\n      - verbs: [publsh]\n        topics: ["*"]',
      [
        'grid.yaml:4: roles.a.grants.0.verbs.0: expected one of create, configure, delete, publish, retract, purge, subscribe, retrieve, discover, manage, got "publsh"',
      ],
    ],
    [
      'a mistyped name in a role',
      'roles:\n  a:\n    aprove: ["*"]\n    grants: [{verbs: [create], topics: [x]}]',
      ['grid.yaml:3: roles.a.aprove: unknown setting; did you mean approve?'],
    ],
    [
      'a role name with capitals',
      'roles: {A: {grants: [{verbs: [create], topics: [x]}]}}',
      ['grid.yaml:1: roles.A: a role name is 1 to 32 of a-z, 0-9 and -, and begins with a letter'],
    ],
    ['a certificate without its key', 'tls:\n  certificate: a.crt', ['grid.yaml:2: tls.certificate: needs tls.key beside it']],
    [
      'two listeners on one port',
      'listeners:\n  starttls: {port: 6000}\n  directTls: {port: 6000}',
      ['grid.yaml:3: listeners.directTls.port: 6000 is taken by listeners.starttls.port'],
    ],
    [
      'the open access model in profile grid (RFC 8600 §8.3.4)',
      'topics: {defaultAccessModel: open}',
      ['grid.yaml:1: topics.defaultAccessModel: open needs `profile: compat`; RFC 8600 §8.3.4 allows authorize and whitelist'],
    ],
    [
      'a Broker at the domain itself',
      'brokerDomain: localhost',
      ['grid.yaml:1: brokerDomain: must differ from domain: the Broker has an address of its own'],
    ],
    [
      'a hard limit below the soft one',
      'limits: {hardStanzaBytes: 100KiB}',
      ['grid.yaml:1: limits.hardStanzaBytes: must not be below limits.maxStanzaBytes (524288)'],
    ],
    [
      'no way in',
      'listeners: {starttls: {enabled: false}, directTls: {enabled: false}}',
      ['grid.yaml:1: listeners.starttls.enabled: nobody could connect: directTls is off too'],
    ],
    ['a list in place of settings', '- a', ['grid.yaml:1: expected settings as `name: value`; see docs/configuration.md']],
    ['broken YAML', 'a: [1', ['grid.yaml:1: Flow sequence in block collection must be sufficiently indented and end with a ]']],
    ['a name twice', 'domain: a\ndomain: b', ['grid.yaml:2: Map keys must be unique']],
  ])('%s', (_, yaml, want) => {
    expect(problems(yaml)).toEqual(want);
  });

  it('all of it at once, in the order of the file, flags first', () => {
    const flags = new Map([['listeners.starttls.port', { value: 'x', name: '--port' }]]);
    expect(problems('log: {level: loud}\nprofile: strict\nbogus: 1\n', flags)).toEqual([
      '--port: expected a port from 0 to 65535, got "x"',
      'grid.yaml:1: log.level: expected one of debug, info, warn, error, got "loud"',
      'grid.yaml:2: profile: expected one of grid, compat, got "strict"',
      `grid.yaml:3: bogus: unknown setting; known here: ${topLevel}`,
    ]);
  });

  it('a file that is not there', () => {
    expect(() => loadConfig({ cwd: directory, file: 'none.yaml' })).toThrow(
      new ConfigError(['none.yaml: cannot be read: there is no such file']),
    );
  });
});

describe('spelling', () => {
  it.each([
    [600_000, '10min'],
    [1500, '1500ms'],
    [2_592_000_000, '30d'],
    [0, '0ms'],
  ])('%i ms is %s', (ms, text) => expect(spellDuration(ms)).toBe(text));

  it.each([
    [524_288, '512KiB'],
    [10_000, '10000B'],
  ])('%i bytes are %s', (bytes, text) => expect(spellSize(bytes)).toBe(text));

  it.each([
    ['port', 'prot', 2],
    ['', 'abc', 3],
    ['same', 'same', 0],
  ])('from %j to %j it is %i edits', (a, b, distance) => expect(editDistance(a, b)).toBe(distance));
});

describe('docs/configuration.md', () => {
  it('is what `xmpp-grid config reference` prints', () => {
    expect(readFileSync(new URL('../../../docs/configuration.md', import.meta.url), 'utf8')).toBe(renderReference());
  });
});
