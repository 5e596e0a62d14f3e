import { setTimeout as sleep } from 'node:timers/promises';
import type { Element } from '../../support/raw-client.ts';
import type { Checker } from '../checker.ts';
import { AnswerLost, Platform, type PlatformOptions } from './platform.ts';

const PUBSUB = 'http://jabber.org/protocol/pubsub';
const OWNER = `${PUBSUB}#owner`;
/** A Broker that keeps a stream open and does not answer on it is broken. */
const ANSWER_MS = 30_000;
const RETRY_MS = 100;

export interface ProviderTarget {
  readonly broker: string;
  readonly node: string;
  /** Mean pause between two publishes, ms. */
  readonly intervalMs: number;
  readonly itemId?: (node: string, count: number) => string;
}

/** Publishes one event after the other, and asks again under the same id until it knows what became of each (delivery.md §2.3). */
export class Provider {
  readonly platform: Platform;
  readonly node: string;
  /** Answered with an error of type `wait`, and tried again. */
  refused = 0;
  /** Asked again because the answer was lost. */
  askedAgain = 0;
  /** When it sent what was acknowledged; to see when it is served again. */
  readonly acknowledgements: { readonly sentMs: number; readonly atMs: number }[] = [];
  readonly #checker: Checker;
  readonly #broker: string;
  /** Mean pause between two publishes, ms. */
  intervalMs: number;
  readonly #itemId: (node: string, count: number) => string;
  #isStopping = false;
  #running: Promise<void> | undefined;
  #count = 0;

  constructor(options: PlatformOptions, checker: Checker, to: ProviderTarget) {
    this.platform = new Platform(options);
    this.#checker = checker;
    this.node = to.node;
    this.#broker = to.broker;
    this.intervalMs = to.intervalMs;
    this.#itemId = to.itemId ?? ((node, count) => `${node}.${options.user}.${count}`);
  }

  async create(node: string): Promise<void> {
    await this.#must(`<pubsub xmlns='${PUBSUB}'><create node='${node}'/></pubsub>`);
  }

  async delete(node: string): Promise<void> {
    await this.#must(`<pubsub xmlns='${OWNER}'><delete node='${node}'/></pubsub>`);
  }

  async affiliate(node: string, jids: readonly string[], affiliation: string): Promise<void> {
    const each = jids.map((jid) => `<affiliation jid='${jid}' affiliation='${affiliation}'/>`).join('');
    await this.#must(`<pubsub xmlns='${OWNER}'><affiliations node='${node}'>${each}</affiliations></pubsub>`);
  }

  async #must(child: string): Promise<void> {
    const answer = await this.platform.request('set', child, this.#broker);
    if (answer.attrs.type !== 'result') throw new Error(`${this.platform.jid} asked ${child}, was answered ${answer}`);
  }

  /** Begins to publish. */
  run(): void {
    this.#running = this.#publishAll();
  }

  /** Publishes nothing new; resolves when what was begun is acknowledged. */
  async finish(): Promise<void> {
    this.#isStopping = true;
    await this.#running;
  }

  async #publishAll(): Promise<void> {
    const { random } = this.platform.options;
    while (!this.#isStopping) {
      await this.publish(this.#itemId(this.node, ++this.#count));
      await sleep(this.intervalMs * (0.5 + random()));
    }
  }

  /** Resolves when the publish is acknowledged. */
  async publish(itemId: string, node = this.node): Promise<void> {
    const { timeline } = this.platform.options;
    const sentMs = timeline.now();
    this.#checker.sent(itemId, sentMs);
    for (;;) {
      await this.platform.up();
      const answer = await this.#ask(itemId, node);
      if (answer === undefined) {
        this.askedAgain++;
        continue;
      }
      if (answer.attrs.type === 'result') {
        const atMs = timeline.now();
        this.#checker.acknowledged(node, itemId, atMs);
        this.acknowledgements.push({ sentMs, atMs });
        return;
      }
      if (answer.getChild('error')?.attrs.type !== 'wait') {
        this.#checker.fault(`${itemId} was refused for good: ${answer}`);
        return;
      }
      this.refused++;
      timeline.tally(`was told to wait: ${answer.getChild('error')}`);
      await sleep(RETRY_MS * (0.5 + this.platform.options.random()));
    }
  }

  /** Undefined: the answer was lost. */
  async #ask(itemId: string, node: string): Promise<Element | undefined> {
    const payload = `<report xmlns='urn:example:report'><id>${itemId}</id></report>`;
    const late = new AbortController();
    try {
      return await Promise.race([
        this.platform.request(
          'set',
          `<pubsub xmlns='${PUBSUB}'><publish node='${node}'><item id='${itemId}'>${payload}</item></publish></pubsub>`,
          this.#broker,
          itemId,
        ),
        sleep(ANSWER_MS, undefined, { signal: late.signal }).then(() => {
          this.#checker.fault(`${itemId} was not answered within ${ANSWER_MS / 1_000} s on a stream that stood`);
          return undefined;
        }),
      ]);
    } catch (error) {
      if (error instanceof AnswerLost) return undefined;
      throw error;
    } finally {
      late.abort();
    }
  }
}
