import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { ClusterFailed } from './cluster-failed.ts';

/** What is not ours and has to be installed. */
const PROGRAMS = {
  redis: { names: ['redis-server', 'valkey-server'], package: 'redis-server' },
  haproxy: { names: ['haproxy'], package: 'haproxy' },
} as const;
/** Debian puts daemons there, which a plain user has not in PATH. */
const SBIN = ['/usr/sbin', '/usr/local/sbin'];

export type Programs = Readonly<Record<keyof typeof PROGRAMS, string>>;

/** Paths of redis-server (or valkey-server) and HAProxy. @throws ClusterFailed */
export function findPrograms(path: string = process.env.PATH ?? ''): Programs {
  const found = Object.entries(PROGRAMS).map(([what, { names }]) => [what, find(names, path)] as const);
  const missing = Object.entries(PROGRAMS).filter(([what]) => found.some(([name, at]) => name === what && at === undefined));
  if (missing.length > 0) {
    const packages = missing.map(([, each]) => each.package).join(' ');
    throw new ClusterFailed(
      `not installed: ${missing.map(([, { names }]) => names.join(' or ')).join(', ')}\n` +
        `  Debian, Ubuntu   apt-get install ${packages}   (or \`npm run setup\` as root)\n` +
        `  Fedora           dnf install ${packages.replace('redis-server', 'valkey')}\n` +
        `  macOS            brew install ${packages.replace('redis-server', 'redis')}`,
    );
  }
  return Object.fromEntries(found) as unknown as Programs;
}

function find(names: readonly string[], path: string): string | undefined {
  const directories = [...path.split(delimiter), ...(path === process.env.PATH ? SBIN : [])].filter((each) => each !== '');
  return names.flatMap((name) => directories.map((directory) => join(directory, name))).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // not here
  }
}

/** Sentinel is redis-server under another name, or with a flag. */
export function sentinelCommand(redis: string, configFile: string): readonly string[] {
  return [redis, configFile, '--sentinel'];
}
