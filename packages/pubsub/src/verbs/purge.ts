import { decideOwn } from '../access/decide.ts';
import { demand, demandGrant, openTopic } from '../access/topic-access.ts';
import { PubsubError, unsupported } from '../errors.ts';
import { requiredNode, verbElement } from '../request/parse.ts';
import { untilFresh } from '../request/stale.ts';
import type { Verb } from '../request/verb.ts';
import { guardOf } from '../store/topic-store.ts';
import type { VerbDeps } from './deps.ts';

/** @see XEP-0060 §8.5 */
export const purge: Verb<string, void, VerbDeps> = {
  key: 'set owner purge',
  features: ['purge-nodes'],

  parse: (pubsub) => requiredNode(verbElement(pubsub)),

  /**
   * Removes all items, the last one too. One notification, when retractions are notified at all (§8.5.2).
   *
   * @throws PubsubError `node-does-not-exist` | `insufficient-privileges` | `blocked` | `unsupported`
   */
  async perform(node, who, deps) {
    await untilFresh(async () => {
      const { record, affiliation } = await openTopic(node, who, deps);
      demandGrant('purge', node, who, deps);
      demand(decideOwn(affiliation), 'purge', node, who, deps);
      if (!record.config.persistItems) throw unsupported('persistent-items'); // §8.5.3.3
      const done = await deps.store.commit(node, guardOf(record), {
        kind: 'purge',
        publisher: who.account,
        stampMs: deps.now(),
        notify: record.config.notifyRetract,
      });
      if (done === 'gone') throw new PubsubError('node-does-not-exist');
      return done;
    });
    deps.audit.changed({ account: who.account, node, action: 'purge' });
  },

  render: () => undefined,
};
