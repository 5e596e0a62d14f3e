import { StoreUnavailable } from '@xmpp-grid/stream';
import { describe, expect, it } from 'vitest';
import { account, type Shared, type StreamInstance } from '../../support/stream-cluster.ts';
import { until } from '../../support/until.ts';
import { ids as messages } from './sm-client.ts';
import { overThreeInstances } from './three-instances.ts';

/** Sessions of one account on several instances, and stanzas between them (G-010, G-012, G-017; RFC 6120 §7, RFC 6121 §8.5). */

const priority = (value: number) => `<presence><priority>${value}</priority></presence>`;

overThreeInstances({ maxResources: 3 }, (each) => {
  let shared: Shared;
  let a: StreamInstance;
  let b: StreamInstance;
  let c: StreamInstance;
  each((grid) => {
    ({ shared, a, b, c } = grid);
  });

  const bound = async (who: string) => (await shared.registry.sessionsOf(account(who))).length;

  describe('resource binding, RFC 6120 §7', () => {
    /** Holds the next claim that A makes after it was made; returns how to let it go on. */
    const holdClaim = (): { readonly isMade: () => boolean; readonly go: () => void } => {
      const { registry } = shared;
      let go = (): void => undefined;
      const held = new Promise<void>((resolve) => {
        go = resolve;
      });
      let isMade = false;
      shared.registry = {
        ...bindOf(registry),
        bind: async (...args) => {
          shared.registry = registry;
          const outcome = await registry.bind(...args);
          isMade = true;
          await held;
          return outcome;
        },
      };
      return { isMade: () => isMade, go };
    };

    it('§7.7.2.2 ends the session that another instance had under the name, and finds the new one', async () => {
      const old = await a.login('ghost', 'r');
      const fresh = await b.login('ghost', 'r');
      expect(await old.streamError()).toBe('conflict');
      await fresh.marker();
      const sender = await c.login('sender');
      sender.send(`<message to='${fresh.jid}' id='m'><body>x</body></message>`);
      expect((await fresh.nextMessage()).attrs.id).toBe('m');
      expect(a.sessions.size).toBe(0);
    });

    it('§7.7.2.2 leaves one of many streams that bind one resource at once', async () => {
      const clients = await Promise.all(Array.from({ length: 9 }, (_, i) => [a, b, c][i % 3]!.authenticated('race')));
      const answers = await Promise.allSettled(clients.map((client) => client.bind('r')));
      await until('all but one have ended', () => clients.filter((client) => !client.isClosed).length === 1);
      const left = clients.findIndex((client) => !client.isClosed);
      expect(answers[left]?.status).toBe('fulfilled');
      await clients[left]!.marker();
      const [claim] = await shared.registry.sessionsOf(account('race'));
      const owner = [a, b, c][left % 3] as StreamInstance;
      expect(claim?.claim).toMatchObject({ instanceId: owner.id, sessionId: owner.sessions.ofAccount(account('race'))[0]?.id });
      expect(a.sessions.size + b.sessions.size + c.sessions.size).toBe(1);
    });

    it('§7.6.2.1 counts the resources of all instances, and gives them free again', async () => {
      const clients = [await a.login('many'), await b.login('many'), await c.login('many')];
      const fourth = await a.authenticated('many');
      await expect(fourth.bind()).rejects.toThrow(/resource-constraint/);
      await clients[1]!.close();
      await until('the resource is free', async () => (await bound('many')) === 2);
      await fourth.bind();
    });

    it('§8.3.3.18 answers wait while the store cannot be asked, and binds when it can', async () => {
      const { registry } = shared;
      const unavailable = { ...bindOf(registry), bind: async () => Promise.reject(new StoreUnavailable('not-done', 'test')) };
      const client = await a.authenticated('waits');
      shared.registry = unavailable;
      await expect(client.bind('r')).rejects.toThrow(/type="wait".*resource-constraint/);
      shared.registry = registry;
      await client.bind('r');
      await client.marker();
    });

    it('gives the claim up when the stream ends while it is made', async () => {
      const client = await a.authenticated('leaver');
      const held = holdClaim();
      client.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
      await until('the claim is made', held.isMade);
      expect(await bound('leaver')).toBe(1);
      client.kill();
      await until('the stream is over', () => a.sessions.size === 0 && client.isClosed);
      await new Promise((resolve) => setImmediate(resolve));
      held.go();
      await until('the claim is given up', async () => (await bound('leaver')) === 0);
      expect(a.sessions.size).toBe(0);
    });

    it('§7.7.2.2 a claim that was taken before its session was made does not become one', async () => {
      const slow = await a.authenticated('overtaken');
      const held = holdClaim();
      slow.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind></iq>");
      await until('the claim is made', held.isMade);
      const fast = await b.login('overtaken', 'r');
      const behind = await c.login('behind');
      const other = await a.login('other', 'r');
      behind.send(`<message to='${other.jid}' id='m'><body>x</body></message>`);
      await other.nextMessage(); // what came to A's inbox before it has been handled
      held.go();
      expect(await slow.streamError()).toBe('conflict');
      await fast.marker();
      expect(a.sessions.ofAccount(account('overtaken'))).toEqual([]);
      expect((await shared.registry.sessionsOf(account('overtaken')))[0]?.claim.instanceId).toBe(b.id);
    });

    it('delivery.md §7.2 (c) a claim that was made under an id that is no more is made again under the new one', async () => {
      const client = await a.authenticated('renamed');
      const held = holdClaim();
      client.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind></iq>");
      await until('the claim is made', held.isMade);
      shared.dead.add(a.id);
      a.id = `${a.id}2`;
      await a.openInbox();
      await a.sessions.reclaimAll();
      held.go();
      await client.next((element) => element.attrs.id === 'b');
      expect((await shared.registry.sessionsOf(account('renamed')))[0]?.claim.instanceId).toBe(a.id);
    });

    it('gives a claim up later when the store does not answer at the end of a session', async () => {
      const { registry } = shared;
      const client = await a.login('late');
      let attempts = 0;
      shared.registry = {
        ...bindOf(registry),
        drop: async () => {
          attempts++;
          throw new StoreUnavailable('not-done', 'test');
        },
      };
      await client.close();
      await until('it was tried again', () => attempts > 1);
      expect(await bound('late')).toBe(1);
      shared.registry = registry;
      await until('the claim is given up', async () => (await bound('late')) === 0);
    });
  });

  describe('stanzas, RFC 6120 §10 and RFC 6121 §8.5', () => {
    it('§8.5.3.1 reach a full JID on another instance, in order, and answers come back', async () => {
      const sender = await a.login('sender', 'r');
      const receiver = await b.login('receiver', 'r');
      for (let i = 1; i <= 200; i++) sender.send(`<message to='${receiver.jid}' id='m${i}'><body>é &amp; ${i}</body></message>`);
      sender.send(`<iq to='${receiver.jid}' id='q' type='get'><ping xmlns='urn:xmpp:ping'/></iq>`);
      const iq = await receiver.next((element) => element.name === 'iq');
      expect(iq.attrs).toMatchObject({ from: sender.jid, id: 'q' });
      expect(messages(receiver)).toEqual(Array.from({ length: 200 }, (_, i) => `m${i + 1}`));
      expect(receiver.inbox[199]?.getChildText('body')).toBe('é & 200');
      receiver.send(`<iq to='${sender.jid}' id='q' type='result'/>`);
      expect((await sender.next((element) => element.attrs.id === 'q')).attrs.type).toBe('result');
    });

    it('§8.5.3.2.3 an IQ for a resource that nobody has is answered with service-unavailable', async () => {
      const sender = await a.login('sender', 'r');
      await b.login('receiver', 'other');
      const answer = await sender.iq('get', "<ping xmlns='urn:xmpp:ping'/>", 'receiver@localhost/r');
      expect(answer.getChild('error')?.getChild('service-unavailable')).toBeDefined();
    });

    it('an IQ that finds its receiver gone on the other instance is answered from there', async () => {
      const sender = await a.login('sender', 'r');
      // A claim of B's that no session stands behind: it has just ended.
      await shared.registry.bind(account('gone'), 'r', { instanceId: b.id, sessionId: 's', sinceMs: 1 }, 3);
      const answer = await sender.iq('get', "<ping xmlns='urn:xmpp:ping'/>", 'gone@localhost/r');
      expect(answer.attrs).toMatchObject({ type: 'error', from: 'gone@localhost/r' });
      expect(answer.getChild('error')?.getChild('service-unavailable')).toBeDefined();
      sender.send("<message to='gone@localhost/r' id='m' type='groupchat'><body>x</body></message>");
      expect((await sender.nextMessage()).attrs).toMatchObject({ type: 'error', id: 'm' });
    });

    it('§8.5.2.1.1 a message to a bare JID reaches each of its receivers once, on whichever instance', async () => {
      const sender = await a.login('sender');
      const receivers = [await b.login('all', 'b'), await c.login('all', 'c')];
      const negative = await c.login('all', 'negative');
      negative.send(priority(-1));
      await negative.marker();
      for (let i = 1; i <= 20; i++) sender.send(`<message to='all@localhost' id='m${i}'><body>${i}</body></message>`);
      const ids = Array.from({ length: 20 }, (_, i) => `m${i + 1}`);
      await until('both have the last', () => receivers.every((client) => messages(client).includes('m20')));
      await negative.marker(); // whatever came to C has been handed out there
      for (const client of receivers) expect(messages(client)).toEqual(ids);
      expect(messages(negative)).toEqual([]);
    });

    it('§8.5.2.2.1 a message that no instance has a receiver for is kept, and handed out wherever the account comes', async () => {
      const sender = await a.login('sender');
      const negative = await b.login('away', 'b');
      negative.send(priority(-1));
      await negative.marker();
      sender.send("<message to='away@localhost' id='headline' type='headline'><body>x</body></message>");
      sender.send("<message to='away@localhost' id='kept'><body>x</body></message>");
      await until('the second is kept', () => shared.offline.count(account('away')) > 0);
      const back = await c.login('away', 'c');
      back.send(priority(0));
      expect((await back.nextMessage()).attrs.id).toBe('kept');
      await back.marker();
      expect(messages(back)).toEqual([]);
      expect(messages(negative)).toEqual([]);
    });

    it('§8.5.2 a message is not lost when the session that would take it ends as it arrives', async () => {
      const sender = await a.login('sender');
      for (const instanceId of [b.id, c.id]) {
        await shared.registry.bind(account('ended'), instanceId, { instanceId, sessionId: 's', sinceMs: 1 }, 3);
      }
      sender.send("<message to='ended@localhost' id='m'><body>x</body></message>");
      await until('it is kept', () => shared.offline.count(account('ended')) > 0);
      const kept = await shared.offline.take(account('ended'));
      expect(kept.map(String)).toEqual([expect.stringContaining("id='m'")]);
    });

    it('goes on from an instance that is gone to one that lives', async () => {
      const sender = await a.login('sender');
      await shared.registry.bind(account('half'), 'lost', { instanceId: 'was never there', sessionId: 's', sinceMs: 1 }, 3);
      const receiver = await c.login('half', 'c');
      sender.send("<message to='half@localhost' id='m'><body>x</body></message>");
      expect((await receiver.nextMessage()).attrs.id).toBe('m');
    });

    it('answers wait when the other instance does not keep up', async () => {
      const sender = await a.login('sender', 'r');
      const receiver = await b.login('slow', 'r');
      const { inboxes } = shared;
      shared.inboxes = { open: inboxes.open.bind(inboxes), clean: inboxes.clean.bind(inboxes), send: async () => 'full' };
      const answer = await sender.iq('get', "<ping xmlns='urn:xmpp:ping'/>", receiver.jid);
      expect(answer.getChild('error')?.attrs.type).toBe('wait');
      expect(answer.getChild('error')?.getChild('resource-constraint')).toBeDefined();
      shared.inboxes = inboxes;
    });

    it('what a dead instance left in its inbox is delivered by whoever cleans up', async () => {
      const sender = await a.login('sender');
      b.serves = false; // its inbox is read no more
      await shared.registry.bind(account('left'), 'b', { instanceId: b.id, sessionId: 's', sinceMs: 1 }, 3);
      sender.send("<message to='left@localhost/b' id='full'><body>x</body></message>");
      sender.send("<message to='left@localhost' id='bare'><body>x</body></message>");
      await sender.marker();
      await b.die();
      const receiver = await c.login('left', 'c');
      await shared.inboxes.clean(b.id, (message) => a.router.fromInbox(message), new AbortController().signal);
      await until('both came', () => messages(receiver).length >= 2);
      expect(messages(receiver).sort()).toEqual(['bare', 'full']);
    });
  });

  describe('presence, RFC 6121 §4', () => {
    it('the resources of an account hear of each other across instances', async () => {
      const one = await a.login('self', 'one');
      one.send('<presence/>');
      await one.next((element) => element.name === 'presence' && element.attrs.from === one.jid);
      const two = await b.login('self', 'two');
      two.send('<presence><show>away</show></presence>');
      const heard = await one.next((element) => element.attrs.from === two.jid);
      expect(heard.attrs.to).toBe(one.jid);
      expect(heard.getChildText('show')).toBe('away');
      expect((await two.next((element) => element.attrs.from === one.jid)).attrs.to).toBe(two.jid);
      await two.close();
      expect((await one.next((element) => element.attrs.type === 'unavailable')).attrs.from).toBe(two.jid);
    });

    it('§4.6 directed presence reaches the other instance, and its end too', async () => {
      const sender = await a.login('sender', 'r');
      const receiver = await b.login('receiver', 'r');
      receiver.send('<presence/>');
      await receiver.next((element) => element.name === 'presence');
      for (const to of [receiver.jid, 'receiver@localhost']) {
        sender.send(`<presence to='${to}'/>`);
        expect((await receiver.next((element) => element.name === 'presence')).attrs).toMatchObject({ from: sender.jid, to });
      }
      await sender.close();
      for (let i = 0; i < 2; i++) {
        const end = await receiver.next((element) => element.attrs.type === 'unavailable');
        expect(end.attrs.from).toBe(sender.jid);
      }
    });
  });

  describe('fencing, delivery.md §7.2', () => {
    it('(c) handles nothing and writes nothing while it may not serve, and goes on when it may', async () => {
      const client = await a.login('fenced', 'r');
      const other = await b.login('other', 'r');
      const before = client.received.length;
      a.serves = false;
      client.send("<iq type='get' id='q' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>");
      client.send(`<message to='${other.jid}' id='m'><body>x</body></message>`);
      // A session here is handed something all the same: it waits.
      for (const session of a.sessions.all()) session.sendStanza(Buffer.from("<message id='held'/>"));
      await other.marker();
      await other.marker();
      expect(messages(other)).toEqual([]);
      expect(client.received.length).toBe(before);
      a.serves = true;
      expect((await client.nextMessage()).attrs.id).toBe('held');
      expect((await client.next((element) => element.attrs.id === 'q')).attrs.type).toBe('result');
      expect((await other.nextMessage()).attrs.id).toBe('m');
    });

    it('(d) admits nobody while it may not serve', async () => {
      const other = await b.login('other', 'r');
      a.serves = false;
      let isIn = false;
      const early = a.login('early', 'r').then((client) => {
        isIn = true;
        return client;
      });
      // As many round trips as a login has, elsewhere.
      await (await b.login('late', 'r')).marker();
      await other.marker();
      expect(isIn).toBe(false);
      expect(await bound('early')).toBe(0);
      a.serves = true;
      await (await early).marker();
    });

    it('(c) claims each session again under its new id, and ends those that were taken with conflict', async () => {
      const kept = await a.login('kept', 'r');
      const taken = await a.login('taken', 'r');
      a.serves = false;
      shared.dead.add(a.id);
      const winner = await b.login('taken', 'r');
      for (const session of a.sessions.all()) session.sendStanza(Buffer.from("<message id='stale'/>"));
      a.id = `${a.id}2`;
      await a.openInbox();
      await a.sessions.reclaimAll();
      expect(await taken.streamError()).toBe('conflict');
      expect(taken.received).not.toContain('stale');
      a.serves = true;
      await winner.marker();
      const sender = await c.login('sender');
      sender.send(`<message to='${kept.jid}' id='m'><body>x</body></message>`);
      expect((await kept.next((element) => element.attrs.id === 'm')).attrs.to).toBe(kept.jid);
    });
  });
});

/** A registry whose methods stay when it is spread. */
function bindOf(registry: Shared['registry']): Shared['registry'] {
  return {
    bind: registry.bind.bind(registry),
    drop: registry.drop.bind(registry),
    reclaim: registry.reclaim.bind(registry),
    sessionsOf: registry.sessionsOf.bind(registry),
  };
}
