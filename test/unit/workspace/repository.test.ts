/** What must hold for the repository as a whole, whoever clones it and wherever. */
import { describe, expect, it } from 'vitest';
import { read, repositoryFiles } from './source-files.ts';

const files = repositoryFiles();
const manifests = files.filter((path) => /(?:^|\/)package\.json$/.test(path));
/** Text that people wrote here: no fixtures (others' text, unchanged), no lockfile, no licence. */
const texts = files.filter((path) => !/^test\/fixtures\/|^package-lock\.json$|^LICENSE$|\.(?:png|ico|p12|woff2)$/.test(path));
const code = texts.filter((path) => /\.(?:[cm]?[jt]s|tsx|c|cpp|h|py|sh|lua|ya?ml)$|^\.ci\//.test(path));

/** `path:line` of every line that the pattern hits. */
function hits(paths: readonly string[], pattern: RegExp): string[] {
  return paths.flatMap((path) =>
    read(path)
      .split('\n')
      .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}`] : [])),
  );
}

describe('package files', () => {
  it.each(manifests)('%s names exact versions and the licence', (path) => {
    const manifest = JSON.parse(read(path)) as Record<string, Record<string, string> | string | undefined>;
    const versions = ['dependencies', 'devDependencies', 'optionalDependencies'].flatMap((kind) =>
      Object.entries((manifest[kind] ?? {}) as Record<string, string>),
    );
    expect(versions.filter(([, version]) => !/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version))).toEqual([]);
    expect(manifest.license).toBe('Apache-2.0');
  });

  it('the lockfile names no address, so that any registry serves it', () => {
    const lock = read('package-lock.json');
    expect(lock).not.toMatch(/"resolved":\s*"(?!packages\/)/);
    expect(lock).not.toMatch(/https?:\/\/registry/);
  });

  it('the lockfile pins every package by its hash', () => {
    const { packages } = JSON.parse(read('package-lock.json')) as {
      packages: Record<string, { link?: boolean; inBundle?: boolean; integrity?: string }>;
    };
    const installed = Object.entries(packages).filter(
      ([path, entry]) => path.includes('node_modules/') && !entry.link && !entry.inBundle,
    );
    expect(installed.length).toBeGreaterThan(0);
    expect(installed.filter(([, entry]) => entry.integrity === undefined).map(([path]) => path)).toEqual([]);
  });

  it('Node comes with the dependencies, in the version that engines ask for', () => {
    const root = JSON.parse(read('package.json')) as { engines: { node: string }; optionalDependencies: Record<string, string> };
    const wanted = Number(/^>=(\d+)$/.exec(root.engines.node)?.[1]);
    const shipped = Object.entries(root.optionalDependencies).filter(([name]) => name.startsWith('node-'));
    expect(shipped.length).toBeGreaterThan(0);
    for (const [, version] of shipped) expect(Number(version.split('.')[0])).toBe(wanted);
    expect(read('scripts/boot.mjs')).toContain(`const NODE_MAJOR = ${wanted};`);
  });
});

describe('text', () => {
  it('the licence is the Apache License 2.0, whole', () => {
    const licence = read('LICENSE');
    expect(licence).toContain('Version 2.0, January 2004');
    expect(licence).toContain('END OF TERMS AND CONDITIONS');
  });

  it('names no folder of one machine', () => {
    const machine = new RegExp(String.raw`(?:^|[\s'"\`(=])/(?:${['work', 'root', 'Users', 'home/(?!node\\b)\\w+'].join('|')})/`);
    expect(machine.test(`see ${'/wo'}rk/main/x`)).toBe(true);
    expect(hits(texts, machine)).toEqual([]);
  });

  it('has no TODO without an issue', () => {
    const todo = new RegExp(String.raw`\b(?:${'TO'}DO|FIX${'ME'}|XX${'X'})\b(?!\(#\d+\))`);
    expect(todo.test(`// ${'TO'}DO later`)).toBe(true);
    expect(todo.test(`// ${'TO'}DO(#12): later`)).toBe(false);
    expect(
      hits(
        code.filter((path) => path !== 'test/unit/workspace/repository.test.ts'),
        todo,
      ),
    ).toEqual([]);
  });

  it('the set-up needs nothing that it installs', () => {
    const setUp = files.filter((path) => /^scripts\/(?:boot|system-packages|test-report)\.mjs$/.test(path));
    expect(setUp).toHaveLength(3);
    for (const path of setUp) {
      const imported = [...read(path).matchAll(/^import .* from '([^']+)';$/gm)].map((match) => match[1]!);
      expect(imported.filter((name) => !/^node:|^\.\/(?:system-packages|test-report)\.mjs$/.test(name))).toEqual([]);
    }
  });
});

describe('requirement rows, docs/requirements.tsv', () => {
  const [head, ...rows] = read('docs/requirements.tsv').trimEnd().split('\n');
  const ids = rows.map((row) => row.split('\t')[0]!);

  it('are 677, each with six columns and an id of its own', () => {
    expect(head).toBe('ID\ttier\tsection\tlevel\trequirement\tcheck');
    expect(rows).toHaveLength(677);
    expect(rows.filter((row) => row.split('\t').length !== 6)).toEqual([]);
    expect(new Set(ids).size).toBe(rows.length);
  });

  it('exist wherever a test cites one', () => {
    const known = new Set(ids);
    const tests = files.filter((path) => /^test\/.*\.ts$/.test(path));
    const cited = tests.flatMap((path) =>
      [...read(path).matchAll(/\b(?:[GCAX]-\d{3}|P-[FUNSMAB]\d{2}|P-E\d{3}|[SM]-\d{2})\b/g)].map(
        (match) => `${path}: ${match[0]}`,
      ),
    );
    expect(cited.filter((each) => !known.has(each.split(': ')[1]!))).toEqual([]);
  });
});

describe('fixtures', () => {
  const under = (folder: string, ending: string) =>
    files.filter((path) => path.startsWith(`test/fixtures/${folder}/`) && path.endsWith(ending));

  it('hold the 11 examples of RFC 8600 §5 and §6, and nine IODEF documents', () => {
    expect(under('rfc8600', '.xml')).toHaveLength(11);
    expect(under('iodef', '.xml')).toHaveLength(9);
    expect(under('xep', '.json')).toHaveLength(4);
  });

  it('carry the licences of their texts', () => {
    expect(read('test/fixtures/xep/LICENSE-XSF.txt')).toContain('XMPP Standards');
    expect(read('test/fixtures/LICENSE-IETF.txt')).toContain('IETF Trust');
  });
});
