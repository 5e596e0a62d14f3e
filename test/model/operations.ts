/**
 * What many parties may do, drawn at random from a seed: owners, publishers, members, outcasts, strangers, a read-only role, a
 * role that approves and sees some topics only; two resources of some accounts; coming, going, breaking off and resuming.
 */

import type { ExpectedDelivery, ModelSession } from './expected-delivery.ts';
import type { Affiliation, Entry, ModelRole, PublishedItem, ReferenceBroker, Request, Verb } from './reference.ts';

/** Who asks what. */
export interface Asked {
  readonly by: string;
  readonly request: Request;
}

/** One step of a run; everything in it is plain data, so that a script can be cut down and run again. */
export type Operation =
  | { readonly do: 'request'; readonly by: string; readonly request: Request }
  /** Two requests at the same time that have nothing to do with each other: whichever is first, the same is right. */
  | { readonly do: 'together'; readonly by: string; readonly request: Request; readonly also: Asked }
  | { readonly do: 'login'; readonly by: string; readonly sm: boolean; readonly presence: boolean }
  /** Sends the publish that came just before again, under the same id: a client that did not get the answer. */
  | { readonly do: 'repeat'; readonly by: string }
  | { readonly do: 'logout'; readonly by: string }
  | { readonly do: 'acknowledge'; readonly by: string }
  | { readonly do: 'break'; readonly by: string }
  | { readonly do: 'resume'; readonly by: string; readonly has: 'everything' | 'acknowledged' };

const ALL: readonly Verb[] = [
  'create',
  'configure',
  'delete',
  'publish',
  'retract',
  'purge',
  'subscribe',
  'retrieve',
  'discover',
  'manage',
];

/** The roles of a run, as the model has them; `rolesSetting` says the same to the instance. */
export const ROLES: Readonly<Record<string, ModelRole>> = {
  platform: { grants: [{ verbs: ALL, prefix: '' }], approves: [] },
  'read-only': { grants: [{ verbs: ['subscribe', 'retrieve', 'discover'], prefix: '' }], approves: [] },
  scout: {
    grants: [
      { verbs: ALL, prefix: 'a' },
      { verbs: ['subscribe', 'retrieve', 'discover'], prefix: 'b' },
    ],
    approves: ['a', 'c'],
  },
  sentry: { grants: [{ verbs: ALL, prefix: '' }], approves: [''] },
};

export const rolesSetting = Object.fromEntries(
  ['scout', 'sentry'].map((name) => {
    const { grants, approves } = ROLES[name] as ModelRole;
    return [
      name,
      {
        grants: grants.map(({ verbs, prefix }) => ({ verbs, topics: [`${prefix}*`] })),
        approve: approves.map((prefix) => `${prefix}*`),
      },
    ];
  }),
);

/** Accounts of a run: role and resources. */
export const PARTIES: Readonly<Record<string, { readonly role: string; readonly resources: readonly string[] }>> = {
  ophelia: { role: 'platform', resources: ['r1'] },
  polonius: { role: 'platform', resources: ['r1', 'r2'] },
  hamlet: { role: 'platform', resources: ['r1', 'r2'] },
  horatio: { role: 'platform', resources: ['r1', 'r2'] },
  yorick: { role: 'platform', resources: ['r1'] },
  reader: { role: 'read-only', resources: ['r1'] },
  scout: { role: 'scout', resources: ['r1'] },
  sentry: { role: 'sentry', resources: ['r1'] },
};

const NODES = ['a1', 'a2', 'b1', 'b2', 'c1'];
const ITEM_IDS = ['i1', 'i2', 'i3', 'i4'];
const TYPES = ['urn:example:t1', 'urn:example:t2'];

/** A source of random numbers that a seed determines (mulberry32). */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  /** At least 0, less than 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }
  chance(probability: number): boolean {
    return this.next() < probability;
  }
  below(bound: number): number {
    return Math.floor(this.next() * bound);
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
  /** One of the keys, by their weights. */
  weighted<K extends string>(weights: Readonly<Record<K, number>>): K {
    const entries = Object.entries(weights) as [K, number][];
    let left = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [key, weight] of entries) {
      left -= weight;
      if (left < 0) return key;
    }
    return (entries.at(-1) as [K, number])[0];
  }
}

/** Everybody comes once, so that a run begins with somebody there. */
export function opening(random: Random): Operation[] {
  return Object.entries(PARTIES).flatMap(([name, { resources }]) =>
    resources.map((resource) => login(`${name}/${resource}`, random)),
  );
}

const login = (by: string, random: Random): Operation => ({
  do: 'login',
  by,
  sm: random.chance(0.5),
  presence: random.chance(0.5),
});

