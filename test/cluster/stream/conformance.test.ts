import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type ControlLog,
  EmbeddedControlLog,
  EmbeddedInboxes,
  EmbeddedInstanceTable,
  EmbeddedOfflineMessages,
  EmbeddedResumeStates,
  EmbeddedSessionRegistry,
  type Inboxes,
  type InboxMessage,
  type InstanceTable,
  NS,
  type OfflineMessages,
  type RedisConnections,
  RedisControlLog,
  RedisInboxes,
  RedisInstanceTable,
  RedisOfflineMessages,
  RedisResumeStates,
  RedisSessionRegistry,
  type ResumeState,
  type ResumeStates,
  type SessionRegistry,
  type StanzaError,
} from '@xmpp-grid/stream';
import { open } from 'lmdb';
import { Element } from 'ltx';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hasRedis, startRedis, type TestRedis } from '../../support/start-redis.ts';
import { until } from '../../support/until.ts';
import { account, connect, recordedLog } from './support.ts';

/** What the cluster interfaces promise, kept by both adapters (G-010 to G-012, delivery.md §6 to §8). */

interface Stores {
  readonly table: InstanceTable;
  readonly registry: SessionRegistry;
  readonly inboxes: Inboxes;
  /** At most 3 entries or 100 bytes. */
  readonly smallInboxes: Inboxes;
  readonly control: ControlLog;
  readonly resume: ResumeStates;
  readonly offline: OfflineMessages;
  close(): Promise<void>;
}

const log = recordedLog();
const exists = async (who: { local: string | undefined }) => who.local !== 'nobody';
const small = { maxEntries: 3, maxBytes: 100 };

async function embedded(): Promise<Stores> {
  const directory = mkdtempSync(join(tmpdir(), 'cluster-'));
  const root = open({ path: directory });
  return {
    table: new EmbeddedInstanceTable(),
    registry: new EmbeddedSessionRegistry(),
    inboxes: new EmbeddedInboxes(log),
    smallInboxes: new EmbeddedInboxes(log, small),
    control: new EmbeddedControlLog(log),
    resume: new EmbeddedResumeStates(),
    offline: new EmbeddedOfflineMessages(root, 'grid.example', exists),
    close: async () => {
      await root.close();
      rmSync(directory, { recursive: true });
    },
  };
}

function redisStores(): () => Promise<Stores> {
  let server: TestRedis;
  let redis: RedisConnections;
  return async () => {
    server = await startRedis();
    redis = await connect(server.url);
    const table = new RedisInstanceTable(redis);
    return {
      table,
      registry: new RedisSessionRegistry(redis, { live: () => ['i1', 'i2'], goneOf: (ids) => table.goneOf(ids) }),
      inboxes: new RedisInboxes(redis, log),
      smallInboxes: new RedisInboxes(redis, log, small),
      control: new RedisControlLog(redis, log),
      resume: new RedisResumeStates(redis),
      offline: new RedisOfflineMessages(redis, 'grid.example', exists),
      close: async () => {
        redis.close();
        await server.stop();
      },
    };
  };
}

const claim = (instanceId: string, sessionId: string) => ({ instanceId, sessionId, sinceMs: 1_700_000_000_000 });
const state = (sessionId: string, extra: Record<string, string> = {}): ResumeState => ({
  sessionId,
  resource: 'r',
  boundAtMs: 1,
  handled: 4_294_967_295,
  acknowledged: 7,
  unacknowledged: [{ entry: { topic: 'a topic\n{%}', seq: 3, uid: 'ab' } }, { stanza: "<message to='ü'>\n</message>" }],
  extra,
});

