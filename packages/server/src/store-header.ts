import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/**
 * Looks at the head of an lmdb file before lmdb maps it: lmdb trusts what it finds, and a file that is not its own or was
 * cut short ends the process by SIGSEGV or SIGBUS instead of with an error.
 *
 * @see lmdb 0.9 mdb.c: MDB_page, MDB_meta, MDB_db
 */

const MAGIC = 0xbeefc0de;
/** Data version of the lmdb that this program brings. */
const DATA_VERSION = 2;
/** The first two pages hold a meta record each, written in turns. */
const META_PAGES = 2;
/** Bytes of a page's head, then those of the meta record that are looked at. */
const AT = { magic: 24, version: 28, pageSize: 48, freeRoot: 88, mainRoot: 136, transaction: 152, end: 160 } as const;
/** P_INVALID: the root of an empty tree. */
const NO_PAGE = 0xffff_ffff_ffff_ffffn;

/** What is wrong with a store file, in words. Undefined: nothing that can be seen from its head, or there is no file. */
export function faultOfStoreFile(path: string): string | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? undefined : (error as Error).message;
  }
  try {
    const { size } = fstatSync(file);
    if (size === 0) return undefined; // lmdb begins anew
    const head = Buffer.alloc(AT.end);
    if (readSync(file, head, 0, head.length, 0) < head.length) return 'it is cut short';
    const pageSize = head.readUInt32LE(AT.pageSize);
    if (head.readUInt32LE(AT.magic) !== MAGIC) return 'it is no lmdb file';
    if (pageSize < 512 || pageSize > 65_536) return 'its page size is impossible';
    return faultOfMeta(file, size, pageSize);
  } finally {
    closeSync(file);
  }
}

function faultOfMeta(file: number, size: number, pageSize: number): string | undefined {
  let newest: Buffer | undefined;
  for (let page = 0; page < META_PAGES; page++) {
    const meta = Buffer.alloc(AT.end);
    if (readSync(file, meta, 0, meta.length, page * pageSize) < meta.length) return 'it is cut short';
    if (meta.readUInt32LE(AT.magic) !== MAGIC) return 'one of its two heads is damaged';
    const version = meta.readUInt16LE(AT.version);
    if (version !== DATA_VERSION) return `it has lmdb's data version ${version}, this program reads ${DATA_VERSION}`;
    if (newest === undefined || meta.readBigUInt64LE(AT.transaction) > newest.readBigUInt64LE(AT.transaction)) newest = meta;
  }
  for (const at of [AT.freeRoot, AT.mainRoot]) {
    const root = newest!.readBigUInt64LE(at);
    if (root !== NO_PAGE && (root + 1n) * BigInt(pageSize) > BigInt(size)) return 'it is cut short';
  }
  return undefined;
}
