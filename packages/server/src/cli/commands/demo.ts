import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StatusView } from '../../admin/operations.ts';
import { shortPath } from '../../config-load.ts';
import { connectControl } from '../../control/client.ts';
import { ensureDemoPlatforms, readDemoCredentials } from '../../demo/setup.ts';
import { type Stage, show } from '../../demo/show.ts';
import type { Command, Values } from '../command.ts';
import { note } from '../output.ts';
import { configOf, STORE_OPTIONS } from '../settings-options.ts';
import { demoConfig, start } from './serve.ts';

export const demo: Command = {
  name: 'demo',
  summary: 'Show provider, Broker and consumer share an incident, in this terminal.',
  options: { config: STORE_OPTIONS.config, data: STORE_OPTIONS.data },
  notes: 'Uses the instance that "xmpp-grid serve --demo" runs; when none does, one on free ports for as long as the show lasts.',
  async run(values) {
    const config = configOf(values);
    const running = await connectControl(config.dataDir);
    if (running === undefined) {
      await onOwnInstance();
      return 0;
    }
    try {
      await show(stageOf(config.dataDir, await running.admin.status()));
    } finally {
      running.close();
    }
    return 0;
  },
};

function stageOf(dataDir: string, status: StatusView): Stage {
  const credentials = readDemoCredentials(dataDir);
  if (credentials === undefined) {
    throw new Error(
      `the instance on ${shortPath(dataDir, process.cwd())} has no demonstration platforms; run \`xmpp-grid serve --demo\`, or use another --data`,
    );
  }
  const starttls = addressOf(status, 'starttls');
  const directTls = addressOf(status, 'directTls');
  return {
    domain: status.domain,
    brokerDomain: status.brokerDomain,
    host: starttls.host,
    starttlsPort: starttls.port,
    directTlsPort: directTls.port,
    dataDir,
    credentials,
  };
}

function addressOf(status: StatusView, listener: string): { host: string; port: number } {
  const text = status.listeners[listener];
  if (text === undefined) throw new Error(`the demonstration needs the listener ${listener}, which is switched off`);
  const colon = text.lastIndexOf(':');
  const host = text.slice(0, colon);
  return { host: host === '::' || host === '0.0.0.0' ? '127.0.0.1' : host, port: Number(text.slice(colon + 1)) };
}

async function onOwnInstance(): Promise<void> {
  note('no instance runs on this data directory: starting one on free ports for the show');
  const dataDir = mkdtempSync(join(tmpdir(), 'xmpp-grid-demo-'));
  try {
    const flags: Record<string, string> = { data: dataDir, port: '0', 'direct-tls-port': '0', 'http-port': '0' };
    const values: Values = { text: (name) => flags[name], texts: () => [], has: () => false };
    const config = await demoConfig(values);
    const program = await start({ ...config, log: { level: 'warn', format: 'text' } });
    try {
      await ensureDemoPlatforms(config, program.instance.admin);
      await show(stageOf(dataDir, await program.instance.admin.status()));
    } finally {
      await program.stop();
    }
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}
