import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import type { Config, RunningInstance } from '@xmpp-grid/server';
import { createLogger, loadConfig, startInstance, startProgram } from '@xmpp-grid/server';
import { type TestCertificates, testCertificates } from './certs.ts';
import { RawClient, type RawClientOptions } from './raw-client.ts';

/**
 * A whole instance in this process, on ports of its own, with a store and certificates of its own: what `xmpp-grid serve`
 * runs, without the command line.
 */
export interface TestInstance {
  readonly host: string;
  readonly port: number;
  readonly directTlsPort: number;
  readonly httpPort: number;
  readonly domain: string;
  readonly broker: string;
  readonly dataDir: string;
  readonly caFile: string;
  readonly certificates: TestCertificates;
  readonly admin: RunningInstance['admin'];
  /** Lines that the instance logged so far, as objects. */
  readonly logged: readonly Record<string, unknown>[];
  addPlatform(name: string, options?: { password?: string; role?: string; certificates?: string[] }): Promise<void>;
  /** Adds the platform where it is missing and logs in; the password is the name. */
  login(
    name: string,
    options?: Partial<RawClientOptions> & { resource?: string; role?: string; mechanism?: string },
  ): Promise<RawClient>;
  connect(options?: Partial<RawClientOptions>): Promise<RawClient>;
  /** Stops and starts again on the same data and ports. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface TestInstanceOptions {
  readonly domain?: string;
  readonly profile?: 'grid' | 'compat';
  /** Role of platforms added without one; `platform` may do everything that the topic lets it. */
  readonly role?: string;
  readonly clientCertificates?: boolean;
  /** Settings by dotted name, over the test's own. */
  readonly settings?: Record<string, unknown>;
}

/** With `TEST_ON_REDIS=host:port` every test instance keeps its data there instead, each under a prefix of its own. */
function onRedis(): Record<string, unknown> {
  const node = process.env.TEST_ON_REDIS;
  if (node === undefined) return {};
  return {
    'store.kind': 'redis',
    'redis.nodes': [node],
    'redis.durability': 'memory',
    'redis.keyPrefix': `test-${randomBytes(6).toString('hex')}:`,
  };
}

export async function startTestInstance(options: TestInstanceOptions = {}): Promise<TestInstance> {
  const domain = options.domain ?? 'localhost';
  const certificates = await testCertificates(domain);
  const dataDir = mkdtempSync(join(tmpdir(), 'xmpp-grid-test-'));
  const file = (name: string, content: string) => {
    const path = join(dataDir, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  const caFile = file('ca.pem', certificates.ca.certificate);
  const ports = { starttls: 0, directTls: 0 };
  const logged: Record<string, unknown>[] = [];

  const certificate = file('server.pem', certificates.server.certificate);
  const key = file('server.key', certificates.server.key);
  const sharedStore = onRedis();
  const configuration = (): Config =>
    loadConfig({
      cwd: dataDir,
      preset: new Map<string, unknown>(
        Object.entries({
          domain,
          brokerDomain: `broker.${domain}`,
          profile: options.profile ?? 'grid',
          dataDir,
          'listeners.starttls.host': '127.0.0.1',
          'listeners.starttls.port': ports.starttls,
          'listeners.directTls.host': '127.0.0.1',
          'listeners.directTls.port': ports.directTls,
          'listeners.http.port': 0,
          'tls.certificate': certificate,
          'tls.key': key,
          ...(options.clientCertificates === true ? { 'tls.clientCa': caFile } : {}),
          'sasl.scramIterations': 4096,
          'log.level': 'debug',
          'log.format': 'json',
          ...sharedStore,
          ...options.settings,
        }),
      ),
    });
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().split('\n')) if (line !== '') logged.push(JSON.parse(line) as Record<string, unknown>);
      done();
    },
  });
  const start = () => {
    const config = configuration();
    return startProgram(config, startInstance, createLogger(config.log, sink));
  };
  let program = await start();
  ports.starttls = program.addresses.starttls?.port ?? 0;
  ports.directTls = program.addresses.directTls?.port ?? 0;
  const known = new Set<string>();

  const instance: TestInstance = {
    host: '127.0.0.1',
    get port() {
      return ports.starttls;
    },
    get directTlsPort() {
      return ports.directTls;
    },
    get httpPort() {
      return program.addresses.http?.port ?? 0;
    },
    domain,
    broker: `broker.${domain}`,
    dataDir,
    caFile,
    certificates,
    get admin() {
      return program.instance.admin;
    },
    logged,
    async addPlatform(name, { password = name, role = options.role ?? 'platform', certificates: bound } = {}) {
      known.add(name);
      await program.instance.admin.platformAdd({ name, role, password, certificates: bound, replace: true });
    },
    async login(name, { resource, role, mechanism, ...rest } = {}) {
      if (!known.has(name)) await instance.addPlatform(name, role === undefined ? {} : { role });
      return await RawClient.login({
        port: rest.directTls === true ? ports.directTls : ports.starttls,
        domain,
        ca: certificates.ca.certificate,
        user: name,
        password: name,
        ...(resource === undefined ? {} : { resource }),
        ...(mechanism === undefined ? {} : { mechanism }),
        ...rest,
      });
    },
    connect: (rest = {}) =>
      RawClient.connect({
        port: rest.directTls === true ? ports.directTls : ports.starttls,
        domain,
        ca: certificates.ca.certificate,
        ...rest,
      }),
    async restart() {
      await program.stop();
      program = await start();
    },
    async stop() {
      await program.stop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
  return instance;
}
