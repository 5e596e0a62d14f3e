import { describe, expect, it } from 'vitest';
import type { RawClient } from '../../support/raw-client.ts';
import { account, publish, type Shared, type StreamInstance } from '../../support/stream-cluster.ts';
import { until } from '../../support/until.ts';
import { ask, enabled, ids, refused, resumed } from './sm-client.ts';
import { overThreeInstances } from './three-instances.ts';

/** Instances that stop in order give their sessions on (X-028, M-01, G-017; delivery.md §6.3). */

overThreeInstances({}, (each) => {
  let shared: Shared;
  let a: StreamInstance;
  let b: StreamInstance;
  let c: StreamInstance;
  let sender: RawClient;
  const everywhere = (text: string) => publish(shared, [a, b, c], text);
  each(async (grid) => {
    ({ shared, a, b, c } = grid);
    sender = await c.login('sender');
  });

  const say = (to: RawClient, id: string) => sender.send(`<message to='${to.jid}' id='${id}'><body>${id}</body></message>`);

  describe('drain, delivery.md §6.3', () => {
    it('hands sessions over before their streams end; what came meanwhile is sent after <resumed/>', async () => {
      const { client, id } = await enabled(a, 'guest');
      client.tap = ({ name: each }) => each === 'r';
      everywhere('1');
      say(client, 'm1');
      await until('both came', () => ids(client).length === 2);
      const drained = a.sessions.drain(4_000);
      expect(await client.streamError()).toBe('system-shutdown');
      client.send('</stream:stream>');
      await drained;
      expect(a.sessions.size).toBe(0);
      // A is still there: what comes for the session is kept with its state.
      everywhere('2');
      say(client, 'm2');
      sender.send("<message to='guest@localhost' id='bare'><body>x</body></message>");
      await sender.marker();
      const back = await resumed(b, 'guest', id, 0);
      await until('all came', () => ['e2', 'm2', 'bare'].every((each) => ids(back).includes(each)));
      expect(ids(back).slice(0, 2)).toEqual(['e1', 'm1']);
      expect(ids(back).sort()).toEqual(['bare', 'e1', 'e2', 'm1', 'm2']);
      expect(shared.offline.count(account('guest'))).toBe(0);
    });

    it('what comes after the instance is gone is kept for the account and handed out behind <resumed/>', async () => {
      const { client, id } = await enabled(a, 'patient');
      await Promise.all([a.stop(), client.closed()]);
      say(client, 'm1');
      await until('it is kept', () => shared.offline.count(account('patient')) === 1);
      const back = await resumed(b, 'patient', id, 0);
      await until('it came', () => ids(back).includes('m1'));
    });

    it('counts what was handled, not what was not read', async () => {
      const { client, id } = await enabled(a, 'talker');
      let sent = 0;
      const stopped = a.stop();
      while (!client.isClosed) {
        client.send(`<message to='${sender.jid}' id='t${++sent}'><body>x</body></message>`);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      await stopped;
      const { client: back, reply } = await ask(b, 'talker', id, 0);
      const handled = Number(reply.attrs.h);
      for (let i = handled + 1; i <= sent; i++) back.send(`<message to='${sender.jid}' id='t${i}'><body>x</body></message>`);
      await until('the last came', () => ids(sender).includes(`t${sent}`));
      expect(ids(sender)).toEqual(Array.from({ length: sent }, (_, i) => `t${i + 1}`));
    });

    it('resumes where it was hibernating when its instance stopped', async () => {
      const { client, id } = await enabled(a, 'sleeper');
      client.kill();
      await until('A knows', () => [...a.sessions.all()].every((session) => !session.isConnected));
      say(client, 'm1');
      await until('A has it', () => [...a.sessions.all()].some((session) => session.sentCount === 1));
      await a.stop();
      const back = await resumed(c, 'sleeper', id, 0);
      await until('it came', () => ids(back).includes('m1'));
    });

    it('a client that comes back to an instance that drains is told so, and finds its session at another one', async () => {
      const { client, id } = await enabled(a, 'hasty');
      const early = await Promise.all([a.authenticated('hasty'), a.authenticated('hasty')]);
      client.kill();
      await a.sessions.drain(1_000);
      early[0].send(`<resume xmlns='urn:xmpp:sm:3' previd='${id}' h='0'/>`);
      expect(await early[0].streamError()).toBe('system-shutdown');
      early[1].send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
      expect(await early[1].streamError()).toBe('system-shutdown');
      await (await resumed(b, 'hasty', id, 0)).marker();
    });

    it('a session that left, and whose resource is bound anew, has no state any more', async () => {
      const { client, id } = await enabled(a, 'stayed');
      const [session] = a.sessions.ofAccount(account('stayed'));
      await Promise.all([a.sessions.drain(1_000), client.closed()]);
      expect(a.sessions.departedOf(session!.jid)).toHaveLength(1);
      const fresh = await b.login('stayed', 'r');
      await until('A has heard of it', () => a.sessions.departedOf(session!.jid).length === 0);
      expect(a.sessions.departedOf(session!.jid)).toEqual([]);
      await until(
        'its state is dropped',
        async () => (await shared.resumeStates.append(session!.jid, id, '<message/>')) === 'gone',
      );
      sender.send(`<message to='stayed@localhost' id='bare'><body>x</body></message>`);
      expect((await fresh.nextMessage()).attrs.id).toBe('bare');
    });

    it('a request that was left behind does not take the session away again from whoever had sent it', async () => {
      const { client, id } = await enabled(a, 'kept');
      await Promise.all([a.sessions.drain(1_000), client.closed()]);
      await a.closeInbox(); // and is not known to be dead yet: B gets no answer, and takes the state
      const back = await resumed(b, 'kept', id, 0);
      await shared.inboxes.clean(a.id, (message) => b.router.fromInbox(message), new AbortController().signal);
      await back.marker();
      await back.marker();
      expect(b.sessions.ofAccount(account('kept'))[0]?.isLeaving).toBe(false);
    });

    it('a request that reaches the inbox of an instance that has just stopped is answered by whoever cleans up', async () => {
      const { client, id } = await enabled(a, 'left');
      await Promise.all([a.sessions.drain(1_000), client.closed()]);
      await a.closeInbox(); // and is not known to be dead yet
      const back = resumed(b, 'left', id, 0);
      const cleaner = new AbortController();
      let isResumed = false;
      void back.then(() => {
        isResumed = true;
      });
      await until('it is resumed', async () => {
        await shared.inboxes.clean(a.id, (message) => c.router.fromInbox(message), cleaner.signal);
        return isResumed;
      });
      await (await back).marker();
    });

    it('a resource that is bound anew meanwhile cannot be resumed', async () => {
      const { client, id } = await enabled(a, 'replaced');
      await Promise.all([a.stop(), client.closed()]);
      const fresh = await b.login('replaced', 'r');
      await refused(c, 'replaced', id);
      await fresh.marker();
    });

    it('sessions without stream management end with system-shutdown, after they were given what they wait for', async () => {
      const client = await a.login('plain', 'r');
      const [session] = a.sessions.ofAccount(account('plain'));
      const { registry } = shared;
      let go = (): void => undefined;
      const held = new Promise<void>((resolve) => {
        go = resolve;
      });
      let isHandled = false;
      shared.registry = {
        bind: registry.bind.bind(registry),
        drop: registry.drop.bind(registry),
        reclaim: registry.reclaim.bind(registry),
        sessionsOf: async (who) => {
          isHandled = true;
          await held;
          return registry.sessionsOf(who);
        },
      };
      client.send("<iq type='get' id='q' to='nobody@localhost/r'><ping xmlns='urn:xmpp:ping'/></iq>");
      await until('it is being handled', () => isHandled);
      const stopped = a.stop();
      await until('the session is leaving', () => session!.isLeaving);
      go();
      expect(await client.streamError()).toBe('system-shutdown');
      await stopped;
      expect(client.inbox.some((element) => element.attrs.id === 'q')).toBe(true);
      expect(await shared.registry.sessionsOf(account('plain'))).toEqual([]);
    });

    it('is spread, and done in time', async () => {
      const clients = await Promise.all(Array.from({ length: 30 }, (_, i) => enabled(a, `many${i}`)));
      const ended: number[] = [];
      for (const [i, { client }] of clients.entries()) void client.closed().then(() => ended.push(i));
      await a.stop(2_000);
      await until('all ended', () => ended.length === clients.length);
      await Promise.all(clients.map(({ id }, i) => resumed(i % 2 === 0 ? b : c, `many${i}`, id, 0)));
      expect(b.sessions.size + c.sessions.size).toBe(clients.length + 1);
    });
  });
});
