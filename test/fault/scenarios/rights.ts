import { until } from '../../support/until.ts';
import { Checker } from '../checker.ts';
import type { Consumer } from '../load/consumer.ts';
import type { FaultRun, Scenario } from '../scenario.ts';
import { CLUSTER, RECOVERS_MS } from './instances.ts';

/** What races and what changes while events are under way: bells, sessions, subscriptions, topics, rights. */

const PUBSUB = 'http://jabber.org/protocol/pubsub';

const bells: Scenario = {
  id: 'BELLS',
  title: 'bells dropped, doubled, reordered, delayed',
  cluster: { ...CLUSTER, bells: true },
  expects: { resumes: true, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    for (const fault of ['drop', 'double', 'reorder'] as const) {
      run.breaks(`half of the bells: ${fault}`);
      for (const { bells } of run.cluster.instances) {
        if (bells === undefined) throw new Error('started without bells');
        bells.random = run.random;
        bells.tampered = 0;
        bells.fault = fault;
      }
      await run.load.flow(100);
      const tampered = run.cluster.instances.reduce((sum, each) => sum + (each.bells?.tampered ?? 0), 0);
      if (tampered === 0) run.wrong.push(`no bell was there to ${fault}`);
      run.note(`${tampered} bells: ${fault}`);
    }
    for (const { bells, redisLink } of run.cluster.instances) {
      if (bells !== undefined) bells.fault = 'none';
      if (redisLink !== undefined) redisLink.delayMs = () => run.between(0, 40);
    }
    run.breaks('everything from and to Redis is late, up to 40 ms each way');
    await run.load.flow(100);
    for (const { redisLink } of run.cluster.instances) if (redisLink !== undefined) redisLink.delayMs = undefined;
    run.repaired('bells pass');
  },
};

const resources: Scenario = {
  id: 'PAIR',
  title: 'two resources of one account, cut and drained',
  cluster: CLUSTER,
  load: { consumers: 10, resources: 2 },
  expects: { resumes: true, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    for (let i = 0; i < 4; i++) {
      await run.load.flow(50);
      run.breaks('a third of the sessions cut');
      for (const { platform } of run.load.consumers) if (run.random() < 0.34) platform.cut();
    }
    const victim = run.pick(run.cluster.instances);
    run.breaks(`${victim.name} drained`);
    await victim.terminate();
    await victim.start();
    run.repaired(`${victim.name} started again`);
  },
};

/** An owner with a topic of its own beside the load, at one instance. */
async function sideTopic(run: FaultRun, name: string, checker: Checker) {
  const [first, second, third] = run.cluster.instances;
  const node = `seed-${run.seed}-${name}`;
  const owner = await run.load.extraProvider(`owner-${name}`, node, checker, first);
  await owner.create(node);
  const consumerAt = async (user: string, resource: string, at = second): Promise<Consumer> => {
    const consumer = await run.load.extraConsumer(user, resource, checker, at);
    checker.expect(consumer.name, [node]);
    return consumer;
  };
  return { node, owner, consumerAt, second, third };
}

const subscriptions: Scenario = {
  id: 'RACE',
  title: 'subscribe and unsubscribe race from two instances',
  cluster: CLUSTER,
  expects: { recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    const checker = new Checker();
    const { node, owner, consumerAt, second, third } = await sideTopic(run, 'race', checker);
    const sessions = [await consumerAt('racer', 'a', second), await consumerAt('racer', 'b', third)] as const;
    run.breaks('two sessions subscribe and unsubscribe against each other');
    for (let round = 0; round < 20; round++) {
      const [a, b] = run.random() < 0.5 ? sessions : [sessions[1], sessions[0]];
      await Promise.all([
        a.subscribe(node).catch((error: unknown) => run.wrong.push(String(error))),
        b.unsubscribe(node), // unexpected-request when it comes first
      ]);
      const stands = await Promise.all(sessions.map((session) => isSubscribed(session, node, run.cluster.broker)));
      if (stands[0] !== stands[1]) run.wrong.push(`round ${round}: the instances differ about the subscription`);
      const itemId = `${node}.${round}`;
      await owner.publish(itemId);
      if (stands[0] === true) {
        await until(`both sessions have ${itemId}`, () => sessions.every(({ name }) => checker.has(name, node, itemId)));
      } else {
        // Behind the answer, whatever was sent is there.
        await Promise.all(sessions.map((session) => isSubscribed(session, node, run.cluster.broker)));
        for (const { name } of sessions)
          if (checker.has(name, node, itemId)) run.wrong.push(`${name} got ${itemId} unsubscribed`);
      }
    }
    run.repaired('the race is over');
  },
};

