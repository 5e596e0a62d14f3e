#!/usr/bin/env node
/**
 * All set-up on a bare clone, then the command. `npm start` and `npm test` both come through here.
 *
 * Only `node:` imports and no syntax newer than Node 18, because this file runs before anything is installed. It keeps running on the
 * machine's own Node; every child runs on Node 24, the machine's or the one that comes with the dependencies. Its own talk goes to
 * stderr, so that what a command prints on stdout stays clean.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installSystemPackages } from './system-packages.mjs';
import { countTests } from './test-report.mjs';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const BIN = join(ROOT, 'node_modules', '.bin');
/** The oldest Node that runs the product and its tests; `engines` in package.json says the same. */
const NODE_MAJOR = 24;
/** Written after an install that went to its end; npm ci removes it with the rest. */
const STAMP = join(ROOT, 'node_modules', '.setup-stamp');
const LAUNCHER = join(ROOT, 'packages', 'server', 'bin', 'xmpp-grid.mjs');

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];
/** Longer than any install: past it, the lock is a leftover whose owner cannot be told. */
const LOCK_WAIT_MS = 600_000;

const USAGE = `Usage: node scripts/boot.mjs <command> [arguments]

  start   build, then run one instance with everything it needs   (arguments: those of "xmpp-grid serve")
  demo    build, then show provider -> broker -> consumer in this terminal
  cluster build, then run three instances behind HAProxy, on Redis with replicas and Sentinels (--help)
  dev     like start, from the sources, restarted on each change
  test    run every test                                          (arguments: those of vitest)
  bench   build, then measure: fanout | publish | login | idle
  fuzz    random bytes against the tokenizer
  fault   what breaks, and that nothing acknowledged is lost       (--only F1,F4 --seeds 5 --short --list)
  model   random operations against the reference model           (--operations N --seed S --profile grid|compat --instances N)
  setup   do the set-up only, with the packages that the tests use

Set-up: npm packages by package-lock.json, Node ${NODE_MAJOR} with them. "test" and "setup" also install the distribution's packages
that tests use, when run as root where there is apt-get; XMPP_GRID_SYSTEM_PACKAGES=skip leaves that out.
`;

/** Set-up that cannot go on; the message says what to do about it. */
class SetupError extends Error {}

/** The last signal that we got while a child ran. */
let interruptedBy;

const say = (text) => process.stderr.write(`setup: ${text}\n`);

/**
 * Runs a program to its end, and passes signals on to it; resolves with the exit code that a shell would show, 127 when it could not be
 * started.
 */
function run(program, args, options) {
  return new Promise((resolve) => {
    const child = spawn(program, args, options);
    const forward = (signal) => {
      interruptedBy = signal;
      // A terminal sends Ctrl-C to the whole foreground group: the child has it already, and a second one would mean "at once".
      if (signal === 'SIGINT' && process.stdin.isTTY) return;
      child.kill(signal);
    };
    const end = (code) => {
      for (const signal of SIGNALS) process.off(signal, forward);
      resolve(code);
    };
    for (const signal of SIGNALS) process.on(signal, forward);
    child.once('error', (error) => {
      say(`${program}: ${error.message}`);
      end(127);
    });
    child.once('exit', (code, signal) => end(signal ? 128 + constants.signals[signal] : code));
  });
}

/** A step of set-up: what it says goes to our stderr. */
const runQuietly = (program, args, env = process.env) =>
  run(program, args, { cwd: ROOT, env, stdio: ['ignore', process.stderr, process.stderr] });

/** The command itself, in the foreground and where the user stands. */
const runCommand = (program, args, env) => run(program, args, { env, stdio: 'inherit' });

/** npm as it started us, or the one in PATH. */
function npmCommand() {
  const started = process.env.npm_execpath;
  if (started && /^npm/.test(basename(started)) && existsSync(started)) return [process.execPath, [started]];
  return ['npm', []];
}

/**
 * Runs the work while no other set-up in this folder does: two installs at once would ruin each other. The lock names its owner; one
 * whose owner is gone is taken over.
 */
