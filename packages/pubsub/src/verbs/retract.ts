import { parseXsBoolean } from '@xmpp-grid/stream';
import { decideRetract } from '../access/decide.ts';
import { demand, demandGrant, openTopic } from '../access/topic-access.ts';
import { PubsubError, unsupported } from '../errors.ts';
import { isItemId } from '../node/node-name.ts';
import { requiredNode, verbElement } from '../request/parse.ts';
import { untilFresh } from '../request/stale.ts';
import type { Verb } from '../request/verb.ts';
import { guardOf } from '../store/topic-store.ts';
import type { VerbDeps } from './deps.ts';

interface RetractRequest {
  readonly node: string;
  readonly itemId: string;
  readonly notify: boolean;
}

/** @see XEP-0060 §7.2 */
export const retract: Verb<RetractRequest, void, VerbDeps> = {
  key: 'set pubsub retract',
  features: ['delete-items', 'retract-items'],

  parse(pubsub) {
    const element = verbElement(pubsub);
    const node = requiredNode(element); // §7.2.3.3
    const [item, second] = element.getChildren('item', pubsub.getNS());
    const itemId: string | undefined = item?.attrs.id || undefined;
    if (itemId === undefined) throw new PubsubError('item-required'); // §7.2.3.4
    if (second) throw new PubsubError('malformed-request', { text: 'a retract request has one item' }); // §7.2.1
    const notifyText: string | undefined = element.attrs.notify;
    const notify = notifyText === undefined ? false : parseXsBoolean(notifyText);
    if (notify === undefined) throw new PubsubError('malformed-request', { text: 'notify takes 0, 1, false or true' });
    return { node, itemId, notify };
  },

  /**
   * Withdraws an item. Subscribers are told when the request or the configuration says so (§7.2.2.1).
   *
   * @throws PubsubError `node-does-not-exist` | `insufficient-privileges` | `blocked` | `unsupported` |
   *   `item-does-not-exist`
   */
  async perform({ node, itemId, notify }, who, deps) {
    await untilFresh(async () => {
      const { record, affiliation } = await openTopic(node, who, deps);
      demandGrant('retract', node, who, deps);
      if (!record.config.persistItems) {
        demand(decideRetract(affiliation, true), 'retract', node, who, deps);
        throw unsupported('persistent-items'); // §7.2.3.5
      }
      const [item] = isItemId(itemId) ? await deps.store.itemsById(node, [itemId]) : [];
      // Whoever may remove nothing here learns nothing about items; of the others only an owner of the item passes for its own.
      demand(decideRetract(affiliation, item === undefined || item.publisher === who.account), 'retract', node, who, deps);
      if (item === undefined) throw new PubsubError('item-does-not-exist'); // §7.2.3.2
      const done = await deps.store.commit(node, guardOf(record), {
        kind: 'retract',
        itemIds: [itemId],
        publisher: who.account,
        stampMs: deps.now(),
        notify: notify || record.config.notifyRetract,
      });
      if (done === 'stale') return done;
      if (done === 'gone') throw new PubsubError('node-does-not-exist');
      if (done.itemIds.length === 0) throw new PubsubError('item-does-not-exist'); // somebody else was first
      return done;
    });
  },

  render: () => undefined,
};
