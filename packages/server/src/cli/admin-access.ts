import { Authorizer } from '@xmpp-grid/auth';
import { Admin } from '../admin/admin.ts';
import { AdminError, type AdminOperations } from '../admin/operations.ts';
import type { Config } from '../config.ts';
import { shortPath } from '../config-load.ts';
import { connectControl } from '../control/client.ts';
import { createLogger } from '../observe/log.ts';
import { openStores } from '../open-stores.ts';
import { ACCOUNT_CHANGED } from '../rights.ts';
import { StoreError } from '../store-error.ts';
import type { Stores } from '../stores.ts';

/** Runs `use` on the running instance of the data directory, or on the store itself when none runs. */
export async function withAdmin<T>(config: Config, use: (admin: AdminOperations) => Promise<T>): Promise<T> {
  return (await withInstance(config, use)) ?? (await withStore(config, use));
}

/** Runs `use` on the running instance. @throws AdminError `not-running` */
export async function withRunning<T>(config: Config, use: (admin: AdminOperations) => Promise<T>): Promise<T> {
  const result = await withInstance(config, use);
  if (result !== undefined) return result;
  throw new AdminError('not-running', `no instance runs on ${shortPath(config.dataDir, process.cwd())}`);
}

async function withInstance<T>(config: Config, use: (admin: AdminOperations) => Promise<T>): Promise<T | undefined> {
  const instance = await connectControl(config.dataDir);
  if (instance === undefined) return undefined;
  try {
    return await use(instance.admin);
  } finally {
    instance.close();
  }
}

/** Redis may be away; a command says so instead of waiting. */
const STORE_WAIT_MS = 10_000;

/** @throws StoreError when Redis does not answer in time, and what `openStores` throws */
async function openPatiently(config: Config): Promise<Stores> {
  const signal = AbortSignal.timeout(STORE_WAIT_MS);
  try {
    return await openStores(config, createLogger({ level: 'warn', format: 'text' }, process.stderr), signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    const nodes = config.redis.nodes.join(', ');
    throw new StoreError(`Redis at ${nodes} does not answer: nothing was done; try again when it does`, { cause: error });
  }
}

async function withStore<T>(config: Config, use: (admin: AdminOperations) => Promise<T>): Promise<T> {
  const stores = await openPatiently(config);
  const policy = new Authorizer(config.roles);
  try {
    return await use(
      new Admin({
        accounts: stores.accounts,
        topics: stores.topics,
        domain: config.domain,
        profile: config.profile,
        scramIterations: config.sasl.scramIterations,
        roles: policy.names,
        policy,
        offline: stores.offlineMessages(config.domain, async () => true),
        changed: (account) => stores.control.append({ kind: ACCOUNT_CHANGED, body: account.bareString }),
      }),
    );
  } finally {
    await stores.close();
  }
}
