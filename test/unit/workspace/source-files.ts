import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's top folder, with a slash at its end. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** Reads a file of the repository as text. */
export const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/**
 * Every file that is committed or would be by `git add .`, as paths from the top folder.
 *
 * @throws Error when this is no git checkout: the tests that ask have nothing to look at then, and must not pass
 */
export function repositoryFiles(): string[] {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  // A file that was deleted and not yet committed is still in the index.
  return listed.split('\0').filter((path) => path !== '' && existsSync(join(ROOT, path)));
}

/** What a module imports or re-exports, statically or by `import()`, types included. */
export function importsOf(source: string): string[] {
  const withoutComments = source.replace(/^\s*(?:\/\/.*|\/?\*.*)$/gm, '');
  const pattern = /\b(?:from\s*|import\s*\(\s*|import\s+)(['"])([^'"\n]+)\1/g;
  return [...withoutComments.matchAll(pattern)].map((match) => match[2]!);
}
