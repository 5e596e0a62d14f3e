import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AuditChainError, type AuditEvent, AuditFile, verifyAuditFile } from '@xmpp-grid/auth';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const event = (account: string): AuditEvent => ({ kind: 'account-changed', account, by: 'operator', change: 'disabled' });
const options = { now: () => 0, onTrouble: (error: Error) => expect.fail(String(error.cause)) };

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'xmpp-grid-audit-'));
  path = join(folder, 'audit.jsonl');
});
afterEach(() => rmSync(folder, { recursive: true }));

async function write(...accounts: string[]): Promise<void> {
  const file = await AuditFile.open(path, options);
  for (const account of accounts) file.record(event(account));
  await file.close();
}

describe('audit file', () => {
  it('chains its lines, also over a restart', async () => {
    await write('a@b', 'c@d');
    await write('e@f');
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { seq: number; event: AuditEvent }).event.account)).toEqual([
      'a@b',
      'c@d',
      'e@f',
    ]);
    expect((await verifyAuditFile(path)).lines).toBe(3);
  });

  it.each<[string, (lines: string[]) => string[], number]>([
    ['a changed line', (lines) => lines.map((line, i) => (i === 1 ? line.replace('c@d', 'x@y') : line)), 3],
    ['a line taken out', (lines) => [lines[0]!, lines[2]!], 2],
    ['lines exchanged', (lines) => [lines[1]!, lines[0]!, lines[2]!], 1],
    ['a line put in', (lines) => [lines[0]!, lines[0]!, lines[1]!, lines[2]!], 2],
    ['a damaged line', (lines) => [lines[0]!, '{"seq":2', lines[2]!], 2],
  ])('shows %s', async (_name, change, line) => {
    await write('a@b', 'c@d', 'e@f');
    writeFileSync(path, `${change(readFileSync(path, 'utf8').trimEnd().split('\n')).join('\n')}\n`);
    await expect(verifyAuditFile(path)).rejects.toMatchObject({ name: 'AuditChainError', line });
    await expect(AuditFile.open(path, options)).rejects.toThrow(AuditChainError);
  });

  it('gives a head that proves nothing was cut off the end', async () => {
    await write('a@b', 'c@d');
    const { head } = await verifyAuditFile(path);
    writeFileSync(path, `${readFileSync(path, 'utf8').split('\n')[0]}\n`);
    expect((await verifyAuditFile(path)).head).not.toBe(head);
  });

  it('continues after a crash that cut its last line short', async () => {
    await write('a@b', 'c@d');
    writeFileSync(path, `${readFileSync(path, 'utf8')}{"seq":3,"at":"1970-01-01T0`);
    expect(await verifyAuditFile(path)).toMatchObject({ lines: 2, tornBytes: 27 });
    await write('e@f');
    expect(await verifyAuditFile(path)).toMatchObject({ lines: 3, tornBytes: 0 });
  });

  it('bounds what waits for the disk, and counts the rest', async () => {
    const file = await AuditFile.open(path, options);
    for (let i = 0; i < 10_005; i++) file.record(event('a@b'));
    expect(file.dropped).toBe(5);
    await file.close();
    expect((await verifyAuditFile(path)).lines).toBe(10_000);
  });

  it('reports a failed write once, drops what follows, and leaves a whole chain', async () => {
    const troubles: Error[] = [];
    const file = await AuditFile.open(path, { now: () => 0, onTrouble: (error) => troubles.push(error) });
    file.record(event('a@b'));
    await file.close(); // every further write fails
    file.record(event('b@b'));
    await file.flush();
    file.record(event('c@b'));
    await file.flush();
    expect([troubles.length, file.dropped]).toEqual([1, 2]);
    expect((await verifyAuditFile(path)).lines).toBe(1);
  });
});
