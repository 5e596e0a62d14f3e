import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AccountStore, EmbeddedAccountStore, RedisAccountStore } from '@xmpp-grid/auth';
import {
  ENVIRONMENT_OPTIONS,
  openEmbeddedTopicStore,
  openRedisTopicStore,
  type PositionStore,
  type RolePolicy,
  type TopicStore,
} from '@xmpp-grid/pubsub';
import { EmbeddedOfflineMessages, JID, type OfflineMessages, RedisOfflineMessages, StoreUnavailable } from '@xmpp-grid/stream';
import { open } from 'lmdb';
import { Element } from 'ltx';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Admin, type AdminDeps, type LiveInstance } from '../../../packages/server/src/admin/admin.ts';
import { AdminError, type SessionView } from '../../../packages/server/src/admin/operations.ts';
import { hasRedis, startRedis } from '../../support/start-redis.ts';
import { commit, create, publish, subscribe } from '../../support/topics.ts';
import { connect, recordedLog } from '../stream/support.ts';

/** What the administrator does, over both kinds of store, and from two instances at once (G-012; delivery.md §2.6, §8.2, §8.3). */

const DOMAIN = 'grid.example';
const SIEM = JID.parse(`siem@${DOMAIN}`);

interface Stores {
  readonly accounts: AccountStore;
  readonly topics: TopicStore & PositionStore;
  readonly offline: OfflineMessages;
}

/** Gives stores that share nothing with those before; the second ones are those of another instance. */
interface Kind {
  fresh(): Promise<readonly [Stores, Stores]>;
  close(): Promise<void>;
}

async function embedded(): Promise<Kind> {
  const closing: (() => Promise<void>)[] = [];
  return {
    async fresh() {
      const folder = mkdtempSync(join(tmpdir(), 'admin-'));
      const root = open({ ...ENVIRONMENT_OPTIONS, noSync: true, path: join(folder, 'data.mdb') });
      const topics = openEmbeddedTopicStore(root);
      closing.push(async () => {
        await topics.close();
        await root.close();
        rmSync(folder, { recursive: true });
      });
      const accounts = new EmbeddedAccountStore(root.openDB<string, string>('accounts', { encoding: 'string' }));
      const offline = new EmbeddedOfflineMessages(root, DOMAIN, async (jid) => (await accounts.get(jid)) !== undefined);
      const stores = { accounts, topics, offline };
      return [stores, stores];
    },
    close: async () => {
      for (const close of closing) await close();
    },
  };
}

async function overRedis(): Promise<Kind> {
  const server = await startRedis();
  const closing: (() => Promise<void>)[] = [];
  const instance = async (keyPrefix: string): Promise<Stores> => {
    const redis = await connect(server.url, { keyPrefix });
    const topics = await openRedisTopicStore({ connections: redis, log: recordedLog() });
    closing.push(async () => {
      await topics.close();
      redis.close();
    });
    const accounts = new RedisAccountStore(redis);
    const offline = new RedisOfflineMessages(redis, DOMAIN, async (jid) => (await accounts.get(jid)) !== undefined);
    return { accounts, topics, offline };
  };
  return {
    async fresh() {
      const keyPrefix = `test-${randomBytes(6).toString('hex')}:`;
      return [await instance(keyPrefix), await instance(keyPrefix)];
    },
    async close() {
      for (const close of closing) await close();
      await server.stop();
    },
  };
}

