/**
 * RFC 8600 §4, Figure 2 on a cluster: the Provider and two Consumers, each of another client library, come in through HAProxy, and each
 * is served by another of three instances. What `npm run cluster` runs. Rows G-006 to G-013.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { issuePlatformCertificate } from '@xmpp-grid/auth';
import { connectControl } from '@xmpp-grid/server';
import { JID } from '@xmpp-grid/stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { demoFiles } from '../../packages/server/src/demo/setup.ts';
import { type LocalCluster, startLocalCluster } from '../../packages/server/src/local-cluster/local-cluster.ts';
import { hasHaproxy } from '../support/start-haproxy.ts';
import { hasRedis } from '../support/start-redis.ts';
import {
  Figure2Platform,
  LIBRARIES,
  type Library,
  missingLibraries,
  type PlatformSettings,
  Workshop,
} from './figure2-platform.ts';
import { shapeOf } from './payload-shape.ts';

const { libstrophe, aioxmpp, slixmpp } = LIBRARIES;
/** Each instance would strip the types of all sources anew. */
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('../../node_modules/.cache/xmpp-grid-tests', import.meta.url));

const workshop = new Workshop();
afterAll(() => workshop.remove());

interface Part extends Partial<PlatformSettings> {
  readonly role: 'provider' | 'consumer';
  readonly node: string;
  readonly name: string;
}

const canRun = hasRedis(true) && hasHaproxy() && missingLibraries([libstrophe, aioxmpp, slixmpp]).length === 0;

describe.skipIf(!canRun)('RFC 8600 §4 Figure 2 through HAProxy, on three instances', () => {
  let cluster: LocalCluster;
  let directory: string;
  /** Parts of the cluster that ended though nobody asked them to. */
  const ended: string[] = [];
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'grid-'));
    cluster = await startLocalCluster({
      directory,
      instances: 3,
      sentinels: 3,
      port: 0,
      directTlsPort: 0,
      httpPort: 0,
      tell: (text) => ended.push(text),
      execArgv: ['--conditions=development', '--disable-warning=ExperimentalWarning'],
    });
  });
  afterAll(async () => {
    await cluster?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  async function start(library: Library, { name, ...part }: Part, byCertificate = false): Promise<Figure2Platform> {
    const jid = `${name}@${cluster.domain}`;
    await cluster.admin.platformAdd({ name, role: 'demo', password: `${name} secret` });
    return new Figure2Platform(library.name, workshop.command(library), {
      jid,
      ...(byCertificate ? { certificate: await certificateOf(jid) } : { password: `${name} secret` }),
      host: cluster.host,
      port: cluster.ports.starttls,
      caFile: demoFiles(directory).ca,
      broker: cluster.brokerDomain,
      ...part,
    });
  }

  async function certificateOf(jid: string) {
    const { ca, caKey } = demoFiles(directory);
    const authority = { certificate: readFileSync(ca, 'utf8'), key: readFileSync(caKey, 'utf8'), fingerprint: '' };
    const issued = await issuePlatformCertificate(authority, { jid: JID.parse(jid), nowMs: Date.now(), days: 1 });
    return { certFile: workshop.file(`${jid}.pem`, issued.certificate), keyFile: workshop.file(`${jid}.key`, issued.key) };
  }

  /** The instance that serves each account now, and how it logged in. */
  async function served(): Promise<Map<string, { instance: string; mechanism: string }>> {
    const found = new Map<string, { instance: string; mechanism: string }>();
    for (const { name, dataDir } of cluster.instances) {
      const control = await connectControl(dataDir);
      const sessions = (await control?.admin.sessionList({})) ?? [];
      control?.close();
      for (const { jid, mechanism } of sessions) found.set(jid.split('/', 1)[0]!, { instance: name, mechanism });
    }
    return found;
  }

  it('libstrophe provides on one, aioxmpp and slixmpp consume on the other two', async () => {
    const { file, text } = workshop.document('rfc8274-B.2-ddos.xml');
    const node = 'figure2';
    const names = ['provider-1', 'consumer-1', 'consumer-2'] as const;
    const running: Figure2Platform[] = [];
    try {
      const provider = await start(libstrophe, { role: 'provider', name: names[0], node, payloadFile: file });
      running.push(provider);
      await provider.step('topic');
      const consumers = [
        await start(aioxmpp, { role: 'consumer', name: names[1], node }),
        await start(slixmpp, { role: 'consumer', name: names[2], node }, true),
      ];
      running.push(...consumers);
      for (const consumer of consumers) expect((await consumer.step('subscription')).value).toBe('subscribed');

      const sessions = await served();
      const [own, ...others] = names.map((name) => sessions.get(`${name}@${cluster.domain}`));
      expect(new Set([own, ...others].map((session) => session?.instance)).size).toBe(3);
      expect(others[1]?.mechanism).toBe('EXTERNAL');

      provider.publish();
      const { item } = await provider.step('published');
      for (const consumer of consumers) {
        const event = await consumer.step('event');
        expect(event).toMatchObject({ node, item });
        expect(shapeOf(event.payload as string)).toEqual(shapeOf(text));
      }
      for (const platform of running) expect(await platform.ended()).toBe(0);
    } finally {
      for (const platform of running) await platform.stop();
    }
    expect(ended).toEqual([]);
  });
});
