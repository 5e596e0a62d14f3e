import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Standings } from '../../../packages/pubsub/src/access/standings.ts';
import { errorOf } from '../../support/stanzas.ts';
import { configForm, createNode, DEFAULTS, type Harness, openHarness, owner, pubsub } from './support/broker-harness.ts';

/** Whoever published before is judged by what that publish read; what changed since must count all the same. */

const HAMLET = 'hamlet@denmark.lit/blogbot';
const FRANCISCO = 'francisco@denmark.lit/barracks';
const NODE = 'princely_musings';
const ENTRY = `<entry xmlns='http://www.w3.org/2005/Atom'/>`;

let h: Harness;
beforeEach(async () => {
  h = await openHarness();
  await h.must(HAMLET, 'set', createNode(NODE));
  await affiliate('publisher');
  await h.must(FRANCISCO, 'set', publish, 'first');
});
afterEach(() => h.close());

const publish = pubsub(`<publish node='${NODE}'><item id='i'>${ENTRY}</item></publish>`);
const again = async (id: string) => {
  const answer = await h.request(FRANCISCO, 'set', publish, id);
  return answer.attrs.type === 'result' ? 'result' : errorOf(answer);
};
const affiliate = (affiliation: string) =>
  h.must(
    HAMLET,
    'set',
    owner(`<affiliations node='${NODE}'><affiliation jid='francisco@denmark.lit' affiliation='${affiliation}'/></affiliations>`),
  );
const configure = (fields: Record<string, string>) =>
  h.must(HAMLET, 'set', owner(`<configure node='${NODE}'>${configForm(fields)}</configure>`));

describe('a publisher who published before (design D5, delivery.md §2.1)', () => {
  it('asks the store for nothing but the change', async () => {
    const record = vi.spyOn(h.store, 'record');
    const affiliation = vi.spyOn(h.store, 'affiliation');
    expect(await again('second')).toBe('result');
    expect(record).not.toHaveBeenCalled();
    expect(affiliation).not.toHaveBeenCalled();
    expect((await h.store.itemsById(NODE, ['i']))[0]!.entry.seq).toBe((await h.store.record(NODE))!.head.seq);
  });

  it.each(['none', 'outcast'])('is refused once it is %s, for a request sent again too (P-E043)', async (affiliation) => {
    await affiliate(affiliation);
    h.denied();
    expect(await again('second')).toBe('auth forbidden');
    expect(h.denied()).toHaveLength(1);
    expect(await again('first')).toBe('auth forbidden');
  });

  it('goes on with another affiliation that allows it', async () => {
    await affiliate('publish-only');
    expect(await again('second')).toBe('result');
  });

  it('is held to the configuration of now, stricter or looser (§7.1.3)', async () => {
    await configure({ type: 'urn:ietf:params:xml:ns:iodef-2.0' });
    expect(await again('second')).toBe('modify bad-request+invalid-payload');
    await configure({ type: '' });
    expect(await again('third')).toBe('result');
  });

  it('is not refused for what no longer counts', async () => {
    await configure({ max_payload_size: '1' });
    expect(await again('second')).toBe('modify not-acceptable+payload-too-big');
    await configure({ max_payload_size: String(DEFAULTS.maxPayloadSize) });
    expect(await again('third')).toBe('result');
  });

  it('finds a deleted topic gone (P-E045), and another of the same name not its own', async () => {
    await h.must(HAMLET, 'set', owner(`<delete node='${NODE}'/>`));
    expect(await again('second')).toBe('cancel item-not-found');
    await h.must(HAMLET, 'set', createNode(NODE));
    expect(await again('third')).toBe('auth forbidden');
  });

  it('is asked for its subscription each time where that decides (§16.4.4)', async () => {
    await configure({ publish_model: 'subscribers' });
    await affiliate('none');
    await affiliate('member');
    expect(await again('second')).toBe('auth forbidden');
    await h.must(FRANCISCO, 'set', pubsub(`<subscribe node='${NODE}' jid='francisco@denmark.lit'/>`));
    expect(await again('third')).toBe('result');
    expect(await again('fourth')).toBe('result');
    await h.must(FRANCISCO, 'set', pubsub(`<unsubscribe node='${NODE}' jid='francisco@denmark.lit'/>`));
    expect(await again('fifth')).toBe('auth forbidden');
  });

  it('is counted like everybody (X-028)', async () => {
    expect(await again('second')).toBe('result');
    const text = await h.registry.getSingleMetricAsString('xmppgrid_policy_decisions_total');
    const allowed = [...text.matchAll(/\{[^}]*action="publish"[^}]*\} (\d+)/g)].map(([, count]) => Number(count));
    expect(allowed).toEqual([2, 2]);
  });
});

describe('standings', () => {
  it('are bounded: the oldest go first', async () => {
    const record = (await h.store.record(NODE))!;
    const standings = new Standings(2);
    for (const account of ['a@x', 'b@x', 'a@x', 'c@x']) standings.keep(NODE, account, { record, stored: 'publisher' });
    expect(['a@x', 'b@x', 'c@x'].map((account) => standings.get(NODE, account) !== undefined)).toEqual([true, false, true]);
  });
});
