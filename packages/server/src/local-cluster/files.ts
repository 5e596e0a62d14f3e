import { readFileSync } from 'node:fs';

/** The files of deploy/, with this machine's addresses in them: what runs here is what they describe. */

const deployed = (name: string): string => readFileSync(new URL(`../../../../deploy/${name}`, import.meta.url), 'utf8');

export const HOST = '127.0.0.1';
/** Name by which Sentinels know the primary; that of deploy/sentinel.conf. */
export const SENTINEL_NAME = 'grid';

export interface InstancePorts {
  readonly starttls: number;
  readonly directTls: number;
  readonly http: number;
}

export interface BalancerPorts {
  readonly starttls: number;
  readonly directTls: number;
  /** HAProxy's own page and metrics. */
  readonly observe: number;
}

/**
 * 4,000 streams: HAProxy wants two descriptors for each, and refuses to start where the system allows fewer. Enough to try things.
 */
const LOCAL_MAXCONN = 4_000;

/** deploy/haproxy.cfg before these instances. */
export function haproxyConfig(ports: BalancerPorts, instances: readonly InstancePorts[]): string {
  const servers = (name: 'starttls' | 'directTls', more: (index: number, instance: InstancePorts) => string) =>
    instances.map((instance, index) => `  server instance-${index + 1} ${HOST}:${instance[name]} ${more(index, instance)}`);
  const config = deployed('haproxy.cfg')
    .replace(/^( *maxconn) \d+$/m, `$1 ${LOCAL_MAXCONN}`)
    .replace(/^( *bind) :5222$/m, `$1 ${HOST}:${ports.starttls}`)
    .replace(/^( *bind) :5223$/m, `$1 ${HOST}:${ports.directTls}`)
    .replace(/^( *bind) :8404$/m, `$1 ${HOST}:${ports.observe}`)
    .replace(/(?:^ *server \S+ \S+:5222\n)+/m, `${servers('starttls', (_, { http }) => `port ${http}`).join('\n')}\n`)
    .replace(
      /(?:^ *server \S+ \S+:5223 .*\n)+/m,
      `${servers('directTls', (index) => `track starttls/instance-${index + 1}`).join('\n')}\n`,
    );
  return allReplaced(config, 'haproxy.cfg', /^ *bind :|172\.30\./m);
}

/** deploy/redis.conf for one server; `primary`: whose replica it begins as. */
export function redisConfig(directory: string, port: number, primary?: number): string {
  const config = deployed('redis.conf')
    .replace(/^dir .*$/m, `dir "${directory}"`)
    .replace(/^port .*$/m, `port ${port}\nbind ${HOST}`);
  return `${allReplaced(config, 'redis.conf', /^port 6379\n(?!bind)|^dir \/data/m)}${primary === undefined ? '' : `replicaof ${HOST} ${primary}\n`}`;
}

/** deploy/sentinel.conf for one of `count` Sentinels. */
export function sentinelConfig(directory: string, port: number, primary: number, count: number): string {
  const quorum = Math.floor(count / 2) + 1;
  const config = deployed('sentinel.conf')
    .replace(/^dir .*$/m, `dir "${directory}"`)
    .replace(/^port .*$/m, `port ${port}\nbind ${HOST}`)
    .replace(/^sentinel monitor .*$/m, `sentinel monitor ${SENTINEL_NAME} ${HOST} ${primary} ${quorum}`);
  return allReplaced(config, 'sentinel.conf', /172\.30\.|^port 26379\n(?!bind)|^dir \/data/m);
}

/** A line that was written differently there would silently stay as it is. The ports there may be asked for here, too. */
function allReplaced(config: string, name: string, left: RegExp): string {
  const found = left.exec(config);
  if (found !== null) throw new Error(`deploy/${name} has ${JSON.stringify(found[0])} where this program does not expect it`);
  return config;
}