/** An instance with sessions of its own, which writes down what is done to it. */
function makeAdmin(stores: Stores, steps: string[] = [], more: Partial<AdminDeps> = {}): Admin {
  const session: SessionView = {
    jid: `${SIEM}/r`,
    role: 'platform',
    mechanism: 'EXTERNAL',
    remoteAddress: '192.0.2.1',
    tlsVersion: 'TLSv1.3',
    sinceMs: 1,
  };
  const live: LiveInstance = {
    sessions: () => [session],
    endStreams: (account, reason) => {
      steps.push(`end ${account.local} ${reason}`);
      return 1;
    },
    status: () => ({
      version: '0',
      instanceId: 'i',
      state: 'ready',
      domain: DOMAIN,
      brokerDomain: `broker.${DOMAIN}`,
      profile: 'grid',
      pid: 1,
      startedMs: 1,
      listeners: {},
    }),
  };
  return new Admin({
    ...stores,
    domain: DOMAIN,
    profile: 'grid',
    scramIterations: 4096,
    roles: ['platform', 'read-only'],
    live,
    changed: async (account, why) => {
      const found = await stores.accounts.get(account);
      steps.push(`tell ${account.local} ${why}, stored ${found?.account.state ?? 'nothing'}`);
    },
    ...more,
  });
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'done',
    (error: unknown) => (error instanceof AdminError ? error.code : Promise.reject(error)),
  );

