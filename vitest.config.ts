import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (name: string) => fileURLToPath(new URL(`./packages/${name}/src/index.ts`, import.meta.url));
/** Tests run the TypeScript sources, so a stale dist can never make them pass. */
const alias = {
  '@xmpp-grid/stream': source('stream'),
  '@xmpp-grid/auth': source('auth'),
  '@xmpp-grid/pubsub': source('pubsub'),
  '@xmpp-grid/server': source('server'),
};

/** Time limits are there for tests that hang, not for slow ones: generous enough for a machine that does other things too. */
const project = (name: string, extra: Record<string, unknown> = {}) => ({
  resolve: { alias },
  test: { name, include: [`test/${name}/**/*.test.ts`], pool: 'forks', ...extra },
});

export default defineConfig({
  test: {
    projects: [
      project('unit', { testTimeout: 30_000 }),
      project('protocol', { testTimeout: 20_000, hookTimeout: 30_000 }),
      project('model', { testTimeout: 60_000, hookTimeout: 30_000 }),
      // Several stores or instances on one Redis.
      project('cluster', { testTimeout: 30_000, hookTimeout: 30_000 }),
      // What starts processes and loads the machine runs after the rest, so that it does not starve it.
      project('interop', { testTimeout: 60_000, hookTimeout: 120_000, sequence: { groupOrder: 1 } }),
      project('fault', { testTimeout: 120_000, hookTimeout: 60_000, sequence: { groupOrder: 2 } }),
    ],
  },
});
