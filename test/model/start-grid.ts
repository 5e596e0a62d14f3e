import { randomBytes } from 'node:crypto';
import { startTestInstance, type TestInstance } from '../support/start-instance.ts';
import { startRedis, type TestRedis } from '../support/start-redis.ts';
import { type Grid, SETTINGS } from './checker.ts';

export interface RunningGrid extends Grid {
  stop(): Promise<void>;
}

/** Starts what a run goes against: one instance with a store of its own, or several on one Redis, which is started for them. */
export async function startGrid(profile: 'grid' | 'compat', count = 1): Promise<RunningGrid> {
  const redis = count === 1 ? undefined : await startRedis();
  const instances: TestInstance[] = [];
  const stop = async () => {
    await Promise.all(instances.map((instance) => instance.stop()));
    await redis?.stop();
  };
  try {
    const settings = { ...SETTINGS, ...(redis === undefined ? {} : sharedStore(redis)) };
    for (let i = 0; i < count; i++) instances.push(await startTestInstance({ profile, settings }));
    return { instances, profile, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

const sharedStore = ({ host, port }: TestRedis): Record<string, unknown> => ({
  'store.kind': 'redis',
  'redis.nodes': [`${host}:${port}`],
  'redis.durability': 'memory',
  // Instances of a machine that does other things too are not taken for dead.
  'instance.leaseMs': 60_000,
  'redis.keyPrefix': `model-${randomBytes(6).toString('hex')}:`,
});
