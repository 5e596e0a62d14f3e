import { type JID, StoreUnavailable } from '@xmpp-grid/stream';
import { describe, expect, it } from 'vitest';
import type { RawClient } from '../../support/raw-client.ts';
import { account, publish, type Shared, type StreamInstance } from '../../support/stream-cluster.ts';
import { until } from '../../support/until.ts';
import { ask, enabled, ids, refused, resumed, SM } from './sm-client.ts';
import { overThreeInstances } from './three-instances.ts';

/** XEP-0198 over several instances: resumption on any, hand-over at a stop (X-028, G-050, G-059, M-01; delivery.md §6). */

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

  describe('resumption on another instance, XEP-0198 §5', () => {
    it('sends again what was not acknowledged, stanzas and entries in one order, and goes on', async () => {
      const { client, id } = await enabled(a, 'phoenix');
      client.send(`<message to='${sender.jid}' id='counted'><body>x</body></message>`);
      await sender.nextMessage();
      for (let i = 1; i <= 3; i++) {
        say(client, `m${i}`);
        await until('it came', () => ids(client).includes(`m${i}`));
        everywhere(String(i));
        await until('it came', () => ids(client).includes(`e${i}`));
      }
      client.kill();
      say(client, 'm4');
      await sender.marker();
      everywhere('4');
      const back = await resumed(b, 'phoenix', id, 2);
      expect(back.received).toContain(`h='1'`);
      await until('all came', () => ids(back).includes('e4'));
      expect(ids(back)).toEqual(['m2', 'e2', 'm3', 'e3', 'm4', 'e4']);
      say(client, 'live');
      await until('it came', () => ids(back).includes('live'));
      everywhere('5');
      await until('it came', () => ids(back).includes('e5'));
      back.send(`<a xmlns='${SM}' h='10'/>`);
      await back.marker();
      expect(a.sessions.size).toBe(0);
      expect((await shared.registry.sessionsOf(account('phoenix'))).map(({ claim }) => claim.instanceId)).toEqual([b.id]);
    });

    it('takes a session whose old stream still stands elsewhere: the old one ends with conflict', async () => {
      const { client, id } = await enabled(a, 'mover');
      const back = await resumed(b, 'mover', id, 0);
      expect(await client.streamError()).toBe('conflict');
      await back.marker();
    });

    it.each([
      ['each stanza and each entry once, in order (RFC 6120 §10.1)', true],
      ['faster than its stanzas follow it: each of them once', false],
    ])('goes from instance to instance under a flood: %s', async (_what, letsArrive) => {
      const { client, id } = await enabled(a, 'nomad');
      const got: string[] = [];
      let current = client;
      let h = 0;
      const take = (from: RawClient) => {
        got.push(...ids(from));
        h += ids(from).length;
      };
      let sent = 0;
      let isFlooding = true;
      const flood = (async () => {
        while (isFlooding) {
          sent++;
          say(client, `m${sent}`);
          sender.send(`<message to='nomad@localhost' id='b${sent}'><body>x</body></message>`);
          everywhere(String(sent));
          await sender.marker(); // both are on their way
        }
      })();
      try {
        for (const instance of [b, c, a, b, a, c]) {
          const last = `m${sent + 3}`;
          await until('something came', () => ids(current).length > 5 && (!letsArrive || ids(current).includes(last)));
          current.kill();
          await until('it is cut', () => current.isClosed);
          take(current);
          current = await resumed(instance, 'nomad', id, h);
        }
      } finally {
        isFlooding = false;
        await flood;
      }
      const all = Array.from({ length: sent }, (_, i) => i + 1);
      const both = () => [...got, ...ids(current)];
      await until('all came', () => both().length >= 3 * sent);
      await current.marker();
      const numbers = (prefix: string) => both().flatMap((each) => (each.startsWith(prefix) ? [Number(each.slice(1))] : []));
      expect(numbers('e')).toEqual(all);
      expect(numbers('b').sort((x, y) => x - y)).toEqual(all);
      if (letsArrive) expect(numbers('m')).toEqual(all);
      else expect(numbers('m').sort((x, y) => x - y)).toEqual(all);
    });

    it('skips entries that were withdrawn, and does not count them', async () => {
      const { client, id } = await enabled(a, 'gaps');
      for (let i = 1; i <= 3; i++) everywhere(String(i));
      await until('they came', () => ids(client).length === 3);
      client.kill();
      shared.withdrawn.add(2);
      const back = await resumed(b, 'gaps', id, 0);
      await back.next((element) => element.attrs.id === 'e3');
      expect(ids(back)).toEqual(['e1']);
      back.send(`<a xmlns='${SM}' h='2'/>`);
      await back.marker();
      back.send(`<a xmlns='${SM}' h='9'/>`);
      expect(await back.streamError()).toBe('undefined-condition');
    });

    it('keeps presence, directed presence and language, and has the role of the new login', async () => {
      const { client, id } = await enabled(a, 'keeper');
      sender.send('<presence/>');
      await sender.next((element) => element.name === 'presence');
      client.send(`<presence><priority>-3</priority></presence><presence to='${sender.jid}'/>`);
      await sender.next((element) => element.attrs.from === client.jid);
      client.kill();
      b.roles.set('keeper', 'operator');
      const back = await resumed(b, 'keeper', id, 1);
      const [session] = b.sessions.ofAccount(account('keeper'));
      expect(session).toMatchObject({ role: 'operator', presence: { kind: 'available', priority: -3 }, hasStarted: true });
      expect(ids(sender)).toEqual([]);
      expect(sender.inbox.filter((element) => element.attrs.type === 'unavailable')).toEqual([]);
      await back.close();
      expect((await sender.next((element) => element.attrs.type === 'unavailable')).attrs.from).toBe(client.jid);
    });
  });

  describe('a session that is not resumed', () => {
    it('gives what it did not acknowledge to the others of its account, or keeps it, and answers requests', async () => {
      const { client } = await enabled(a, 'lost');
      client.kill();
      await until('A knows', () => a.sessions.ofAccount(account('lost')).every((session) => !session.isConnected));
      say(client, 'm1');
      sender.send("<message to='lost@localhost' id='bare'><body>x</body></message>");
      sender.send(`<message to='${client.jid}' id='headline' type='headline'><body>x</body></message>`);
      const answer = sender.iq('get', "<ping xmlns='urn:xmpp:ping'/>", client.jid);
      await until('A has all', () => a.sessions.ofAccount(account('lost'))[0]?.sentCount === 4);
      const fresh = await b.login('lost', 'r'); // displaces it
      expect((await answer).getChild('error')?.getChild('service-unavailable')).toBeDefined();
      fresh.send('<presence/>');
      await until('both came', () => ids(fresh).length + shared.offline.count(account('lost')) >= 2);
      fresh.send('<presence/>');
      await until('both came to it', () => ids(fresh).length >= 2);
      await fresh.marker();
      expect(
        ids(fresh)
          .filter((each) => each !== 'headline')
          .sort(),
      ).toEqual(['bare', 'm1']);
    });
  });

  describe('resumption that is refused', () => {
    it("G-059 another account's SM-ID is not found, and its owner keeps the session", async () => {
      const { client, id } = await enabled(a, 'victim');
      for (const instance of [a, b]) {
        const thief = await refused(instance, 'thief', id);
        await thief.bind();
      }
      await client.marker();
      client.kill();
      await resumed(b, 'victim', id, 1);
    });

    it('an SM-ID that only begins like a real one takes nothing from the session that is there', async () => {
      const { client, id } = await enabled(a, 'forger');
      const forged = `${id.slice(0, 12)}${'A'.repeat(22)}`;
      for (const instance of [a, b]) (await refused(instance, 'forger', forged)).kill();
      await refused(b, 'forger', 'x'.repeat(5_000));
      await client.marker();
      const [claim] = await shared.registry.sessionsOf(account('forger'));
      expect(claim?.claim).toMatchObject({ instanceId: a.id, sessionId: a.sessions.ofAccount(account('forger'))[0]?.id });
      client.kill();
      await resumed(b, 'forger', id, 1);
    });

    it('one of two streams on two instances wins at once', async () => {
      const { client, id } = await enabled(a, 'twins');
      client.kill();
      const { registry } = shared;
      const both = barrier(2);
      shared.registry = {
        bind: registry.bind.bind(registry),
        drop: registry.drop.bind(registry),
        sessionsOf: registry.sessionsOf.bind(registry),
        reclaim: async (...args) => {
          await both();
          return registry.reclaim(...args);
        },
      };
      const answers = await Promise.all([b, c].map((instance) => ask(instance, 'twins', id, 0)));
      // One took the claim over. The other finds the session there: refused while it is being resumed, else it takes it from
      // that stream, which ends with conflict.
      const streams = answers.filter(({ reply }) => reply.name === 'resumed').map(({ client: each }) => each);
      expect(streams.length).toBeGreaterThan(0);
      await until('one is left', () => streams.filter((each) => !each.isClosed).length === 1);
      const winner = streams.find((each) => !each.isClosed)!;
      await winner.marker();
      expect(a.sessions.size + b.sessions.size + c.sessions.size).toBe(2); // and the sender's
      say(client, 'm');
      await until('it came', () => ids(winner).includes('m'));
    });

    it('a stream that breaks while it takes the session over does not keep the next one from it', async () => {
      const { client, id } = await enabled(a, 'twice');
      say(client, 'm1');
      await client.nextMessage();
      client.kill();
      const { resumeStates } = shared;
      let go = (): void => undefined;
      const held = new Promise<void>((resolve) => {
        go = resolve;
      });
      let isTaken = false;
      shared.resumeStates = {
        put: resumeStates.put.bind(resumeStates),
        append: resumeStates.append.bind(resumeStates),
        dropAll: resumeStates.dropAll.bind(resumeStates),
        take: async (...args) => {
          isTaken = true;
          await held;
          return resumeStates.take(...args);
        },
      };
      const broken = await b.authenticated('twice');
      broken.send(`<resume xmlns='${SM}' previd='${id}' h='0'/>`);
      await until('B has its claim', () => isTaken);
      shared.resumeStates = resumeStates;
      broken.kill();
      const next = resumed(c, 'twice', id, 0);
      await sender.marker();
      go();
      const back = await next;
      await until('it came again', () => ids(back).includes('m1'));
      expect(a.sessions.size + b.sessions.size).toBe(0);
    });

    it('of many streams that resume one session one is left, wherever they come in', async () => {
      const { id } = await enabled(a, 'crowd');
      const answers = await Promise.all(Array.from({ length: 9 }, (_, i) => ask([a, b, c][i % 3]!, 'crowd', id, 0)));
      const streams = answers.filter(({ reply }) => reply.name === 'resumed').map(({ client }) => client);
      await until('one is left', () => streams.filter((stream) => !stream.isClosed).length === 1);
      await streams.find((stream) => !stream.isClosed)!.marker();
      expect(a.sessions.size + b.sessions.size + c.sessions.size).toBe(2); // and the sender's
      expect(await shared.registry.sessionsOf(account('crowd'))).toHaveLength(1);
    });

    it('§6 an h that is too high ends the stream, and the right one resumes later', async () => {
      const { client, id } = await enabled(a, 'liar');
      say(client, 'm1');
      await client.nextMessage();
      client.kill();
      const { client: liar, reply } = await ask(b, 'liar', id, 5);
      expect(reply.getChild('handled-count-too-high')?.attrs).toMatchObject({ h: '5', 'send-count': '1' });
      await liar.closed();
      const back = await resumed(c, 'liar', id, 0);
      await until('it came again', () => ids(back).includes('m1'));
    });

    it('an owner that is dead took the session with it; the client may bind', async () => {
      const { id } = await enabled(a, 'orphan');
      await a.die();
      const back = await refused(b, 'orphan', id);
      await back.bind('r');
      await back.marker();
    });

    it('an owner that does not answer within 2 s keeps the session', async () => {
      const { client, id } = await enabled(a, 'stuck');
      a.serves = false;
      const back = await refused(b, 'stuck', id);
      await back.bind('r');
      a.serves = true;
      expect(await client.streamError()).toBe('conflict');
    });

    it('a state that may have been taken is not resumed from', async () => {
      const { client, id } = await enabled(a, 'unsure');
      client.kill();
      const { resumeStates } = shared;
      shared.resumeStates = {
        put: resumeStates.put.bind(resumeStates),
        append: resumeStates.append.bind(resumeStates),
        dropAll: resumeStates.dropAll.bind(resumeStates),
        take: async (who: JID, smId: string) => {
          await resumeStates.take(who, smId);
          throw new StoreUnavailable('unknown', 'test');
        },
      };
      const { client: back, reply } = await ask(b, 'unsure', id, 0);
      expect(reply.name).toBe('failed');
      expect(reply.getChild('resource-constraint')).toBeDefined();
      shared.resumeStates = resumeStates;
      await back.bind('r');
      await back.marker();
      expect(await shared.registry.sessionsOf(account('unsure'))).toHaveLength(1);
      await refused(c, 'unsure', id);
    });

    it('a state that cannot be written leaves the session where it is', async () => {
      const { client, id } = await enabled(a, 'stays');
      const { resumeStates } = shared;
      shared.resumeStates = {
        take: resumeStates.take.bind(resumeStates),
        append: resumeStates.append.bind(resumeStates),
        dropAll: resumeStates.dropAll.bind(resumeStates),
        put: async () => 'full',
      };
      await refused(b, 'stays', id);
      shared.resumeStates = resumeStates;
      await client.marker();
      everywhere('1');
      await until('it came', () => ids(client).includes('e1'));
    });

    it('delivery.md §8.1 events of a topic whose right was cut do not leave the outbox', async () => {
      const { client, id } = await enabled(a, 'reader');
      client.socket.pause();
      const [session] = a.sessions.ofAccount(account('reader'));
      for (let i = 1; session!.isWritable; i++) {
        everywhere('x'.repeat(8_000));
        if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      session!.withdraw('another');
      expect(session!.isConnected).toBe(true);
      session!.withdraw('log');
      expect(session!.isConnected).toBe(false);
      for (let seq = 1; seq <= shared.entries.length; seq++) shared.withdrawn.add(seq);
      client.socket.resume();
      await client.closed();
      const whole = ids(client).length;
      expect(whole).toBeLessThan(shared.entries.length);
      const back = await resumed(b, 'reader', id, whole);
      everywhere('after');
      await back.next((element) => element.attrs.id === `e${shared.entries.length}`);
      expect(ids(back)).toEqual([]);
    });

    it('delivery.md §8.2 an account that is disabled has nothing to resume', async () => {
      const { client, id } = await enabled(a, 'cut');
      client.kill();
      await a.stop();
      await shared.resumeStates.dropAll(account('cut')); // what each instance does when it hears of it
      await refused(b, 'cut', id);
    });

    it('delivery.md §8.2 a session with the former role ends with reset, one with the new role stays', async () => {
      const former = await enabled(a, 'promoted');
      a.roles.set('promoted', 'operator');
      const other = await a.login('promoted', 'other');
      expect(
        await a.sessions.rejudge(account('promoted'), ({ role }) => (role === 'operator' ? undefined : 'role-changed')),
      ).toBe(1);
      expect(await former.client.streamError()).toBe('reset');
      await other.marker();
      await refused(b, 'promoted', former.id);
    });
  });
});

/** A wait that ends when it was begun `count` times. */
function barrier(count: number): () => Promise<void> {
  let begun = 0;
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return () => {
    if (++begun === count) open();
    return opened;
  };
}
