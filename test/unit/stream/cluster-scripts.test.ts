import { readdirSync } from 'node:fs';
import { asAnswer, streamScript } from '@xmpp-grid/stream';
import { describe, expect, it } from 'vitest';

/** What every Lua script of this package keeps to, so that it runs on a Cluster and its answers are words. */

const folder = new URL('../../../packages/stream/src/cluster/redis/scripts/', import.meta.url);
const names = readdirSync(folder).map((file) => file.replace(/\.lua$/, ''));

describe('scripts of the cluster floor', () => {
  it('are found', () => {
    expect(names.length).toBeGreaterThan(10);
  });

  it.each(names)('%s', (name) => {
    const script = streamScript(name);
    const [header = '', code = ''] = script.text.split(']]\n');
    expect(header.startsWith('--[[\n')).toBe(true);
    for (const part of ['Why a script:', 'Returns', 'Cost']) expect(header).toContain(part);
    // The number in the name is that of the keys, and each is described.
    const used = [...code.matchAll(/KEYS\[(\d+)\]/g)].map((match) => Number(match[1]));
    expect(Math.max(...used)).toBe(script.keyCount);
    for (let key = 1; key <= script.keyCount; key++) expect(header).toContain(`KEYS[${key}]`);
    // Every command names its key through KEYS: Cluster cannot see one that is built inside.
    const calls = [...code.matchAll(/redis\.call\('(\w+)'(, [^,)]+)?/g)];
    expect(calls.length).toBeGreaterThan(0);
    for (const [, command, key] of calls) if (command !== 'TIME') expect(key).toMatch(/^, KEYS\[\d+\]/);
    // The code answers with the words that the header lists, and no others.
    const listed = new Set([...header.slice(header.indexOf('Returns')).matchAll(/\{"([a-z-]+)"/g)].map((match) => match[1]));
    const returned = new Set([...code.matchAll(/\{ '([a-z-]+)'/g)].map((match) => match[1]));
    expect(returned).toEqual(listed);
  });

  it('answers that the header does not list are a bug, not a result', () => {
    const script = streamScript('bind-resource-1');
    expect(asAnswer(script, ['bound', 'full'], ['full', '3'])).toEqual(['full', '3']);
    for (const reply of [['other'], [], null, 'bound', 1, ['bound', 1]]) {
      expect(() => asAnswer(script, ['bound', 'full'], reply)).toThrow(/bind-resource-1 answered/);
    }
  });
});
