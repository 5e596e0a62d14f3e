import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestInstance, type TestInstance } from '../../support/start-instance.ts';

/** RFC 6121 §8.5.2.2 and XEP-0160: direct messages for an account that is away. */

let grid: TestInstance;
beforeAll(async () => {
  grid = await startTestInstance();
});
afterAll(async () => {
  await grid.stop();
});

describe('messages for who is away', () => {
  it('XEP-0160 §3 keeps normal and chat, drops headline, and hands them out with a delay on presence, over a restart', async () => {
    await grid.addPlatform('away');
    const sender = await grid.login('writer');
    sender.send("<message to='away@localhost' id='n1'><body>one</body></message>");
    sender.send("<message to='away@localhost' id='h1' type='headline'><body>stock</body></message>");
    sender.send("<message to='away@localhost' id='c1' type='chat'><body>two</body></message>");
    sender.send("<message to='away@localhost' id='e1' type='error'><error type='cancel'/></message>");
    await sender.marker();
    await grid.restart();
    const away = await grid.login('away');
    await away.marker();
    expect(away.inbox).toHaveLength(0); // §2: not before presence
    away.send('<presence/>');
    const [first, second] = [await away.nextMessage(), await away.nextMessage()];
    expect([first.attrs.id, second.attrs.id]).toEqual(['n1', 'c1']);
    expect(first.getChild('delay')?.attrs.from).toBe('localhost');
    expect(first.getChild('delay')?.attrs.stamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    away.send('<presence/>');
    await away.marker();
    expect(away.inbox.filter((element) => element.name === 'message')).toHaveLength(0);
    await away.close();
  });

  it('XEP-0160 §2 answers service-unavailable when the account keeps its most (X-024)', async () => {
    await grid.addPlatform('full');
    const sender = await grid.login('flood');
    for (let i = 0; i < 101; i++) sender.send(`<message to='full@localhost' id='f${i}'><body>${i}</body></message>`);
    const refused = await sender.next((element) => element.name === 'message' && element.attrs.type === 'error');
    expect(refused.attrs.id).toBe('f100');
    expect(refused.getChild('error')?.getChild('service-unavailable')).toBeDefined();
    await sender.close();
  });

  it('RFC 6120 §13.11 an account that does not exist answers as one that is away', async () => {
    const sender = await grid.login('prober');
    sender.send("<message to='nobody@localhost' id='x'><body>?</body></message>");
    await sender.marker();
    expect(sender.inbox).toHaveLength(0);
    await sender.close();
  });

  it('§8.5.2.1 a bare JID reaches every resource that takes such messages', async () => {
    const low = await grid.login('multi', { resource: 'low' });
    const high = await grid.login('multi', { resource: 'high' });
    low.send('<presence><priority>-1</priority></presence>');
    high.send('<presence/>');
    await low.marker();
    await high.marker();
    const sender = await grid.login('caller');
    sender.send("<message to='multi@localhost' id='b'><body>x</body></message>");
    expect((await high.nextMessage()).attrs.id).toBe('b');
    await low.marker();
    expect(low.inbox.filter((element) => element.name === 'message')).toHaveLength(0);
  });
});