describe.each([
  ['embedded', embedded, true],
  ['redis', overRedis, hasRedis()],
] as const)('%s', (_name, makeKind, canRun) => {
  describe.skipIf(!canRun)('administration', () => {
    let kind: Kind;
    let stores: Stores;
    let others: Stores;
    let steps: string[];
    let admin: Admin;
    beforeAll(async () => {
      kind = await makeKind();
    });
    afterAll(async () => {
      await kind.close();
    });
    beforeEach(async () => {
      [stores, others] = await kind.fresh();
      steps = [];
      admin = makeAdmin(stores, steps);
    });

    it('delivery.md §8.2 writes the account, ends its streams here, then tells the others', async () => {
      await admin.platformAdd({ name: 'siem', role: 'platform' });
      await admin.platformAdd({ name: 'siem', role: 'read-only', replace: true });
      expect(await admin.platformDisable({ name: 'siem' })).toMatchObject({ platform: { state: 'disabled' }, endedStreams: 1 });
      await admin.platformEnable({ name: 'siem' });
      expect(await admin.platformRemove({ name: 'siem' })).toEqual({ endedStreams: 1 });
      expect(steps).toEqual([
        'tell siem added, stored enabled',
        'tell siem replaced, stored enabled',
        'end siem account-disabled',
        'tell siem disabled, stored disabled',
        'tell siem enabled, stored enabled',
        'end siem account-removed',
        'tell siem removed, stored nothing',
      ]);
    });

    it('§2.6 what is asked for again is told again, also when nothing changed', async () => {
      await admin.platformAdd({ name: 'siem', role: 'platform' });
      await admin.platformDisable({ name: 'siem' });
      await admin.platformDisable({ name: 'siem' });
      await admin.platformRemove({ name: 'siem' });
      expect(await codeOf(admin.platformRemove({ name: 'siem' }))).toBe('no-such-platform');
      expect(steps.filter((step) => step.includes('disabled, stored'))).toHaveLength(2);
      expect(steps.filter((step) => step.includes('removed, stored'))).toHaveLength(2);
    });

    it('says so when the account is changed and the others could not be told', async () => {
      await admin.platformAdd({ name: 'siem', role: 'platform' });
      const deaf = makeAdmin(stores, steps, {
        changed: () => Promise.reject(new StoreUnavailable('not-done', new Error('away'))),
      });
      const failed = deaf.platformDisable({ name: 'siem' });
      await expect(failed).rejects.toMatchObject({ code: 'store-unavailable' });
      await expect(failed).rejects.toThrow('siem@grid.example is disabled, but the store could not tell the other instances');
      expect((await stores.accounts.get(SIEM))?.account.state).toBe('disabled');
      expect(steps).toContain('end siem account-disabled');
    });

    it.each([
      ['not-done', /siem@grid.example was not changed; try again later$/],
      ['unknown', /did not confirm the change of siem@grid.example: it may have been made or not/],
    ] as const)('M-15 a write whose outcome is %s is told as such, and nobody is told of a change', async (outcome, message) => {
      const accounts: AccountStore = {
        get: (jid) => stores.accounts.get(jid),
        list: (after, limit) => stores.accounts.list(after, limit),
        count: () => stores.accounts.count(),
        put: () => Promise.reject(new StoreUnavailable(outcome, new Error('away'))),
        remove: () => Promise.reject(new StoreUnavailable(outcome, new Error('away'))),
      };
      await admin.platformAdd({ name: 'siem', role: 'platform' });
      steps.length = 0;
      const cutOff = makeAdmin({ ...stores, accounts }, steps);
      const attempts = [
        () => cutOff.platformAdd({ name: 'siem', role: 'read-only', replace: true }),
        () => cutOff.platformDisable({ name: 'siem' }),
        () => cutOff.platformRemove({ name: 'siem' }),
      ];
      for (const attempt of attempts) {
        const failed = attempt();
        await expect(failed).rejects.toMatchObject({ code: 'store-unavailable' });
        await expect(failed).rejects.toThrow(message);
      }
      expect(steps).toEqual([]);
    });

    it.each([
      [
        'disabled',
        async () => {
          await admin.platformDisable({ name: 'siem' });
          return () => admin.platformEnable({ name: 'siem' });
        },
      ],
      [
        'removed',
        async () => {
          await admin.platformRemove({ name: 'siem' });
          return () => admin.platformAdd({ name: 'siem', role: 'platform' });
        },
      ],
    ] as const)('§8.3 what is published while an account is %s is not delivered to it later', async (_state, cut) => {
      const { topics } = stores;
      await admin.platformAdd({ name: 'siem', role: 'platform' });
      for (const node of ['one', 'two']) {
        await create(topics, node);
        await subscribe(topics, node, `${SIEM}`);
        await subscribe(topics, node, `${SIEM}/r`);
        await subscribe(topics, node, `other@${DOMAIN}`);
      }
      const [first] = await publish(topics, 'one', 'seen');
      const grantAgain = await cut();
      await publish(topics, 'one', 'a', 'b');
      await publish(topics, 'two', 'c');
      expect((await topics.position('one', `${SIEM}`))?.seq).toBeLessThanOrEqual(first!.seq);
      await grantAgain();
      const head = (await topics.record('one'))!.head;
      expect(await topics.position('one', `${SIEM}`)).toEqual(head);
      expect(await topics.position('one', `${SIEM}/r`)).toEqual(head);
      expect(await topics.position('two', `${SIEM}`)).toEqual((await topics.record('two'))!.head);
      expect((await topics.position('one', `other@${DOMAIN}`))?.seq).toBeLessThan(head.seq);
    });

    it('§8.3 new credentials leave positions where they are', async () => {
      const { topics } = stores;
      await admin.platformAdd({ name: 'siem', role: 'platform' });
      await create(topics, 'one');
      await subscribe(topics, 'one', `${SIEM}`);
      const before = await topics.position('one', `${SIEM}`);
      await publish(topics, 'one', 'a');
      await admin.platformAdd({ name: 'siem', role: 'platform', password: 'another', replace: true });
      expect(await topics.position('one', `${SIEM}`)).toEqual(before);
    });

    it('§8.3 another role shows nothing of what the former one hid', async () => {
      const { topics } = stores;
      const policy: RolePolicy = {
        decide: (role, _, node) =>
          role === 'read-only' && node === 'closed' ? { verdict: 'deny', why: 'role' } : { verdict: 'allow' },
        isHidden: () => false,
        approves: () => true,
      };
      const judging = makeAdmin(stores, [], { policy });
      await judging.platformAdd({ name: 'siem', role: 'read-only' });
      for (const node of ['closed', 'open']) {
        await create(topics, node);
        await subscribe(topics, node, `${SIEM}`);
      }
      const before = await topics.position('open', `${SIEM}`);
      for (const node of ['closed', 'open']) await publish(topics, node, 'a');
      await judging.platformAdd({ name: 'siem', role: 'platform', replace: true });
      expect(await topics.position('closed', `${SIEM}`)).toEqual((await topics.record('closed'))!.head);
      expect(await topics.position('open', `${SIEM}`)).toEqual(before);
    });

    it('a request that waits stays one: only subscriptions have positions', async () => {
      const { topics } = stores;
      await admin.platformAdd({ name: 'siem', role: 'platform' });
      await create(topics, 'one');
      await commit(topics, 'one', { kind: 'own-subscription', jid: `${SIEM}`, state: 'pending', stampMs: 1 });
      await admin.platformDisable({ name: 'siem' });
      await admin.platformEnable({ name: 'siem' });
      expect(await topics.subscriptionsOf('one', `${SIEM}`)).toMatchObject([{ state: 'pending' }]);
    });

    it('messages that waited for an account are not its successor’s', async () => {
      await admin.platformAdd({ name: 'siem', role: 'platform' });
      const message = new Element('message', { to: `${SIEM}`, type: 'normal' }).c('body').t('for the first').root();
      await stores.offline.store(SIEM, message);
      await admin.platformRemove({ name: 'siem' });
      await admin.platformAdd({ name: 'siem', role: 'platform' });
      expect(await stores.offline.take(SIEM)).toEqual([]);
    });

    it('counts without reading every account, and lists topics in pages', async () => {
      await Promise.all(Array.from({ length: 12 }, (_, i) => admin.platformAdd({ name: `p${i}`, role: 'platform' })));
      const nodes = Array.from({ length: 70 }, (_, i) => `topic ${String(i).padStart(2, '0')}`);
      for (const node of nodes) await create(stores.topics, node);
      await subscribe(stores.topics, 'topic 69', `${SIEM}`);
      expect(await admin.status()).toMatchObject({ platforms: 12, topics: 70, sessions: 1 });
      const all = await admin.topicList({});
      expect(all.count).toBe(70);
      expect(all.topics.map(({ node }) => node)).toEqual(nodes);
      expect(all.topics.at(-1)).toMatchObject({ subscriptions: 1, head: 0 });
      const page = await admin.topicList({ max: 5, after: 'topic 64' });
      expect(page.topics.map(({ node }) => node)).toEqual(nodes.slice(65));
      expect((await admin.platformList({ max: 5, after: `p11@${DOMAIN}` })).map(({ jid }) => jid)).toEqual(
        ['p1', 'p2', 'p3', 'p4', 'p5'].map((name) => `${name}@${DOMAIN}`),
      );
      expect(await admin.topicShow({ node: 'topic 69' })).toMatchObject({
        subscribers: [{ jid: `${SIEM}`, state: 'subscribed' }],
        affiliations: [{ affiliation: 'owner' }],
      });
    });

    describe('two administrators at once', () => {
      it('of two that add one name, one is refused, and its password opens nothing', async () => {
        const both = [admin, makeAdmin(others)];
        const added = await Promise.all(
          both.map((each, i) => codeOf(each.platformAdd({ name: 'siem', role: 'platform', password: `password ${i}` }))),
        );
        expect(added.toSorted()).toEqual(['done', 'platform-exists']);
        expect((await admin.platformList({})).map(({ jid }) => jid)).toEqual([`${SIEM}`]);
      });

      it('neither undoes what the other did: a platform disabled while it gets credentials has both', async () => {
        const other = makeAdmin(others);
        for (let round = 0; round < 10; round++) {
          const name = `p${round}`;
          await admin.platformAdd({ name, role: 'platform' });
          await Promise.all([
            admin.platformDisable({ name }),
            other.platformAdd({ name, role: 'read-only', password: 'another', replace: true }),
          ]);
          expect(await admin.platformShow({ name })).toMatchObject({
            state: 'disabled',
            role: 'read-only',
            credentials: ['SCRAM-SHA-256'],
          });
        }
      });

      it('removal and change of one account end in the one or the other, never in half of both', async () => {
        const other = makeAdmin(others);
        for (let round = 0; round < 10; round++) {
          const name = `p${round}`;
          await admin.platformAdd({ name, role: 'platform' });
          const [removed, disabled] = await Promise.all([
            codeOf(admin.platformRemove({ name })),
            codeOf(other.platformDisable({ name })),
          ]);
          expect(removed).toBe('done');
          expect(['done', 'no-such-platform']).toContain(disabled);
        }
        expect(await admin.platformList({})).toEqual([]);
        expect(await admin.status()).toMatchObject({ platforms: 0 });
      });
    });
  });
});
