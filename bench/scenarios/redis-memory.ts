import { openRedisTopicStore, type RedisTopicStore, type TopicConfig } from '@xmpp-grid/pubsub';
import { JID, RedisConnections, RedisInstanceTable, RedisSessionRegistry, randomText } from '@xmpp-grid/stream';
import { pino } from 'pino';
import { renderMark } from '../driver/event-scanner.ts';
import type { OwnRedis } from '../driver/own-redis.ts';
import { makeReport } from '../driver/report-payload.ts';
import type { BenchOptions, Figure, ScenarioResult, StoreScenario } from './scenario.ts';

/**
 * What one session, subscription, log entry and retained item take of Redis: its memory before and after so many of them,
 * written by the adapters that the instances use, as the instances use them.
 */
export const redisMemory: StoreScenario = {
  title: () => 'redis-memory',
  runOnStore: run,
};

/** Subscriptions are spread over so many topics: each account's over as many as it has. */
const TOPICS = 100;
/** Steps under way at a time. */
const CONCURRENCY = 500;
const ACCOUNT_MAX_RESOURCES = 10;

const CONFIG: TopicConfig = {
  title: '',
  description: '',
  type: '',
  accessModel: 'authorize',
  publishModel: 'publishers',
  persistItems: true,
  maxItems: 1_000_000,
  maxPayloadSize: 1 << 20,
  deliverPayloads: true,
  notificationType: 'normal',
  notifyConfig: false,
  notifyDelete: false,
  notifyRetract: false,
  sendLastPublishedItem: 'never',
};
const PUBLISHER = 'provider@grid.example';

async function run(redis: OwnRedis, options: BenchOptions, say: (text: string) => void): Promise<ScenarioResult> {
  const { sessions, subscriptions, items } = options;
  if (subscriptions > sessions * TOPICS) throw new Error(`at most ${TOPICS} subscriptions for each session's account`);
  const connections = await RedisConnections.open(
    { servers: redis.servers, keyPrefix: 'xg:', durability: { kind: 'memory' } },
    { log: QUIET },
  );
  const topics = await openRedisTopicStore({
    connections,
    log: QUIET,
    retention: { maxEntries: 10 * items, maxBytes: Number.MAX_SAFE_INTEGER },
  });
  const figures: Figure[] = [];
  const measure = async (name: string, count: number, work: (index: number) => Promise<unknown>) => {
    say(`${count} × ${name}`);
    const before = await redis.usedMemory();
    await inParallel(count, work);
    const bytes = ((await redis.usedMemory()) - before) / count;
    figures.push({ name: `bytes per ${name}`, value: bytes, unit: 'bytes', digits: 0 });
    return bytes;
  };
  try {
    await measureSessions(connections, sessions, measure);
    await inParallel(TOPICS, (i) => createTopic(topics, node(i), CONFIG));
    await measure('subscription', subscriptions, async (i) => {
      const account = i % sessions;
      const topic = (account + Math.floor(i / sessions)) % TOPICS;
      await committed(
        topics.commit(
          node(topic),
          {},
          { kind: 'own-subscription', jid: bareJid(account), state: 'subscribed', stampMs: Date.now() },
        ),
      );
    });
    await measurePublishes(topics, options, measure, figures);
    figures.push(
      { name: 'sessions', value: sessions, unit: '', digits: 0 },
      { name: 'subscriptions', value: subscriptions, unit: '', digits: 0 },
      { name: 'items', value: items, unit: '', digits: 0 },
      { name: 'bytes of a payload', value: options.reportBytes, unit: 'bytes', digits: 0 },
      { name: 'memory of Redis at the end', value: (await redis.usedMemory()) / 1024 ** 2, unit: 'MiB', digits: 1 },
    );
  } finally {
    await topics.close();
    connections.close();
  }
  return { figures, latencies: [], costs: {}, faults: [] };
}

type Measure = (name: string, count: number, work: (index: number) => Promise<unknown>) => Promise<number>;

/** One session for each account, with a resource that the server chose. */
async function measureSessions(connections: RedisConnections, count: number, measure: Measure): Promise<void> {
  const instanceId = randomText(9);
  const table = new RedisInstanceTable(connections);
  const registry = new RedisSessionRegistry(connections, { live: () => [instanceId], goneOf: (ids) => table.goneOf(ids) });
  await measure('session', count, async (i) => {
    const claim = { instanceId, sessionId: randomText(9), sinceMs: Date.now() };
    const outcome = await registry.bind(JID.parse(bareJid(i)), randomText(12), claim, ACCOUNT_MAX_RESOURCES);
    if (outcome.kind !== 'bound') throw new Error(`${bareJid(i)} was not bound: ${outcome.kind}`);
  });
}

/**
 * The same reports three times: into a log alone, with the request recognised, and retained too. The differences are the
 * recognition's and the retained item's.
 */
async function measurePublishes(
  topics: RedisTopicStore,
  options: BenchOptions,
  measure: Measure,
  figures: Figure[],
): Promise<void> {
  const report = makeReport(options.reportBytes, options.seed);
  const publish = (topic: string, isRecognised: boolean) => (i: number) => {
    const bytes = Buffer.from(`${report.before}${renderMark(1, i + 1, 0)}${report.after}`);
    const item = { itemId: `1-${i + 1}`, payload: { bytes } };
    const requestKey = isRecognised ? { requestKey: randomText(32) } : {};
    return committed(
      topics.commit(topic, {}, { kind: 'publish', items: [item], publisher: PUBLISHER, stampMs: Date.now(), ...requestKey }),
    );
  };
  // Last item of a topic that keeps one: all others live in the log alone.
  await createTopic(topics, 'bench-log', { ...CONFIG, maxItems: 1 });
  await createTopic(topics, 'bench-recognised', { ...CONFIG, maxItems: 1 });
  await createTopic(topics, 'bench-items', CONFIG);
  const logged = await measure('log entry', options.items, publish('bench-log', false));
  const recognised = await measure('log entry whose request is recognised', options.items, publish('bench-recognised', true));
  const retained = await measure('log entry and retained item', options.items, publish('bench-items', false));
  figures.push(
    { name: 'of it a retained item', value: retained - logged, unit: 'bytes', digits: 0 },
    { name: 'a recognised request, for 6 minutes', value: recognised - logged, unit: 'bytes', digits: 0 },
  );
}

async function createTopic(topics: RedisTopicStore, name: string, config: TopicConfig): Promise<void> {
  const affiliations = new Map([[PUBLISHER, 'owner' as const]]);
  const record = await topics.create(name, { config, creator: PUBLISHER, stampMs: Date.now(), affiliations });
  if (record === 'exists') throw new Error(`${name} exists already`);
}

async function committed(outcome: ReturnType<RedisTopicStore['commit']>): Promise<void> {
  const answer = await outcome;
  if (typeof answer === 'string' || answer.kind !== 'done') throw new Error('a change was not made');
}

async function inParallel(count: number, work: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < count) {
      next += 1;
      await work(next - 1);
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, CONCURRENCY) }, worker));
}

const QUIET = pino({ level: 'warn' }, process.stderr);
const node = (i: number) => `bench-topic-${i}`;
const bareJid = (i: number) => `platform-${String(i + 1).padStart(6, '0')}@grid.example`;
