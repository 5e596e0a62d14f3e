import type { HousekeepingShare } from '@xmpp-grid/pubsub';
import type { Instances } from '@xmpp-grid/stream';

/**
 * Which topics this instance keeps in order: each topic belongs to the live instance with the highest hash of both names
 * (rendezvous hashing), so that one that comes or goes moves its own share alone (delivery.md §7.4). Two instances that see
 * the table differently for a moment both sweep a topic, which is safe.
 */
export function housekeepingShare(instances: Pick<Instances, 'id' | 'live'>): HousekeepingShare {
  const live = instances.live();
  const others = live.filter((id) => id !== instances.id);
  return {
    owns: (node) => {
      const own = weight(node, instances.id);
      return others.every((id) => weight(node, id) <= own);
    },
    isLive: (id) => id === instances.id || live.includes(id),
  };
}

/** FNV-1a, 32 bit, over both names, with the final mixing that short inputs need. */
function weight(node: string, instanceId: string): number {
  let hash = 0x811c9dc5;
  for (const text of [instanceId, '\0', node]) {
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
