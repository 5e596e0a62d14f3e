import type { LogEntry, TopicRecord } from '@xmpp-grid/pubsub';
import { describe, expect, it } from 'vitest';
import { EventEncoder, eventPrefix, subscriptionTag } from '../../../packages/pubsub/src/delivery/event.ts';
import { config } from '../../support/topics.ts';

const NODE = 'princely_musings';
const JID = 'francisco@denmark.lit';
const encoder = new EventEncoder('pubsub.shakespeare.lit', () => "<x xmlns='jabber:x:data' type='result'/>");
const record = (changed: Parameters<typeof config>[0] = {}): TopicRecord => ({
  node: NODE,
  config: config(changed),
  creator: 'hamlet@denmark.lit',
  createdMs: 0,
  configToken: 'c',
  accessToken: 'a',
  head: { seq: 7, uid: '0123456789abcdef' },
});
const entry = (changed: Partial<LogEntry>): LogEntry => ({
  seq: 7,
  uid: '0123456789abcdef',
  prevUid: '',
  kind: 'published',
  stampMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
  accessToken: 'a',
  isWithdrawn: false,
  notify: true,
  ...changed,
});
const tag = subscriptionTag(NODE, JID);
const written = (changed: Partial<LogEntry>, isDelayed = false, of = record()) =>
  eventPrefix(NODE, JID).toString() + encoder.body(entry(changed), of, isDelayed).toString();
const start = `<message to='${JID}' id='${tag}.7-0123456789abcdef' from='pubsub.shakespeare.lit'`;
const event = "<event xmlns='http://jabber.org/protocol/pubsub#event'>";
const stanzaId = "<stanza-id xmlns='urn:xmpp:sid:0' by='pubsub.shakespeare.lit' id='7-0123456789abcdef'/></message>";
const item = {
  itemId: 'ae890ac5',
  publisher: 'hamlet@denmark.lit',
  payload: { bytes: Buffer.from('<entry>\u{1F600} &#13;</entry>') },
};

describe('events, XEP-0060', () => {
  it('§7.1.2.1 with payload, its bytes untouched, and the publisher that the service knows (G-033)', () => {
    expect(written(item)).toBe(
      `${start}>${event}<items node='${NODE}'><item id='ae890ac5' publisher='hamlet@denmark.lit'><entry>\u{1F600} &#13;</entry></item></items></event>${stanzaId}`,
    );
  });

  it('§7.1.2.2 without payload where the topic is configured so', () => {
    expect(written(item, false, record({ deliverPayloads: false }))).toBe(
      `${start}>${event}<items node='${NODE}'><item id='ae890ac5' publisher='hamlet@denmark.lit'/></items></event>${stanzaId}`,
    );
  });

  it('§4.3 a transient notification has no item (P-B06)', () => {
    expect(written({ itemId: '' })).toBe(`${start}>${event}<items node='${NODE}'/></event>${stanzaId}`);
  });

  it('XEP-0203 §2: one delay with the original time in UTC', () => {
    expect(written(item, true)).toContain(
      "</event><delay xmlns='urn:xmpp:delay' from='pubsub.shakespeare.lit' stamp='2026-01-02T03:04:05.678Z'/><stanza-id",
    );
  });

  it('puts the language in force at the provider on the message', () => {
    expect(written({ ...item, payload: { bytes: Buffer.from('<e/>'), lang: 'de' } })).toContain(`${start} xml:lang='de'>`);
  });

  it.each([
    ['normal', ''],
    ['headline', " type='headline'"],
  ] as const)('§16.4.4 notification_type %s', (notificationType, type) => {
    expect(written(item, false, record({ notificationType }))).toContain(`${start}${type}>`);
  });

  it.each<[string, Partial<LogEntry>, string]>([
    ['§7.2.2.1 retract', { kind: 'retracted', itemId: 'ae' }, `<items node='${NODE}'><retract id='ae'/></items>`],
    ['§8.5.2 purge', { kind: 'purged' }, `<purge node='${NODE}'/>`],
    ['§8.4.2 delete', { kind: 'deleted' }, `<delete node='${NODE}'/>`],
    [
      '§8.4.2 delete with redirect',
      { kind: 'deleted', redirect: 'xmpp:hamlet@denmark.lit?;node=blog' },
      `<delete node='${NODE}'><redirect uri='xmpp:hamlet@denmark.lit?;node=blog'/></delete>`,
    ],
    [
      '§8.2.5.3 configuration',
      { kind: 'configured' },
      `<configuration node='${NODE}'><x xmlns='jabber:x:data' type='result'/></configuration>`,
    ],
  ])('%s', (_, changed, child) => {
    expect(written(changed)).toBe(`${start}>${event}${child}</event>${stanzaId}`);
  });

  it('§8.2.5.3 configuration without the form in a notification-only topic', () => {
    expect(written({ kind: 'configured' }, false, record({ deliverPayloads: false }))).toContain(
      `${event}<configuration node='${NODE}'/></event>`,
    );
  });

  it('escapes whatever names come from outside', () => {
    expect(encoder.body(entry({ itemId: "<'&\n" }), { ...record(), node: "a'b" }, false).toString()).toContain(
      "<items node='a&apos;b'><item id='&lt;&apos;&amp;&#10;'/></items>",
    );
  });

  it('never writes an access entry', () => {
    expect(() => written({ kind: 'access' })).toThrow(TypeError);
  });
});
