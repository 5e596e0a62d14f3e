/** Requests of the model as XML, and answers and messages as the one-line texts that the model speaks. */

import { type Element, NS } from '@xmpp-grid/stream';
import { errorOf } from '../support/stanzas.ts';
import { isMarkerNode } from './marker-topic.ts';
import { type Entry, type Fields, payloadXml, type Request } from './reference.ts';

const escapeXml = (text: string): string => text.replace(/[&<>'"]/g, (character) => `&#${character.charCodeAt(0)};`);
const attribute = (name: string, value: string | undefined): string =>
  value === undefined ? '' : ` ${name}='${escapeXml(value)}'`;

const pubsub = (child: string): string => `<pubsub xmlns='${NS.pubsub}'>${child}</pubsub>`;
const owner = (child: string): string => `<pubsub xmlns='${NS.pubsubOwner}'>${child}</pubsub>`;

function form(formType: string, fields: Readonly<Record<string, string>>, type = 'submit'): string {
  const rest = Object.entries(fields)
    .map(([name, value]) => `<field var='pubsub#${name}'><value>${escapeXml(value)}</value></field>`)
    .join('');
  return `<x xmlns='jabber:x:data' type='${type}'><field var='FORM_TYPE' type='hidden'><value>${formType}</value></field>${rest}</x>`;
}
const configuration = (fields: Fields, type?: string): string => form(`${NS.pubsub}#node_config`, fields, type);

/** Names of items that the service chose stand in requests as labels; `idOf` knows what they are. */
export function requestXml(request: Request, idOf: (label: string) => string): { type: 'get' | 'set'; xml: string } {
  const get = (xml: string) => ({ type: 'get' as const, xml });
  const set = (xml: string) => ({ type: 'set' as const, xml });
  switch (request.verb) {
    case 'create': {
      const configure = Object.keys(request.fields).length === 0 ? '' : `<configure>${configuration(request.fields)}</configure>`;
      return set(pubsub(`<create node='${request.node}'/>${configure}`));
    }
    case 'configuration':
      return get(owner(`<configure node='${request.node}'/>`));
    case 'defaults':
      return get(owner('<default/>'));
    case 'configure':
      return set(
        owner(
          `<configure node='${request.node}'>${
            request.fields === 'cancel' ? configuration({}, 'cancel') : configuration(request.fields)
          }</configure>`,
        ),
      );
    case 'delete': {
      const redirect = request.redirect === undefined ? '' : `<redirect uri='${escapeXml(request.redirect)}'/>`;
      return set(owner(`<delete node='${request.node}'>${redirect}</delete>`));
    }
    case 'subscribe':
    case 'unsubscribe':
      return set(pubsub(`<${request.verb} node='${request.node}'${attribute('jid', request.jid)}/>`));
    case 'publish': {
      const { item } = request;
      if (item === undefined) return set(pubsub(`<publish node='${request.node}'/>`));
      const payloads = item.payloads.map(({ ns, text }) => payloadXml(ns, text)).join('');
      return set(
        pubsub(
          `<publish node='${request.node}'><item${attribute('id', item.id === undefined ? undefined : idOf(item.id))}>${payloads}</item></publish>`,
        ),
      );
    }
    case 'retract': {
      const item = request.itemId === undefined ? '<item/>' : `<item${attribute('id', idOf(request.itemId))}/>`;
      return set(pubsub(`<retract node='${request.node}'${request.notify ? " notify='true'" : ''}>${item}</retract>`));
    }
    case 'purge':
      return set(owner(`<purge node='${request.node}'/>`));
    case 'items': {
      const ids = (request.ids ?? []).map((id) => `<item${attribute('id', idOf(id))}/>`).join('');
      return get(pubsub(`<items node='${request.node}'${attribute('max_items', request.max?.toString())}>${ids}</items>`));
    }
    case 'subscriptions':
    case 'affiliations':
      return get(pubsub(`<${request.verb}${attribute('node', request.node)}/>`));
    case 'owner-subscriptions':
      return get(owner(`<subscriptions node='${request.node}'/>`));
    case 'owner-affiliations':
      return get(owner(`<affiliations node='${request.node}'/>`));
    case 'set-subscriptions':
      return set(owner(`<subscriptions node='${request.node}'>${entriesXml('subscription', request.entries)}</subscriptions>`));
    case 'set-affiliations':
      return set(owner(`<affiliations node='${request.node}'>${entriesXml('affiliation', request.entries)}</affiliations>`));
    case 'authorize':
      throw new Error('an owner answers by message');
  }
}

const entriesXml = (name: string, entries: readonly Entry[]): string =>
  entries.map(({ jid, value }) => `<${name}${attribute('jid', jid)}${attribute(name, value)}/>`).join('');

/** An owner's answer to a request to subscribe (XEP-0060 §8.6). */
export function authorizationXml(
  { node, jid, allow }: { readonly node: string; readonly jid: string; readonly allow: 'yes' | 'no' | 'cancel' },
  broker: string,
  id: string,
): string {
  const fields = { node, subscriber_jid: jid, allow: allow === 'yes' ? '1' : '0' };
  const x = form(
    `${NS.pubsub}#subscribe_authorization`,
    allow === 'cancel' ? {} : fields,
    allow === 'cancel' ? 'cancel' : 'submit',
  );
  return `<message to='${broker}' id='${id}'>${x}</message>`;
}

/** The item id in the answer to a publish. */
export function publishedId(answer: Element): string | undefined {
  return answer.getChild('pubsub')?.getChild('publish')?.getChild('item')?.attrs.id as string | undefined;
}

/** The answer in one line. */
export function answerLine(request: Request, answer: Element, labelOf: (id: string) => string): string {
  const body = answer.getChild('pubsub');
  const list = body?.getChildElements()[0];
  const entries = (name: 'subscription' | 'affiliation', withNode: boolean): string =>
    (list?.getChildElements() ?? [])
      .filter(({ attrs }) => !isMarkerNode(attrs.node as string | undefined))
      .map(({ attrs }) =>
        [
          ...(withNode ? [attrs.node ?? list?.attrs.node] : []),
          ...(name === 'subscription' || !withNode ? [attrs.jid] : []),
          attrs[name],
        ].join(' '),
      )
      .sort()
      .join('; ');
  if (answer.attrs.type === 'error') {
    const error = `error ${errorOf(answer)}`;
    if (request.verb === 'set-subscriptions' && list !== undefined) return `${error} ${entries('subscription', false)}`;
    if (request.verb === 'set-affiliations' && list !== undefined) return `${error} ${entries('affiliation', false)}`;
    return error;
  }
  switch (request.verb) {
    case 'subscribe':
    case 'unsubscribe':
      return list === undefined ? 'result' : `result ${list?.attrs.node} ${list?.attrs.jid} ${list?.attrs.subscription}`;
    case 'publish': {
      const id = publishedId(answer);
      return id === undefined ? 'result' : `result ${list?.attrs.node} ${labelOf(id)}`;
    }
    case 'items':
      return `result ${(list?.getChildElements() ?? [])
        .filter(({ name }) => name === 'item')
        .map((item) => `${labelOf(item.attrs.id as string)} by ${item.attrs.publisher} ${payloadOf(item)}`)
        .join('; ')}`;
    case 'subscriptions':
      return `result ${entries('subscription', true)}`;
    case 'affiliations':
      return `result ${entries('affiliation', true)}`;
    case 'owner-subscriptions':
      return `result ${entries('subscription', false)}`;
    case 'owner-affiliations':
      return `result ${entries('affiliation', false)}`;
    case 'configuration':
    case 'defaults':
      return `result ${list === undefined ? 'nothing' : fieldsOf(list)}`;
    default:
      return body === undefined || body === null ? 'result' : `result ${body}`;
  }
}

function payloadOf(item: Element): string {
  return item
    .getChildElements()
    .map((payload) => `${payload.getNS()}|${payload.text()}`)
    .join();
}

function fieldsOf(wrapper: Element): string {
  return (wrapper.getChild('x', 'jabber:x:data')?.getChildren('field') ?? [])
    .filter((field) => field.attrs.var !== 'FORM_TYPE')
    .map((field) => `${(field.attrs.var as string).replace(/^pubsub#/, '')}=${field.getChildText('value') ?? ''}`)
    .sort()
    .join(' ');
}

/** A message as the model speaks of it. */
export interface Heard {
  readonly to: string;
  readonly from: string;
  readonly node: string;
  readonly says: string;
  readonly type: string;
  /** The position in the topic's log, for what has one. */
  readonly number: number | undefined;
  readonly id: string;
}

export function hear(message: Element, labelOf: (id: string) => string): Heard {
  const { node, says } = sayingOf(message, labelOf);
  return {
    to: (message.attrs.to as string | undefined) ?? '',
    from: (message.attrs.from as string | undefined) ?? '',
    node,
    says,
    type: (message.attrs.type as string | undefined) ?? 'normal',
    number: numberOf(message),
    id: (message.attrs.id as string | undefined) ?? '',
  };
}

/** delivery.md §1.2: `SEQ-UID`; a gap says which entry it stands for. */
function numberOf(message: Element): number | undefined {
  const gap = message.getChildElements().find(({ name }) => name === 'gap');
  if (gap) return Number(gap.attrs.from);
  const id = message.getChild('stanza-id', 'urn:xmpp:sid:0')?.attrs.id as string | undefined;
  return id === undefined ? undefined : Number(id.split('-', 1)[0]);
}

function sayingOf(message: Element, labelOf: (id: string) => string): { node: string; says: string } {
  if (message.attrs.type === 'error') return { node: '', says: `bounce ${errorOf(message)}` };
  const x = message.getChild('x', 'jabber:x:data');
  if (x) {
    const value = (name: string) =>
      (x.getChildByAttr('var', `pubsub#${name}`) as Element | undefined)?.getChildText('value') ?? '';
    return { node: value('node'), says: `form ${value('subscriber_jid')}` };
  }
  const event = message.getChild('event', `${NS.pubsub}#event`);
  const gap = message.getChildElements().find((child) => child.name === 'gap');
  if (gap && !event) {
    const { node, from, to } = gap.attrs as { node?: string; from?: string; to?: string };
    // Entries of an episode are missed one by one: none is old enough to be trimmed.
    return { node: node ?? '', says: from === to ? 'gap' : `gap from ${from} to ${to}` };
  }
  if (!event) return { node: '', says: String(message) };
  const [child, ...more] = event.getChildElements();
  const node = (child?.attrs.node as string | undefined) ?? '';
  if (!child || more.length > 0) return { node, says: String(event) };
  switch (child.name) {
    case 'items': {
      const [item, ...others] = child.getChildElements();
      if (others.length > 0) return { node, says: String(event) };
      if (!item) return { node, says: 'items' };
      if (item.name === 'retract') return { node, says: `retract ${labelOf(item.attrs.id as string)}` };
      const payload = payloadOf(item);
      return {
        node,
        says: `item ${labelOf(item.attrs.id as string)} by ${item.attrs.publisher}${payload === '' ? '' : ` ${payload}`}`,
      };
    }
    case 'delete': {
      const uri = child.getChild('redirect')?.attrs.uri as string | undefined;
      return { node, says: uri === undefined ? 'delete' : `delete ${uri}` };
    }
    case 'configuration': {
      const fields = fieldsOf(child);
      return { node, says: fields === '' ? 'configuration' : `configuration ${fields}` };
    }
    case 'subscription':
      return { node, says: `subscription ${child.attrs.jid} ${child.attrs.subscription}` };
    default:
      return { node, says: child.name };
  }
}
