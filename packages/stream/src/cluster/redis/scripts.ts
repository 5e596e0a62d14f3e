import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** A Lua script and what is needed to call it. */
export interface Script {
  readonly name: string;
  readonly text: string;
  /** SHA-1 of the text in hex, as EVALSHA wants it. */
  readonly sha: string;
  /** How many KEYS it takes: the number at the end of its file's name. */
  readonly keyCount: number;
}

/**
 * Reads `<name>.lua` in a folder; the name ends in the number of keys (`bind-resource-1`). A line `-- @include part` stands
 * for `includes/part.lua`.
 *
 * @throws Error when there is no such file, or the name has no number
 */
export function loadScript(folder: URL, name: string): Script {
  const keyCount = /-(\d+)$/.exec(name)?.[1];
  if (keyCount === undefined) throw new Error(`script ${name}: the name must end in the number of keys`);
  const text = readFileSync(new URL(`${name}.lua`, folder), 'utf8').replace(/^-- @include (\w+)$/gm, (_, part: string) =>
    readFileSync(new URL(`includes/${part}.lua`, folder), 'utf8'),
  );
  return { name, text, sha: createHash('sha1').update(text).digest('hex'), keyCount: Number(keyCount) };
}

// tsc copies no .lua: the same path leads there from src and from dist.
const own = new URL('../../../src/cluster/redis/scripts/', import.meta.url);

/** A script of this package. */
export const streamScript = (name: string): Script => loadScript(own, name);

/** A script's answer: a word that names the case, and what belongs to it. */
export type ScriptAnswer<W extends string> = readonly [word: W, ...rest: string[]];

/**
 * Checks that a script answered with one of the words that its header lists.
 *
 * @throws Error for anything else: the script and its caller are not of one version
 */
export function asAnswer<W extends string>(script: Script, words: readonly W[], reply: unknown): ScriptAnswer<W> {
  if (Array.isArray(reply) && reply.every((each) => typeof each === 'string')) {
    const word = words.find((each) => each === reply[0]);
    if (word !== undefined) return [word, ...reply.slice(1)];
  }
  throw new Error(`script ${script.name} answered ${JSON.stringify(reply)}, not one of ${words.join(', ')}`);
}
