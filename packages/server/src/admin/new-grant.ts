import { mayHear, type PositionStore, type RolePolicy, type TopicStore } from '@xmpp-grid/pubsub';
import { type JID, randomText } from '@xmpp-grid/stream';

/** Topics looked at at once: what goes to the store together shares its round trips. */
const STEP = 64;
/** A position is refused when the log was cut back between two reads; more than one failover in that time is not likely. */
const MAX_TRIES = 3;

type Topics = TopicStore & Pick<PositionStore, 'update'>;

/** A role that the account had, and what it was granted: what it could hear stays where it is. */
export interface FormerRole {
  readonly role: string;
  readonly policy: RolePolicy;
}

/**
 * Moves every position of an account to the head of its topic, so that nothing published until now is delivered to it: for
 * an account that is about to get access, and had none, or had it to less by its former role (delivery.md §8.3). Positions
 * only move forward; nothing is undone when the access is not given after all.
 *
 * Rejects when the store fails.
 */
export async function moveToHeads(topics: Topics, account: JID, former?: FormerRole): Promise<void> {
  const nodes = await topics.topicsOf(account.bareString);
  for (let from = 0; from < nodes.length; from += STEP) {
    await Promise.all(nodes.slice(from, from + STEP).map((node) => moveToHead(topics, node, account.bareString, former)));
  }
}

async function moveToHead(topics: Topics, node: string, account: string, former?: FormerRole): Promise<void> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const jids = (await topics.subscriptionsOf(node, account))
      .filter(({ state }) => state === 'subscribed')
      .map(({ jid }) => jid);
    if (jids.length === 0) return;
    const record = await topics.record(node);
    if (record === undefined) return;
    const { head } = record;
    if (former && mayHear(former.policy, former.role, await topics.affiliation(node, account), record)) return;
    const written = await topics.update(node, {
      instance: randomText(9), // nobody's: whoever else a position is delegated to keeps it
      settle: new Map(jids.map((jid) => [jid, head])),
      delegate: new Map(),
    });
    if (written === 'gone' || written.refused.length === 0) return;
  }
  throw new Error(`the positions of ${account} at ${node} cannot be moved; try again`);
}
