import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { bold, dim, green, table } from '../cli/output.ts';
import type { Config } from '../config.ts';
import { shortPath } from '../config-load.ts';
import { DEMO_PLATFORMS, type DemoCredentials, demoFiles } from './setup.ts';

const LAUNCHER = fileURLToPath(new URL('../../bin/xmpp-grid.mjs', import.meta.url));

export interface BannerFacts {
  readonly config: Config;
  readonly addresses: { readonly starttls?: AddressInfo; readonly directTls?: AddressInfo; readonly http?: AddressInfo };
  readonly credentials: DemoCredentials;
  readonly readyMs: number;
  readonly cwd: string;
}

/** What `serve --demo` prints once everything listens. */
export function renderBanner({ config, addresses, credentials, readyMs, cwd }: BannerFacts): string {
  const files = demoFiles(config.dataDir);
  const short = (path: string) => shortPath(path, cwd);
  const data = short(config.dataDir);
  const dataFlag = data === 'var' ? '' : ` --data ${data}`;
  const npmArguments = dataFlag === '' ? '' : ` --${dataFlag}`;
  const lines = [
    '',
    `  ${green('●')} ${bold('XMPP-Grid')} (RFC 8600) is ready ${dim(`in ${(readyMs / 1000).toFixed(2)} s`)}`,
    '',
    `  Controller   ${bold(config.domain)}      Broker  ${bold(config.brokerDomain)}      Profile  ${config.profile}`,
    ...(addresses.starttls === undefined ? [] : [`  STARTTLS     ${spell(addresses.starttls)}`]),
    ...(addresses.directTls === undefined ? [] : [`  Direct TLS   ${spell(addresses.directTls)}`]),
    ...(addresses.http === undefined ? [] : [`  HTTP         http://${spell(addresses.http)}/   ${dim('metrics and probes')}`]),
    `  Trust        ${short(files.ca)}`,
    '',
    indent(
      table(
        ['PLATFORM', 'PASSWORD', 'OR CERTIFICATE AND KEY'],
        DEMO_PLATFORMS.map((name) => {
          const { certificate, key } = files.certificateOf(name);
          return [credentials[name].jid, credentials[name].password, `${short(certificate)} ${short(key)}`];
        }),
      ),
    ),
    '',
    `  ${bold('In another terminal')}`,
    command(`npm run demo${npmArguments}`, 'provider → Broker → consumer, with a real incident'),
    command(`${short(LAUNCHER)} platform add sensor-1 --generate${dataFlag}`, 'an account for a platform of yours'),
    ...(addresses.starttls === undefined
      ? []
      : [
          command(
            `openssl s_client -connect ${spell(addresses.starttls)} -starttls xmpp -xmpphost ${config.domain} -CAfile ${short(files.ca)} -brief </dev/null`,
          ),
        ]),
    ...(addresses.http === undefined ? [] : [command(`curl -s http://${spell(addresses.http)}/metrics | grep ^xmppgrid_`)]),
    '',
    `  ${dim(`Ctrl-C stops it. Topics, accounts and certificates stay in ${data}/ and are there again at the next start.`)}`,
    '',
  ];
  return `${lines.join('\n')}\n`;
}

function command(text: string, what?: string): string {
  return `    ${text}${what === undefined ? '' : `   ${dim(`# ${what}`)}`}`;
}

function indent(text: string): string {
  return text.replace(/^/gm, '  ');
}

function spell({ address, port, family }: AddressInfo): string {
  if (address === '::' || address === '0.0.0.0') return `localhost:${port}`;
  return family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`;
}
