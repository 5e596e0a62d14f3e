import { afterEach, beforeAll, beforeEach, describe } from 'vitest';
import { hasRedis, startRedis, type TestRedis } from '../../support/start-redis.ts';
import {
  type Shared,
  StreamInstance,
  type StreamInstanceOptions,
  sharedInProcess,
  sharedOnRedis,
} from '../../support/stream-cluster.ts';
import { recordedLog } from './support.ts';

export interface ThreeInstances {
  readonly shared: Shared;
  readonly a: StreamInstance;
  readonly b: StreamInstance;
  readonly c: StreamInstance;
}

/**
 * Runs a suite over each kind of what instances share: the embedded twins in one process, and a real Redis where there is
 * one. `each` is called in it once, with what to do with the three new instances of every test.
 */
export function overThreeInstances(
  options: Partial<StreamInstanceOptions>,
  suite: (each: (take: (grid: ThreeInstances) => void | Promise<void>) => void) => void,
): void {
  const over = (share: () => Shared | Promise<Shared>) => {
    let grid: ThreeInstances;
    suite((take) => {
      beforeEach(async () => {
        const shared = await share();
        const [a, b, c] = (await Promise.all([1, 2, 3].map(() => StreamInstance.start(shared, options)))) as [
          StreamInstance,
          StreamInstance,
          StreamInstance,
        ];
        grid = { shared, a, b, c };
        await take(grid);
      });
    });
    afterEach(async () => {
      await Promise.all([grid.a, grid.b, grid.c].map((instance) => instance.die()));
      grid.shared.close();
    });
  };
  describe('instances on embedded twins', () => over(() => sharedInProcess(recordedLog())));
  describe.skipIf(!hasRedis())('instances on one Redis', () => {
    let redis: TestRedis;
    beforeAll(async () => {
      redis = await startRedis();
      return () => redis.stop();
    });
    over(() => sharedOnRedis(redis.url, recordedLog()));
  });
}
