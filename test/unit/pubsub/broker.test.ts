import { StoreFull } from '@xmpp-grid/pubsub';
import type { Element } from '@xmpp-grid/stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { xep0060 } from '../../support/examples.ts';
import { canonical, errorOf } from '../../support/stanzas.ts';
import { BROKER, createNode, type Harness, openHarness, owner, pubsub } from './support/broker-harness.ts';

const HAMLET = 'hamlet@denmark.lit/elsinore';
const NODE = 'princely_musings';
const PUBLISH = pubsub(`<publish node='${NODE}'><item id='i'><a xmlns='u'/></item></publish>`);

let h: Harness;
beforeEach(async () => {
  h = await openHarness();
  await h.must(HAMLET, 'set', createNode(NODE));
});
afterEach(async () => {
  vi.restoreAllMocks();
  await h.close();
});

describe('requests that are not served', () => {
  it.each<[string, 'get' | 'set', string, string]>([
    [
      'get options, §6.3.4.6 (P-E026)',
      'get',
      pubsub(`<options node='${NODE}' jid='a@b'/>`),
      'cancel feature-not-implemented+unsupported[subscription-options]',
    ],
    [
      'set options, §6.3.4.6 (P-E026)',
      'set',
      pubsub(`<options node='${NODE}' jid='a@b'/>`),
      'cancel feature-not-implemented+unsupported[subscription-options]',
    ],
    [
      'default subscription options, §6.4.3.2 (P-E030)',
      'get',
      pubsub(`<default node='${NODE}'/>`),
      'cancel feature-not-implemented+unsupported[retrieve-default-sub]',
    ],
    [
      'get-pending, §8.7.3.1 (P-E080)',
      'set',
      `<command xmlns='http://jabber.org/protocol/commands' node='http://jabber.org/protocol/pubsub#get-pending' action='execute'/>`,
      'cancel service-unavailable',
    ],
    ['<configure/> before <create/>, §8.1.3 (P-B23)', 'set', pubsub('<configure/><create/>'), 'modify bad-request'],
    ['an empty <pubsub/>', 'set', pubsub(''), 'modify bad-request'],
    ['an unknown element', 'set', pubsub('<frobnicate/>'), 'modify bad-request'],
    ['a name of Object.prototype', 'set', pubsub('<constructor/>'), 'modify bad-request'],
    ['publish by get', 'get', PUBLISH, 'modify bad-request'],
    ['items by set', 'set', pubsub(`<items node='${NODE}'/>`), 'modify bad-request'],
    ['an owner verb in the other namespace', 'set', pubsub(`<delete node='${NODE}'/>`), 'modify bad-request'],
    ['another namespace, RFC 6120 §8.4', 'get', `<query xmlns='jabber:iq:search'/>`, 'cancel service-unavailable'],
    [
      'another element of a known namespace',
      'get',
      `<x xmlns='http://jabber.org/protocol/pubsub'/>`,
      'cancel service-unavailable',
    ],
  ])('%s', async (_, type, child, want) => {
    expect(errorOf(await h.request(HAMLET, type, child))).toBe(want);
  });

  it('example 62: the exact error of subscription options', async () => {
    const answer = await h.request(
      'francisco@denmark.lit/barracks',
      'get',
      pubsub(`<options node='${NODE}' jid='francisco@denmark.lit'/>`),
      'options1',
    );
    expect(canonical(answer)).toBe(canonical(xep0060(62)));
  });

  it('a ping is answered (XEP-0199 §4.2, X-029)', async () => {
    expect(canonical(await h.request(HAMLET, 'get', `<ping xmlns='urn:xmpp:ping'/>`))).toBe(
      canonical(`<iq type='result' from='${BROKER}' to='${HAMLET}' id='1'/>`),
    );
  });
});

