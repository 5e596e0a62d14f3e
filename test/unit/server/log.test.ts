/** The program's log: fields, a readable form for terminals, and no secrets. */
import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { createLogger, renderLine } from '../../../packages/server/src/observe/log.ts';

class Memory extends Writable {
  text = '';
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

describe('log', () => {
  it('writes one JSON object a line, with level in words and time in ISO form', () => {
    const out = new Memory();
    createLogger({ level: 'info', format: 'json' }, out).info({ jid: 'a@b', closeReason: 'drain' }, 'stream closed');
    expect(JSON.parse(out.text)).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      jid: 'a@b',
      closeReason: 'drain',
      msg: 'stream closed',
    });
  });

  it('leaves out what is below the level', () => {
    const out = new Memory();
    createLogger({ level: 'warn', format: 'json' }, out).info({}, 'not this');
    expect(out.text).toBe('');
  });

  it('censors credentials should one ever be handed in', () => {
    const out = new Memory();
    const log = createLogger({ level: 'info', format: 'json' }, out);
    log.info({ password: 'canary-1', account: { credentials: 'canary-2', key: 'canary-3' }, item: { payload: 'canary-4' } }, 'x');
    expect(out.text).not.toContain('canary');
    expect(out.text.match(/\[redacted\]/g)).toHaveLength(4);
  });

  it('is one readable line in text form, and cannot be steered by a peer', () => {
    const line = JSON.stringify({
      level: 'warn',
      time: '2026-01-02T03:04:05.678Z',
      jid: 'a@b',
      why: 'x\u001b[2J y',
      msg: 'odd\nname',
    });
    expect(renderLine(line, false)).toBe('03:04:05.678 warn  odd\\x0aname  jid=a@b why="x\\\\x1b[2J y"\n');
  });
});
