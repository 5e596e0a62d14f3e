/**
 * RFC 8600 §4, Figure 2, between client libraries that nobody here wrote: one is the Provider, another the Consumer, and the document
 * that the Consumer's library hands out is the one that the Provider's was given. Rows G-006 to G-013, G-022 to G-024, G-026, G-027,
 * G-030, G-032 to G-034, G-080.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestInstance, type TestInstance } from '../support/start-instance.ts';
import {
  Figure2Platform,
  LIBRARIES,
  type Library,
  missingLibraries,
  type PlatformSettings,
  Workshop,
} from './figure2-platform.ts';
import { shapeOf } from './payload-shape.ts';

const IODEF = 'urn:ietf:params:xml:ns:iodef-2.0';

type Credential = 'password' | 'certificate';
interface Side {
  readonly library: Library;
  readonly credential: Credential;
  /** The mechanism that the log has to name: the library's own choice from what the profile offers. */
  readonly mechanism: string;
}

const { libstrophe, aioxmpp, slixmpp, gloox } = LIBRARIES;
const side = (library: Library, mechanism: string, credential: Credential = 'password'): Side => ({
  library,
  mechanism,
  credential,
});
const describeSide = ({ library, mechanism }: Side) => `${library.name} by ${mechanism}`;

const workshop = new Workshop();
afterAll(() => workshop.remove());

let topics = 0;

/** One platform, known to the instance under its own name, started on its part. */
async function start(
  instance: TestInstance,
  { library, credential }: Side,
  part: Partial<PlatformSettings> & Pick<PlatformSettings, 'role' | 'node'>,
) {
  const name = `${part.role}-${part.node}`;
  await instance.addPlatform(name, { password: `${name} secret`, role: 'demo' });
  const settings: PlatformSettings = {
    jid: `${name}@${instance.domain}`,
    ...(credential === 'password' ? { password: `${name} secret` } : { certificate: await certificateFiles(instance, name) }),
    host: instance.host,
    port: instance.port,
    caFile: instance.caFile,
    broker: instance.broker,
    ...part,
  };
  return new Figure2Platform(library.name, workshop.command(library), settings);
}

async function certificateFiles(instance: TestInstance, name: string) {
  const issued = await instance.certificates.platform(name);
  const certFile = workshop.file(`${name}.pem`, issued.certificate);
  const keyFile = workshop.file(`${name}.key`, issued.key);
  return { certFile, keyFile };
}

/** The mechanism by which the log says that this account came in. */
const mechanismOf = (instance: TestInstance, account: string) =>
  instance.logged.find((line) => line.msg === 'platform logged in' && line.jid === account)?.mechanism;

/** Figure 2, message by message, in its order. */
async function walk(instance: TestInstance, providing: Side, consuming: Side, documentName: string): Promise<void> {
  const { file, text } = workshop.document(documentName);
  const node = `figure2-${++topics}`;
  const running: Figure2Platform[] = [];
  try {
    const provider = await start(instance, providing, { role: 'provider', node, payloadFile: file });
    running.push(provider);
    expect((await provider.step('topic')).node).toBe(node);

    const consumer = await start(instance, consuming, { role: 'consumer', node });
    running.push(consumer);
    expect((await consumer.step('topics')).nodes).toContain(node);
    expect((await consumer.step('type')).value).toBe(IODEF);
    expect((await consumer.step('subscription')).value).toBe('subscribed');

    provider.publish();
    const published = await provider.step('published');
    const event = await consumer.step('event');
    expect(event).toMatchObject({ node, item: published.item });
    expect(published.item).toMatch(/./);
    expect(shapeOf(event.payload as string)).toEqual(shapeOf(text));

    expect(await provider.ended()).toBe(0);
    expect(await consumer.ended()).toBe(0);
    expect(mechanismOf(instance, `provider-${node}@${instance.domain}`)).toBe(providing.mechanism);
    expect(mechanismOf(instance, `consumer-${node}@${instance.domain}`)).toBe(consuming.mechanism);
  } finally {
    for (const platform of running) await platform.stop();
  }
}

/** One instance for the tests of a describe block, there while they run. */
function serving(profile: 'grid' | 'compat'): () => TestInstance {
  let instance: TestInstance | undefined;
  beforeAll(async () => {
    instance = await startTestInstance({ domain: 'grid.example', profile, clientCertificates: true });
  });
  afterAll(() => instance?.stop());
  return () => instance!;
}

const usable = (...libraries: Library[]) => it.skipIf(missingLibraries(libraries).length > 0);

function figure2(instance: () => TestInstance, provider: Side, consumer: Side, documentName: string): void {
  usable(provider.library, consumer.library)(`${describeSide(provider)} provides, ${describeSide(consumer)} consumes`, () =>
    walk(instance(), provider, consumer, documentName),
  );
}

describe('RFC 8600 §4 Figure 2, profile grid', () => {
  const instance = serving('grid');
  const strophe = side(libstrophe, 'SCRAM-SHA-256');
  const byCertificate = side(slixmpp, 'EXTERNAL', 'certificate');

  figure2(instance, strophe, side(aioxmpp, 'SCRAM-SHA-256'), 'rfc7970-7.1-minimal.xml');
  figure2(instance, side(aioxmpp, 'SCRAM-SHA-256'), byCertificate, 'rfc8274-B.2-ddos.xml');
  figure2(instance, byCertificate, strophe, 'rfc8274-B.4-malware.xml');

  // RFC 5802 §6: slixmpp 1.8 knows only tls-unique, which TLS 1.3 has not, and then says that it saw no -PLUS mechanism.
  usable(slixmpp)('slixmpp by SCRAM is refused, and the log says what to do', async () => {
    const before = instance().logged.length;
    const platform = await start(instance(), side(slixmpp, 'none'), { role: 'consumer', node: 'refused' });
    try {
      expect((await platform.step('failed')).why).toMatch(/auth/);
      expect(await platform.ended()).toBe(1);
    } finally {
      await platform.stop();
    }
    expect(mechanismOf(instance(), `consumer-refused@${instance().domain}`)).toBeUndefined();
    const reasons = instance()
      .logged.slice(before)
      .filter((line) => line.msg === 'login refused');
    expect(reasons.map((line) => line.why).join('\n')).toMatch(
      /update it, let it use a client certificate, or run the profile "compat"/,
    );
  });
});

describe('RFC 8600 §4 Figure 2, profile compat', () => {
  const instance = serving('compat');
  const slixmppAsItComes = side(slixmpp, 'SCRAM-SHA-256');
  const glooxAsItComes = side(gloox, 'SCRAM-SHA-1-PLUS');

  figure2(instance, slixmppAsItComes, glooxAsItComes, 'rfc8274-B.1-malware-delivery-url.xml');
  figure2(instance, glooxAsItComes, slixmppAsItComes, 'rfc8274-B.5-iot-malware.xml');
});
