import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import forge from 'node-forge';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';

/** A server certificate with an RSA key, made by another tool than ours: what an organisation's own authority issues (RFC 6120 §13.7.1.2). */

let grid: TestInstance;
let directory: string;
let pem: string;

beforeAll(async () => {
  const keys = forge.pki.rsa.generateKeyPair({ bits: 2048 });
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = keys.publicKey;
  certificate.serialNumber = '01';
  certificate.validity.notBefore = new Date(Date.now() - 60_000);
  certificate.validity.notAfter = new Date(Date.now() + 86_400_000);
  const name = [{ name: 'commonName', value: 'localhost' }];
  certificate.setSubject(name);
  certificate.setIssuer(name);
  certificate.setExtensions([
    { name: 'basicConstraints', cA: true },
    { name: 'subjectAltName', altNames: [{ type: 2, value: 'localhost' }] },
  ]);
  certificate.sign(keys.privateKey, forge.md.sha256.create());
  pem = forge.pki.certificateToPem(certificate);
  directory = mkdtempSync(join(tmpdir(), 'xmpp-grid-rsa-'));
  writeFileSync(join(directory, 'rsa.pem'), pem);
  writeFileSync(join(directory, 'rsa.key'), forge.pki.privateKeyToPem(keys.privateKey), { mode: 0o600 });
  grid = await startTestInstance({
    settings: { 'tls.certificate': join(directory, 'rsa.pem'), 'tls.key': join(directory, 'rsa.key') },
  });
}, 60_000);
afterAll(async () => {
  await grid?.stop();
  rmSync(directory, { recursive: true, force: true });
});

describe('an RSA server certificate', () => {
  it.each(['TLSv1.3', 'TLSv1.2'] as const)(
    'serves %s with forward secrecy, and binds the channel (A-002, A-019)',
    async (version) => {
      await grid.addPlatform('p');
      const client = await grid.connect({ ca: pem, tls: { minVersion: version, maxVersion: version } });
      await client.openStream();
      const features = await client.startTls();
      expect(client.tlsSocket.getProtocol()).toBe(version);
      expect(client.tlsSocket.getCipher().name).toMatch(/^(?:TLS_AES|TLS_CHACHA|ECDHE-RSA)/);
      expect(features.getChild('mechanisms')?.getChildElements()[0]?.text()).toBe('SCRAM-SHA-256-PLUS');
      await client.scram('p', 'p', 'SCRAM-SHA-256-PLUS');
      await client.bind();
      await client.close();
    },
  );
});
