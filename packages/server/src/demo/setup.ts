import { X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  createCertificateAuthority,
  generatePassword,
  type IssuedCertificate,
  issuePlatformCertificate,
  issueServerCertificate,
} from '@xmpp-grid/auth';
import { JID } from '@xmpp-grid/stream';
import { AdminError, type AdminOperations } from '../admin/operations.ts';
import type { Config } from '../config.ts';

/** The demonstration's files, all below the data directory; made once and kept. */
export interface DemoFiles {
  readonly ca: string;
  readonly caKey: string;
  readonly server: string;
  readonly serverKey: string;
  readonly credentials: string;
  certificateOf(platform: string): { readonly certificate: string; readonly key: string };
}

export const DEMO_PLATFORMS = ['provider', 'consumer'] as const;
export type DemoPlatform = (typeof DEMO_PLATFORMS)[number];

export interface DemoCredential {
  readonly jid: string;
  readonly password: string;
}

export type DemoCredentials = Readonly<Record<DemoPlatform, DemoCredential>>;

export function demoFiles(dataDir: string): DemoFiles {
  const inTls = (name: string) => join(dataDir, 'tls', name);
  return {
    ca: inTls('ca.crt'),
    caKey: inTls('ca.key'),
    server: inTls('server.crt'),
    serverKey: inTls('server.key'),
    credentials: join(dataDir, 'demo-credentials.json'),
    certificateOf: (platform) => ({ certificate: inTls(`${platform}.crt`), key: inTls(`${platform}.key`) }),
  };
}

const DAY_MS = 86_400_000;
const CA_DAYS = 3650;
const LEAF_DAYS = 365;
/** A certificate with less than a week to go is made anew. */
const RENEW_MS = 7 * DAY_MS;

/**
 * Makes what is missing or about to expire: an authority, the server's certificate, one for each demonstration platform.
 * When all is there it reads a few files and generates nothing.
 */
export async function ensureDemoCertificates(config: Config, nowMs: number): Promise<void> {
  const files = demoFiles(config.dataDir);
  mkdirSync(dirname(files.ca), { recursive: true, mode: 0o700 });
  let authority = readPair(files.ca, files.caKey, nowMs);
  const isNewAuthority = authority === undefined;
  if (authority === undefined) {
    authority = await createCertificateAuthority('Demonstration authority', { nowMs, days: CA_DAYS });
    writePair(files.ca, files.caKey, authority);
  }
  const domains = [config.domain, config.brokerDomain];
  const server = isNewAuthority ? undefined : readPair(files.server, files.serverKey, nowMs);
  const covers =
    server !== undefined && domains.every((name) => new X509Certificate(server.certificate).checkHost(name) !== undefined);
  if (!covers)
    writePair(files.server, files.serverKey, await issueServerCertificate(authority, { domains, nowMs, days: LEAF_DAYS }));
  for (const platform of DEMO_PLATFORMS) {
    const { certificate, key } = files.certificateOf(platform);
    const jid = JID.of(platform, config.domain);
    const existing = isNewAuthority ? undefined : readPair(certificate, key, nowMs);
    // The subject's common name is the JID, for a demonstration that was begun under another domain.
    if (existing !== undefined && new X509Certificate(existing.certificate).subject.includes(`CN=${jid.bareString}`)) continue;
    writePair(certificate, key, await issuePlatformCertificate(authority, { jid, nowMs, days: LEAF_DAYS }));
  }
}

function readPair(certificatePath: string, keyPath: string, nowMs: number): IssuedCertificate | undefined {
  const certificate = readIfThere(certificatePath);
  const key = readIfThere(keyPath);
  if (certificate === undefined || key === undefined) return undefined;
  const parsed = new X509Certificate(certificate);
  if (parsed.validToDate.getTime() - nowMs < RENEW_MS) return undefined;
  return { certificate, key, fingerprint: parsed.fingerprint256.replaceAll(':', '').toLowerCase() };
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The key first: a certificate that is there has its key. Both appear whole or not at all. */
export function writePair(certificatePath: string, keyPath: string, pair: IssuedCertificate): void {
  writeWhole(keyPath, pair.key, 0o600);
  writeWhole(certificatePath, pair.certificate, 0o644);
}

function writeWhole(path: string, text: string | Buffer, mode: number): void {
  writeFileSync(`${path}.new`, text, { mode });
  renameSync(`${path}.new`, path);
}

/** Makes the demonstration's accounts where they are missing, with the passwords of the credentials file. */
export async function ensureDemoPlatforms(config: Config, admin: AdminOperations): Promise<DemoCredentials> {
  const kept = readDemoCredentials(config.dataDir);
  const jids = Object.fromEntries(DEMO_PLATFORMS.map((name) => [name, JID.of(name, config.domain).bareString]));
  const usable = kept !== undefined && DEMO_PLATFORMS.every((name) => kept[name]?.jid === jids[name]) ? kept : undefined;
  const credentials =
    usable ??
    (Object.fromEntries(
      DEMO_PLATFORMS.map((name) => [name, { jid: jids[name]!, password: generatePassword() }]),
    ) as unknown as DemoCredentials);
  if (usable === undefined)
    writeWhole(demoFiles(config.dataDir).credentials, `${JSON.stringify(credentials, undefined, 2)}\n`, 0o600);
  for (const name of DEMO_PLATFORMS) {
    if (usable !== undefined && (await exists(admin, credentials[name].jid))) continue;
    await admin.platformAdd({ name: credentials[name].jid, role: 'demo', password: credentials[name].password, replace: true });
  }
  return credentials;
}

/** Undefined: no demonstration was set up here. */
export function readDemoCredentials(dataDir: string): DemoCredentials | undefined {
  const text = readIfThere(demoFiles(dataDir).credentials);
  return text === undefined ? undefined : (JSON.parse(text) as DemoCredentials);
}

async function exists(admin: AdminOperations, name: string): Promise<boolean> {
  try {
    await admin.platformShow({ name });
    return true;
  } catch (error) {
    if (error instanceof AdminError && error.code === 'no-such-platform') return false;
    throw error;
  }
}