describe('a topic that changes while a request is decided (delivery.md §2.1)', () => {
  it('is decided again from what is there then', async () => {
    const commit = h.store.commit.bind(h.store);
    let meddled = false;
    vi.spyOn(h.store, 'commit').mockImplementation(async (node, guard, change) => {
      if (change.kind === 'publish' && !meddled) {
        meddled = true;
        await h.must(
          HAMLET,
          'set',
          owner(`<affiliations node='${NODE}'><affiliation jid='bard@shakespeare.lit' affiliation='outcast'/></affiliations>`),
        );
      }
      return await commit(node, guard, change);
    });
    await h.must(
      HAMLET,
      'set',
      owner(`<affiliations node='${NODE}'><affiliation jid='bard@shakespeare.lit' affiliation='publisher'/></affiliations>`),
    );
    expect(errorOf(await h.request('bard@shakespeare.lit/x', 'set', PUBLISH))).toBe('auth forbidden');
    expect(await h.store.items(NODE, { max: 1 })).toMatchObject({ count: 0 });
  });

  it('answers a wait error when that goes on without end', async () => {
    const commit = vi.spyOn(h.store, 'commit').mockResolvedValue('stale');
    expect(errorOf(await h.request(HAMLET, 'set', PUBLISH))).toBe('wait resource-constraint');
    expect(commit).toHaveBeenCalledTimes(8);
  });

  it.each<[string, string]>([
    ['publish', PUBLISH],
    ['subscribe', pubsub(`<subscribe node='${NODE}' jid='hamlet@denmark.lit'/>`)],
    ['delete', owner(`<delete node='${NODE}'/>`)],
  ])('answers item-not-found when the topic goes in between: %s', async (_, child) => {
    vi.spyOn(h.store, 'commit').mockResolvedValue('gone');
    expect(errorOf(await h.request(HAMLET, 'set', child))).toBe('cancel item-not-found');
  });
});

describe('a store without room (RFC 6120 §8.3.3.18)', () => {
  it.each(['topic-bytes', 'disk'] as const)('%s: the publish is answered with a wait error', async (what) => {
    vi.spyOn(h.store, 'commit').mockRejectedValue(new StoreFull(what, 'full'));
    const answer = await h.request(HAMLET, 'set', PUBLISH);
    expect(errorOf(answer)).toBe('wait resource-constraint');
    expect(await h.registry.getSingleMetricAsString('xmppgrid_pubsub_publish_total')).toContain('result="unavailable"} 1');
  });
});

describe('a request that was too long to read', () => {
  const path = (...names: string[]) => names.map((name) => ({ ns: 'http://jabber.org/protocol/pubsub', name }));
  const tooBig = (names: string[]): string => errorOf(h.broker.tooBig!(path(...names), 1000).toElement() as Element);

  it('§7.1.3.5: a publish has too big a payload (P-E047)', () => {
    expect(tooBig(['pubsub', 'publish', 'item'])).toBe('modify not-acceptable+payload-too-big');
  });

  it('anything else broke a policy (RFC 6120 §8.3.3.12)', () => {
    expect(tooBig(['pubsub', 'create'])).toBe('modify policy-violation');
    expect(tooBig([])).toBe('modify policy-violation');
  });
});

describe('metrics', () => {
  it('time each operation under its closed label', async () => {
    await h.request(HAMLET, 'get', pubsub(`<items node='${NODE}'/>`));
    await h.request(HAMLET, 'get', pubsub('<frobnicate/>'));
    await h.request(HAMLET, 'get', `<query xmlns='http://jabber.org/protocol/disco#items'/>`);
    const text = await h.registry.getSingleMetricAsString('xmppgrid_stanza_seconds');
    for (const operation of ['create', 'items', 'other', 'disco'])
      expect(text).toContain(`xmppgrid_stanza_seconds_count{op="${operation}"} 1`);
  });

  it('count decisions of roles and of affiliations', async () => {
    await h.request('bernardo@denmark.lit/x', 'set', PUBLISH);
    const text = await h.registry.getSingleMetricAsString('xmppgrid_policy_decisions_total');
    expect(text).toContain('{action="publish",decision="allow",rule_class="role"} 1');
    expect(text).toContain('{action="publish",decision="deny",rule_class="affiliation"} 1');
  });
});
