import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { generatePassword, normalizeFingerprint } from '@xmpp-grid/auth';
import type { PlatformView } from '../../admin/operations.ts';
import type { Config } from '../../config.ts';
import { withAdmin } from '../admin-access.ts';
import { type Command, type Options, UsageError, type Values } from '../command.ts';
import { note, print, printJson, spellTime, table } from '../output.ts';
import { readPassword } from '../password.ts';
import { configOf, STORE_OPTIONS } from '../settings-options.ts';

const JSON_OPTION = { json: { type: 'boolean', doc: 'Print JSON.' } } as const satisfies Options;
const PAGE = 1000;

const add: Command = {
  name: 'platform add',
  args: ['NAME'],
  summary: 'Make an account for a platform: NAME@DOMAIN, with a password, certificates, or both.',
  options: {
    ...STORE_OPTIONS,
    ...JSON_OPTION,
    role: { type: 'string', value: 'ROLE', doc: 'Role template that decides what it may do (default: platform).' },
    generate: { type: 'boolean', doc: 'Make a password and print it, once.' },
    password: { type: 'boolean', doc: 'Ask for a password also where --certificate is given.' },
    'no-password': { type: 'boolean', doc: 'No password: it logs in by any certificate of a trusted authority that names it.' },
    certificate: {
      type: 'string',
      multiple: true,
      value: 'FILE',
      doc: 'Bind a certificate (PEM): only bound ones may then log in. Repeatable.',
    },
    replace: { type: 'boolean', doc: 'Give an existing platform these credentials and this role.' },
  },
  notes: `Without --generate the password is asked for at the terminal, without echo; when stdin is no terminal its first line is taken.
Only keys derived from it are stored (RFC 5802 §3). With --certificate the platform has no password unless one is asked for.

  xmpp-grid platform add sensor-1 --generate
  xmpp-grid platform add siem --certificate siem.crt
  printf '%s' "$PASSWORD" | xmpp-grid platform add csirt --role platform`,
  async run(values, [name]) {
    const certificates = values.texts('certificate').map(fingerprintOf);
    const generated = values.has('generate') ? generatePassword() : undefined;
    const asks = generated === undefined && !values.has('no-password') && (certificates.length === 0 || values.has('password'));
    const config = configOf(values);
    const password = asks ? await readPassword(`Password for ${name}`) : generated;
    const platform = await withAdmin(config, (admin) =>
      admin.platformAdd({
        name: name!,
        role: values.text('role') ?? 'platform',
        ...(password === undefined ? {} : { password }),
        ...(certificates.length === 0 ? {} : { certificates }),
        ...(values.has('replace') ? { replace: true } : {}),
      }),
    );
    if (values.has('json')) printJson(generated === undefined ? platform : { ...platform, password: generated });
    else {
      note(`${platform.jid} has role ${platform.role}`);
      if (generated !== undefined) print(generated);
    }
    return 0;
  },
};

function fingerprintOf(file: string): string {
  let pem: Buffer;
  try {
    pem = readFileSync(file);
  } catch (error) {
    throw new UsageError(`--certificate ${file}: ${(error as Error).message}`);
  }
  try {
    return normalizeFingerprint(new X509Certificate(pem).fingerprint256)!;
  } catch {
    throw new UsageError(`--certificate ${file}: no certificate in PEM`);
  }
}

const list: Command = {
  name: 'platform list',
  summary: 'List the platforms with their role, state and credentials.',
  options: { ...STORE_OPTIONS, ...JSON_OPTION },
  async run(values) {
    const platforms = await withAdmin(configOf(values), async (admin) => {
      const all: PlatformView[] = [];
      for (let after: string | undefined; ; after = all.at(-1)?.jid) {
        const page = await admin.platformList(after === undefined ? { max: PAGE } : { max: PAGE, after });
        all.push(...page);
        if (page.length < PAGE) return all;
      }
    });
    if (values.has('json')) printJson(platforms);
    else if (platforms.length === 0) note('no platforms yet; xmpp-grid platform add NAME makes one');
    else {
      print(
        table(
          ['PLATFORM', 'ROLE', 'STATE', 'CREDENTIALS', 'SESSIONS'],
          platforms.map((platform) => [
            platform.jid,
            platform.role,
            platform.state,
            spellCredentials(platform),
            String(platform.sessions),
          ]),
        ),
      );
    }
    return 0;
  },
};

function spellCredentials({ credentials, certificates }: PlatformView): string {
  const bound =
    certificates.length === 0 ? [] : [`${certificates.length} bound certificate${certificates.length === 1 ? '' : 's'}`];
  return [...credentials, ...bound].join(', ') || 'any trusted certificate';
}

const show: Command = {
  name: 'platform show',
  args: ['NAME'],
  summary: 'Show one platform.',
  options: { ...STORE_OPTIONS, ...JSON_OPTION },
  async run(values, [name]) {
    const platform = await withAdmin(configOf(values), (admin) => admin.platformShow({ name: name! }));
    if (values.has('json')) printJson(platform);
    else {
      const { jid, role, state, createdMs, sessions, certificates } = platform;
      const rows = [
        ['platform', jid],
        ['role', role],
        ['state', state],
        ['created', spellTime(createdMs)],
        ['credentials', spellCredentials(platform)],
        ...certificates.map((fingerprint) => ['certificate', fingerprint]),
        ['sessions', String(sessions)],
      ];
      print(rows.map(([left, right]) => `${left!.padEnd(12)} ${right}`).join('\n'));
    }
    return 0;
  },
};

const disable: Command = {
  name: 'platform disable',
  args: ['NAME'],
  summary: 'Refuse logins of a platform from now on and end its live streams.',
  options: { ...STORE_OPTIONS, ...JSON_OPTION },
  async run(values, [name]) {
    const config = configOf(values);
    const done = await withAdmin(config, (admin) => admin.platformDisable({ name: name! }));
    if (values.has('json')) printJson(done);
    else note(`${done.platform.jid} is disabled; ${spellEnded(done.endedStreams, config)}`);
    return 0;
  },
};

const enable: Command = {
  name: 'platform enable',
  args: ['NAME'],
  summary: 'Let a disabled platform log in again.',
  options: { ...STORE_OPTIONS, ...JSON_OPTION },
  async run(values, [name]) {
    const platform = await withAdmin(configOf(values), (admin) => admin.platformEnable({ name: name! }));
    if (values.has('json')) printJson(platform);
    else note(`${platform.jid} is enabled`);
    return 0;
  },
};

const remove: Command = {
  name: 'platform remove',
  args: ['NAME'],
  summary: 'Forget a platform and end its live streams. Topics and items that it published stay.',
  options: { ...STORE_OPTIONS, ...JSON_OPTION },
  async run(values: Values, [name]) {
    const config = configOf(values);
    const done = await withAdmin(config, (admin) => admin.platformRemove({ name: name! }));
    if (values.has('json')) printJson(done);
    else note(`${name} is removed; ${spellEnded(done.endedStreams, config)}`);
    return 0;
  },
};

function spellEnded(count: number, config: Config): string {
  const ended = count === 1 ? '1 stream ended' : `${count} streams ended`;
  return config.store.kind === 'redis' ? `${ended} here, those of other instances end now` : ended;
}

export const PLATFORM_COMMANDS: readonly Command[] = [add, list, show, disable, enable, remove];
