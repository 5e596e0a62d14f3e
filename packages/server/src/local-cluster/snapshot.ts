import { getPage, redisInfo, sumOf } from './probe.ts';

/** What the cluster looks like at one moment. */
export interface Snapshot {
  readonly instances: readonly InstanceView[];
  readonly redis: readonly RedisView[];
  /** Port of the one that the Sentinels name; undefined when none answers. */
  readonly primaryPort: number | undefined;
  /** Sessions on all instances. */
  readonly sessions: number;
  /** Publishes acknowledged, by each instance since its start. */
  readonly published: readonly number[];
  readonly atMs: number;
}

export interface InstanceView {
  readonly name: string;
  /** `ready`, `draining`, `away`, or why it is not ready. */
  readonly state: string;
  readonly sessions: number;
}

export interface RedisView {
  readonly name: string;
  readonly port: number;
  readonly role: 'primary' | 'replica' | 'away';
  /** A replica: whether it follows its primary. A primary: its replicas. */
  readonly links: number;
}

interface Named {
  readonly name: string;
}

/** Asks everybody at once; who does not answer within a second is away. */
export async function takeSnapshot(
  instances: readonly (Named & { readonly ports: { readonly http: number } })[],
  redis: readonly (Named & { readonly port: number })[],
  sentinels: readonly { readonly port: number }[],
): Promise<Snapshot> {
  const [views, servers, primaryPort] = await Promise.all([
    Promise.all(instances.map(viewInstance)),
    Promise.all(redis.map(viewRedis)),
    primaryOf(sentinels),
  ]);
  return {
    instances: views,
    redis: servers,
    primaryPort,
    sessions: views.reduce((sum, { sessions }) => sum + sessions, 0),
    published: views.map(({ published }) => published),
    atMs: performance.now(),
  };
}

async function viewInstance({
  name,
  ports,
}: Named & { readonly ports: { readonly http: number } }): Promise<InstanceView & { readonly published: number }> {
  const [ready, metrics] = await Promise.all([getPage(ports.http, '/readyz'), getPage(ports.http, '/metrics')]);
  if (ready === undefined || metrics === undefined) return { name, state: 'away', sessions: 0, published: 0 };
  return {
    name,
    // The first reason, without what follows from it.
    state: ready.status === 200 ? 'ready' : ready.body.trim().split(/[\n:]/, 1)[0]!,
    sessions: sumOf(metrics.body, 'xmppgrid_sessions'),
    published: sumOf(metrics.body, 'xmppgrid_pubsub_publish_total', 'result="ok"'),
  };
}

async function viewRedis({ name, port }: Named & { readonly port: number }): Promise<RedisView> {
  const info = await redisInfo(port, 'replication');
  if (info === undefined) return { name, port, role: 'away', links: 0 };
  if (info.get('role') === 'master') return { name, port, role: 'primary', links: Number(info.get('connected_slaves')) };
  return { name, port, role: 'replica', links: info.get('master_link_status') === 'up' ? 1 : 0 };
}

async function primaryOf(sentinels: readonly { readonly port: number }[]): Promise<number | undefined> {
  for (const { port } of sentinels) {
    const named = (await redisInfo(port, 'sentinel'))?.get('master0');
    const primary = /address=[^,]*:(\d+)/.exec(named ?? '')?.[1];
    if (primary !== undefined) return Number(primary);
  }
  return undefined;
}

/** Acknowledged publishes a second between two looks; an instance that began anew counts from its start. */
export function publishRate(before: Snapshot, now: Snapshot): number {
  const seconds = (now.atMs - before.atMs) / 1_000;
  const more = now.published.map((count, index) => {
    const earlier = before.published[index] ?? 0;
    return count >= earlier ? count - earlier : count;
  });
  return seconds <= 0 ? 0 : more.reduce((sum, count) => sum + count, 0) / seconds;
}

/** What changes seldom, in one line: which instances are ready, which Redis is primary. */
export function spellStates(snapshot: Snapshot): string {
  const { instances } = snapshot;
  const ready = instances.filter(({ state }) => state === 'ready').length;
  const others = instances.filter(({ state }) => state !== 'ready').map(({ name, state }) => `${name} ${state}`);
  const parts = [[`${ready}/${instances.length} ready`, ...others].join(', '), spellRedis(snapshot)];
  return parts.join(' │ ');
}

/** `3/3 ready │ 27 sessions (9+9+9) │ 14 events/s │ Redis primary redis-1, 1 replica` */
export function spellStatus(snapshot: Snapshot, rate: number): string {
  const [ready, redis] = spellStates(snapshot).split(' │ ') as [string, string];
  const each = snapshot.instances.map(({ sessions }) => sessions).join('+');
  const sessions = `${snapshot.sessions} session${snapshot.sessions === 1 ? '' : 's'} (${each})`;
  return [ready, sessions, `${rate.toFixed(rate < 10 && rate > 0 ? 1 : 0)} events/s`, redis].join(' │ ');
}

function spellRedis({ redis, primaryPort }: Pick<Snapshot, 'redis' | 'primaryPort'>): string {
  const away = redis.filter(({ role }) => role === 'away').map(({ name }) => `${name} away`);
  // The Sentinels' word counts: one that was replaced and came back takes itself for the primary for some seconds.
  const primary = redis.find(({ port, role }) => port === primaryPort && role === 'primary');
  if (primary === undefined) return ['Redis without a primary', ...away].join(', ');
  const replicas = `${primary.links} replica${primary.links === 1 ? '' : 's'}`;
  return [`Redis primary ${primary.name}`, replicas, ...away].join(', ');
}
