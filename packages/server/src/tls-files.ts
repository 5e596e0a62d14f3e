import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Config } from './config.ts';
import { ConfigError } from './config-load.ts';

/** The TLS credentials of an instance as PEM, checked to belong together. */
export interface TlsCredentials {
  /** Leaf first, then intermediates. */
  readonly certificate: Buffer;
  readonly key: Buffer;
  /** Trust anchors for client certificates; absent: none are asked for. */
  readonly clientCa?: Buffer;
  /** When the leaf expires, ms since the epoch. */
  readonly notAfterMs: number;
  /** What an operator should know though it stops nothing. */
  readonly warnings: readonly string[];
}

/**
 * Reads and checks the files that `tls` names.
 *
 * @throws ConfigError with every problem at once
 */
export function loadTlsCredentials(config: Config, nowMs: number): TlsCredentials {
  const problems: string[] = [];
  const { certificate: certificatePath, key: keyPath, clientCa: caPath } = config.tls;
  if (certificatePath === undefined || keyPath === undefined) {
    throw new ConfigError([
      'tls.certificate and tls.key: expected the files of the server certificate; `xmpp-grid cert server` makes one for trials',
    ]);
  }
  const read = (setting: string, path: string): Buffer | undefined => {
    try {
      return readFileSync(path);
    } catch (error) {
      problems.push(`${setting}: ${path} cannot be read: ${(error as Error).message}`);
      return undefined;
    }
  };
  const parse = <T>(setting: string, path: string, what: string, make: () => T): T | undefined => {
    try {
      return make();
    } catch {
      problems.push(`${setting}: ${path} is no ${what} in PEM`);
      return undefined;
    }
  };
  const certificate = read('tls.certificate', certificatePath);
  const key = read('tls.key', keyPath);
  const clientCa = caPath === undefined ? undefined : read('tls.clientCa', caPath);
  const leaf = certificate && parse('tls.certificate', certificatePath, 'certificate', () => new X509Certificate(certificate));
  const privateKey = key && parse('tls.key', keyPath, 'private key without passphrase', () => createPrivateKey(key));
  if (clientCa !== undefined && caPath !== undefined)
    parse('tls.clientCa', caPath, 'certificate', () => new X509Certificate(clientCa));
  if (leaf !== undefined && privateKey !== undefined && !leaf.checkPrivateKey(privateKey)) {
    problems.push(`tls.key: ${keyPath} is not the key of ${certificatePath}`);
  }
  if (leaf !== undefined && leaf.validToDate.getTime() <= nowMs) {
    problems.push(
      `tls.certificate: ${certificatePath} expired on ${leaf.validToDate.toISOString().slice(0, 10)}; put a new one in its place`,
    );
  }
  if (problems.length > 0 || certificate === undefined || key === undefined || leaf === undefined)
    throw new ConfigError(problems);
  return {
    certificate,
    key,
    ...(clientCa === undefined ? {} : { clientCa }),
    notAfterMs: leaf.validToDate.getTime(),
    warnings: warningsOf(leaf, config, nowMs),
  };
}

const DAY_MS = 86_400_000;

function warningsOf(leaf: X509Certificate, config: Config, nowMs: number): string[] {
  const warnings: string[] = [];
  if (leaf.checkHost(config.domain) === undefined)
    warnings.push(`the server certificate does not name ${config.domain}: clients will refuse it`);
  if (leaf.validFromDate.getTime() > nowMs)
    warnings.push(`the server certificate is not valid before ${leaf.validFromDate.toISOString()}`);
  const days = Math.floor((leaf.validToDate.getTime() - nowMs) / DAY_MS);
  if (days < 14) warnings.push(`the server certificate expires in ${days} days`);
  return warnings;
}
