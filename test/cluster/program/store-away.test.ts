/** A whole instance whose Redis is gone: it says so, and stops in order all the same. */
import { describe, expect, it } from 'vitest';
import { startTestInstance } from '../../support/start-instance.ts';
import { hasRedis, startRedis } from '../../support/start-redis.ts';
import { until } from '../../support/until.ts';

describe.skipIf(!hasRedis(true))('an instance whose Redis is gone', () => {
  it('is not ready, stops when it is told to, and leaves nothing open (M-14)', async () => {
    const redis = await startRedis({ isOwn: true });
    const instance = await startTestInstance({
      settings: {
        'store.kind': 'redis',
        'redis.nodes': [`${redis.host}:${redis.port}`],
        'redis.durability': 'memory',
        'instance.leaseMs': 1_000,
        'drain.graceMs': 1_000,
      },
    });
    const page = (path: string) => fetch(`http://127.0.0.1:${instance.httpPort}${path}`);
    await instance.login('someone');
    await redis.kill();
    await until('it says that it is not ready', async () => (await page('/readyz')).status === 503);
    expect((await page('/livez')).status).toBe(200);
    await instance.stop();
    await expect(page('/livez')).rejects.toThrow();
    expect(instance.logged.map(({ msg }) => msg)).toContain(
      'the others cannot be told of this stop: they see it when the lease ends',
    );
    await redis.stop();
  });
});
