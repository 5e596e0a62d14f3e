import type { Client } from './client.ts';
import { monotonicMicros, renderMark } from './event-scanner.ts';
import type { ReportTemplate } from './report-payload.ts';

/** The pubsub requests of the bench (XEP-0060). Each rejects with the error stanza when the Broker refuses. */

const PUBSUB = 'http://jabber.org/protocol/pubsub';

/** Creates a topic with some configuration (§8.1.3). */
export async function createTopic(client: Client, node: string, fields: Readonly<Record<string, string>>): Promise<void> {
  const form = Object.entries(fields).map(([name, value]) => `<field var='${name}'><value>${value}</value></field>`);
  await client.request(
    `<pubsub xmlns='${PUBSUB}'><create node='${node}'/><configure><x xmlns='jabber:x:data' type='submit'>` +
      `<field var='FORM_TYPE' type='hidden'><value>${PUBSUB}#node_config</value></field>${form.join('')}</x></configure></pubsub>`,
    client.broker,
  );
}

/** Subscribes the bare JID (§6.1). @throws Error unless the subscription is confirmed at once */
export async function subscribe(client: Client, node: string): Promise<void> {
  const result = await client.request(
    `<pubsub xmlns='${PUBSUB}'><subscribe node='${node}' jid='${client.bareJid}'/></pubsub>`,
    client.broker,
  );
  if (!/subscription=(["'])subscribed\1/.test(result)) throw new Error(`not subscribed to ${node} at once: ${result}`);
}

/** Publishes one report with its mark (§7.1), sent at once; resolves when the Broker has confirmed it. */
export async function publish(
  client: Client,
  node: string,
  report: ReportTemplate,
  source: number,
  seq: number,
  dueMicros = monotonicMicros(),
): Promise<void> {
  const payload = `${report.before}${renderMark(source, seq, dueMicros)}${report.after}`;
  await client.request(
    `<pubsub xmlns='${PUBSUB}'><publish node='${node}'><item id='${source}-${seq}'>${payload}</item></publish></pubsub>`,
    client.broker,
  );
}
