/** Metrics of the Broker. Labels come from closed lists: no JID, topic or item id. */
import { Counter, Histogram, type Registry } from 'prom-client';

/** What a request was, in `stanza_seconds`; every verb belongs to one. */
export const OPERATIONS = [
  'affiliations',
  'configure',
  'create',
  'delete',
  'disco',
  'items',
  'other',
  'ping',
  'publish',
  'purge',
  'retract',
  'subscribe',
  'subscriptions',
  'unsubscribe',
] as const;
export type Operation = (typeof OPERATIONS)[number];

/** `refused`: the request itself was wrong; `unavailable`: the service could not serve it now. */
export type PublishResult = 'ok' | 'forbidden' | 'conflict' | 'too_big' | 'refused' | 'unavailable';

export interface BrokerMetrics {
  /** `seconds`: handled to answered. */
  answered(operation: Operation, seconds: number): void;
  published(node: string, result: PublishResult): void;
  decided(action: string, decision: 'allow' | 'deny', ruleClass: 'role' | 'affiliation'): void;
}

/**
 * Declares the metrics in a registry. `nodeClasses` are the topics that get a label value of their own; all others are
 * `other`, so that the number of series does not grow with the topics.
 */
export function brokerMetrics(registry: Registry, nodeClasses: readonly string[] = []): BrokerMetrics {
  const known = new Set(nodeClasses);
  const stanzaSeconds = new Histogram({
    name: 'xmppgrid_stanza_seconds',
    help: 'Time from a request being handled to its answer, by operation',
    labelNames: ['op'] as const,
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5],
    registers: [registry],
  });
  const publishes = new Counter({
    name: 'xmppgrid_pubsub_publish_total',
    help: 'Publish requests, by class of topic and result',
    labelNames: ['node_class', 'result'] as const,
    registers: [registry],
  });
  const decisions = new Counter({
    name: 'xmppgrid_policy_decisions_total',
    help: 'Access decisions about topics, by action, decision and who decided',
    labelNames: ['action', 'decision', 'rule_class'] as const,
    registers: [registry],
  });
  return {
    answered: (operation, seconds) => stanzaSeconds.observe({ op: operation }, seconds),
    published: (node, result) => publishes.inc({ node_class: known.has(node) ? node : 'other', result }),
    decided: (action, decision, ruleClass) => decisions.inc({ action, decision, rule_class: ruleClass }),
  };
}
