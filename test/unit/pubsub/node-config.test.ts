import { NodeConfigForm, type Profile, type TopicConfig } from '@xmpp-grid/pubsub';
import type { Element } from '@xmpp-grid/stream';
import { describe, expect, it } from 'vitest';
import { errorOf, parse } from '../../support/stanzas.ts';
import { configForm, DEFAULTS } from './support/broker-harness.ts';

const LIMITS = { maxItems: 500, maxPayloadBytes: 4096 };
const form = (profile: Profile = 'grid') => new NodeConfigForm(profile, LIMITS);
const x = (xml: string): Element => parse(xml);
const CONFIG: TopicConfig = { ...DEFAULTS, maxPayloadSize: 1000 };

function submit(fields: Readonly<Record<string, string>>, profile: Profile = 'grid'): TopicConfig | string | undefined {
  try {
    return form(profile).apply(x(configForm(fields)), CONFIG);
  } catch (error) {
    return errorOf((error as { toElement(): Element }).toElement());
  }
}

const FIELDS: [string, string, keyof TopicConfig, unknown][] = [
  ['title', 'T', 'title', 'T'],
  ['title', '', 'title', ''],
  ['description', 'D', 'description', 'D'],
  ['type', 'urn:x', 'type', 'urn:x'],
  ['access_model', 'whitelist', 'accessModel', 'whitelist'], // P-N01
  ['publish_model', 'subscribers', 'publishModel', 'subscribers'], // P-N21
  ['publish_model', 'open', 'publishModel', 'open'],
  ['persist_items', '0', 'persistItems', false], // P-N19
  ['persist_items', 'false', 'persistItems', false],
  ['max_items', '1', 'maxItems', 1], // P-N11
  ['max_items', '500', 'maxItems', 500],
  ['max_items', 'max', 'maxItems', 500], // P-F10, version 1.20.0
  ['max_payload_size', '4096', 'maxPayloadSize', 4096], // P-N12
  ['deliver_payloads', 'false', 'deliverPayloads', false], // P-N06
  ['notification_type', 'headline', 'notificationType', 'headline'], // P-N14
  ['notification_type', 'chat', 'notificationType', 'chat'],
  ['notify_config', 'true', 'notifyConfig', true], // P-N15
  ['notify_delete', '0', 'notifyDelete', false], // P-N16
  ['notify_retract', '0', 'notifyRetract', false], // P-N17
  ['send_last_published_item', 'never', 'sendLastPublishedItem', 'never'], // P-N25
];

describe('the configuration form takes, XEP-0060 §16.4.4 (P-N rows)', () => {
  it.each(FIELDS)('pubsub#%s = "%s"', (name, value, key, want) => {
    expect(submit({ [name]: value })).toEqual({ ...CONFIG, [key]: want });
  });

  it('a whole form, changing several fields at once', () => {
    expect(submit({ title: 'A', max_items: '3', notify_config: '1' })).toEqual({
      ...CONFIG,
      title: 'A',
      maxItems: 3,
      notifyConfig: true,
    });
  });

  it('names of nobody, which it ignores (XEP-0004 §3.1, X-019)', () => {
    expect(submit({ never_heard_of: '1' })).toEqual(CONFIG);
    expect(
      form().apply(x(configForm({}).replace('</x>', `<field var='{urn:mine}x'><value>1</value></field></x>`)), CONFIG),
    ).toEqual(CONFIG);
  });

  it.each([
    ['deliver_notifications', '1'],
    ['deliver_notifications', 'true'],
    ['item_expire', 'max'],
    ['node_type', 'leaf'],
    ['notify_sub', 'false'],
    ['presence_based_delivery', '0'],
    ['purge_offline', '0'],
    ['subscribe', 'true'],
    ['tempsub', '0'],
    ['body_xslt', ''],
    ['language', ''],
    ['itemreply', 'publisher'],
    ['publish_node_full', 'retract-oldest'],
  ])('pubsub#%s = "%s", which is what it does anyway', (name, value) => {
    expect(submit({ [name]: value })).toEqual(CONFIG);
  });
});

describe('the configuration form refuses, XEP-0060 §8.2.5.2 (P-E071)', () => {
  it.each([
    ['persist_items', 'yes'],
    ['persist_items', ''],
    ['max_items', '0'],
    ['max_items', '501'],
    ['max_items', '-1'],
    ['max_items', '1.5'],
    ['max_items', 'many'],
    ['max_items', ''],
    ['max_payload_size', '4097'],
    ['max_payload_size', 'max'],
    ['title', 'x'.repeat(1025)],
    ['title', 'two\nlines'],
    ['publish_model', 'everybody'],
    ['notification_type', 'loud'],
    ['send_last_published_item', 'on_sub'],
    ['deliver_notifications', '0'],
    ['item_expire', '604800'],
    ['purge_offline', '1'],
    ['presence_based_delivery', 'true'],
    ['tempsub', '1'],
    ['subscribe', '0'],
    ['body_xslt', 'http://example.com/x.xslt'],
    ['publish_node_full', 'reject'],
    ['itemreply', 'owner'],
    ['roster_groups_allowed', 'friends'],
  ])('pubsub#%s = "%s"', (name, value) => {
    expect(submit({ [name]: value })).toBe('modify not-acceptable');
  });

  it.each([
    ['grid', 'open'],
    ['grid', 'presence'],
    ['compat', 'roster'],
  ] as const)('in profile %s access model %s (P-E065)', (profile, model) => {
    expect(submit({ access_model: model }, profile)).toBe('modify not-acceptable+unsupported-access-model');
  });

  it('a field given twice, or with two values', () => {
    const field = `<field var='pubsub#title'><value>a</value></field>`;
    for (const more of [field + field, `<field var='pubsub#title'><value>a</value><value>b</value></field>`, '<field/>']) {
      expect(() => form().apply(x(configForm({}).replace('</x>', `${more}</x>`)), CONFIG)).toThrow(/not-acceptable/);
    }
  });
});

describe('the configuration form shows', () => {
  const render = (profile: Profile) => form(profile).render(CONFIG);

  it('a FORM_TYPE, and for every field a type and a label (X-020)', () => {
    for (const field of render('grid').getChildren('field').slice(1))
      expect(Object.keys(field.attrs)).toEqual(['var', 'type', 'label']);
    expect(render('grid').getChild('field')!.toString()).toBe(
      '<field var="FORM_TYPE" type="hidden"><value>http://jabber.org/protocol/pubsub#node_config</value></field>',
    );
  });

  it.each<[Profile, string[]]>([
    ['grid', ['authorize', 'whitelist']],
    ['compat', ['authorize', 'whitelist', 'open']],
  ])('in profile %s the access models %s (RFC 8600 §8.3.4)', (profile, models) => {
    const field = render(profile).getChildByAttr('var', 'pubsub#access_model')! as Element;
    expect(field.getChildren('option').map((option) => option.getChildText('value'))).toEqual(models);
  });

  it('what it can read again: the shown values are the configuration', () => {
    const shown = render('grid');
    shown.attrs.type = 'submit';
    expect(form().apply(shown, DEFAULTS)).toEqual(CONFIG);
  });

  it('to subscribers names and values alone (§8.2.5.3, example 151)', () => {
    const result = form().renderResult(CONFIG);
    expect(result.attrs.type).toBe('result');
    for (const field of result.getChildren('field').slice(1)) expect(Object.keys(field.attrs)).toEqual(['var']);
    expect(result.getChildByAttr('var', 'pubsub#deliver_payloads')!.toString()).toBe(
      '<field var="pubsub#deliver_payloads"><value>1</value></field>',
    );
  });
});