/** The next operation; looks at the model so that most of what is asked makes sense, and some of it does not. */
export function nextOperation(
  random: Random,
  broker: ReferenceBroker,
  delivery: ExpectedDelivery,
  serial: number,
  lastPublisher: string | undefined,
): Operation {
  const live = delivery.sessions.filter(({ isBroken }) => !isBroken);
  const broken = delivery.sessions.filter(({ isBroken }) => isBroken);
  const away = Object.entries(PARTIES).flatMap(([name, { resources }]) =>
    resources
      .filter((resource) => !live.some((each) => each.name === name && each.resource === resource))
      .map((resource) => `${name}/${resource}`),
  );
  const move = random.weighted({
    request: 100,
    together: 8,
    leave: 5,
    acknowledge: 3,
    repeat: 4,
    break: 3,
    resume: broken.length * 4,
    login: away.length * 3,
  });
  const repeats = move === 'repeat' ? live.find((each) => keyOf(each) === lastPublisher) : undefined;
  if (repeats) return { do: 'repeat', by: keyOf(repeats) };
  if (move === 'resume') {
    return { do: 'resume', by: keyOf(random.pick(broken)), has: random.chance(0.5) ? 'everything' : 'acknowledged' };
  }
  if (move === 'login') return login(random.pick(away), random);
  const managed = live.filter(({ hasStreamManagement }) => hasStreamManagement);
  if (move === 'leave' && live.length > 4) return { do: 'logout', by: keyOf(random.pick(live)) };
  if (move === 'acknowledge' && managed.length > 0) return { do: 'acknowledge', by: keyOf(random.pick(managed)) };
  if (move === 'break' && managed.length > 0 && live.length > 4) return { do: 'break', by: keyOf(random.pick(managed)) };
  if (live.length === 0) return login(random.pick(away), random);
  const asked = nextRequest(random, broker, live, serial);
  if (move !== 'together') return { do: 'request', ...asked };
  const also = nextRequest(random, broker, live, `${serial}b`);
  return areApart(asked, also) ? { do: 'together', ...asked, also } : { do: 'request', ...asked };
}

/** Of different sessions, on different topics: nothing that one changes is seen by the other. */
const areApart = (one: Asked, other: Asked): boolean => {
  const [node, another] = [one, other].map(({ request }) => ('node' in request ? request.node : undefined));
  return one.by !== other.by && node !== undefined && another !== undefined && node !== another;
};

const keyOf = ({ name, resource }: { readonly name: string; readonly resource: string }): string => `${name}/${resource}`;

function nextRequest(random: Random, broker: ReferenceBroker, live: readonly ModelSession[], serial: number | string): Asked {
  const verb = random.weighted({
    create: broker.nodes.length < 4 ? 14 : 2,
    configuration: 2,
    defaults: 0.3,
    configure: 6,
    delete: 2,
    subscribe: 14,
    unsubscribe: 5,
    publish: 36,
    retract: 7,
    purge: 2,
    items: 9,
    subscriptions: 3,
    affiliations: 3,
    'owner-subscriptions': 2,
    'owner-affiliations': 2,
    'set-subscriptions': 6,
    'set-affiliations': 14,
    authorize: 7,
  });
  const node =
    random.chance(0.97) && broker.nodes.length > 0 && verb !== 'create' ? random.pick(broker.nodes) : random.pick(NODES);
  const topic = broker.look(node);
  const has = (wanted: readonly Affiliation[]) =>
    live.filter(({ name }) => wanted.includes(topic?.affiliations.get(`${name}@${broker.domain}`) ?? 'none'));
  /** Most often somebody who may, else anybody. */
  const by = (...wanted: Affiliation[]): ModelSession => {
    const fitting = has(wanted);
    return random.chance(0.8) && fitting.length > 0 ? random.pick(fitting) : random.pick(live);
  };
  const ask = (session: ModelSession, request: Request): Asked => ({ by: keyOf(session), request });
  const jid = (name: string, resource?: string) => `${name}@${broker.domain}${resource === undefined ? '' : `/${resource}`}`;
  const anyJid = (): string => {
    const name = random.pick(Object.keys(PARTIES));
    return random.chance(0.7) ? jid(name) : jid(name, random.pick(PARTIES[name]?.resources ?? []));
  };
  const itemId = (): string =>
    topic !== undefined && topic.itemIds.length > 0 && random.chance(0.8) ? random.pick(topic.itemIds) : random.pick(ITEM_IDS);

  switch (verb) {
    case 'create':
      return ask(random.pick(live), { verb, node: random.pick(NODES), fields: newFields(random) });
    case 'configuration':
      return ask(by('owner'), { verb, node });
    case 'defaults':
      return ask(random.pick(live), { verb });
    case 'configure':
      return ask(by('owner'), { verb, node, fields: random.chance(0.1) ? 'cancel' : changedFields(random) });
    case 'delete':
      return ask(by('owner'), { verb, node, ...(random.chance(0.3) ? { redirect: 'xmpp:elsewhere.example?;node=x' } : {}) });
    case 'subscribe': {
      const session = random.pick(live);
      const own = random.chance(0.7) ? jid(session.name) : jid(session.name, random.chance(0.8) ? session.resource : 'r2');
      return ask(session, { verb, node, jid: random.chance(0.03) ? undefined : random.chance(0.96) ? own : anyJid() });
    }
    case 'unsubscribe': {
      const subscribed = [...(topic?.subscriptions.keys() ?? [])];
      const session = random.pick(live);
      const own = subscribed.filter((each) => each.split('/', 1)[0] === jid(session.name));
      return ask(session, {
        verb,
        node,
        jid: random.chance(0.03)
          ? undefined
          : own.length > 0
            ? random.pick(own)
            : random.chance(0.7)
              ? jid(session.name)
              : anyJid(),
      });
    }
    case 'publish':
      return ask(by('owner', 'publisher', 'publish-only'), {
        verb: 'publish',
        node,
        ...publication(random, topic?.fields, serial),
      });
    case 'retract':
      return ask(by('owner', 'publisher', 'publish-only'), {
        verb,
        node,
        itemId: random.chance(0.03) ? undefined : itemId(),
        notify: random.chance(0.4),
      });
    case 'purge':
      return ask(by('owner'), { verb, node });
    case 'items': {
      const which = random.weighted({ all: 5, ids: 3, max: 3 });
      return ask(random.pick(live), {
        verb,
        node,
        ...(which === 'ids' ? { ids: [...new Set([itemId(), itemId()])] } : which === 'max' ? { max: 1 + random.below(3) } : {}),
      });
    }
    case 'subscriptions':
    case 'affiliations':
      return ask(random.pick(live), { verb, ...(random.chance(0.5) ? { node } : {}) });
    case 'owner-subscriptions':
    case 'owner-affiliations':
      return ask(by('owner'), { verb, node });
    case 'set-subscriptions': {
      const entries = entriesOf(random, anyJid, ['subscribed', 'subscribed', 'none', 'none', 'pending']);
      return ask(by('owner'), { verb, node, entries });
    }
    case 'set-affiliations': {
      const values = ['publisher', 'publisher', 'member', 'member', 'publish-only', 'none', 'outcast', 'owner'];
      return ask(by('owner'), { verb, node, entries: entriesOf(random, anyJid, values) });
    }
    case 'authorize': {
      const pending = [...(topic?.subscriptions ?? [])].filter(([, state]) => state === 'pending').map(([each]) => each);
      const allow = random.weighted({ yes: 6, no: 3, cancel: 1 });
      return ask(by('owner'), {
        verb,
        node,
        jid: pending.length > 0 && random.chance(0.9) ? random.pick(pending) : anyJid(),
        allow,
      });
    }
  }
}

