import { readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ENVIRONMENT_OPTIONS } from '@xmpp-grid/pubsub';
import { type Database, open, type RootDatabase } from 'lmdb';
import { busy, claimDataDir, makeDataDir } from './data-dir.ts';
import { StoreError } from './store-error.ts';
import { faultOfStoreFile } from './store-header.ts';

/** Raised when a stored format changes; an older program then refuses the store instead of misreading it. */
const FORMAT = 1;
/** The one lmdb environment of a data directory, held by one process at a time. Adapters get named databases of it. */
export interface StoreEnvironment {
  readonly root: RootDatabase;
  /** False after a probing write failed, until one succeeds (disk full, file system read-only). Probes every 10 s. */
  isWritable(): boolean;
  /** Gives the claim back and closes the environment. */
  release(): Promise<void>;
}

/** Who holds the store. A process id alone may be another process's by now; with start time and namespace it is not. */
interface Claim {
  readonly pid: number;
  readonly identity: string;
}

/**
 * Opens the store of a data directory and claims it for this process.
 *
 * Why a claim: lmdb lets several processes write, but an instance caches what it wrote. The claim is a record of the store
 * itself, taken in one write transaction, which lmdb serialises between processes. A claim whose process is gone is
 * taken over.
 *
 * @throws StoreError when another process holds it, it is damaged, or it is of another version
 */
export async function openStore(dataDir: string): Promise<StoreEnvironment> {
  makeDataDir(dataDir);
  const root = openFile(dataDir);
  let meta: Database<unknown, string>;
  try {
    meta = root.openDB<unknown, string>('meta', { encoding: 'json', keyEncoding: 'ordered-binary' });
    checkFormat(meta, dataDir);
    await claim(meta, dataDir);
  } catch (error) {
    await root.close();
    throw error instanceof StoreError ? error : damaged(join(dataDir, 'store.mdb'), (error as Error).message, error);
  }
  const probe = probeWrites(meta);
  return {
    root,
    isWritable: probe.isWritable,
    async release() {
      probe.stop();
      await meta.remove('claim');
      await root.flushed;
      await root.close();
    },
  };
}

const PROBE_INTERVAL_MS = 10_000;

/** Writes a record now and then: a disk that is full shows before a publish meets it. */
function probeWrites(meta: Database<unknown, string>): { isWritable(): boolean; stop(): void } {
  let isWritable = true;
  let isProbing = false;
  const timer = setInterval(() => {
    if (isProbing) {
      isWritable = false; // the last probe has been waiting for a whole interval
      return;
    }
    isProbing = true;
    meta
      .put('probe', Date.now())
      .then(() => meta.flushed)
      .then(
        () => {
          isWritable = true;
        },
        (error: unknown) => {
          isWritable = false; // /readyz tells; each refused publish logs why
          // lmdb hangs the real cause on as a promise of its own, which would end the process as an unhandled rejection.
          (error as { commitError?: Promise<unknown> }).commitError?.catch(() => undefined);
        },
      )
      .finally(() => {
        isProbing = false;
      });
  }, PROBE_INTERVAL_MS);
  timer.unref();
  return { isWritable: () => isWritable, stop: () => clearInterval(timer) };
}

function openFile(dataDir: string): RootDatabase {
  const path = join(dataDir, 'store.mdb');
  const fault = faultOfStoreFile(path);
  if (fault !== undefined) throw damaged(path, fault);
  try {
    return open({ ...ENVIRONMENT_OPTIONS, path, noSubdir: true });
  } catch (error) {
    throw damaged(path, (error as Error).message, error);
  }
}

function damaged(path: string, fault: string, cause?: unknown): StoreError {
  return new StoreError(
    `the store ${path} cannot be opened (${fault}): restore it from a backup, or move it away to begin with an empty one`,
    { cause },
  );
}

function checkFormat(meta: Database<unknown, string>, dataDir: string): void {
  const format = meta.get('format');
  if (format !== undefined && format !== FORMAT) {
    throw new StoreError(
      `the store in ${dataDir} has format ${String(format)}, this program reads ${FORMAT}: run the version that wrote it`,
    );
  }
}

async function claim(meta: Database<unknown, string>, dataDir: string): Promise<void> {
  await claimDataDir(dataDir); // a holder in another container is not visible by its process id, but its socket answers
  const own: Claim = { pid: process.pid, identity: identityOf(process.pid) ?? `${process.pid}` };
  const other = await meta.transaction(() => {
    const holder = meta.get('claim') as Claim | undefined;
    if (holder !== undefined && identityOf(holder.pid) === holder.identity) return holder;
    meta.put('claim', own);
    meta.put('format', FORMAT);
    return undefined;
  });
  if (other !== undefined) throw busy(dataDir, `process ${other.pid} works`);
}

/** Names a live process so that no later process has the same name. Undefined: there is no such process. */
function identityOf(pid: number): string | undefined {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return undefined; // EPERM: it lives, under another user
  }
  try {
    // proc(5): field 22 is the start time in ticks since boot; the name in parentheses may hold spaces.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') return undefined; // dead, only not yet reaped by its parent
    const startTime = fields[19];
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    return `${boot} ${readlinkSync('/proc/self/ns/pid')} ${pid} ${startTime}`;
  } catch {
    return `${pid}`; // no /proc on this system: the process id must do
  }
}
