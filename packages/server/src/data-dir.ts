import { chmodSync, mkdirSync } from 'node:fs';
import { connectControl } from './control/client.ts';
import { StoreError } from './store-error.ts';

/** Makes the directory of an instance, readable by its owner alone. @throws StoreError */
export function makeDataDir(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    chmodSync(dataDir, 0o700); // it was there with other rights
  } catch (error) {
    throw new StoreError(`dataDir ${dataDir} cannot be made: ${(error as Error).message}`, { cause: error });
  }
}

/**
 * Sees to it that no running instance has this directory: its control socket would answer. Needed where no store in the
 * directory has a claim of its own.
 *
 * @throws StoreError
 */
export async function claimDataDir(dataDir: string): Promise<void> {
  makeDataDir(dataDir);
  const instance = await connectControl(dataDir);
  instance?.close();
  if (instance !== undefined) throw busy(dataDir, 'a running instance works');
}

export function busy(dataDir: string, what: string): StoreError {
  return new StoreError(`${what} on ${dataDir}; stop it first, or choose another dataDir (--data)`, { isBusy: true });
}
