import { once } from 'node:events';
import { resolve } from 'node:path';
import { type Command, UsageError, type Values } from '../command.ts';
import { note } from '../output.ts';

/** Signals that come this close together are one wish: a terminal and npm both pass Ctrl-C on. */
const SAME_SIGNAL_MS = 500;

export const cluster: Command = {
  name: 'cluster',
  summary: 'Run a cluster on this machine to try things: instances behind HAProxy, Redis with replicas and Sentinels.',
  options: {
    instances: { type: 'string', value: 'N', doc: 'Instances (default: 3, at most 9).' },
    sentinels: { type: 'string', value: 'N', doc: 'Sentinels (default: 3, at most 5).' },
    port: { type: 'string', value: 'PORT', doc: 'Port for STARTTLS streams (default: 5222).' },
    'direct-tls-port': { type: 'string', value: 'PORT', doc: 'Port for direct TLS streams (default: 5223).' },
    'http-port': {
      type: 'string',
      value: 'PORT',
      doc: 'Port for metrics and probes of the first instance; the others have the next ones (default: 5281).',
    },
    data: { type: 'string', value: 'DIR', doc: 'Directory of all files and logs (default: var/cluster).' },
  },
  notes: `The shape of deploy/compose.yaml, from the programs redis-server and haproxy of this machine, with the files of deploy/: on the
loopback alone, with throw-away certificates and two platforms. Port 0 lets the system choose. A part that ends is started again; the
last line says how all of them do. Every start begins with an empty store.

  npm run cluster
  npm run cluster -- --instances 2 --port 15222 --direct-tls-port 15223`,
  async run(values) {
    const options = {
      directory: resolve(values.text('data') ?? 'var/cluster'),
      instances: number(values, 'instances', 3, 1, 9),
      sentinels: number(values, 'sentinels', 3, 1, 5),
      port: number(values, 'port', 5222, 0, 65_535),
      directTlsPort: number(values, 'direct-tls-port', 5223, 0, 65_535),
      httpPort: number(values, 'http-port', 5281, 0, 65_535),
    };
    const [{ startLocalCluster }, { StatusLine }, { renderClusterBanner }] = await Promise.all([
      import('../../local-cluster/local-cluster.ts'),
      import('../../local-cluster/status-line.ts'),
      import('../../local-cluster/banner.ts'),
    ]);
    note('starting Redis, Sentinels, instances and HAProxy ...');
    let tell = note;
    const stop = new AbortController();
    let atOnce = () => stop.abort();
    onSignals(stop, () => atOnce());
    const cluster = await startLocalCluster({ ...options, tell: (text) => tell(text), signal: stop.signal });
    atOnce = () => {
      cluster.kill();
      process.exit(1);
    };
    process.stdout.write(renderClusterBanner(cluster, performance.now(), process.cwd()));
    const status = new StatusLine(cluster, process.stdout);
    tell = (text) => status.say(text);
    await status.look();
    if (!stop.signal.aborted) await once(stop.signal, 'abort');
    status.close();
    note('stopping: instances drain, then HAProxy, Sentinels and Redis ...');
    await cluster.stop();
    return 0;
  },
};

/** The first SIGINT, SIGTERM or SIGHUP aborts `stop`; a later one is the wish to end at once. */
function onSignals(stop: AbortController, atOnce: () => void): void {
  let firstMs: number | undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (firstMs !== undefined && performance.now() - firstMs > SAME_SIGNAL_MS) atOnce();
      firstMs ??= performance.now();
      stop.abort();
    });
  }
}

function number(values: Values, name: string, fallback: number, min: number, max: number): number {
  const text = values.text(name);
  if (text === undefined) return fallback;
  const value = /^\d{1,5}$/.test(text) ? Number(text) : -1;
  if (value < min || value > max)
    throw new UsageError(`--${name}: expected a whole number from ${min} to ${max}, got ${JSON.stringify(text)}`);
  return value;
}
