import type { Config } from '../config.ts';
import { loadConfig, type Overrides } from '../config-load.ts';
import type { Option, Options, Values } from './command.ts';

const configFile: Option = {
  type: 'string',
  short: 'c',
  value: 'FILE',
  doc: 'Read settings from a YAML file (see docs/configuration.md).',
};

/** For every command that reads a configuration. */
export const STORE_OPTIONS = {
  config: configFile,
  data: { type: 'string', value: 'DIR', doc: 'Data directory (default: var).', settings: ['dataDir'] },
  domain: { type: 'string', value: 'DOMAIN', doc: 'Domain of the Controller (default: localhost).', settings: ['domain'] },
} as const satisfies Options;

/** For the commands that start or print a whole configuration. */
export const SETTING_OPTIONS = {
  ...STORE_OPTIONS,
  'broker-domain': {
    type: 'string',
    value: 'DOMAIN',
    doc: 'Address of the Broker (default: broker.DOMAIN).',
    settings: ['brokerDomain'],
  },
  port: {
    type: 'string',
    value: 'PORT',
    doc: 'Port for STARTTLS streams (default: 5222).',
    settings: ['listeners.starttls.port'],
  },
  'direct-tls-port': {
    type: 'string',
    value: 'PORT',
    doc: 'Port for direct TLS streams (default: 5223).',
    settings: ['listeners.directTls.port'],
  },
  'http-port': {
    type: 'string',
    value: 'PORT',
    doc: 'Port for metrics and probes (default: 5280).',
    settings: ['listeners.http.port'],
  },
  bind: {
    type: 'string',
    value: 'ADDRESS',
    doc: 'Address on which platforms connect (default: every address).',
    settings: ['listeners.starttls.host', 'listeners.directTls.host'],
  },
  profile: {
    type: 'string',
    value: 'PROFILE',
    doc: 'grid (RFC 8600 strictly, the default) or compat (leniency for deployed clients).',
    settings: ['profile'],
  },
} as const satisfies Options;

/** The configuration that file, flags and preset make together. @throws ConfigError */
export function configOf(values: Values, preset?: Overrides): Config {
  const flags = new Map<string, { value: unknown; name: string }>();
  for (const [name, option] of Object.entries<Option>(SETTING_OPTIONS)) {
    const value = values.text(name);
    if (value === undefined) continue;
    for (const setting of option.settings ?? [])
      flags.set(setting, { name: `--${name}`, value: setting.endsWith('.port') ? toNumber(value) : value });
  }
  const file = values.text('config');
  return loadConfig({
    cwd: process.cwd(),
    flags,
    ...(file === undefined ? {} : { file }),
    ...(preset === undefined ? {} : { preset }),
  });
}

/** A whole number, or the text as it stands for the message. */
function toNumber(text: string): unknown {
  return /^\d{1,9}$/.test(text) ? Number(text) : text;
}