function entriesOf(random: Random, anyJid: () => string, values: readonly string[]): Entry[] {
  return Array.from({ length: random.weighted({ 1: 6, 2: 3, 3: 1 }) === '1' ? 1 : 2 }, () => ({
    jid: anyJid(),
    value: random.chance(0.04) ? undefined : random.pick(values),
  }));
}

function newFields(random: Random): Record<string, string> {
  const fields: Record<string, string> = changedFields(random);
  if (random.chance(0.15)) fields.persist_items = '0';
  if (random.chance(0.15)) fields.notification_type = random.pick(['headline', 'chat']);
  return fields;
}

/** Fields that may change while the topic has items and subscribers. */
function changedFields(random: Random): Record<string, string> {
  const fields: Record<string, string> = {};
  if (random.chance(0.5)) fields.access_model = random.weighted({ authorize: 4, whitelist: 4, open: 2, presence: 0.3 });
  if (random.chance(0.3)) fields.publish_model = random.weighted({ publishers: 5, subscribers: 2, open: 2, nobody: 0.3 });
  if (random.chance(0.3)) fields.max_items = random.weighted({ 1: 2, 2: 3, 3: 3, 50: 3, 0: 0.3, many: 0.3 });
  if (random.chance(0.15)) fields.max_payload_size = random.pick(['200', '5000']);
  if (random.chance(0.15)) fields.type = random.pick(['', '', ...TYPES]);
  if (random.chance(0.2)) fields.deliver_payloads = random.pick(['0', '1', 'true', 'false']);
  if (random.chance(0.3)) fields.notify_config = random.pick(['0', '1']);
  if (random.chance(0.2)) fields.notify_delete = random.pick(['0', '1']);
  if (random.chance(0.3)) fields.notify_retract = random.pick(['0', '1']);
  if (random.chance(0.2)) fields.title = `title ${random.below(100)}`;
  if (random.chance(0.05)) fields['no such field'] = 'x';
  return fields;
}

function publication(
  random: Random,
  fields: Readonly<Record<string, string>> | undefined,
  serial: number | string,
): { readonly item?: PublishedItem } {
  const isBare = fields?.persist_items === '0' && fields.deliver_payloads === '0';
  if (random.chance(isBare ? 0.8 : 0.03)) return {};
  const ns = fields?.type !== undefined && fields.type !== '' && random.chance(0.85) ? fields.type : random.pick(TYPES);
  const text = `text ${serial}${random.chance(0.05) ? ' and more'.repeat(40) : ''}`;
  const count = Number(random.weighted({ 1: 92, 0: 5, 2: 3 }));
  return {
    item: {
      ...(random.chance(0.75) ? { id: random.pick(ITEM_IDS) } : { as: `made-${serial}` }),
      payloads: Array.from({ length: count }, () => ({ ns, text })),
    },
  };
}

/** One line of a script. */
export const lineOf = (operation: Operation): string => JSON.stringify(operation);
