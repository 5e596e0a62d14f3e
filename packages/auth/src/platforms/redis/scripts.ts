import { loadScript, type Script } from '@xmpp-grid/stream';

// tsc copies no .lua: the same path leads there from src and from dist.
const own = new URL('../../../src/platforms/redis/scripts/', import.meta.url);

/** A script of this package. Each file's header is its contract. */
export const authScript = (name: string): Script => loadScript(own, name);
