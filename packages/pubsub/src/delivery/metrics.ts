/** Metrics of delivery, read when they are scraped. No JID, topic or item id in a label. */
import { Gauge, type Registry } from 'prom-client';
import type { DeliveryStats } from './delivery.ts';

/** Declares what delivery is doing in a registry. */
export function observeDelivery(registry: Registry, stats: () => DeliveryStats): void {
  const gauge = (name: string, help: string, value: (now: DeliveryStats) => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(value(stats()));
      },
    });
  gauge('xmppgrid_delivery_followed_topics', 'Topics with an interested session on this instance', (now) => now.followedTopics);
  gauge('xmppgrid_delivery_cursors', 'Sessions times their subscribed topics', (now) => now.cursors);
  gauge(
    'xmppgrid_delivery_catching_up',
    'Cursors that read the log: returned, slow or unavailable consumers',
    (now) => now.cursors - now.liveCursors,
  );
  gauge('xmppgrid_delivery_gaps', 'Times since the start that a consumer was told of lost events', (now) => now.gaps);
}
