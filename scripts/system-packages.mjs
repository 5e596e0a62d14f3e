/**
 * The distribution's packages that tests use: other people's clients, and servers that the tests start on ports of their own.
 *
 * Like boot.mjs: `node:` imports only, Node 18.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The distribution's own Python, for which its modules are; another `python3` may come first in PATH. */
const PYTHON = '/usr/bin/python3';
/** Debian installs daemons here, which a plain user has not in PATH. */
const SBIN = ['/usr/sbin', '/usr/local/sbin'];
const POLICY = '/usr/sbin/policy-rc.d';

/** A package is missing that must be there, or could not be installed. */
export class SystemPackageError extends Error {
  name = 'SystemPackageError';
}

function inPath(program) {
  return [...(process.env.PATH ?? '').split(delimiter), ...SBIN].some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false; // not here: the next directory
    }
  });
}

const succeeds = (program, args) => spawnSync(program, args, { stdio: 'ignore' }).status === 0;
const library = (name) => () => succeeds('pkg-config', ['--exists', name]);
const pythonModule = (name) => () =>
  succeeds(PYTHON, ['-c', `import importlib.util, sys; sys.exit(importlib.util.find_spec("${name}") is None)`]);

/** package, what goes untested without it, how to see that it is there (built by hand or of another name counts too) */
const PACKAGES = [
  ['gcc', 'interop with libstrophe', () => inPath('gcc')],
  ['g++', 'interop with gloox', () => inPath('g++')],
  ['libc6-dev', 'interop with libstrophe and gloox', () => existsSync('/usr/include/stdio.h')],
  ['pkg-config', 'interop with libstrophe and gloox', () => inPath('pkg-config')],
  ['libstrophe-dev', 'interop with libstrophe', library('libstrophe')],
  ['libgloox-dev', 'interop with gloox', library('gloox')],
  ['python3-slixmpp', 'interop with slixmpp', pythonModule('slixmpp')],
  ['python3-aioxmpp', 'interop with aioxmpp', pythonModule('aioxmpp')],
  ['redis-server', 'the Redis store', () => Boolean(process.env.REDIS_URL) || inPath('valkey-server') || inPath('redis-server')],
  ['haproxy', 'the PROXY protocol behind a real balancer', () => inPath('haproxy')],
];

/** Services that those packages would start now and at each boot; tests start their own. */
const SERVICES = ['redis-server', 'haproxy'];

/**
 * Installs what is missing, as root where there is apt-get; otherwise says what goes untested.
 *
 * @param {{ say: (text: string) => void, run: (program: string, args: string[], env?: object) => Promise<number> }} deps
 * @throws {SystemPackageError} with CI=true, when something is still missing: there, a test that does not run has to be noticed
 */
export async function installSystemPackages({ say, run }) {
  const missing = PACKAGES.filter(([, , isThere]) => !isThere());
  if (missing.length === 0) return;
  const names = missing.map(([name]) => name);
  const obstacle = await tryInstall(names, { say, run });
  const left = missing.filter(([, , isThere]) => !isThere());
  if (left.length === 0) return;
  const command = `apt-get install ${left.map(([name]) => name).join(' ')}`;
  const why = obstacle ?? 'they were installed, but do not work';
  if (process.env.CI === 'true') throw new SystemPackageError(`${why}; CI=true refuses to go on without: ${command}`);
  for (const [name, purpose] of left) say(`not tested, since ${name} is missing: ${purpose}`);
  say(`${why}; to test these too, run as root: ${command}`);
}

/** Resolves with what was in the way, or undefined. */
async function tryInstall(names, { say, run }) {
  if (process.env.XMPP_GRID_SYSTEM_PACKAGES === 'skip') return 'XMPP_GRID_SYSTEM_PACKAGES=skip';
  if (!inPath('apt-get')) return 'there is no apt-get on this system';
  if (process.getuid?.() !== 0) return 'only root may install packages';
  say(`installing ${names.join(' ')} ...`);
  const apt = (...args) =>
    run('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=300', '-o', 'Dpkg::Use-Pty=0', ...args], {
      ...process.env,
      DEBIAN_FRONTEND: 'noninteractive',
      LC_ALL: 'C.UTF-8',
    });
  // invoke-rc.d asks this file before it starts a service (101 = not allowed); one that is there already keeps its say.
  const ownPolicy = !existsSync(POLICY);
  if (ownPolicy) writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    if ((await apt('update')) !== 0) return 'apt-get update failed (is the network there?)';
    if ((await apt('install', '--yes', '--no-install-recommends', ...names)) !== 0) return 'apt-get install failed, see above';
  } finally {
    if (ownPolicy) rmSync(POLICY, { force: true });
  }
  const added = SERVICES.filter((name) => names.includes(name));
  if (added.length > 0 && existsSync('/run/systemd/system')) await run('systemctl', ['disable', ...added]);
  return undefined;
}
