/** The files of deploy/ fit the program and each other. */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '@xmpp-grid/server';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const DEPLOY = `${ROOT}deploy/`;
const read = (name: string) => readFileSync(`${DEPLOY}${name}`, 'utf8');

interface Service {
  readonly image: string;
  readonly build?: { readonly dockerfile: string };
  readonly volumes?: readonly string[];
  readonly networks?: { readonly grid: { readonly ipv4_address: string } };
  readonly depends_on?: Readonly<Record<string, unknown>>;
  readonly stop_grace_period?: string;
}

const compose = parse(read('compose.yaml'), { merge: true }) as {
  services: Readonly<Record<string, Service>>;
  volumes: Readonly<Record<string, unknown>>;
};
const services = Object.entries(compose.services);
const addressOf = (name: string) => compose.services[name]?.networks?.grid.ipv4_address;
const addressesOf = (prefix: string) =>
  services
    .map(([name]) => name)
    .filter((name) => name.startsWith(prefix))
    .map(addressOf);
const instances = addressesOf('instance-');

describe('deploy/', () => {
  it('grid.yaml is a configuration that the program takes', () => {
    const config = loadConfig({ cwd: DEPLOY, file: 'grid.yaml' });
    expect(config.domain).toBe('grid.example');
    expect(config.roles.map(({ name }) => name)).toEqual(expect.arrayContaining(['sensor', 'soc']));
    expect(config.roles.find(({ name }) => name === 'sensor')?.grants[0]?.verbs).toEqual(['publish', 'discover']);
  });

  it('the image runs as an ordinary user, in exec form, and stops by SIGTERM (G-095)', () => {
    const dockerfile = read('Dockerfile');
    const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '));
    expect(last).toMatch(/^USER node$/m);
    expect(last).toMatch(/^STOPSIGNAL SIGTERM$/m);
    expect(last).toMatch(/^ENTRYPOINT \[/m);
    expect(last).not.toMatch(/^(?:ADD|ARG) /m);
  });
});

describe('compose.yaml', () => {
  it('has three instances, HAProxy, three Redis, three Sentinels and Prometheus, each at an address of its own', () => {
    const addresses = services.map(([name]) => addressOf(name)).filter((address) => address !== undefined);
    expect([instances, addressesOf('redis-'), addressesOf('sentinel-')].map(({ length }) => length)).toEqual([3, 3, 3]);
    expect(new Set(addresses).size).toBe(11);
  });

  it('builds the image wherever it runs it', () => {
    const ours = services.filter(([, { image }]) => image === 'xmpp-grid').map(([name]) => name);
    expect(ours).toHaveLength(4);
    for (const name of ours) expect(existsSync(`${ROOT}${compose.services[name]?.build?.dockerfile}`)).toBe(true);
  });

  it('mounts files that are there and volumes that it declares, and waits for services that it has', () => {
    const mounts = services.flatMap(([, { volumes = [] }]) => volumes.map((mount) => mount.split(':')[0]!));
    expect(mounts.filter((from) => from.startsWith('.') && !existsSync(`${DEPLOY}${from}`))).toEqual([]);
    expect(new Set(mounts.filter((from) => !from.startsWith('.')))).toEqual(new Set(Object.keys(compose.volumes)));
    const awaited = services.flatMap(([, { depends_on = {} }]) => Object.keys(depends_on));
    expect(awaited.filter((name) => !(name in compose.services))).toEqual([]);
  });

  it('runs instances with settings that the program takes, which trust HAProxy alone and ask the Sentinels that there are', () => {
    const config = loadConfig({ cwd: DEPLOY, file: 'cluster.yaml' });
    expect(config.store.kind).toBe('redis');
    expect(config.listeners.trustedProxies).toEqual([addressOf('haproxy')]);
    expect(config.redis.nodes).toEqual(addressesOf('sentinel-').map((address) => `${address}:26379`));
    expect(read('sentinel.conf')).toMatch(
      new RegExp(`^sentinel monitor ${config.redis.sentinelName} ${addressOf('redis-1')} 6379 2$`, 'm'),
    );
    for (const setting of [`min-replicas-to-write ${config.redis.replicas}`, 'maxmemory-policy noeviction', 'appendonly yes'])
      expect(read('redis.conf').split('\n')).toContain(setting);
    const graceMs = Number.parseInt(compose.services['instance-1']?.stop_grace_period ?? '', 10) * 1000;
    expect(graceMs).toBeGreaterThan(config.drain.graceMs);
  });

  it('has every instance behind HAProxy, on both ports, and scraped by Prometheus', () => {
    const servers = [...read('haproxy.cfg').matchAll(/^ +server instance-\d ([\d.]+):(\d+)/gm)];
    for (const port of ['5222', '5223'])
      expect(servers.filter((server) => server[2] === port).map((server) => server[1])).toEqual(instances);
    const { scrape_configs: jobs } = parse(read('prometheus.yml')) as {
      scrape_configs: { job_name: string; static_configs: { targets: string[] }[] }[];
    };
    const targets = jobs.map((job) => [job.job_name, job.static_configs.flatMap((config) => config.targets)]);
    expect(targets).toEqual([
      ['xmpp-grid', instances.map((address) => `${address}:5280`)],
      ['haproxy', [`${addressOf('haproxy')}:8404`]],
    ]);
  });
});

describe('haproxy.cfg', () => {
  const haproxy = ['haproxy', '/usr/sbin/haproxy'].find((program) => spawnSync(program, ['-v']).status === 0);
  if (haproxy === undefined && process.env.CI === 'true') throw new Error('CI=true, and there is no haproxy');
  it.skipIf(haproxy === undefined)('is one that HAProxy takes without a warning', () => {
    const { status, stderr } = spawnSync(haproxy!, ['-c', '-f', `${DEPLOY}haproxy.cfg`], { encoding: 'utf8' });
    expect({ status, warnings: /WARNING|ALERT/.exec(stderr)?.[0] }).toEqual({ status: 0, warnings: undefined });
  });

  it('leaves streams of an instance that is not ready alone: it may be draining', () => {
    expect(read('haproxy.cfg')).not.toMatch(/^[^#]*shutdown-sessions/m);
  });
});

describe('alerts/', () => {
  interface Rule {
    readonly alert: string;
    readonly expr: string;
    readonly annotations: { readonly summary: string };
  }
  const rules = globSync('*.yml', { cwd: `${DEPLOY}alerts` }).flatMap((name) =>
    (parse(read(`alerts/${name}`)) as { groups: { rules: Rule[] }[] }).groups.flatMap((group) => group.rules),
  );
  const sources = globSync('packages/*/src/**/*.ts', { cwd: ROOT })
    .map((path) => readFileSync(`${ROOT}${path}`, 'utf8'))
    .join('\n');

  it.each(rules.map((rule) => [rule.alert, rule] as const))('%s asks for metrics that the program has', (_, rule) => {
    const asked = rule.expr.match(/xmppgrid_\w+/g) ?? [];
    const unknown = asked.filter((name) => !sources.includes(`'${name.replace(/_(?:bucket|sum|count)$/, '')}'`));
    expect(unknown).toEqual([]);
    expect(rule.annotations.summary).toMatch(/./);
  });

  it('has rules, with names of their own', () => {
    expect(rules.length).toBeGreaterThan(5);
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
  });
});
