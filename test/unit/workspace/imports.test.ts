/** Which way imports may point: between the packages, and between the floors inside `stream` and `pubsub`. */
import { posix } from 'node:path';
import { describe, expect, it } from 'vitest';
import { importsOf, read, repositoryFiles } from './source-files.ts';

/** From the ground up: a package imports only those before it. */
const PACKAGES = ['stream', 'auth', 'pubsub', 'server'];

/**
 * Inside a package: folder, or file at its top, to floor. A module imports from its own floor or a lower one. What is not listed has no
 * floor, and a test below asks for one.
 */
const FLOORS: Record<string, Record<string, number>> = {
  stream: {
    // Tables and ports that name no protocol layer.
    'unicode-tables.ts': 0,
    'precis.ts': 0,
    observe: 0,
    limits: 0,
    xml: 0,
    errors: 1,
    'random.ts': 0,
    'jid.ts': 1,
    forms: 2,
    'rsm.ts': 2,
    'delay.ts': 2,
    transport: 3,
    session: 4,
    cluster: 4,
    negotiation: 5,
    routing: 5,
    s2s: 6,
    'index.ts': 7,
  },
  pubsub: {
    'metrics.ts': 0,
    log: 0,
    'errors.ts': 0,
    store: 1,
    request: 1,
    payload: 1,
    node: 2,
    access: 2,
    delivery: 2,
    verbs: 3,
    'broker.ts': 4,
    'disco.ts': 4,
    'index.ts': 5,
  },
};

/** Protocol code, and what it must not know: where state is kept and how bytes come in. */
const PROTOCOL_CODE = /^packages\/pubsub\/src\/(?:verbs|access|request|node)\//;
const ADAPTER = /^(?:lmdb|ioredis|(?:node:)?(?:net|tls|fs|http)(?:\/.*)?)$|(?:^|\/)(?:embedded|redis)\//;

interface Import {
  readonly file: string;
  readonly specifier: string;
}

const sources = repositoryFiles().filter((path) => /^packages\/\w+\/src\/.*\.ts$/.test(path));
const imports: Import[] = sources.flatMap((file) => importsOf(read(file)).map((specifier) => ({ file, specifier })));
const packageOf = (file: string) => file.split('/')[1]!;
const show = ({ file, specifier }: Import) => `${file}: ${specifier}`;
/** A relative import as a path from the top folder; undefined for any other. */
const target = ({ file, specifier }: Import) =>
  specifier.startsWith('.') ? posix.join(posix.dirname(file), specifier) : undefined;
/** `packages/stream/src/xml/ns.ts` -> `xml`; `packages/stream/src/jid.ts` -> `jid.ts`. */
const placeOf = (path: string) => path.split('/')[3]!;

/** Relative imports in a package with floors, each with the two floors; unlisted places are the next test's business. */
function climbs(all: readonly Import[]): string[] {
  return all.flatMap((each) => {
    const to = target(each);
    const floors = FLOORS[packageOf(each.file)];
    if (to === undefined || floors === undefined) return [];
    const own = floors[placeOf(each.file)];
    const other = floors[placeOf(to)];
    return own !== undefined && other !== undefined && other > own ? [show(each)] : [];
  });
}

function upward(all: readonly Import[]): string[] {
  return all
    .filter(({ file, specifier }) => {
      const [, name] = /^@xmpp-grid\/(\w+)/.exec(specifier) ?? [];
      return name !== undefined && PACKAGES.indexOf(name) >= PACKAGES.indexOf(packageOf(file));
    })
    .map(show);
}

function deep(all: readonly Import[]): string[] {
  return all
    .filter((each) => {
      const to = target(each);
      return (
        /^@xmpp-grid\/\w+\//.test(each.specifier) || (to !== undefined && !to.startsWith(`packages/${packageOf(each.file)}/src/`))
      );
    })
    .map(show);
}

const adapters = (all: readonly Import[]) =>
  all.filter(({ file, specifier }) => PROTOCOL_CODE.test(file) && ADAPTER.test(specifier)).map(show);

describe('imports between packages', () => {
  it('finds the sources it judges', () => {
    expect(new Set(sources.map(packageOf))).toEqual(new Set(PACKAGES));
    expect(imports.length).toBeGreaterThan(0);
  });

  it('point only to a package below', () => {
    expect(upward(imports)).toEqual([]);
  });

  it('name the package, never a path into it', () => {
    expect(deep(imports)).toEqual([]);
  });

  it('name only what package.json ships, never a tool of the tests', () => {
    const { dependencies } = JSON.parse(read('package.json')) as { dependencies: Record<string, string> };
    const shipped = new Set(Object.keys(dependencies));
    const foreign = imports.filter(({ specifier }) => {
      if (/^(?:\.|node:|@xmpp-grid\/)/.test(specifier)) return false;
      return !shipped.has(specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/'));
    });
    expect(foreign.map(show)).toEqual([]);
  });
});

describe('imports inside a package', () => {
  it.each(Object.keys(FLOORS))('%s: every place has a floor', (name) => {
    const places = new Set(sources.filter((file) => packageOf(file) === name).map(placeOf));
    expect([...places].filter((place) => FLOORS[name]![place] === undefined)).toEqual([]);
  });

  it('point only to the same floor or a lower one', () => {
    expect(climbs(imports)).toEqual([]);
  });

  it('keep protocol code off adapters and sockets', () => {
    expect(adapters(imports)).toEqual([]);
  });
});

describe('the checks themselves', () => {
  const bad = (file: string, specifier: string): Import[] => [{ file, specifier }];

  it('read every form of import', () => {
    const source = `import a from 'a';\nimport type { B } from "b";\nexport * from './c.ts';\nimport 'd';\nconst e = await import('e');\n// import f from 'f';\nimport {\n  g,\n} from 'g';`;
    expect(importsOf(source)).toEqual(['a', 'b', './c.ts', 'd', 'e', 'g']);
  });

  it.each([
    ['upward', upward, 'packages/stream/src/jid.ts', '@xmpp-grid/auth'],
    ['itself by name', upward, 'packages/auth/src/index.ts', '@xmpp-grid/auth'],
    ['deep by name', deep, 'packages/server/src/main.ts', '@xmpp-grid/stream/src/jid.ts'],
    ['deep by path', deep, 'packages/server/src/main.ts', '../../stream/src/jid.ts'],
    ['up a floor in stream', climbs, 'packages/stream/src/xml/tokenizer.ts', '../errors/stream-error.ts'],
    ['up a floor in pubsub', climbs, 'packages/pubsub/src/store/topic-store.ts', '../verbs/publish.ts'],
    ['an adapter', adapters, 'packages/pubsub/src/verbs/publish.ts', '../store/embedded/topic-store.ts'],
    ['a driver', adapters, 'packages/pubsub/src/access/decide.ts', 'lmdb'],
  ] as const)('refuse %s', (_name, check, file, specifier) => {
    expect(check(bad(file, specifier))).toEqual([`${file}: ${specifier}`]);
  });
});
