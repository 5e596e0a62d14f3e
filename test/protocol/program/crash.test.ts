import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const LAUNCHER = fileURLToPath(new URL('../../../packages/server/bin/xmpp-grid.mjs', import.meta.url));
/** Loaded into the server's own process: throws where nobody catches, once the store is open. */
const BUG =
  "data:text/javascript,setInterval(()=>{if(globalThis.process.stdout.bytesWritten>0)throw new Error('injected bug')},20)";

describe('a bug that nobody catches', () => {
  it('ends the process at once with one message, so that its supervisor starts a new one', { timeout: 40_000 }, async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'xmpp-grid-crash-'));
    try {
      const child = spawn(
        process.execPath,
        [
          '--conditions=development',
          '--import',
          BUG,
          LAUNCHER,
          'serve',
          '--demo',
          '--data',
          dataDir,
          '--port',
          '0',
          '--direct-tls-port',
          '0',
          '--http-port',
          '0',
        ],
        { stdio: ['ignore', 'pipe', 'pipe'] },
      );
      let errors = '';
      child.stdout.resume();
      child.stderr.on('data', (chunk: Buffer) => {
        errors += chunk.toString();
      });
      const signal = await new Promise<string | null>((resolve) => child.once('exit', (_code, by) => resolve(by)));
      expect(signal).toBe('SIGKILL');
      expect(errors).toContain('a bug ended this process');
      expect(errors).toContain('injected bug');
    } finally {
      rmSync(dataDir, { recursive: true, force: true });
    }
  });
});
