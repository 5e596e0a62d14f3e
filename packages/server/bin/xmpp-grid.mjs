#!/usr/bin/env node
/**
 * The command `xmpp-grid`: finds a Node that can run the program, checks that it is built, and starts it.
 * Node's own modules only, and nothing newer than Node 18 understands: this file runs before anything is installed or built.
 */
import { spawn } from 'node:child_process';
import { existsSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const NEEDED_MAJOR = 24;
const GUARD = 'XMPP_GRID_REEXEC';
const packageDir = dirname(dirname(fileURLToPath(import.meta.url)));
/** `npm run dev` runs the sources; node's own type stripping reads them. */
const fromSources = process.execArgv.includes('--conditions=development');
const program = fromSources ? join(packageDir, 'src', 'cli', 'main.ts') : join(packageDir, 'dist', 'cli', 'main.js');

/** The Node that came with the dependencies: node_modules/.bin/node beside the package or above it. */
function shippedNode() {
  for (let dir = packageDir; ; dir = dirname(dir)) {
    const candidate = join(dir, 'node_modules', '.bin', 'node');
    if (existsSync(candidate)) return candidate;
    if (dirname(dir) === dir) return undefined;
  }
}

function fail(message, exitCode) {
  process.stderr.write(`xmpp-grid: ${message}\n`);
  process.exit(exitCode);
}

const major = Number(process.versions.node.split('.')[0]);
if (major < NEEDED_MAJOR) {
  const node = process.env[GUARD] === undefined ? shippedNode() : undefined;
  if (node === undefined) {
    fail(`needs Node ${NEEDED_MAJOR} or newer, this is ${process.version}; run \`npm ci\` in the checkout, it brings one`, 1);
  }
  const child = spawn(node, [...process.execArgv, fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: 'inherit',
    env: { ...process.env, [GUARD]: '1', PATH: `${dirname(node)}${delimiter}${process.env.PATH ?? ''}` },
  });
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => fail(`cannot start ${node}: ${error.message}`, 1));
  child.on('exit', (code, signal) => process.exit(signal === null ? (code ?? 1) : 128 + constants.signals[signal]));
} else if (!existsSync(program)) {
  fail('the program is not built yet; run `npm run build`', 1);
} else {
  // A bug must end the process, and end it now: tearing down in order would wait for the store's threads, which may never
  // return, and nobody would start a new one. What was acknowledged is on disk.
  process.on('uncaughtException', (error) => {
    writeSync(2, `xmpp-grid: a bug ended this process; start it again, nothing acknowledged is lost: ${error?.stack ?? error}\n`);
    process.kill(process.pid, 'SIGKILL');
  });
  const { main } = await import(pathToFileURL(program).href);
  process.exitCode = await main(process.argv.slice(2));
}
