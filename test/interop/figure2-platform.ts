/** Starts the programs of `clients/` and reads what they saw. */
import { type ChildProcessByStdio, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';

const CLIENTS = fileURLToPath(new URL('./clients/', import.meta.url));
const DOCUMENTS = fileURLToPath(new URL('../fixtures/iodef/', import.meta.url));
/** The distribution's own Python, which has the distribution's modules. */
const PYTHON = '/usr/bin/python3';
/** Longer than the deadline of the programs themselves (40 s), so that theirs speaks first. */
const DEADLINE_MS = 45_000;

/** A client library of others, and the program that speaks RFC 8600 Figure 2 with it. */
export interface Library {
  readonly name: string;
  /** Distribution package; setup installs it. */
  readonly package: string;
  isInstalled(): boolean;
  /** Compiles the program into the folder, where it needs that; returns the command. */
  prepare(folder: string): readonly string[];
}

const succeeds = (program: string, args: readonly string[]) => spawnSync(program, args, { stdio: 'ignore' }).status === 0;

/** The output of pkg-config as words. */
const pkgConfig = (library: string) =>
  execFileSync('pkg-config', ['--cflags', '--libs', library], { encoding: 'utf8' }).split(/\s+/).filter(Boolean);

function compiled(
  name: string,
  options: { package: string; library: string; source: string; compiler: readonly string[] },
): Library {
  return {
    name,
    package: options.package,
    isInstalled: () => succeeds('pkg-config', ['--exists', options.library]),
    prepare(folder) {
      const program = join(folder, name);
      const [compiler, ...flags] = options.compiler;
      const warnings = ['-Wall', '-Wextra', '-Werror'];
      execFileSync(compiler!, [
        ...flags,
        ...warnings,
        '-o',
        program,
        join(CLIENTS, options.source),
        ...pkgConfig(options.library),
      ]);
      return [program];
    },
  };
}

function python(name: string): Library {
  return {
    name,
    package: `python3-${name}`,
    isInstalled: () =>
      succeeds(PYTHON, ['-c', `import importlib.util, sys; sys.exit(importlib.util.find_spec("${name}") is None)`]),
    prepare: () => [PYTHON, join(CLIENTS, `${name}-figure2.py`)],
  };
}

export const LIBRARIES = {
  libstrophe: compiled('libstrophe', {
    package: 'libstrophe-dev',
    library: 'libstrophe',
    source: 'strophe-figure2.c',
    compiler: ['gcc', '-std=c11', '-D_POSIX_C_SOURCE=200809L'],
  }),
  gloox: compiled('gloox', {
    package: 'libgloox-dev',
    library: 'gloox',
    source: 'gloox-figure2.cpp',
    compiler: ['g++', '-std=c++17'],
  }),
  aioxmpp: python('aioxmpp'),
  slixmpp: python('slixmpp'),
} as const;

/**
 * Which of the libraries are missing here. With CI=true none may be: a test that does not run has to be noticed.
 *
 * @throws Error with CI=true, when one is missing
 */
export function missingLibraries(libraries: readonly Library[]): readonly Library[] {
  const missing = libraries.filter((library) => !library.isInstalled());
  if (missing.length > 0) {
    const names = missing.map((library) => library.package).join(' ');
    if (process.env.CI === 'true') throw new Error(`CI=true, and these packages are missing: ${names}`);
    process.stderr.write(`interop: tests left out, since these packages are missing: ${names}\n`);
  }
  return missing;
}

/** Compiles what is asked for, once, into a folder of its own. */
export class Workshop {
  readonly folder = mkdtempSync(join(tmpdir(), 'xmpp-grid-interop-'));
  readonly #commands = new Map<Library, readonly string[]>();

  command(library: Library): readonly string[] {
    let command = this.#commands.get(library);
    if (command === undefined) {
      command = library.prepare(this.folder);
      this.#commands.set(library, command);
    }
    return command;
  }

  /** An IODEF document as it may stand in a stanza: without its XML declaration, and without comments (RFC 6120 §11.1). */
  document(name: string): { readonly file: string; readonly text: string } {
    const text = readFileSync(join(DOCUMENTS, name), 'utf8')
      .replace(/^<\?xml.*?\?>\s*/s, '')
      .replace(/<!--.*?-->/gs, '')
      .trim();
    return { file: this.file(name, text), text };
  }

  /** A file of its own, for its owner's eyes. */
  file(name: string, content: string | Buffer): string {
    const path = join(this.folder, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** One line of a program. */
export type Step = Readonly<Record<string, unknown>> & { readonly step: string };

/** Settings of one platform; the programs read them as GRID_… from the environment. */
export interface PlatformSettings {
  readonly role: 'provider' | 'consumer';
  readonly jid: string;
  readonly password?: string;
  /** Client certificate and its key, files in PEM: SASL EXTERNAL instead of a password. */
  readonly certificate?: { readonly certFile: string; readonly keyFile: string };
  readonly host: string;
  readonly port: number;
  readonly caFile: string;
  readonly broker: string;
  readonly node: string;
  /** A provider's document, as it goes into the item. */
  readonly payloadFile?: string;
}

/** A running program. `step` waits for a line; `publish` gives a provider its word; `stop` ends it, whatever it does. */
export class Figure2Platform {
  readonly steps: Step[] = [];
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #name: string;
  #stderr = '';
  #exit: { code: number | null } | undefined;
  #changed: () => void = () => {};

  constructor(name: string, command: readonly string[], settings: PlatformSettings) {
    this.#name = `${name} as ${settings.role}`;
    const [program, ...args] = command;
    this.#child = spawn(program!, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...environment(settings) } });
    // A program that has failed closes its end; what it said is reported by step() and ended().
    this.#child.stdin.on('error', () => {});
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-4_000);
    });
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.steps.push(JSON.parse(line) as Step);
      this.#changed();
    });
    this.#child.once('close', (code) => {
      this.#exit = { code };
      this.#changed();
    });
  }

  /** Resolves with the first line of that name; rejects when the program fails or ends without it, or at the deadline. */
  async step(name: string): Promise<Step> {
    await this.#until(
      () => this.#find(name) !== undefined || this.#find('failed') !== undefined || this.#exit !== undefined,
      name,
    );
    const found = this.#find(name);
    if (found === undefined) throw new Error(this.#account(`ended before "${name}"`));
    return found;
  }

  publish(): void {
    this.#child.stdin.write('publish\n');
  }

  /** Resolves with the exit status. */
  async ended(): Promise<number | null> {
    await this.#until(() => this.#exit !== undefined, 'its end');
    return this.#exit!.code;
  }

  async stop(): Promise<void> {
    if (this.#exit === undefined) this.#child.kill('SIGKILL');
    await this.ended();
  }

  /** What it said, for the message of a failed test. */
  #account(why: string): string {
    return `${this.#name} ${why}\n${this.steps.map((step) => JSON.stringify(step)).join('\n')}\n${this.#stderr}`;
  }

  #find(name: string): Step | undefined {
    return this.steps.find(({ step }) => step === name);
  }

  #until(condition: () => boolean, what: string): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(this.#account(`waited too long for ${what}`))), DEADLINE_MS);
      this.#changed = () => {
        if (!condition()) return;
        clearTimeout(timer);
        this.#changed = () => {};
        resolve();
      };
    });
  }
}

function environment(settings: PlatformSettings): Record<string, string> {
  return {
    GRID_ROLE: settings.role,
    GRID_JID: settings.jid,
    GRID_PASSWORD: settings.password ?? '',
    GRID_CERT: settings.certificate?.certFile ?? '',
    GRID_KEY: settings.certificate?.keyFile ?? '',
    GRID_HOST: settings.host,
    GRID_PORT: String(settings.port),
    GRID_CA: settings.caFile,
    GRID_BROKER: settings.broker,
    GRID_NODE: settings.node,
    GRID_PAYLOAD: settings.payloadFile ?? '',
    PYTHONDONTWRITEBYTECODE: '1',
  };
}
