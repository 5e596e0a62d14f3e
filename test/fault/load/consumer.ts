import type { Element } from '../../support/raw-client.ts';
import type { Checker } from '../checker.ts';
import { Platform, type PlatformOptions } from './platform.ts';

const PUBSUB = 'http://jabber.org/protocol/pubsub';

/** Receives events and tells the checker of each. */
export class Consumer {
  readonly platform: Platform;
  /** Full JID: what the checker calls it. */
  readonly name: string;
  /** What is no event with an item: deletions, retractions, changes of subscriptions. */
  readonly others: Element[] = [];
  readonly #checker: Checker;
  readonly #broker: string;

  constructor(options: PlatformOptions, checker: Checker, broker: string) {
    this.platform = new Platform(options);
    this.name = `${this.platform.jid}/${options.resource}`;
    this.#checker = checker;
    this.#broker = broker;
    this.platform.events = {
      message: (message) => this.#take(message),
      lost: () => checker.broke(this.name, this.platform.incarnation, options.timeline.now()),
    };
  }

  /** Subscribes its bare JID. @throws Error unless the subscription is there at once */
  async subscribe(node: string): Promise<void> {
    const answer = await this.platform.request(
      'set',
      `<pubsub xmlns='${PUBSUB}'><subscribe node='${node}' jid='${this.platform.jid}'/></pubsub>`,
      this.#broker,
    );
    if (answer.getChild('pubsub')?.getChild('subscription')?.attrs.subscription !== 'subscribed') {
      throw new Error(`${this.name} is not subscribed to ${node}: ${answer}`);
    }
  }

  async unsubscribe(node: string): Promise<Element> {
    return await this.platform.request(
      'set',
      `<pubsub xmlns='${PUBSUB}'><unsubscribe node='${node}' jid='${this.platform.jid}'/></pubsub>`,
      this.#broker,
    );
  }

  #take(message: Element): void {
    const { timeline } = this.platform.options;
    const gap = message.getChild('gap');
    if (gap !== undefined) {
      this.#checker.gap(this.name, String(gap));
      return;
    }
    const items = message.getChild('event')?.getChild('items');
    const item = items?.getChild('item');
    if (items === undefined || item === undefined) {
      this.others.push(message);
      return;
    }
    const entryId = message.getChild('stanza-id')?.attrs.id as string | undefined;
    const seq = Number(entryId?.split('-')[0]);
    if (entryId === undefined || !Number.isSafeInteger(seq)) {
      this.#checker.fault(`${this.name} got an event without its stanza-id: ${message}`);
      return;
    }
    this.#checker.delivered(this.name, {
      node: items.attrs.node as string,
      seq,
      entryId,
      itemId: item.attrs.id as string,
      messageId: message.attrs.id as string,
      atMs: timeline.now(),
      incarnation: this.platform.incarnation,
    });
  }
}