async function alone(work) {
  const lockFile = join(ROOT, '.setup-lock');
  const deadline = Date.now() + LOCK_WAIT_MS;
  for (let waited = false; ; waited = true) {
    try {
      writeFileSync(lockFile, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const owner = ownerOf(lockFile);
    if (owner !== undefined && !isAlive(owner)) {
      rmSync(lockFile, { force: true });
      continue;
    }
    if (Date.now() > deadline) throw new SetupError(`waited too long for another set-up: if there is none, remove ${lockFile}`);
    if (!waited) say('another set-up is at work in this folder: waiting for it ...');
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  try {
    return await work();
  } finally {
    rmSync(lockFile, { force: true });
  }
}

/** The process that holds the lock; undefined while it writes its number, or when it is done. */
function ownerOf(lockFile) {
  try {
    return Number(readFileSync(lockFile, 'utf8')) || undefined;
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM'; // somebody else's, and there
  }
}

/** Installs exactly what package-lock.json names; does nothing when that is there already. */
async function ensureDependencies() {
  if (!isInstalled()) await alone(install);
}

/** What the folder has to hold: the lockfile, for this kind of machine. */
function wantedStamp() {
  const lock = readFileSync(join(ROOT, 'package-lock.json'));
  return `${createHash('sha256').update(lock).digest('hex')} ${process.platform} ${process.arch}\n`;
}

const isInstalled = () => existsSync(STAMP) && readFileSync(STAMP, 'utf8') === wantedStamp();

async function install() {
  if (isInstalled()) return; // by the set-up that we waited for
  const begun = Date.now();
  say('installing npm packages by package-lock.json ...');
  const [program, args] = npmCommand();
  const code = await runQuietly(program, [...args, 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']);
  if (code === 127) throw new SetupError('npm is not there: install Node.js with npm, then try again');
  if (interruptedBy) throw new SetupError(`interrupted by ${interruptedBy}`);
  if (code !== 0) {
    throw new SetupError(
      `npm ci ended with ${code}: it needs the registry of "npm config get registry" (or a filled npm cache); when that answers, try again`,
    );
  }
  writeFileSync(STAMP, wantedStamp());
  say(`npm packages installed in ${Math.round((Date.now() - begun) / 1000)} s`);
}

/** The Node that children run on. */
function modernNode() {
  if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR) return process.execPath;
  const packaged = join(BIN, 'node');
  if (existsSync(packaged)) return packaged;
  throw new SetupError(
    `Node ${NODE_MAJOR} is needed, this is ${process.version}, and the dependencies brought none for ${process.platform}-${process.arch} ` +
      `(Linux on x64 and arm64 they do: there, remove node_modules and try again); install Node ${NODE_MAJOR}, https://nodejs.org`,
  );
}

async function build(node, env) {
  if ((await runQuietly(node, [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-b'], env)) !== 0) {
    throw new SetupError('the build failed: repair what tsc says above');
  }
}

/** Runs vitest with its own report on the screen and a second one in a file, which gives the last line. */
async function runTests(node, args, env) {
  const scratch = mkdtempSync(join(tmpdir(), 'xmpp-grid-test-'));
  const report = join(scratch, 'report.json');
  try {
    const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    const code = await runCommand(node, [vitest, 'run', ...reporters, ...args], env);
    const { passed, failed, skipped } = countTests(existsSync(report) ? readFileSync(report, 'utf8') : undefined, code);
    if (skipped > 0) process.stdout.write(`${skipped} skipped\n`);
    process.stdout.write(`${passed} passed, ${failed} failed\n`);
    return failed > 0 && code === 0 ? 1 : code;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function main([command, ...args]) {
  if (command === '--help' || command === '-h' || command === 'help') {
    process.stdout.write(USAGE);
    return 0;
  }
  if (!['start', 'demo', 'cluster', 'dev', 'test', 'bench', 'fuzz', 'fault', 'model', 'setup'].includes(command)) {
    process.stderr.write(USAGE);
    return 64; // EX_USAGE
  }
  await ensureDependencies();
  const node = modernNode();
  const env = { ...process.env, PATH: [BIN, process.env.PATH].join(delimiter) };
  const fromSources = ['--conditions=development'];
  switch (command) {
    case 'setup':
      await installSystemPackages({ say, run: runQuietly });
      await build(node, env);
      return 0;
    case 'test':
      await installSystemPackages({ say, run: runQuietly });
      return runTests(node, args, env);
    case 'start':
      await build(node, env);
      return runCommand(node, [LAUNCHER, 'serve', '--demo', ...args], env);
    case 'demo':
      await build(node, env);
      return runCommand(node, [LAUNCHER, 'demo', ...args], env);
    case 'cluster':
      await build(node, env);
      return runCommand(node, [LAUNCHER, 'cluster', ...args], env);
    case 'dev':
      // --watch follows what was imported; the instance gets SIGTERM, stops in order and starts again on the same data.
      return runCommand(
        node,
        [...fromSources, '--watch', join(ROOT, 'scripts', 'from-sources.mjs'), 'serve', '--demo', ...args],
        env,
      );
    case 'bench':
      await build(node, env);
      return runCommand(node, [join(ROOT, 'bench', 'main.ts'), ...args], env);
    case 'fuzz':
      return runCommand(node, [...fromSources, join(ROOT, 'test', 'fuzz', 'tokenizer.ts'), ...args], env);
    case 'fault':
      await installSystemPackages({ say, run: runQuietly });
      return runCommand(node, [...fromSources, join(ROOT, 'test', 'fault', 'main.ts'), ...args], env);
    case 'model':
      return runCommand(node, [...fromSources, join(ROOT, 'test', 'model', 'main.ts'), ...args], env);
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  say(error instanceof SetupError || error.name === 'SystemPackageError' ? error.message : error.stack);
  process.exitCode = 1;
}
