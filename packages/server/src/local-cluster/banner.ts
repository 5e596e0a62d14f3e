import { fileURLToPath } from 'node:url';
import { bold, dim, green, table } from '../cli/output.ts';
import { shortPath } from '../config-load.ts';
import { DEMO_PLATFORMS, demoFiles } from '../demo/setup.ts';
import type { LocalCluster } from './local-cluster.ts';

const LAUNCHER = fileURLToPath(new URL('../../bin/xmpp-grid.mjs', import.meta.url));

/** What `cluster` prints once everything is up: where it is, who may log in, what to try. */
export function renderClusterBanner(cluster: LocalCluster, readyMs: number, cwd: string): string {
  const { directory, ports, instances, redis, sentinels } = cluster;
  const short = (path: string) => shortPath(path, cwd);
  const files = demoFiles(directory);
  const data = `--data ${short(directory)}`;
  const platforms = DEMO_PLATFORMS.map((name) => {
    const { certificate, key } = files.certificateOf(name);
    return [cluster.credentials[name].jid, cluster.credentials[name].password, `${short(certificate)} ${short(key)}`];
  });
  const parts = [
    ...instances.map(({ name, pid, ports: own }) => [name, `${pid}`, `http://${cluster.host}:${own.http}/   metrics and probes`]),
    ['haproxy', `${cluster.balancer.pid}`, `http://${cluster.host}:${ports.observe}/   its own page`],
    ...[...redis, ...sentinels].map(({ name, pid, port }) => [name, `${pid}`, `${cluster.host}:${port}`]),
  ];
  const primary = redis[0];
  const lines = [
    '',
    `  ${green('●')} ${bold('XMPP-Grid')} (RFC 8600): a cluster of ${instances.length} is ready ${dim(`in ${(readyMs / 1000).toFixed(1)} s`)}`,
    '',
    `  Controller   ${bold(cluster.domain)}      Broker  ${bold(cluster.brokerDomain)}`,
    `  STARTTLS     ${cluster.host}:${ports.starttls}   ${dim('HAProxy, which deals streams out to the instances')}`,
    `  Direct TLS   ${cluster.host}:${ports.directTls}`,
    `  Trust        ${short(files.ca)}`,
    '',
    indent(table(['PLATFORM', 'PASSWORD', 'OR CERTIFICATE AND KEY'], platforms)),
    '',
    indent(table(['PART', 'PROCESS', 'AT'], parts)),
    `  ${dim(`Each has its files and its log in ${short(directory)}/NAME/.`)}`,
    '',
    `  ${bold('In another terminal')}`,
    command(`npm run demo -- ${data}`, 'provider → Broker → consumer, on whichever instances'),
    command(`${short(LAUNCHER)} session list ${data}`, 'who is connected'),
    command(`kill -9 ${instances[0]?.pid}`, 'an instance dies; its platforms come back on others'),
    command(`kill -TERM ${instances[1]?.pid ?? instances[0]?.pid}`, 'an instance hands over and is started anew'),
    ...(primary === undefined
      ? []
      : [command(`kill -9 ${primary.pid}`, 'the Redis primary dies; Sentinel promotes the replica')]),
    '',
    `  ${dim('Ctrl-C stops everything. The next start begins empty; certificates and passwords stay.')}`,
    '',
  ];
  return `${lines.join('\n')}\n`;
}

function command(text: string, what: string): string {
  return `    ${text}   ${dim(`# ${what}`)}`;
}

function indent(text: string): string {
  return text.replace(/^/gm, '  ');
}
