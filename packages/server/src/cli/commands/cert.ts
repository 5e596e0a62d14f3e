import { X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createCertificateAuthority,
  generatePassword,
  type IssuedCertificate,
  issuePlatformCertificate,
  issueServerCertificate,
  makePkcs12,
} from '@xmpp-grid/auth';
import { JID } from '@xmpp-grid/stream';
import { writePair } from '../../demo/setup.ts';
import { type Command, type Options, UsageError, type Values } from '../command.ts';
import { note, print } from '../output.ts';

const OUT_OPTIONS = {
  out: { type: 'string', short: 'o', value: 'DIR', doc: 'Directory of the files (default: the working directory).' },
  days: { type: 'string', value: 'DAYS', doc: 'Days of validity (default: 365, an authority 3650).' },
  force: { type: 'boolean', doc: 'Replace files that are there.' },
} as const satisfies Options;

const ISSUE_OPTIONS = {
  ...OUT_OPTIONS,
  ca: { type: 'string', value: 'DIR', doc: 'Directory with ca.crt and ca.key (default: that of --out).' },
  rsa: { type: 'boolean', doc: 'Make an RSA key (2048 bits) instead of EC P-256.' },
} as const satisfies Options;

const ca: Command = {
  name: 'cert ca',
  summary: 'Make a certificate authority for trials and small grids: ca.crt, ca.key.',
  options: {
    ...OUT_OPTIONS,
    name: { type: 'string', value: 'NAME', doc: 'Name of the authority (default: XMPP-Grid authority).' },
  },
  async run(values) {
    const target = files(values, 'ca');
    write(
      target,
      await createCertificateAuthority(values.text('name') ?? 'XMPP-Grid authority', {
        nowMs: Date.now(),
        days: days(values, 3650),
      }),
    );
    return 0;
  },
};

const server: Command = {
  name: 'cert server',
  args: ['DOMAIN', '[BROKER-DOMAIN]'],
  summary: 'Issue a server certificate (RFC 6120 §13.7.1.2): server.crt, server.key.',
  options: ISSUE_OPTIONS,
  notes:
    'Without BROKER-DOMAIN the certificate names broker.DOMAIN too.\n\n  xmpp-grid cert ca --out pki && xmpp-grid cert server grid.example --out pki',
  async run(values, [domain, broker]) {
    const target = files(values, 'server');
    const authority = readAuthority(values);
    const options = {
      domains: [domain!, broker ?? `broker.${domain}`],
      nowMs: Date.now(),
      days: days(values, 365),
      ...keyType(values),
    };
    write(target, await rangeChecked(() => issueServerCertificate(authority, options)));
    return 0;
  },
};

const platform: Command = {
  name: 'cert platform',
  args: ['JID'],
  summary: 'Issue a platform certificate with id-on-xmppAddr (RFC 6120 §13.7.1.4) for SASL EXTERNAL: NAME.crt, NAME.key.',
  options: {
    ...ISSUE_OPTIONS,
    pkcs12: { type: 'boolean', doc: 'Also make NAME.p12, with the authority in it, and print its passphrase, once.' },
  },
  notes:
    '  xmpp-grid cert platform siem@grid.example --ca pki --out pki\n  xmpp-grid platform add siem --certificate pki/siem.crt',
  async run(values, [address]) {
    const jid = parseJid(address!);
    const target = files(values, fileName(jid));
    const authority = readAuthority(values);
    const pair = await issuePlatformCertificate(authority, {
      jid,
      nowMs: Date.now(),
      days: days(values, 365),
      ...keyType(values),
    });
    write(target, pair);
    note(`SHA-256 fingerprint ${pair.fingerprint}`);
    if (values.has('pkcs12')) {
      const passphrase = generatePassword();
      const bundle = `${target.base}.p12`;
      writeFileSync(bundle, makePkcs12({ ...pair, authority: authority.certificate }, passphrase, jid.bareString), {
        mode: 0o600,
      });
      note(`wrote ${bundle}, with the passphrase:`);
      print(passphrase);
    }
    return 0;
  },
};

interface Target {
  readonly base: string;
  readonly certificate: string;
  readonly key: string;
}

function files(values: Values, name: string): Target {
  const directory = values.text('out') ?? '.';
  mkdirSync(directory, { recursive: true });
  const base = join(directory, name);
  const target = { base, certificate: `${base}.crt`, key: `${base}.key` };
  const taken = [target.certificate, target.key].filter((path) => existsSync(path));
  if (taken.length > 0 && !values.has('force'))
    throw new UsageError(`${taken.join(' and ')} exist already; --force replaces them`);
  return target;
}

/** The localpart, without what could leave the directory. */
function fileName(jid: JID): string {
  return (jid.local ?? jid.domain).replace(/[^\p{L}\p{N}._-]/gu, '_').replace(/^\.+/, '_');
}

function parseJid(text: string): JID {
  try {
    const jid = JID.parse(text);
    if (jid.local !== undefined && jid.isBare) return jid;
  } catch (error) {
    throw new UsageError(`${text} is no JID: ${(error as Error).message}`);
  }
  throw new UsageError(`${text}: expected NAME@DOMAIN`);
}

function days(values: Values, fallback: number): number {
  const text = values.text('days');
  if (text === undefined) return fallback;
  if (!/^[1-9]\d{0,4}$/.test(text))
    throw new UsageError(`--days: expected a whole number from 1 to 99999, got ${JSON.stringify(text)}`);
  return Number(text);
}

function keyType(values: Values): { readonly keyType?: 'rsa' } {
  return values.has('rsa') ? { keyType: 'rsa' } : {};
}

function readAuthority(values: Values): IssuedCertificate {
  const directory = values.text('ca') ?? values.text('out') ?? '.';
  const [certificatePath, keyPath] = [join(directory, 'ca.crt'), join(directory, 'ca.key')];
  try {
    const certificate = readFileSync(certificatePath, 'utf8');
    const key = readFileSync(keyPath, 'utf8');
    return { certificate, key, fingerprint: new X509Certificate(certificate).fingerprint256.replaceAll(':', '').toLowerCase() };
  } catch (error) {
    throw new UsageError(
      `no authority in ${directory} (${(error as Error).message}); \`xmpp-grid cert ca --out ${directory}\` makes one`,
    );
  }
}

async function rangeChecked<T>(make: () => Promise<T>): Promise<T> {
  try {
    return await make();
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(error.message);
    throw error;
  }
}

function write(target: Target, pair: IssuedCertificate): void {
  writePair(target.certificate, target.key, pair);
  note(`wrote ${target.certificate} and ${target.key}`);
}

export const CERT_COMMANDS: readonly Command[] = [ca, server, platform];