describe.each([
  ['embedded', embedded, true],
  ['redis', redisStores(), hasRedis()],
] as const)('%s', (_name, make, canRun) => {
  describe.skipIf(!canRun)('adapter', () => {
    let stores: Stores;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(async () => {
      await stores.close();
    });

    describe('session registry, RFC 6120 §7.7.2.2 and delivery.md §7.2', () => {
      it('claims a free resource, and hands the displaced owner back', async () => {
        const { registry } = stores;
        const who = account('displaced');
        expect(await registry.bind(who, 'r', claim('i1', 's1'), 2)).toEqual({ kind: 'bound', displaced: undefined });
        expect(await registry.bind(who, 'r', claim('i2', 's2'), 2)).toEqual({ kind: 'bound', displaced: claim('i1', 's1') });
        expect(await registry.sessionsOf(who)).toEqual([{ resource: 'r', claim: claim('i2', 's2') }]);
      });

      it('§7.6.2.1 refuses a resource over the limit, never one that takes another’s place', async () => {
        const { registry } = stores;
        const who = account('full');
        await registry.bind(who, 'a', claim('i1', 's1'), 2);
        await registry.bind(who, 'b b', claim('i1', 's2'), 2);
        expect(await registry.bind(who, 'c', claim('i2', 's3'), 2)).toEqual({ kind: 'full', resources: 2 });
        expect(await registry.bind(who, 'a', claim('i2', 's4'), 2)).toMatchObject({ kind: 'bound' });
        expect((await registry.sessionsOf(who)).map(({ resource }) => resource).sort()).toEqual(['a', 'b b']);
      });

      it('drops a claim only for the session that it names', async () => {
        const { registry } = stores;
        const who = account('drop');
        await registry.bind(who, 'r', claim('i1', 's1'), 2);
        await registry.bind(who, 'r', claim('i2', 's2'), 2);
        expect(await registry.drop(who, 'r', 's1')).toBe(false);
        expect(await registry.sessionsOf(who)).toHaveLength(1);
        expect(await registry.drop(who, 'r', 's2')).toBe(true);
        expect(await registry.drop(who, 'r', 's2')).toBe(false);
        expect(await registry.sessionsOf(who)).toEqual([]);
      });

      it('claims again under a new id, unless somebody else holds the resource by now', async () => {
        const { registry } = stores;
        const who = account('reclaim');
        await registry.bind(who, 'r', claim('i1', 's1'), 2);
        expect(await registry.reclaim(who, 'r', claim('i2', 's1'))).toBe(true);
        expect(await registry.sessionsOf(who)).toEqual([{ resource: 'r', claim: claim('i2', 's1') }]);
        await registry.bind(who, 'r', claim('i1', 's2'), 2);
        expect(await registry.reclaim(who, 'r', claim('i2', 's1'))).toBe(false);
        await registry.drop(who, 'r', 's2');
        expect(await registry.reclaim(who, 'r', claim('i2', 's1'))).toBe(true); // lost in a failover
      });

      it('hands a claim on to the session that goes on elsewhere: of several that want it one gets it', async () => {
        const { registry } = stores;
        const who = account('goes-on');
        await registry.bind(who, 'r', claim('i1', 's'), 2);
        const wanted = ['s~1', 's~2', 's~3'];
        const got = await Promise.all(wanted.map((id) => registry.reclaim(who, 'r', claim('i2', id), 's')));
        expect(got.filter((each) => each)).toHaveLength(1);
        const winner = wanted[got.indexOf(true)] as string;
        expect(await registry.sessionsOf(who)).toEqual([{ resource: 'r', claim: claim('i2', winner) }]);
        expect(await registry.drop(who, 'r', 's')).toBe(false); // the former owner's late end
        expect(await registry.drop(who, 'r', winner)).toBe(true);
      });

      it('keeps accounts apart whose names differ in braces, percent signs and dots', async () => {
        const { registry } = stores;
        const names = ['x{a}y', 'x%7Ba%7Dy', 'x{a', 'xa}y'];
        for (const [i, each] of names.entries()) await registry.bind(account(each), 'r', claim('i1', `s${i}`), 1);
        for (const [i, each] of names.entries()) {
          expect(await registry.sessionsOf(account(each))).toEqual([{ resource: 'r', claim: claim('i1', `s${i}`) }]);
        }
      });
    });

    describe('instance table, delivery.md §7.1', () => {
      it('enters an id once, and tells how all stand', async () => {
        const { table } = stores;
        expect(await table.beat('t1', 1, 'join')).toEqual(new Map([['t1', { kind: 'live', counter: 1 }]]));
        expect(await table.beat('t1', 1, 'join')).toBe('fenced');
        await table.beat('t2', 1, 'join');
        expect(await table.beat('t1', 2, 'beat')).toEqual(
          new Map([
            ['t1', { kind: 'live', counter: 2 }],
            ['t2', { kind: 'live', counter: 1 }],
          ]),
        );
        expect(await table.beat('never-joined', 5, 'beat')).toBe('fenced');
        expect(await table.goneOf(['t1', 't2', 'never-joined'])).toEqual(new Set(['never-joined']));
      });

      it('declares dead once, never over a newer heartbeat, and the dead do not beat again', async () => {
        const { table } = stores;
        await table.beat('d1', 1, 'join');
        await table.beat('d1', 2, 'beat');
        expect(await table.markDead('d1', 1)).toBe(false);
        expect(await table.markDead('d1', 2)).toBe(true);
        expect(await table.markDead('d1', 2)).toBe(false);
        expect(await table.beat('d1', 3, 'beat')).toBe('fenced');
        expect(await table.beat('d1', 3, 'join')).toBe('fenced');
        expect(await table.goneOf(['d1'])).toEqual(new Set(['d1']));
      });

      it('lets one clean at a time, another one when that one’s time is over, and then forgets', async () => {
        const { table } = stores;
        await table.beat('c1', 1, 'join');
        expect(await table.claimCleaning('c1', 'x', 60_000)).toBe('theirs'); // it lives
        await table.markDead('c1', undefined);
        expect(await table.finishCleaning('c1', 'x')).toBe(false);
        expect(await table.claimCleaning('c1', 'x', 60_000)).toBe('yours');
        expect(await table.claimCleaning('c1', 'y', 60_000)).toBe('theirs');
        expect(await table.claimCleaning('c1', 'x', 1)).toBe('yours'); // again, for a shorter time
        await until('the time of x is over', async () => (await table.claimCleaning('c1', 'y', 60_000)) === 'yours');
        expect(await table.finishCleaning('c1', 'x')).toBe(false);
        expect(await table.finishCleaning('c1', 'y')).toBe(true);
        expect(await table.claimCleaning('c1', 'z', 1)).toBe('gone');
      });
    });

    describe('inbox, delivery.md §7.3', () => {
      it('hands messages over in order, each when the one before is handled', async () => {
        const { inboxes } = stores;
        const got: string[] = [];
        let isBusy = false;
        const box = await inboxes.open(
          'in-order',
          async ({ body }) => {
            expect(isBusy).toBe(false);
            isBusy = true;
            await new Promise((resolve) => setImmediate(resolve));
            isBusy = false;
            got.push(body);
          },
          () => true,
        );
        const sent = Array.from({ length: 100 }, (_, i) => `m${i}`);
        for (const body of sent) expect(await inboxes.send('in-order', { kind: 'k', body })).toBe('sent');
        await until('all are handled', () => got.length === sent.length);
        expect(got).toEqual(sent);
        await box.close();
      });

      it('tells of an instance that has no inbox', async () => {
        expect(await stores.inboxes.send('nobody-here', { kind: 'k', body: 'b' })).toBe('no-such-instance');
      });

      it('is full at its most entries and at its most bytes, and takes more when some were handled', async () => {
        const { smallInboxes: inboxes } = stores;
        let isOpen = false;
        const got: string[] = [];
        const box = await inboxes.open(
          'small',
          ({ body }) => void got.push(body),
          () => isOpen,
        );
        for (const body of ['1', '2', '3']) expect(await inboxes.send('small', { kind: 'k', body })).toBe('sent');
        expect(await inboxes.send('small', { kind: 'k', body: '4' })).toBe('full');
        isOpen = true;
        await until('the first three are handled', () => got.length === 3);
        expect(got).toEqual(['1', '2', '3']);
        expect(await inboxes.send('small', { kind: 'k', body: 'y'.repeat(100) })).toBe('full'); // 101 bytes
        await box.close();
      });

      it('goes on behind a message that could not be handled', async () => {
        const { inboxes } = stores;
        const got: string[] = [];
        const box = await inboxes.open(
          'failing',
          ({ body }) => {
            if (body === 'bad') throw new Error('cannot be handled');
            got.push(body);
          },
          () => true,
        );
        await inboxes.send('failing', { kind: 'k', body: 'bad' });
        await inboxes.send('failing', { kind: 'k', body: 'good' });
        await until('the good one came', () => got.length === 1);
        expect(log.lines.some(({ fields, message }) => fields.kind === 'k' && message.includes('could not be handled'))).toBe(
          true,
        );
        await box.close();
      });

      it('leaves to the cleaner what a dead instance did not handle; interrupted, the cleaning is done again', async () => {
        const { inboxes } = stores;
        const box = await inboxes.open(
          'dying',
          () => undefined,
          () => false,
        );
        const sent: InboxMessage[] = ['a', 'b', 'c'].map((body) => ({ kind: 'stanza', body }));
        for (const message of sent) await inboxes.send('dying', message);
        await box.close();
        const routed: InboxMessage[] = [];
        const failing = inboxes.clean(
          'dying',
          (message) => {
            if (message.body === 'b') throw new Error('the cleaner is interrupted');
            routed.push(message);
          },
          new AbortController().signal,
        );
        await expect(failing).rejects.toThrow('interrupted');
        await inboxes.clean('dying', (message) => void routed.push(message), new AbortController().signal);
        expect(routed).toEqual(sent);
        expect(await inboxes.send('dying', { kind: 'k', body: 'late' })).toBe('no-such-instance');
        await inboxes.clean('dying', (message) => void routed.push(message), new AbortController().signal);
        expect(routed).toEqual(sent);
      });
    });

    describe('control log, delivery.md §8.2', () => {
      it('tells every follower what was appended after it began, in order', async () => {
        const { control } = stores;
        await control.append({ kind: 'account', body: 'before' });
        const got: string[][] = [[], []];
        const follows = await Promise.all(
          got.map((list) =>
            control.follow({ event: ({ body }) => void list.push(body), judgeAll: () => void list.push('judge all') }),
          ),
        );
        const sent = Array.from({ length: 50 }, (_, i) => `e${i}\n`);
        for (const body of sent) await control.append({ kind: 'account', body });
        await until('both have all', () => got.every((list) => list.length >= sent.length));
        expect(got).toEqual([sent, sent]);
        await until('the head is confirmed', () => follows.every(({ headAgeMs }) => headAgeMs < 1_000));
        for (const follow of follows) await follow.close();
      });

      it('judges all again behind a change that could not be applied, until that succeeds', async () => {
        const { control } = stores;
        let judged = 0;
        const follow = await control.follow({
          event: () => {
            throw new Error('cannot be applied');
          },
          judgeAll: () => {
            judged++;
            if (judged === 1) throw new Error('cannot be judged yet');
          },
        });
        await control.append({ kind: 'policy', body: '' });
        await until('judged twice', () => judged === 2);
        await follow.close();
      });
    });

    describe('resumption states, delivery.md §6.2 and X-028', () => {
      it('gives a state to one of many that take it, whole', async () => {
        const { resume } = stores;
        const who = account('once');
        const kept = state('s1', { delivery: '{"a":1}\u0000\n' });
        expect(await resume.put(who, 'sm 1', kept, 60_000)).toBe('stored');
        const taken = await Promise.all(Array.from({ length: 8 }, () => resume.take(who, 'sm 1')));
        expect(taken.filter((each) => each !== undefined)).toEqual([kept]);
      });

      it('gives it to its own account alone', async () => {
        const { resume } = stores;
        await resume.put(account('owner'), 'sm', state('s1'), 60_000);
        expect(await resume.take(account('thief'), 'sm')).toBeUndefined();
        expect(await resume.take(account('owner'), 'sm')).toEqual(state('s1'));
      });

      it('takes stanzas that come after it, in order, until somebody takes it', async () => {
        const { resume } = stores;
        const who = account('after');
        await resume.put(who, 'sm', state('s1'), 60_000);
        const stanzas = ['<message id="1">\n</message>', "<message id='2'>ü\u2028</message>", '<message/>'];
        for (const stanza of stanzas) expect(await resume.append(who, 'sm', stanza)).toBe('kept');
        expect(await resume.append(who, 'another', '<message/>')).toBe('gone');
        expect(await resume.append(account('thief'), 'sm', '<message/>')).toBe('gone');
        const taken = await resume.take(who, 'sm');
        expect(taken?.unacknowledged).toEqual([...state('s1').unacknowledged, ...stanzas.map((stanza) => ({ stanza }))]);
        expect(await resume.append(who, 'sm', '<message/>')).toBe('gone');
      });

      it('refuses a stanza beyond the bound of a state, and keeps what it has', async () => {
        const { resume } = stores;
        const who = account('full-state');
        await resume.put(who, 'sm', state('s1'), 60_000);
        const stanza = `<message>${'x'.repeat(1_500_000)}</message>`;
        expect(await resume.append(who, 'sm', stanza)).toBe('kept');
        expect(await resume.append(who, 'sm', stanza)).toBe('kept');
        expect(await resume.append(who, 'sm', stanza)).toBe('full');
        expect((await resume.take(who, 'sm'))?.unacknowledged).toHaveLength(4);
      });

      it('a stanza and the one who takes the state come in one order: it is with the state, or gone', async () => {
        const { resume } = stores;
        const who = account('raced');
        await resume.put(who, 'sm', state('s1'), 60_000);
        const appended = Array.from({ length: 20 }, (_, i) => resume.append(who, 'sm', `<message id='${i}'/>`));
        const taken = await resume.take(who, 'sm');
        const kept = (await Promise.all(appended)).filter((outcome) => outcome === 'kept').length;
        expect(taken?.unacknowledged).toHaveLength(2 + kept);
      });

      it('forgets it when its time is over, and all of an account when asked to', async () => {
        const { resume } = stores;
        const who = account('expiry');
        await resume.put(who, 'long', state('s1'), 60_000);
        await resume.put(who, 'short', state('s2'), 1);
        await new Promise((resolve) => setTimeout(resolve, 5)); // past the state's only millisecond
        expect(await resume.take(who, 'short')).toBeUndefined();
        expect(await resume.take(who, 'long')).toEqual(state('s1'));
        await resume.put(who, 'a', state('s3'), 60_000);
        await resume.dropAll(who);
        expect(await resume.take(who, 'a')).toBeUndefined();
      });

      it('is bounded per account and per state', async () => {
        const { resume } = stores;
        const who = account('many');
        for (let i = 0; i < 32; i++) expect(await resume.put(who, `sm${i}`, state('s'), 60_000)).toBe('stored');
        expect(await resume.put(who, 'one more', state('s'), 60_000)).toBe('full');
        expect(await resume.put(who, 'sm0', state('again'), 60_000)).toBe('stored');
        expect(await resume.put(account('big'), 'sm', state('s', { x: 'x'.repeat(4_194_304) }), 60_000)).toBe('full');
      });
    });

    describe('offline messages, RFC 6121 §8.5.2.2 and XEP-0160 (X-022 to X-024)', () => {
      const message = (body: string, attrs: Record<string, string> = {}) => {
        const element = new Element('message', { xmlns: NS.client, from: 'a@grid.example/x', ...attrs });
        element.c('body').t(body);
        return element;
      };

      it('keeps messages in order, with a delay, and hands them out once', async () => {
        const { offline } = stores;
        const who = account('away');
        for (const body of ['one', 'zwei ü', 'three']) await offline.store(who, message(body));
        const both = await Promise.all([offline.take(who), offline.take(who)]);
        const texts = both.flat().map(String);
        expect(texts).toHaveLength(3);
        for (const [i, body] of ['one', 'zwei ü', 'three'].entries()) expect(texts[i]).toContain(`<body>${body}</body>`);
        for (const text of texts) expect(text).toMatch(/<delay xmlns=["']urn:xmpp:delay["'] from=["']grid\.example["']/);
        expect(await offline.take(who)).toEqual([]);
      });

      it('keeps nothing of a chat state, and nothing for who does not exist', async () => {
        const { offline } = stores;
        await offline.store(account('quiet'), new Element('message', { xmlns: NS.client, type: 'chat' }));
        await offline.store(account('nobody'), message('hello'));
        expect(await offline.take(account('quiet'))).toEqual([]);
        expect(await offline.take(account('nobody'))).toEqual([]);
      });

      it('answers service-unavailable at 100 messages and at 1 MiB', async () => {
        const { offline } = stores;
        for (let i = 0; i < 100; i++) await offline.store(account('crowded'), message(String(i)));
        const refusal = await offline.store(account('crowded'), message('101')).catch((error: unknown) => error);
        expect((refusal as StanzaError).condition).toBe('service-unavailable');
        expect(await offline.take(account('crowded'))).toHaveLength(100);
        await offline.store(account('crowded'), message('room again'));
        for (let i = 0; i < 3; i++) await offline.store(account('heavy'), message('x'.repeat(300_000)));
        await expect(offline.store(account('heavy'), message('x'.repeat(300_000)))).rejects.toThrow('service-unavailable');
        expect(await offline.take(account('heavy'))).toHaveLength(3);
      });
    });
  });
});
