import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Element, FORM_TYPE, NS, OpaqueElement } from '@xmpp-grid/stream';
import { bold, dim, green, print } from '../cli/output.ts';
import { PlatformClient } from './client.ts';
import { type DemoCredentials, demoFiles } from './setup.ts';

/** Where the demonstration's instance listens, and with what to log in. */
export interface Stage {
  readonly domain: string;
  readonly brokerDomain: string;
  readonly host: string;
  readonly starttlsPort: number;
  readonly directTlsPort: number;
  readonly dataDir: string;
  readonly credentials: DemoCredentials;
}

const IODEF = NS.iodef2;

/** Runs Figure 2 of RFC 8600 before your eyes, and then what happens when the consumer is away. @throws Error */
export async function show(stage: Stage): Promise<void> {
  const { brokerDomain, domain } = stage;
  const incident = readFileSync(new URL('../../demo/incident.xml', import.meta.url));
  const topic = `demo/incidents-${randomBytes(3).toString('hex')}`;
  print(`\n  ${bold('XMPP-Grid')}  ${domain}, Broker ${brokerDomain}\n`);

  const provider = await step(
    'provider connects',
    () => connectProvider(stage),
    (client) => spellLogin(client, 'direct TLS'),
  );
  const first = await step(
    'consumer connects',
    () => connectConsumer(stage),
    (client) => spellLogin(client, 'STARTTLS'),
  );
  await step(
    'consumer discovers the Broker',
    () => first.request('get', domain, new Element('query', { xmlns: NS.discoItems })),
    (answer) =>
      answer
        .getChild('query', NS.discoItems)
        ?.getChildren('item')
        .map((item) => item.attrs.jid)
        .join(', ') ?? '',
  );
  await step(
    'provider creates a topic',
    () => provider.request('set', brokerDomain, createRequest(topic)),
    () => `${topic}, only for ${IODEF}`,
  );
  await step(
    'consumer subscribes',
    () => first.request('set', brokerDomain, pubsub('subscribe', { node: topic, jid: bare(first.jid) })),
    (answer) =>
      `${answer.getChild('pubsub', NS.pubsub)?.getChild('subscription')?.attrs.subscription}: its role is approved on this topic`,
  );
  await step(
    'provider publishes an incident',
    () => publish(provider, brokerDomain, topic, 'incident-1', incident),
    () => `${incident.length} bytes of IODEF, kept safe before the answer`,
  );
  const event = await step('consumer receives it', () => first.message(isEventOf(topic)), spellEvent);
  print(`\n${framed(payloadOf(event).toString('utf8'))}`);
  print(`    ${compare(incident, payloadOf(event))}\n`);

  await step(
    'consumer goes away',
    () => first.close(),
    () => 'stream closed',
  );
  for (const id of ['incident-2', 'incident-3']) {
    await step(
      'provider publishes another',
      () => publish(provider, brokerDomain, topic, id, incident),
      () => `${id}, while nobody listens`,
    );
  }
  const again = await step(
    'consumer returns',
    () => connectConsumer(stage),
    (client) => spellLogin(client, 'STARTTLS'),
  );
  again.sendPresence();
  for (const id of ['incident-2', 'incident-3']) {
    await step(
      'and gets what it missed',
      () => again.message(isEventOf(topic)),
      (message) => spellMissed(message, id),
    );
  }
  await step(
    'provider deletes the topic',
    () =>
      provider.request('set', brokerDomain, new Element('pubsub', { xmlns: NS.pubsubOwner }).c('delete', { node: topic }).root()),
    () => topic,
  );
  await Promise.all([provider.close(), again.close()]);
  print(`\n  ${green('✓')} Nothing was lost: events of a consumer that is away wait in the topic’s log.\n`);
}

function connectProvider({ host, directTlsPort: port, domain, dataDir, credentials }: Stage): Promise<PlatformClient> {
  const credential = { password: credentials.provider.password };
  return PlatformClient.connect({
    host,
    port,
    mode: 'direct-tls',
    domain,
    name: 'provider',
    credential,
    ca: readFileSync(demoFiles(dataDir).ca),
  });
}

