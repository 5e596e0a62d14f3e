import { createHash } from 'node:crypto';
import { dateTime, escapeAttribute, NS } from '@xmpp-grid/stream';
import { type EntryId, entryIdText, type LogEntry } from '../log/entry.ts';
import type { TopicConfig } from '../store/topic-config.ts';
import type { TopicRecord } from '../store/topic-store.ts';

/** Renders the configuration as a data form of type result, serialised, for `<configuration/>` (XEP-0060 §8.2.5.3). */
export type RenderConfiguration = (config: TopicConfig) => string;

const TAG_CHARACTERS = 12;

/**
 * Names a subscription within message ids: the same entry has the same id whenever it is sent again, and no other
 * message of the service has it (delivery.md §1.2, XEP-0060 §12.4).
 */
export const subscriptionTag = (node: string, jid: string): string =>
  createHash('sha256').update(`${node}\u0000${jid}`).digest('base64url').slice(0, TAG_CHARACTERS);

/** The part of an event that differs between subscribers; `body` of an `EventEncoder` follows it. */
export const eventPrefix = (node: string, jid: string): Buffer =>
  Buffer.from(`<message to='${escapeAttribute(jid)}' id='${subscriptionTag(node, jid)}.`);

/**
 * Writes entries as events, once for all subscribers (design D4). A payload's bytes go in as they came: nothing between
 * provider and consumer parses them again.
 */
export class EventEncoder {
  readonly #from: string;
  readonly #renderConfiguration: RenderConfiguration | undefined;

  constructor(brokerDomain: string, renderConfiguration: RenderConfiguration | undefined) {
    this.#from = escapeAttribute(brokerDomain);
    this.#renderConfiguration = renderConfiguration;
  }

  /**
   * What follows the prefix of an event. `isDelayed`: the entry comes later than it happened, with its stamp (XEP-0203).
   * For entries that consumers are told of; the payload of `published` is left out when it was withdrawn or never stored.
   */
  body(entry: LogEntry, { node, config }: TopicRecord, isDelayed: boolean): Buffer {
    const id = entryIdText(entry);
    // XEP-0060 §16.4.4: normal or headline; normal is what a message without a type is (RFC 6121 §5.2.2).
    const type = config.notificationType === 'normal' ? '' : ` type='${config.notificationType}'`;
    // delivery.md §4.7: the language in force at the provider, never written into the payload.
    const lang = entry.payload?.lang === undefined ? '' : ` xml:lang='${escapeAttribute(entry.payload.lang)}'`;
    const head = `${id}' from='${this.#from}'${type}${lang}><event xmlns='${NS.pubsubEvent}'>`;
    const delay = isDelayed ? `<delay xmlns='${NS.delay}' from='${this.#from}' stamp='${dateTime(entry.stampMs)}'/>` : '';
    const tail = `</event>${delay}<stanza-id xmlns='${NS.stanzaIds}' by='${this.#from}' id='${id}'/></message>`;
    const name = escapeAttribute(node);
    switch (entry.kind) {
      case 'published': {
        // XEP-0060 §7.1.2.3: the publisher is named by the service alone.
        const publisher = entry.publisher === undefined ? '' : ` publisher='${escapeAttribute(entry.publisher)}'`;
        // XEP-0060 §4.3: a transient notification has no item at all.
        if (entry.itemId === undefined || entry.itemId === '') return Buffer.from(`${head}<items node='${name}'/>${tail}`);
        const item = `${head}<items node='${name}'><item id='${escapeAttribute(entry.itemId)}'${publisher}`;
        // XEP-0060 §7.1.2.2
        if (!entry.payload || !config.deliverPayloads) return Buffer.from(`${item}/></items>${tail}`);
        return Buffer.concat([Buffer.from(`${item}>`), entry.payload.bytes, Buffer.from(`</item></items>${tail}`)]);
      }
      case 'retracted': // XEP-0060 §7.2.2.1
        return Buffer.from(`${head}<items node='${name}'><retract id='${escapeAttribute(entry.itemId ?? '')}'/></items>${tail}`);
      case 'purged': // XEP-0060 §8.5.2
        return Buffer.from(`${head}<purge node='${name}'/>${tail}`);
      case 'deleted': // XEP-0060 §8.4.2
        return Buffer.from(`${head}${deleteElement(node, entry.redirect)}${tail}`);
      case 'configured': {
        // XEP-0060 §8.2.5.3
        const form = config.deliverPayloads ? (this.#renderConfiguration?.(config) ?? '') : '';
        const configuration =
          form === '' ? `<configuration node='${name}'/>` : `<configuration node='${name}'>${form}</configuration>`;
        return Buffer.from(`${head}${configuration}${tail}`);
      }
      case 'access':
        throw new TypeError('consumers are never told of access entries');
    }
  }

  /** Tells a consumer that it will not get the entries `from` to `to` of a topic (delivery.md §1.4, §9.1). */
  gap(node: string, jid: string, from: number, to: number): Buffer {
    const id = `${subscriptionTag(node, jid)}.gap-${from}-${to}`;
    return Buffer.from(
      `<message to='${escapeAttribute(jid)}' from='${this.#from}' id='${id}'><gap xmlns='${NS.grid}' node='${escapeAttribute(node)}' from='${from}' to='${to}'/></message>`,
    );
  }

  /** Tells a consumer that a topic was deleted while it was away (delivery.md §1.5, XEP-0060 §8.4.2). */
  deletedMeanwhile(node: string, jid: string, head: EntryId | undefined, redirect: string | undefined): Buffer {
    // The id of the deletion's entry, which may have been told already (§1.2).
    const id = `${subscriptionTag(node, jid)}.${head ? entryIdText(head) : 'deleted'}`;
    return Buffer.from(
      `<message to='${escapeAttribute(jid)}' from='${this.#from}' id='${id}'><event xmlns='${NS.pubsubEvent}'>${deleteElement(node, redirect)}</event></message>`,
    );
  }

  /** Tells a consumer that it is not subscribed any more to a topic that there is (delivery.md §1.5, XEP-0060 §12.14). */
  subscriptionOver(node: string, jid: string, head: EntryId): Buffer {
    const id = `${subscriptionTag(node, jid)}.none-${entryIdText(head)}`;
    const to = escapeAttribute(jid);
    return Buffer.from(
      `<message to='${to}' from='${this.#from}' id='${id}'><event xmlns='${NS.pubsubEvent}'><subscription node='${escapeAttribute(node)}' jid='${to}' subscription='none'/></event></message>`,
    );
  }
}

function deleteElement(node: string, redirect: string | undefined): string {
  const name = escapeAttribute(node);
  if (redirect === undefined) return `<delete node='${name}'/>`;
  return `<delete node='${name}'><redirect uri='${escapeAttribute(redirect)}'/></delete>`;
}
