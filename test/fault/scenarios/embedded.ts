import type { Scenario } from '../scenario.ts';

/** F1 on the embedded store: the one process dies twice under load and starts again (G-012, G-029, G-035). */
export const killEmbedded: Scenario = {
  id: 'F1e',
  title: 'kill -9, embedded store',
  cluster: { redis: 'embedded' },
  load: { consumers: 20 },
  expects: { repeatsWithinMs: 4_000, recoversWithinMs: 30_000 },
  async inject(run) {
    const [instance] = run.cluster.instances;
    for (let kills = 0; kills < 2; kills++) {
      await run.load.flow(run.between(100, 300));
      run.breaks('kill -9');
      await instance?.kill();
      await instance?.start();
      run.repaired('started again');
    }
  },
};