async function isSubscribed({ platform }: Consumer, node: string, broker: string): Promise<boolean> {
  const answer = await platform.request('get', `<pubsub xmlns='${PUBSUB}'><subscriptions node='${node}'/></pubsub>`, broker);
  return answer.getChild('pubsub')?.getChild('subscriptions')?.getChild('subscription')?.attrs.subscription === 'subscribed';
}

const recreated: Scenario = {
  id: 'AGAIN',
  title: 'topic deleted and created again, consumers away',
  cluster: CLUSTER,
  expects: { recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    const checker = new Checker();
    const { node, owner, consumerAt, second, third } = await sideTopic(run, 'again', checker);
    const consumers = [await consumerAt('away-0', 'r', second), await consumerAt('away-1', 'r', third)];
    for (const consumer of consumers) await consumer.subscribe(node);
    await owner.publish(`${node}.first`);
    await until('both have the first', () => consumers.every(({ name }) => checker.has(name, node, `${node}.first`)));
    for (const { platform } of consumers) await platform.stop();
    run.breaks('the topic is deleted and created again while its consumers are away');
    await owner.publish(`${node}.missed`);
    await owner.delete(node);
    await owner.create(node);
    await owner.publish(`${node}.second-life`);
    run.repaired('the consumers come back');
    for (const consumer of consumers) {
      await consumer.platform.start();
      await until(`${consumer.name} is told of the deletion`, () =>
        consumer.others.some((message) => message.getChild('event')?.getChild('delete')?.attrs.node === node),
      );
      // The subscription ended with the topic: nothing of its second life comes, before or after.
      await isSubscribed(consumer, node, run.cluster.broker);
      if (checker.has(consumer.name, node, `${node}.second-life`))
        run.wrong.push(`${consumer.name} got events without a subscription`);
      await consumer.subscribe(node);
    }
    await owner.publish(`${node}.third`);
    await until('both have the third', () => consumers.every(({ name }) => checker.has(name, node, `${node}.third`)));
    for (const { name } of consumers) {
      const got = checker.itemsOf(name, node).filter((itemId) => itemId === `${node}.second-life`);
      if (got.length > 0) run.wrong.push(`${name} got what was published before it subscribed`);
    }
  },
};

const removed: Scenario = {
  id: 'CUTOFF',
  title: 'access removed while a bell is under way',
  cluster: { ...CLUSTER, bells: true },
  expects: { recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    for (const { redisLink } of run.cluster.instances) if (redisLink !== undefined) redisLink.delayMs = () => run.between(0, 30);
    const checker = new Checker();
    const { node, owner, consumerAt, second, third } = await sideTopic(run, 'cutoff', checker);
    const publisher = await run.load.extraProvider('cutoff-publisher', node, checker, third);
    await owner.affiliate(node, [publisher.platform.jid], 'publisher');
    const marker = await consumerAt('cutoff-marker', 'r', second);
    await marker.subscribe(node);
    let published = 0;
    for (let round = 0; round < 10; round++) {
      const consumer = await consumerAt(`cutoff-${run.seed}-${round}`, 'r', second);
      await consumer.subscribe(node);
      run.breaks(`round ${round}: a member becomes an outcast`);
      let isOut = false;
      const after: string[] = [];
      const publishing = (async () => {
        for (let i = 0; i < 30 && after.length < 5; i++) {
          const itemId = `${node}.${++published}`;
          if (isOut) after.push(itemId);
          await publisher.publish(itemId);
        }
      })();
      await owner.affiliate(node, [consumer.platform.jid], 'outcast');
      isOut = true;
      await publishing;
      const last = `${node}.${published}`;
      await until('another consumer has the last event', () => checker.has(marker.name, node, last));
      await isSubscribed(consumer, node, run.cluster.broker); // a round trip behind whatever was sent
      const leaked = after.filter((itemId) => checker.has(consumer.name, node, itemId));
      if (leaked.length > 0) run.wrong.push(`${consumer.name} got ${leaked.join(', ')} as an outcast`);
      if (after.length === 0) run.note('nothing was published after the change');
      await consumer.platform.stop();
    }
    for (const { redisLink } of run.cluster.instances) if (redisLink !== undefined) redisLink.delayMs = undefined;
    run.repaired('rights stand');
  },
};

export const RIGHTS_FAULTS: readonly Scenario[] = [bells, resources, subscriptions, recreated, removed];
