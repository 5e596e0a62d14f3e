/** One process at a time on a data directory, whatever became of the last one. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { serveControl } from '../../../packages/server/src/control/server.ts';
import { openStore } from '../../../packages/server/src/store-environment.ts';
import { StoreError } from '../../../packages/server/src/store-error.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'xmpp-grid-store-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const moduleUrl = new URL('../../../packages/server/src/store-environment.ts', import.meta.url).href;

function overwrite(path: string, at: number, length: number): void {
  const file = openSync(path, 'r+');
  writeSync(file, Buffer.alloc(length, 0xff), 0, length, at);
  closeSync(file);
}

/** Another process that opens the store, says so and waits. */
async function holder(dataDir: string) {
  const source = `const { openStore } = await import(${JSON.stringify(moduleUrl)}); await openStore(${JSON.stringify(dataDir)}); console.log('open'); setInterval(() => {}, 1e6);`;
  const child = spawn(process.execPath, ['--conditions=development', '--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: fileURLToPath(new URL('../../..', import.meta.url)),
  });
  await once(child.stdout!, 'data');
  return child;
}

describe('the store of a data directory', () => {
  it('keeps what was written, behind a directory of its owner alone', async () => {
    const dataDir = join(directory, 'new', 'data');
    const first = await openStore(dataDir);
    await first.root.openDB<string, string>('things', { encoding: 'string', keyEncoding: 'ordered-binary' }).put('a', 'b');
    await first.release();
    expect(statSync(dataDir).mode & 0o777).toBe(0o700);
    const second = await openStore(dataDir);
    expect(second.root.openDB<string, string>('things', { encoding: 'string', keyEncoding: 'ordered-binary' }).get('a')).toBe(
      'b',
    );
    expect(second.isWritable()).toBe(true);
    await second.release();
  });

  it('is refused to a second process while the first lives, and given when it was killed', async () => {
    const child = await holder(directory);
    const refusal = await openStore(directory).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(StoreError);
    expect(refusal).toMatchObject({
      isBusy: true,
      message: expect.stringContaining(`process ${child.pid} works on ${directory}`),
    });
    child.kill('SIGKILL');
    await once(child, 'exit');
    const store = await openStore(directory);
    await store.release();
  });

  it('is refused while a control socket answers, though its process is not visible from here', async () => {
    const server = await serveControl(directory, {} as never, { debug() {}, info() {}, warn() {}, error() {} });
    await expect(openStore(directory)).rejects.toMatchObject({ isBusy: true });
    await server.close();
    await (await openStore(directory)).release();
  });

  it('of another format is left alone', async () => {
    const store = await openStore(directory);
    await store.root.openDB<unknown, string>('meta', { encoding: 'json', keyEncoding: 'ordered-binary' }).put('format', 99);
    await store.release();
    await expect(openStore(directory)).rejects.toThrow(/has format 99, this program reads 1: run the version that wrote it/);
  });

  it.each<[string, (path: string) => void, string]>([
    ['is no store', (path) => writeFileSync(path, Buffer.alloc(65_536, 'not a store ')), 'it is no lmdb file'],
    ['was cut short', (path) => truncateSync(path, 9000), 'it is cut short'],
    ['was cut in its head', (path) => truncateSync(path, 100), 'it is cut short'],
    ['lost one of its heads', (path) => overwrite(path, 4096, 64), 'one of its two heads is damaged'],
    ['was written by another lmdb', (path) => overwrite(path, 28, 1), "it has lmdb's data version 255, this program reads 2"],
    ['lost its pages', (path) => overwrite(path, 8192, statSync(path).size - 8192), 'MDB_'],
  ])('that %s is named in one line, and the process lives', async (_, damage, fault) => {
    const store = await openStore(directory);
    const things = store.root.openDB<string, string>('things', { encoding: 'string', keyEncoding: 'ordered-binary' });
    for (let n = 0; n < 500; n++) void things.put(`key ${n}`, 'value '.repeat(20));
    await store.release();
    damage(join(directory, 'store.mdb'));
    await expect(openStore(directory)).rejects.toThrow(
      new RegExp(
        `^the store .*store\\.mdb cannot be opened \\(.*${fault}.*\\): restore it from a backup, or move it away to begin with an empty one$`,
      ),
    );
  });

  it('where no directory can be made is named in one line', async () => {
    writeFileSync(join(directory, 'file'), '');
    await expect(openStore(join(directory, 'file', 'data'))).rejects.toThrow(/^dataDir .*file\/data cannot be made: /);
  });
});