function connectConsumer({ host, starttlsPort: port, domain, dataDir }: Stage): Promise<PlatformClient> {
  const files = demoFiles(dataDir);
  const { certificate, key } = files.certificateOf('consumer');
  const credential = { certificate: readFileSync(certificate), key: readFileSync(key) };
  return PlatformClient.connect({
    host,
    port,
    mode: 'starttls',
    domain,
    name: 'consumer',
    credential,
    ca: readFileSync(files.ca),
  });
}

/** Does one step, then prints what came of it and how long it took. */
async function step<T>(what: string, perform: () => Promise<T>, tell: (result: T) => string): Promise<T> {
  const startMs = performance.now();
  let result: T;
  try {
    result = await perform();
  } catch (error) {
    throw new Error(`${what}: ${(error as Error).message}`, { cause: error });
  }
  const ms = (performance.now() - startMs).toFixed(1).padStart(7);
  print(`  ${dim(`${ms} ms`)}  ${what.padEnd(30)}  ${dim(tell(result))}`);
  return result;
}

function spellLogin(client: PlatformClient, how: string): string {
  return `${client.jid}  ${how}, ${client.tlsVersion}, ${client.mechanism}`;
}

function createRequest(node: string): Element {
  const request = new Element('pubsub', { xmlns: NS.pubsub });
  request.c('create', { node });
  const form = request.c('configure').c('x', { xmlns: NS.dataForms, type: 'submit' });
  const fields: readonly (readonly [string, string, string?])[] = [
    ['FORM_TYPE', FORM_TYPE.nodeConfig, 'hidden'],
    ['pubsub#title', 'Incidents of the demonstration'],
    ['pubsub#access_model', 'authorize'],
    ['pubsub#type', IODEF],
  ];
  for (const [name, value, type] of fields)
    form
      .c('field', { var: name, ...(type === undefined ? {} : { type }) })
      .c('value')
      .t(value);
  return request;
}

function pubsub(verb: string, attrs: Record<string, string>): Element {
  return new Element('pubsub', { xmlns: NS.pubsub }).c(verb, attrs).root();
}

async function publish(client: PlatformClient, broker: string, node: string, id: string, payload: Buffer): Promise<Element> {
  const request = new Element('pubsub', { xmlns: NS.pubsub });
  request
    .c('publish', { node })
    .c('item', { id })
    .cnode(new OpaqueElement('IODEF-Document', { xmlns: IODEF }, payload));
  return await client.request('set', broker, request);
}

function isEventOf(node: string): (message: Element) => boolean {
  return (message) => itemsOf(message)?.attrs.node === node;
}

function itemsOf(message: Element): Element | undefined {
  return message.getChild('event', NS.pubsubEvent)?.getChild('items');
}

function payloadOf(message: Element): Buffer {
  const payload = itemsOf(message)?.getChild('item')?.children[0];
  if (!(payload instanceof OpaqueElement)) throw new Error('the event has no payload');
  return payload.bytes;
}

function spellEvent(message: Element): string {
  return `item ${itemsOf(message)?.getChild('item')?.attrs.id} from ${message.attrs.from}`;
}

function spellMissed(message: Element, wanted: string): string {
  const id = itemsOf(message)?.getChild('item')?.attrs.id;
  if (id !== wanted) throw new Error(`expected ${wanted}, got ${id}`);
  return `${id}, published ${message.getChild('delay', NS.delay)?.attrs.stamp ?? 'just now'}`;
}

function compare(sent: Buffer, received: Buffer): string {
  const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex').slice(0, 16);
  const text = sent.toString('utf8').trimEnd();
  const isEqual = received.toString('utf8') === text;
  if (!isEqual) throw new Error(`the document changed on its way: ${digest(Buffer.from(text))} became ${digest(received)}`);
  return `${green('byte for byte as published')} ${dim(`SHA-256 ${digest(received)}…`)}`;
}

function framed(text: string): string {
  return text.replace(/^/gm, `    ${dim('│')} `);
}

function bare(jid: string): string {
  return jid.split('/', 1)[0]!;
}
