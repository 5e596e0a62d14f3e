import { StanzaError } from '@xmpp-grid/stream';

/** Each round loses to a change that somebody else made in the meantime; eight in a row mean a topic under siege. */
const MAX_ROUNDS = 8;

/**
 * Decides and changes again until the decision was not overtaken (delivery.md §2.1).
 *
 * @throws StanzaError `resource-constraint` (wait) after eight stale rounds; nothing was changed then
 */
export async function untilFresh<T>(attempt: () => Promise<T | 'stale'>): Promise<T> {
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const outcome = await attempt();
    if (outcome !== 'stale') return outcome;
  }
  throw new StanzaError('resource-constraint', { text: 'the topic is changing too fast; try again' });
}
