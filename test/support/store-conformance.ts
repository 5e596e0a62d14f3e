import type { LogReader, PositionStore, TopicStore } from '@xmpp-grid/pubsub';
import { guardOf, type LogRetention, StoreFull } from '@xmpp-grid/pubsub';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { commit, config, create, OWNER, payload, publication, publish, subscribe, T0 } from './topics.ts';

type Store = TopicStore & LogReader & PositionStore;

export interface Adapter {
  readonly store: Store;
  /** Opens the same data anew, as another process would. */
  reopen(): Promise<Store>;
  destroy(): Promise<void>;
}

const ALICE = 'alice@grid.example';
const BOB = 'bob@grid.example';
const NODE = 'grid/sightings';

/** What every adapter of the topic store promises. */
export function describeTopicStore(name: string, open: (retention?: Partial<LogRetention>) => Promise<Adapter>): void {
  let adapter: Adapter;
  let store: Store;
  const openWith = async (retention?: Partial<LogRetention>) => {
    adapter = await open(retention);
    store = adapter.store;
  };
  const log = async (node = NODE, after = 0) => {
    const page = await store.readLog(node, { seq: after, uid: '' }, 10_000, 1 << 30);
    if (page === 'gone') throw new Error('no log');
    return page.entries;
  };
  const ids = async (page: Parameters<TopicStore['items']>[1], node = NODE) => {
    const found = await store.items(node, page);
    if (found === 'unknown-key') return found;
    return { ids: found.entries.map((item) => item.itemId), count: found.count, index: found.index };
  };

  describe(`topic store: ${name}`, () => {
    beforeEach(() => openWith());
    afterEach(() => adapter.destroy());

    describe('topics', () => {
      it('creates once, hands back what was created, and survives reopening (G-026, G-029)', async () => {
        const created = await create(store, NODE);
        expect(created).toMatchObject({ node: NODE, creator: OWNER, createdMs: T0, config: config(), head: { seq: 0, uid: '' } });
        expect(created.configToken).not.toBe(created.accessToken);
        expect(await store.create(NODE, { config: config(), creator: BOB, stampMs: T0, affiliations: new Map() })).toBe('exists');
        store = await adapter.reopen();
        expect(await store.record(NODE)).toEqual(created);
        expect(await store.affiliation(NODE, OWNER)).toBe('owner');
      });

      it('knows no topic that was not created, whatever is asked of it', async () => {
        for (const node of ['none', '', 'x'.repeat(3_000)]) {
          expect(await store.record(node)).toBeUndefined();
          expect(await store.tombstone(node)).toBeUndefined();
          expect(await store.commit(node, {}, publication(['1']))).toBe('gone');
          expect(await store.affiliation(node, OWNER)).toBe('none');
          expect(await store.subscriptions(node)).toEqual([]);
          expect(await store.readLog(node, { seq: 0, uid: '' }, 1, 1)).toBe('gone');
          expect(await store.head(node)).toBeUndefined();
        }
      });

      it('keeps topics apart whose names begin alike, are long, or hold any character', async () => {
        const nodes = [
          'a',
          'a\u0000',
          'a/b',
          'é'.repeat(511),
          'x'.repeat(1_023),
          `${'x'.repeat(1_022)}y`,
          '{t}',
          '\u{1F600}',
          '\uFFFD',
        ];
        for (const node of nodes) await create(store, node);
        for (const node of nodes) await publish(store, node, `in ${node}`);
        for (const node of nodes) expect(await ids({ max: 9 }, node)).toEqual({ ids: [`in ${node}`], count: 1, index: 0 });
        await expect(create(store, 'x'.repeat(1_024))).rejects.toThrow(RangeError);
        await expect(create(store, '')).rejects.toThrow(RangeError);
      });

      it('pages names in the order of their UTF-8 bytes, filtered (G-018, XEP-0059 §2)', async () => {
        for (const node of ['b', 'a', '\u{1F600}', '\uFFFD', 'B', 'c', 'ab', 'hidden']) await create(store, node);
        const visible = (node: string) => node !== 'hidden';
        const page = (request: Parameters<TopicStore['topics']>[0]) => store.topics(request, visible);
        const all = ['B', 'a', 'ab', 'b', 'c', '\uFFFD', '\u{1F600}'];
        expect(await page({ max: 100 })).toEqual({ entries: all, count: 7, index: 0 });
        expect(await page({ max: 0 })).toEqual({ entries: [], count: 7, index: 0 });
        expect(await page({ max: 2 })).toEqual({ entries: ['B', 'a'], count: 7, index: 0 });
        expect(await page({ max: 2, after: 'a' })).toEqual({ entries: ['ab', 'b'], count: 7, index: 2 });
        expect(await page({ max: 2, after: 'aa' })).toEqual({ entries: ['ab', 'b'], count: 7, index: 2 });
        expect(await page({ max: 2, after: '\u{1F600}' })).toEqual({ entries: [], count: 7, index: 7 });
        expect(await page({ max: 2, before: '' })).toEqual({ entries: ['\uFFFD', '\u{1F600}'], count: 7, index: 5 });
        expect(await page({ max: 2, before: 'b' })).toEqual({ entries: ['a', 'ab'], count: 7, index: 1 });
        expect(await page({ max: 2, before: 'a' })).toEqual({ entries: ['B'], count: 7, index: 0 });
        expect(await page({ max: 3, index: 5 })).toEqual({ entries: ['\uFFFD', '\u{1F600}'], count: 7, index: 5 });
        expect(await page({ max: 3, index: 50 })).toEqual({ entries: [], count: 7, index: 7 });
        await commit(store, 'ab', { kind: 'delete', publisher: OWNER, stampMs: T0, notify: false });
        await create(store, 'aa');
        expect((await page({ max: 3 })).entries).toEqual(['B', 'a', 'aa']);
        store = await adapter.reopen();
        expect((await page({ max: 100 })).entries).toEqual(['B', 'a', 'aa', 'b', 'c', '\uFFFD', '\u{1F600}']);
      });
    });

    describe('guards, delivery.md §2.1', () => {
      it('refuses a change that was decided on other tokens, and changes nothing', async () => {
        const record = await create(store, NODE);
        await commit(store, NODE, {
          kind: 'configure',
          config: config({ title: 'B' }),
          publisher: OWNER,
          stampMs: T0,
          notify: false,
        });
        expect(await store.commit(NODE, guardOf(record), publication(['1']))).toBe('stale');
        expect(await store.commit(NODE, { accessToken: 'other' }, publication(['1']))).toBe('stale');
        expect(await ids({ max: 1 })).toEqual({ ids: [], count: 0, index: 0 });
        const now = (await store.record(NODE))!;
        expect(now.head.seq).toBe(1);
        expect(await store.commit(NODE, guardOf(now), publication(['1']))).toMatchObject({ kind: 'done' });
      });

      it('changes the configuration token with every configuration, the access token only with access', async () => {
        const first = await create(store, NODE);
        const configure = (changed: Parameters<typeof config>[0]) =>
          commit(store, NODE, { kind: 'configure', config: config(changed), publisher: OWNER, stampMs: T0, notify: true });
        const titled = (await configure({ title: 'New' })).record;
        expect(titled.configToken).not.toBe(first.configToken);
        expect(titled.accessToken).toBe(first.accessToken);
        const opened = (await configure({ accessModel: 'authorize' })).record;
        expect(opened.accessToken).not.toBe(first.accessToken);
        const granted = await commit(store, NODE, {
          kind: 'access',
          affiliations: new Map([[ALICE, 'member']]),
          subscriptions: new Map(),
          publisher: OWNER,
          stampMs: T0,
        });
        expect(granted.record.accessToken).not.toBe(opened.accessToken);
        expect(granted.entries).toMatchObject([{ kind: 'access', notify: false, accessToken: granted.record.accessToken }]);
        const own = await subscribe(store, NODE, ALICE);
        expect(own.entries).toEqual([]);
        expect(own.record).toEqual(granted.record);
      });

      it('decides a race of two changes with the same guard for one of them', async () => {
        const guard = guardOf(await create(store, NODE));
        const change = {
          kind: 'configure',
          config: config({ title: 'Mine' }),
          publisher: OWNER,
          stampMs: T0,
          notify: false,
        } as const;
        const both = await Promise.all([store.commit(NODE, guard, change), store.commit(NODE, guard, change)]);
        expect(both.filter((result) => result === 'stale')).toHaveLength(1);
      });
    });

    describe('entries, delivery.md §1', () => {
      it('numbers without holes, links to the predecessor, and never steps back in time', async () => {
        await create(store, NODE);
        const stamps = [T0 + 5, T0 + 3, T0 + 9];
        const made = [];
        for (const stampMs of stamps) made.push(...(await commit(store, NODE, publication(['x', 'y'], { stampMs }))).entries);
        expect(made.map((entry) => entry.seq)).toEqual([1, 2, 3, 4, 5, 6]);
        expect(made.map((entry) => entry.stampMs - T0)).toEqual([5, 5, 5, 5, 9, 9]);
        for (const [i, entry] of made.entries()) {
          expect(entry.uid).toMatch(/^[0-9a-f]{16}$/);
          expect(entry.prevUid).toBe(i === 0 ? '' : made[i - 1]!.uid);
        }
        expect(new Set(made.map((entry) => entry.uid)).size).toBe(6);
        expect(await log()).toEqual(made);
        expect((await store.record(NODE))!.head).toEqual({ seq: 6, uid: made[5]!.uid });
      });

      it('gives concurrent publishes distinct numbers and rings the bell in their order, after they are durable', async () => {
        await create(store, NODE);
        const heard: number[] = [];
        const stop = store.onEntries(({ entries }) => heard.push(...entries.map((entry) => entry.seq)));
        await Promise.all(Array.from({ length: 300 }, (_, i) => publish(store, NODE, `item ${i}`)));
        stop();
        await publish(store, NODE, 'unheard');
        const expected = Array.from({ length: 300 }, (_, i) => i + 1);
        expect(heard).toEqual(expected);
        store = await adapter.reopen();
        expect((await log()).map((entry) => entry.seq)).toEqual([...expected, 301]);
      });

      it('keeps payload bytes and language as they came (G-042)', async () => {
        await create(store, NODE);
        const bytes = Buffer.from('<r xmlns=\'urn:example\' a="&#xD;">\u{1F600}&amp;</r>');
        await commit(
          store,
          NODE,
          publication([], { items: [{ itemId: 'i', payload: { bytes, lang: 'de' } }, { itemId: 'none' }] }),
        );
        store = await adapter.reopen();
        const [entry, empty] = await log();
        expect(entry?.payload).toEqual({ bytes, lang: 'de' });
        expect(empty?.payload).toBeUndefined();
        expect(empty?.isWithdrawn).toBe(false);
        expect((await store.itemsById(NODE, ['i', 'none', 'missing'])).map((item) => item.payload)).toEqual([
          { bytes, lang: 'de' },
          undefined,
        ]);
      });

      it('reads in pages by number and bytes, always at least one entry', async () => {
        await create(store, NODE);
        const made = await publish(store, NODE, 'a', 'b', 'c', 'd');
        const read = async (after: number, entries: number, bytes: number) => {
          const page = await store.readLog(NODE, { seq: after, uid: '' }, entries, bytes);
          if (page === 'gone') throw new Error('gone');
          expect(page).toMatchObject({ firstSeq: 1, head: { seq: 4, uid: made[3]!.uid } });
          return page.entries.map((entry) => entry.seq);
        };
        expect(await read(0, 2, 1 << 20)).toEqual([1, 2]);
        expect(await read(2, 9, 1)).toEqual([3]);
        expect(await read(1, 9, 2 * payload('a').bytes.length)).toEqual([2, 3]);
        expect(await read(4, 9, 1)).toEqual([]);
        expect(await store.entry(NODE, made[1]!)).toEqual(made[1]);
        expect(await store.entry(NODE, { seq: 2, uid: made[2]!.uid })).toBeUndefined();
      });
    });

    describe('items, XEP-0060 §6.5 and §12.9', () => {
      it('overwrites by id, and the item then stands last', async () => {
        await create(store, NODE);
        await publish(store, NODE, 'a', 'b');
        await commit(
          store,
          NODE,
          publication([], { items: [{ itemId: 'a', payload: payload('second') }], publisher: BOB, stampMs: T0 + 1 }),
        );
        expect(await ids({ max: 9 })).toEqual({ ids: ['b', 'a'], count: 2, index: 0 });
        expect(await store.itemsById(NODE, ['a'])).toMatchObject([
          { publisher: BOB, stampMs: T0 + 1, entry: { seq: 3 }, payload: payload('second') },
        ]);
        expect((await log()).map((entry) => entry.payload?.bytes.toString())).toEqual(
          ['a', 'b', 'second'].map((text) => payload(text).bytes.toString()),
        );
      });

      it('pages both ways (XEP-0059 §2.2, §2.3, §2.5, §2.6, §2.7)', async () => {
        await create(store, NODE);
        await publish(store, NODE, 'a', 'b', 'c', 'd', 'e');
        expect(await ids({ max: 2 })).toEqual({ ids: ['a', 'b'], count: 5, index: 0 });
        expect(await ids({ max: 2, after: 'b' })).toEqual({ ids: ['c', 'd'], count: 5, index: 2 });
        expect(await ids({ max: 2, after: 'e' })).toEqual({ ids: [], count: 5, index: 5 });
        expect(await ids({ max: 2, before: '' })).toEqual({ ids: ['d', 'e'], count: 5, index: 3 });
        expect(await ids({ max: 2, before: 'd' })).toEqual({ ids: ['b', 'c'], count: 5, index: 1 });
        expect(await ids({ max: 9, before: 'c' })).toEqual({ ids: ['a', 'b'], count: 5, index: 0 });
        expect(await ids({ max: 2, before: 'a' })).toEqual({ ids: [], count: 5, index: 0 });
        expect(await ids({ max: 2, index: 4 })).toEqual({ ids: ['e'], count: 5, index: 4 });
        expect(await ids({ max: 2, index: 9 })).toEqual({ ids: [], count: 5, index: 5 });
        expect(await ids({ max: 0 })).toEqual({ ids: [], count: 5, index: 0 });
        expect(await ids({ max: 2, after: 'zz' })).toBe('unknown-key');
        expect(await ids({ max: 2, before: 'zz' })).toBe('unknown-key');
      });

      it('keeps ids apart that are long and begin alike', async () => {
        await create(store, NODE);
        const long = ['x'.repeat(5_000), `${'x'.repeat(4_999)}y`, 'x'.repeat(512), 'x'.repeat(513)];
        await publish(store, NODE, ...long);
        expect(await ids({ max: 9 })).toMatchObject({ ids: long });
        expect(await ids({ max: 1, after: long[0]! })).toMatchObject({ ids: [long[1]] });
      });

      it('max_items evicts the oldest item, not its log entry, and is silent without notify_retract (delivery.md §1.4)', async () => {
        await create(store, NODE, { maxItems: 2 });
        const done = await commit(store, NODE, publication(['a', 'b', 'c']));
        expect(done.itemIds).toEqual(['a']);
        expect(await ids({ max: 9 })).toEqual({ ids: ['b', 'c'], count: 2, index: 0 });
        expect((await log()).map(({ kind, itemId, isWithdrawn }) => [kind, itemId, isWithdrawn])).toEqual([
          ['published', 'a', false],
          ['published', 'b', false],
          ['published', 'c', false],
        ]);
        expect((await log())[0]!.payload).toEqual(payload('a'));
      });

      it('max_items logs the retraction under notify_retract', async () => {
        await create(store, NODE, { maxItems: 1, notifyRetract: true });
        const done = await commit(store, NODE, publication(['a', 'b']));
        expect(done.entries.map(({ seq, kind, itemId, notify }) => [seq, kind, itemId, notify])).toEqual([
          [1, 'published', 'a', true],
          [2, 'published', 'b', true],
          [3, 'retracted', 'a', true],
        ]);
      });

      it('a smaller max_items evicts at once', async () => {
        await create(store, NODE);
        await publish(store, NODE, 'a', 'b', 'c');
        await commit(store, NODE, {
          kind: 'configure',
          config: config({ maxItems: 1 }),
          publisher: OWNER,
          stampMs: T0,
          notify: false,
        });
        expect(await ids({ max: 9 })).toEqual({ ids: ['c'], count: 1, index: 0 });
      });

      it('retracts what exists, and withdraws its payloads from the log, earlier ones too (delivery.md §1.4)', async () => {
        await create(store, NODE);
        await publish(store, NODE, 'a', 'b', 'a');
        const done = await commit(store, NODE, {
          kind: 'retract',
          itemIds: ['a', 'zz'],
          publisher: OWNER,
          stampMs: T0,
          notify: true,
        });
        expect(done.itemIds).toEqual(['a']);
        expect(await ids({ max: 9 })).toEqual({ ids: ['b'], count: 1, index: 0 });
        store = await adapter.reopen();
        expect(
          (await log()).map(({ seq, kind, isWithdrawn, payload: left }) => [seq, kind, isWithdrawn, left !== undefined]),
        ).toEqual([
          [1, 'published', true, false],
          [2, 'published', false, true],
          [3, 'published', true, false],
          [4, 'retracted', false, false],
        ]);
      });

      it('purge leaves numbers and nothing else; the topic goes on', async () => {
        await create(store, NODE);
        await publish(store, NODE, 'a', 'b');
        await commit(store, NODE, { kind: 'purge', publisher: OWNER, stampMs: T0, notify: true });
        await publish(store, NODE, 'c');
        expect(await ids({ max: 9 })).toEqual({ ids: ['c'], count: 1, index: 0 });
        expect((await log()).map(({ kind, isWithdrawn, payload: left }) => [kind, isWithdrawn, left !== undefined])).toEqual([
          ['published', true, false],
          ['published', true, false],
          ['purged', false, false],
          ['published', false, true],
        ]);
      });

      it('caching off: the payload is seen by the bell alone (G-020, delivery.md §9.2)', async () => {
        await create(store, NODE, { persistItems: false });
        const heard: unknown[] = [];
        store.onEntries(({ entries }) => heard.push(entries[0]!.payload, entries[0]!.isTransient));
        await publish(store, NODE, 'a');
        expect(heard).toEqual([payload('a'), true]);
        expect(await log()).toMatchObject([{ seq: 1, kind: 'published', itemId: 'a', isTransient: true, isWithdrawn: false }]);
        expect((await log())[0]!.payload).toBeUndefined();
        expect(await ids({ max: 9 })).toEqual({ ids: [], count: 0, index: 0 });
      });

      it('caching switched off removes what was kept', async () => {
        await create(store, NODE);
        await publish(store, NODE, 'a');
        await commit(store, NODE, {
          kind: 'configure',
          config: config({ persistItems: false }),
          publisher: OWNER,
          stampMs: T0,
          notify: false,
        });
        expect(await ids({ max: 9 })).toEqual({ ids: [], count: 0, index: 0 });
        expect((await log())[0]).toMatchObject({ isWithdrawn: true });
        expect((await log())[0]!.payload).toBeUndefined();
      });
    });

    describe('repeated requests, delivery.md §2.3', () => {
      const request = (requestKey: string, stampMs = T0) => publication(['a', 'b'], { requestKey, stampMs });

      it('answers the same request within 2 minutes as the first time, also after a restart', async () => {
        await create(store, NODE);
        const first = await commit(store, NODE, request('one'));
        const again = { kind: 'repeated', itemIds: ['a', 'b'], entries: first.entries.map(({ seq, uid }) => ({ seq, uid })) };
        expect(await store.commit(NODE, {}, request('one', T0 + 60_000))).toEqual(again);
        store = await adapter.reopen();
        expect(await store.commit(NODE, {}, request('one', T0 + 60_000))).toEqual(again);
        expect((await store.head(NODE))!.seq).toBe(2);
      });

      it('takes another request, or the same after 2 minutes, as new even with equal bytes', async () => {
        await create(store, NODE);
        await commit(store, NODE, request('one'));
        await commit(store, NODE, request('two'));
        await commit(store, NODE, request('one', T0 + 120_001));
        expect((await store.head(NODE))!.seq).toBe(6);
      });

      it('runs one of two equal requests that come at once', async () => {
        await create(store, NODE);
        const both = await Promise.all([store.commit(NODE, {}, request('one')), store.commit(NODE, {}, request('one'))]);
        expect(both).toMatchObject([{ kind: 'done' }, { kind: 'repeated', itemIds: ['a', 'b'] }]);
        expect((await store.head(NODE))!.seq).toBe(2);
      });

      it('is not confused by the same key at another topic', async () => {
        await create(store, NODE);
        await create(store, 'other');
        await commit(store, NODE, request('one'));
        await commit(store, 'other', request('one'));
      });
    });

    describe('affiliations and subscriptions', () => {
      const access = (
        affiliations: [string, 'member' | 'none' | 'outcast'][],
        subscriptions: [string, 'subscribed' | 'pending' | 'none'][],
      ) =>
        commit(store, NODE, {
          kind: 'access',
          affiliations: new Map(affiliations),
          subscriptions: new Map(subscriptions),
          publisher: OWNER,
          stampMs: T0,
        });

      it('lists affiliations by JID and drops those that become none', async () => {
        await create(store, NODE);
        await access(
          [
            [BOB, 'outcast'],
            [ALICE, 'member'],
          ],
          [],
        );
        expect([...(await store.affiliations(NODE))]).toEqual([
          [ALICE, 'member'],
          [BOB, 'outcast'],
          [OWNER, 'owner'],
        ]);
        await access([[ALICE, 'none']], []);
        expect(await store.affiliation(NODE, ALICE)).toBe('none');
        expect([...(await store.affiliations(NODE)).keys()]).toEqual([BOB, OWNER]);
      });

      it('a subscription starts at the head, a pending one when it is approved', async () => {
        await create(store, NODE);
        await publish(store, NODE, 'before');
        await commit(store, NODE, { kind: 'own-subscription', jid: ALICE, state: 'pending', stampMs: T0 });
        expect(await store.countSubscriptions(NODE)).toBe(0);
        await publish(store, NODE, 'while pending');
        const approval = await access([], [[ALICE, 'subscribed']]);
        expect(await store.subscriptionsOf(NODE, ALICE)).toEqual([
          { jid: ALICE, state: 'subscribed', start: approval.record.head, sinceMs: T0 },
        ]);
        expect(await store.position(NODE, ALICE)).toEqual(approval.record.head);
        expect(await store.countSubscriptions(NODE)).toBe(1);
        await publish(store, NODE, 'after');
        await subscribe(store, NODE, ALICE);
        expect((await store.subscriptionsOf(NODE, ALICE))[0]!.start).toEqual(approval.record.head);
        await subscribe(store, NODE, BOB);
        expect((await store.subscriptionsOf(NODE, BOB))[0]!.start.seq).toBe(4);
      });

      it('tells the account from its resources and from accounts that look alike', async () => {
        await create(store, NODE);
        const longResource = `${ALICE}/${'r'.repeat(1_023)}`;
        const jids = [ALICE, `${ALICE}/a`, longResource, `${ALICE}.net`, `${ALICE}.net/a`];
        for (const jid of jids) await subscribe(store, NODE, jid);
        expect((await store.subscriptionsOf(NODE, ALICE)).map(({ jid }) => jid)).toEqual([ALICE, `${ALICE}/a`, longResource]);
        expect((await store.subscriptions(NODE)).map(({ jid }) => jid)).toEqual([...jids].sort());
        await commit(store, NODE, { kind: 'own-subscription', jid: ALICE, state: 'none', stampMs: T0 });
        expect((await store.subscriptionsOf(NODE, ALICE)).map(({ jid }) => jid)).toEqual([`${ALICE}/a`, longResource]);
        expect(await store.countSubscriptions(NODE)).toBe(4);
      });

      it('takes accounts as long as RFC 7622 allows', async () => {
        await create(store, NODE);
        const account = `${'l'.repeat(1_023)}@${'d'.repeat(1_023)}`;
        await subscribe(store, NODE, `${account}/${'r'.repeat(1_023)}`);
        expect(await store.subscriptionsOf(NODE, account)).toHaveLength(1);
        expect(await store.topicsOf(account)).toEqual([NODE]);
      });

      it('topicsOf names every topic with a subscription, request or affiliation (delivery.md §2.7)', async () => {
        await create(store, NODE);
        await create(store, 'other');
        expect([...(await store.topicsOf(OWNER))].sort()).toEqual([NODE, 'other']);
        expect(await store.topicsOf(ALICE)).toEqual([]);
        await commit(store, NODE, { kind: 'own-subscription', jid: `${ALICE}/r`, state: 'pending', stampMs: T0 });
        await access([[ALICE, 'member']], [[`${ALICE}/r`, 'none']]);
        expect(await store.topicsOf(ALICE)).toEqual([NODE]);
        await access([[ALICE, 'none']], []);
        expect(await store.topicsOf(ALICE)).toEqual([]);
      });
    });

    describe('deletion, delivery.md §1.5', () => {
      it('leaves a tombstone whose numbers go on after re-creation', async () => {
        await create(store, NODE);
        await subscribe(store, NODE, ALICE);
        await publish(store, NODE, 'a');
        const deleted = await commit(store, NODE, {
          kind: 'delete',
          publisher: OWNER,
          stampMs: T0,
          notify: true,
          redirect: 'xmpp:x',
        });
        expect(deleted.entries).toMatchObject([{ seq: 2, kind: 'deleted', redirect: 'xmpp:x', notify: true }]);
        expect(await store.record(NODE)).toBeUndefined();
        expect(await store.tombstone(NODE)).toEqual({ head: deleted.record.head, redirect: 'xmpp:x' });
        expect((await log()).map(({ kind, isWithdrawn }) => [kind, isWithdrawn])).toEqual([
          ['published', true],
          ['deleted', false],
        ]);
        expect(await store.commit(NODE, {}, publication(['b']))).toBe('gone');
        expect(await store.subscriptions(NODE)).toEqual([]);
        store = await adapter.reopen();
        const again = await create(store, NODE);
        expect(again.head).toEqual(deleted.record.head);
        expect(await store.tombstone(NODE)).toBeUndefined();
        expect(await ids({ max: 9 })).toEqual({ ids: [], count: 0, index: 0 });
        expect((await publish(store, NODE, 'b'))[0]).toMatchObject({ seq: 3, prevUid: deleted.record.head.uid });
      });

      it('keeps the topic in the index of its subscribers until they were told, not in that of others', async () => {
        await create(store, NODE);
        await subscribe(store, NODE, ALICE);
        await commit(store, NODE, { kind: 'delete', publisher: OWNER, stampMs: T0, notify: true });
        expect(await store.topicsOf(ALICE)).toEqual([NODE]);
        expect(await store.topicsOf(OWNER)).toEqual([]);
        await store.forgetTopic(ALICE, NODE);
        expect(await store.topicsOf(ALICE)).toEqual([]);
        await create(store, NODE);
        await store.forgetTopic(OWNER, NODE);
        expect(await store.topicsOf(OWNER)).toEqual([NODE]);
      });
    });

    describe('positions, delivery.md §5', () => {
      const at = (entry: { seq: number; uid: string }) => ({ seq: entry.seq, uid: entry.uid });
      const step = (more: Partial<Parameters<PositionStore['update']>[1]>) =>
        store.update(NODE, { instance: 'i1', settle: new Map(), delegate: new Map(), ...more });

      it('merges by maximum and survives reopening', async () => {
        await create(store, NODE);
        await subscribe(store, NODE, ALICE);
        const made = await publish(store, NODE, 'a', 'b', 'c');
        expect(await store.position(NODE, ALICE)).toEqual({ seq: 0, uid: '' });
        expect(await step({ settle: new Map([[ALICE, at(made[1]!)]]) })).toEqual({ refused: [] });
        await step({ settle: new Map([[ALICE, at(made[0]!)]]) });
        store = await adapter.reopen();
        expect(await store.position(NODE, ALICE)).toEqual(at(made[1]!));
      });

      it('refuses what is not the log’s: another uid, past the head, no subscription', async () => {
        await create(store, NODE);
        await subscribe(store, NODE, ALICE);
        const [first] = await publish(store, NODE, 'a');
        expect(await step({ settle: new Map([[ALICE, { seq: 1, uid: 'f'.repeat(16) }]]) })).toEqual({ refused: [ALICE] });
        expect(await step({ settle: new Map([[ALICE, { seq: 2, uid: first!.uid }]]) })).toEqual({ refused: [ALICE] });
        expect(await step({ settle: new Map([[BOB, at(first!)]]) })).toEqual({ refused: [BOB] });
        const all = { settle: new Map([[ALICE, at(first!)]]), watermark: { seq: 1, uid: 'other' } };
        expect(await step(all)).toEqual({ refused: [''] });
        expect(await store.position(NODE, ALICE)).toEqual({ seq: 0, uid: '' });
        expect(await store.position(NODE, BOB)).toBeUndefined();
        expect(await store.update('none', { instance: 'i', settle: new Map(), delegate: new Map() })).toBe('gone');
      });

      it('follows the watermark of the instance it is delegated to, until it is settled', async () => {
        await create(store, NODE);
        await subscribe(store, NODE, ALICE);
        await subscribe(store, NODE, BOB);
        const made = await publish(store, NODE, 'a', 'b', 'c');
        await step({ delegate: new Map([[ALICE, at(made[0]!)]]), watermark: at(made[0]!) });
        await step({ watermark: at(made[1]!) });
        expect(await store.position(NODE, ALICE)).toEqual(at(made[1]!));
        expect(await store.position(NODE, BOB)).toEqual({ seq: 0, uid: '' });
        await step({ settle: new Map([[ALICE, at(made[1]!)]]) });
        await step({ watermark: at(made[2]!) });
        expect(await store.position(NODE, ALICE)).toEqual(at(made[1]!));
      });

      it('does not delegate one that stands below the watermark: it would lose what it has not seen', async () => {
        await create(store, NODE);
        await subscribe(store, NODE, ALICE);
        await subscribe(store, NODE, BOB);
        const made = await publish(store, NODE, 'a', 'b', 'c');
        await step({ delegate: new Map([[ALICE, at(made[2]!)]]), watermark: at(made[2]!) });
        await step({ delegate: new Map([[BOB, at(made[0]!)]]) });
        expect(await store.position(NODE, BOB)).toEqual(at(made[0]!));
      });

      it('keeps what a dead instance knew, and drops the position with the subscription', async () => {
        await create(store, NODE);
        await subscribe(store, NODE, ALICE);
        const made = await publish(store, NODE, 'a', 'b');
        await step({ delegate: new Map([[ALICE, at(made[0]!)]]), watermark: at(made[0]!) });
        await step({ watermark: at(made[1]!) });
        await store.update(NODE, {
          instance: 'i2',
          settle: new Map(),
          delegate: new Map([[ALICE, at(made[0]!)]]),
          watermark: at(made[0]!),
        });
        expect(await store.position(NODE, ALICE)).toEqual(at(made[1]!));
        await commit(store, NODE, { kind: 'own-subscription', jid: ALICE, state: 'none', stampMs: T0 });
        await publish(store, NODE, 'c');
        await subscribe(store, NODE, ALICE);
        expect((await store.position(NODE, ALICE))!.seq).toBe(3);
      });
    });

    describe('retention, delivery.md §9.1', () => {
      const MINUTE = 60_000;
      const publishAt = (itemId: string, minute: number, bytes = 10) =>
        store.commit(
          NODE,
          {},
          {
            kind: 'publish',
            items: [{ itemId, payload: { bytes: Buffer.alloc(bytes, 120) } }],
            publisher: OWNER,
            stampMs: T0 + minute * MINUTE,
          },
        );
      const reopenWith = async (retention: Partial<LogRetention>) => {
        await adapter.destroy();
        await openWith(retention);
        await create(store, NODE);
      };

      it('trims by number, never entries younger than the minimum age, and retained items stay whole', async () => {
        await reopenWith({ maxEntries: 2 });
        for (const [i, minute] of [0, 1, 2, 3, 20].entries()) await publishAt(`item ${i}`, minute);
        const page = await store.readLog(NODE, { seq: 0, uid: '' }, 99, 1 << 20);
        expect(page).toMatchObject({ firstSeq: 4 });
        expect((await log()).map((entry) => entry.seq)).toEqual([4, 5]);
        expect(await ids({ max: 9 })).toMatchObject({ count: 5 });
        expect((await store.itemsById(NODE, ['item 0']))[0]!.payload!.bytes).toHaveLength(10);
      });

      it('answers a publish over the byte maximum with StoreFull while nothing may be trimmed, and changes nothing', async () => {
        await reopenWith({ maxBytes: 5_000 });
        await publishAt('a', 0, 3_000);
        await expect(publishAt('b', 5, 3_000)).rejects.toThrow(StoreFull);
        await expect(publishAt('b', 5, 3_000)).rejects.toMatchObject({ what: 'topic-bytes' });
        expect((await store.head(NODE))!.seq).toBe(1);
        expect(await ids({ max: 9 })).toMatchObject({ ids: ['a'] });
        expect(await publishAt('b', 10, 3_000)).toMatchObject({ kind: 'done' });
        expect((await log()).map((entry) => entry.seq)).toEqual([2]);
      });

      it('a withdrawn payload counts no more', async () => {
        await reopenWith({ maxBytes: 5_000 });
        await publishAt('a', 0, 3_000);
        await commit(store, NODE, { kind: 'retract', itemIds: ['a'], publisher: OWNER, stampMs: T0, notify: false });
        await publishAt('b', 1, 3_000);
        await commit(store, NODE, { kind: 'purge', publisher: OWNER, stampMs: T0, notify: false });
        expect(await publishAt('c', 2, 3_000)).toMatchObject({ kind: 'done' });
      });
    });
  });
}
