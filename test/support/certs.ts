import {
  createCertificateAuthority,
  type IssuedCertificate,
  issuePlatformCertificate,
  issueServerCertificate,
} from '@xmpp-grid/auth';
import { JID } from '@xmpp-grid/stream';

/** Certificates made at run time, once per process: an authority, a server and any number of platforms. */
export interface TestCertificates {
  readonly ca: IssuedCertificate;
  readonly server: IssuedCertificate;
  platform(name: string): Promise<IssuedCertificate>;
}

const made = new Map<string, Promise<TestCertificates>>();

export function testCertificates(domain: string): Promise<TestCertificates> {
  let certificates = made.get(domain);
  if (certificates === undefined) {
    certificates = make(domain);
    made.set(domain, certificates);
  }
  return certificates;
}

async function make(domain: string): Promise<TestCertificates> {
  const validity = { nowMs: Date.now(), days: 2 };
  const ca = await createCertificateAuthority('XMPP-Grid test authority', validity);
  const server = await issueServerCertificate(ca, { ...validity, domains: [domain, `broker.${domain}`] });
  return { ca, server, platform: (name) => issuePlatformCertificate(ca, { ...validity, jid: JID.of(name, domain) }) };
}
