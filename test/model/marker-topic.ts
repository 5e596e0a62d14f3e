/**
 * Tells when a session has heard what came before. With one instance an answer of the Broker comes behind the events that it led
 * to; with several, events come from elsewhere, and only an event published after them comes behind them.
 */

import type { Element } from '@xmpp-grid/stream';
import type { RawClient } from '../support/raw-client.ts';

/** What the names of these topics begin with: all that see anything see it, and no other topic is called so. */
const MARKER_PREFIX = 'a-marker-';

export const isMarkerNode = (node: string | undefined): boolean => node?.startsWith(MARKER_PREFIX) === true;

/** A topic to which every account is subscribed and of which nothing is kept, so that only who is there hears it. */
export class MarkerTopic {
  readonly #client: RawClient;
  readonly #broker: string;
  readonly #node: string;
  #count = 0;

  private constructor(client: RawClient, broker: string, node: string) {
    this.#client = client;
    this.#broker = broker;
    this.#node = node;
  }

  /** Makes the topic and subscribes these accounts, given by bare JID. */
  static async open(client: RawClient, broker: string, name: string, accounts: readonly string[]): Promise<MarkerTopic> {
    const topic = new MarkerTopic(client, broker, `${MARKER_PREFIX}${name}`);
    const field = (name: string, value: string) => `<field var='pubsub#${name}'><value>${value}</value></field>`;
    const form = `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#node_config</value></field>${field('notification_type', 'headline')}${field('max_items', '1')}${field('notify_retract', '0')}</x>`;
    const entries = (element: string, value: string) =>
      accounts.map((jid) => `<${element} jid='${jid}' ${element}='${value}'/>`).join('');
    await topic.#ask('', `<create node='${topic.#node}'/><configure>${form}</configure>`);
    await topic.#ask('#owner', `<affiliations node='${topic.#node}'>${entries('affiliation', 'member')}</affiliations>`);
    await topic.#ask('#owner', `<subscriptions node='${topic.#node}'>${entries('subscription', 'subscribed')}</subscriptions>`);
    return topic;
  }

  async #ask(part: string, content: string): Promise<void> {
    const pubsub = `<pubsub xmlns='http://jabber.org/protocol/pubsub${part}'>${content}</pubsub>`;
    const answer = await this.#client.iq('set', pubsub, this.#broker);
    if (answer.attrs.type !== 'result') throw new Error(`a marker: ${answer}`);
  }

  /** Publishes a marker; resolves with its number. */
  async publish(): Promise<number> {
    const number = ++this.#count;
    await this.#ask('', `<publish node='${this.#node}'><item id='${number}'><e xmlns='urn:example:marker'/></item></publish>`);
    return number;
  }

  /** The number of the marker that the message brings, 0 for what else it says of the topic; undefined: it is of another topic. */
  numberIn(message: Element): number | undefined {
    const child = message.getChild('event', 'http://jabber.org/protocol/pubsub#event')?.getChildElements()[0];
    if (child?.attrs.node !== this.#node) return undefined;
    return Number(child.getChild('item')?.attrs.id ?? 0);
  }

  close(): void {
    this.#client.kill();
  }
}
