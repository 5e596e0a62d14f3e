import { Delivery, type DeliveryDeps, type TopicPolicy } from '@xmpp-grid/pubsub';
import { expect } from 'vitest';
import { FakeSession } from './fake-session.ts';

export const BROKER = 'broker.grid.example';

/** Every role may do everything, and is an effective member of every topic. */
export const openPolicy: TopicPolicy = {
  decide: () => ({ verdict: 'allow' }),
  isHidden: () => false,
  approves: () => true,
  roleOf: async () => 'analyst',
};

/** Delivery whose errors fail the test. */
export function startDelivery(topics: DeliveryDeps['topics'], instanceId: string, more: Partial<DeliveryDeps> = {}): Delivery {
  const log = {
    debug: () => undefined,
    info: () => undefined,
    warn: () => undefined,
    error: (fields: object, message: string) => {
      throw new Error(message, { cause: fields });
    },
  };
  return new Delivery({ topics, instanceId, domain: BROKER, log, policy: openPolicy, ...more });
}

export interface Mortal {
  readonly topics: DeliveryDeps['topics'];
  /** As if the process had died: its writes go nowhere from now on. */
  die(): void;
}

/** A store as one process sees it, whose death does not touch the store. */
export function mortal(topics: DeliveryDeps['topics']): Mortal {
  let isDead = false;
  const never = () => new Promise<never>(() => undefined);
  return {
    topics: new Proxy(topics, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== 'function') return value;
        return isDead && (name === 'update' || name === 'forgetTopic') ? never : value.bind(target);
      },
    }),
    die: () => {
      isDead = true;
    },
  };
}

/** Binds and starts a session; `prepare` runs between the two. */
export function join(delivery: Delivery, jid: string, prepare?: (session: FakeSession) => void): FakeSession {
  const session = new FakeSession(jid);
  delivery.bound(session);
  prepare?.(session);
  delivery.started(session);
  return session;
}

/** Waits for a condition, turn by turn, at most some seconds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 5_000;
  while (!condition()) {
    if (Date.now() > end) expect.fail(`still waiting: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
