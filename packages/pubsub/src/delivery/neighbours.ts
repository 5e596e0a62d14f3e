import type { Logger, SendOutcome } from '@xmpp-grid/stream';
import { StanzaError } from '@xmpp-grid/stream';

/** Kind of the inbox messages that are for delivery: an account's subscriptions or rights at a topic changed. */
export const INTEREST = 'interest';

/** Where else sessions of an account are, and how to tell their instances something. Both throw StoreUnavailable. */
export interface DeliveryCluster {
  /** Other live instances that hold a session of the bare JID, as the store says now. */
  instancesOf(account: string): Promise<readonly string[]>;
  /** Resolves `sent` when the message is durable in the instance's inbox (delivery.md §7.3). */
  send(instanceId: string, message: { readonly kind: typeof INTEREST; readonly body: string }): Promise<SendOutcome>;
}

/** An account whose instance left the table between the two steps is looked for again this often. */
const MAX_TRIES = 3;
/** How long what could not be told rests. */
const RETRY_MS = 1_000;
/** Most that is told again later; beyond it the asker's own second request has to do. */
const MAX_OWED = 10_000;

/**
 * Tells the instances that hold sessions of an account that its subscriptions or rights at a topic changed (delivery.md §2.6:
 * write yours, then read theirs). What could not be told is owed: the change is durable, and its writer may not come back.
 */
export class Neighbours {
  readonly #cluster: DeliveryCluster;
  readonly #log: Logger;
  readonly #owed = new Map<string, { readonly node: string; readonly account: string }>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(cluster: DeliveryCluster, log: Logger) {
    this.#cluster = cluster;
    this.#log = log;
  }

  /** @throws StanzaError, also StoreUnavailable, when somebody could not be told; it is tried again all the same */
  async tell(node: string, account: string): Promise<void> {
    try {
      await this.#tellNow(node, account);
    } catch (error) {
      if (this.#owed.size < MAX_OWED) this.#owed.set(`${account}\u0000${node}`, { node, account });
      this.#retryLater();
      throw error;
    }
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  async #tellNow(node: string, account: string): Promise<void> {
    const told = new Set<string>();
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const instances = (await this.#cluster.instancesOf(account)).filter((id) => !told.has(id));
      const outcomes = await Promise.all(instances.map((id) => this.#send(id, node, account)));
      for (const id of instances) told.add(id);
      // Its sessions bind elsewhere, after this change, and read it (§2.6); one that did so in between is found again.
      if (!outcomes.includes('no-such-instance')) return;
    }
  }

  async #send(instanceId: string, node: string, account: string): Promise<SendOutcome> {
    const outcome = await this.#cluster.send(instanceId, { kind: INTEREST, body: interestText(node, account) });
    if (outcome !== 'full') return outcome;
    throw new StanzaError('resource-constraint', { type: 'wait', text: 'an instance does not keep up, try again later' });
  }

  #retryLater(): void {
    if (this.#isClosed) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#retry();
    }, RETRY_MS).unref();
  }

  async #retry(): Promise<void> {
    for (const [key, { node, account }] of [...this.#owed]) {
      try {
        await this.#tellNow(node, account);
        this.#owed.delete(key);
      } catch (error) {
        this.#log.warn({ err: error, account, node }, 'another instance could not be told of a subscription; trying again');
        this.#retryLater();
        return;
      }
    }
  }
}

export const interestText = (node: string, account: string): string => JSON.stringify([node, account]);

/** @throws SyntaxError or TypeError for what is no such message */
export function interestOf(body: string): { readonly node: string; readonly account: string } {
  const [node, account] = JSON.parse(body) as readonly unknown[];
  if (typeof node !== 'string' || typeof account !== 'string') throw new TypeError('no message of interest');
  return { node, account };
}
