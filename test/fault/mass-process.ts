import { seededRandom } from '../../bench/driver/report-payload.ts';
import { until } from '../support/until.ts';
import { Checker } from './checker.ts';
import { Consumer } from './load/consumer.ts';
import { eachOf } from './load/load.ts';
import { type MassAnswers, type MassAsk, sentMsOf } from './mass-messages.ts';
import { Timeline } from './timeline.ts';

/** Some thousand platforms in one process, for `mass.ts`. */

const AUDITOR = 'auditor';
const LOGINS = 32;

const checker = new Checker();
const timeline = new Timeline();
const consumers: { readonly consumer: Consumer; readonly node: string }[] = [];
let ports: readonly number[] = [];

async function answer(ask: MassAsk): Promise<MassAnswers[MassAsk['kind']]> {
  switch (ask.kind) {
    case 'connect': {
      ports = ask.ports;
      checker.expect(AUDITOR, ask.nodes);
      for (let i = ask.first; i < ask.first + ask.count; i++) {
        const consumer = new Consumer(
          {
            user: `m${i}`,
            resource: 'r',
            domain: ask.domain,
            ca: ask.ca,
            ports: () => ports,
            management: 'resume',
            // In a storm the machine is slow, not the other side gone.
            silenceMs: 30_000,
            connectMs: 60_000,
            random: seededRandom(ask.seed + i),
            timeline,
          },
          checker,
          ask.broker,
        );
        const node = ask.nodes[i % ask.nodes.length] as string;
        checker.expect(consumer.name, [node]);
        consumers.push({ consumer, node });
      }
      await eachOf(consumers, LOGINS, async ({ consumer, node }) => {
        await consumer.platform.start();
        await consumer.subscribe(node);
      });
      return { connected: consumers.length };
    }
    case 'ports':
      ports = ask.ports;
      return null;
    case 'caught-up': {
      const isBack = ({ consumer, node }: (typeof consumers)[number]) => {
        const last = checker.lastItemOf(consumer.name, node);
        return consumer.platform.isUp && consumer.platform.incarnation > 1 && last !== undefined && sentMsOf(last) > ask.sinceMs;
      };
      const waiting = new Set(consumers);
      const look = () => {
        for (const each of waiting) if (isBack(each)) waiting.delete(each);
        return waiting.size === 0;
      };
      await until('everybody is back', look, ask.deadlineMs).catch(() => undefined); // the numbers tell
      return { back: consumers.length - waiting.size, of: consumers.length };
    }
    case 'judge': {
      for (const delivery of ask.log) checker.delivered(AUDITOR, delivery);
      const wanted = new Map<string, number>();
      for (const { node } of ask.log) wanted.set(node, (wanted.get(node) ?? 0) + 1);
      const has = ({ consumer, node }: (typeof consumers)[number]) =>
        checker.itemsOf(consumer.name, node).length >= (wanted.get(node) ?? 0);
      await until('everybody has everything', () => consumers.every(has), ask.deadlineMs).catch(() => undefined);
      await Promise.all(consumers.map(({ consumer }) => consumer.platform.die()));
      return checker.report(AUDITOR);
    }
  }
}

process.on('message', ({ id, ask }: { id: number; ask: MassAsk }) => {
  answer(ask).then(
    (reply) => process.send?.({ id, answer: reply }),
    (error: unknown) => process.send?.({ id, error: (error as Error).stack ?? String(error) }),
  );
});
process.on('disconnect', () => process.exit(0)); // whoever asks is gone
