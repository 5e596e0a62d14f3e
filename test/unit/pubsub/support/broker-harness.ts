/** A Broker on the embedded store in a folder of its own: requests in as XML, answers and what it sent out as XML. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Authorizer, type RoleTemplate } from '@xmpp-grid/auth';
import {
  type Broker,
  type BrokerDeps,
  brokerMetrics,
  createBroker,
  type EmbeddedTopicStore,
  ENVIRONMENT_OPTIONS,
  openEmbeddedTopicStore,
  type TopicConfig,
} from '@xmpp-grid/pubsub';
import { type Element, IqRouter, JID, NS, type SessionPort } from '@xmpp-grid/stream';
import { open } from 'lmdb';
import { Registry } from 'prom-client';
import { parse } from '../../../support/stanzas.ts';

export const BROKER = 'pubsub.shakespeare.lit';

export const DEFAULTS: TopicConfig = {
  title: '',
  description: '',
  type: '',
  accessModel: 'authorize',
  publishModel: 'publishers',
  persistItems: true,
  maxItems: 100,
  maxPayloadSize: 10_000,
  deliverPayloads: true,
  notificationType: 'normal',
  notifyConfig: false,
  notifyDelete: true,
  notifyRetract: true,
  sendLastPublishedItem: 'never',
};

export interface HarnessOptions {
  readonly profile?: 'grid' | 'compat';
  readonly defaults?: Partial<TopicConfig>;
  readonly limits?: Partial<BrokerDeps['limits']>;
  readonly roles?: readonly RoleTemplate[];
  /** Role of each account that is not a `platform`; null: no account of ours. */
  readonly roleOf?: Readonly<Record<string, string | null>>;
}

export interface Harness {
  readonly broker: Broker;
  readonly store: EmbeddedTopicStore;
  readonly registry: Registry;
  /** Sends a request whose `from` says who asks, and returns the answer. */
  ask(xml: string): Promise<Element>;
  /** Sends a request made of `<iq type= id='1'>` around `child`, and returns the answer. */
  request(from: string, type: 'get' | 'set', child: string, id?: string): Promise<Element>;
  /** The same for what must succeed. */
  must(from: string, type: 'get' | 'set', child: string, id?: string): Promise<Element>;
  /** A message to the Broker. Resolves with the error that it is bounced with, if any. */
  message(xml: string): Promise<Element | undefined>;
  bounce(xml: string): Promise<void>;
  /** Messages that the Broker sent since the last call. */
  sent(): Element[];
  /** Accounts that delivery was told to look at again since the last call, as `node account`. */
  interest(): string[];
  /** Denials since the last call. */
  denied(): { readonly account: string; readonly action: string; readonly why: string }[];
  /** Accounts with a session; only for these are requests sent at once. */
  readonly online: Set<string>;
  session(fullJid: string): SessionPort & { readonly stanzas: Element[] };
  close(): Promise<void>;
}

export async function openHarness(options: HarnessOptions = {}): Promise<Harness> {
  const folder = await mkdtemp(join(tmpdir(), 'xg-broker-'));
  const root = open<Buffer, Buffer>({
    path: join(folder, 'store'),
    keyEncoding: 'binary',
    encoding: 'binary',
    ...ENVIRONMENT_OPTIONS,
  });
  const store = openEmbeddedTopicStore(root);
  const authorizer = new Authorizer(options.roles ?? []);
  const roleOf = (account: string): string | undefined => {
    const role = options.roleOf?.[account];
    return role === null ? undefined : (role ?? 'platform');
  };
  const online = new Set<string>();
  const registry = new Registry();
  let sent: Element[] = [];
  let interest: string[] = [];
  let denied: { account: string; action: string; why: string }[] = [];
  let ids = 0;
  let clock = Date.UTC(2026, 0, 1);
  const broker = createBroker({
    domain: BROKER,
    profile: options.profile ?? 'grid',
    defaults: { ...DEFAULTS, ...options.defaults },
    limits: {
      maxItems: 1000,
      maxPayloadBytes: 100_000,
      pageEntries: 50,
      pageBytes: 200_000,
      subscriptionsPerAccount: 1000,
      subscriptionsPerAccountAndTopic: 5,
      ...options.limits,
    },
    store,
    interest: {
      async changed(node, account) {
        interest.push(`${node} ${account}`);
      },
      async told(node, account) {
        await store.forgetTopic(account, node);
      },
    },
    policy: {
      decide: (role, verb, node, type) => authorizer.decide(role, verb, node, type),
      isHidden: (role, node) => authorizer.isHidden(role, node),
      approves: (role, node) => authorizer.approves(role, node),
      roleOf: async (account) => roleOf(account),
    },
    outbound: {
      async send(stanza) {
        sent.push(stanza);
      },
      isConnected: async (account) => online.has(account.bareString),
    },
    audit: {
      denied({ account, action, why }) {
        denied.push({ account, action, why });
      },
      changed() {},
    },
    log: { warn() {}, error() {} },
    metrics: brokerMetrics(registry),
    now: () => ++clock,
    randomId: () => `made-${++ids}`,
    isNotificationFor: (id, node, jid) => id === `for ${node} ${jid}`,
  });
  const router = new IqRouter(broker.routes, (error) => {
    throw error;
  });
  const sender = (from: string) => {
    const jid = JID.parse(from);
    return { jid, session: undefined, role: roleOf(jid.bareString) ?? 'remote' };
  };
  const session = (fullJid: string): SessionPort & { readonly stanzas: Element[] } => {
    const stanzas: Element[] = [];
    return {
      stanzas,
      id: fullJid,
      jid: JID.parse(fullJid),
      role: 'platform',
      isAlive: true,
      isWritable: true,
      peerMaxStanzaBytes: Number.POSITIVE_INFINITY,
      sendEntry() {},
      sendStanza: (stanza) => void stanzas.push(stanza as Element),
    } as SessionPort & { readonly stanzas: Element[] };
  };
  const ask = async (xml: string): Promise<Element> => {
    const iq = parse(xml);
    return await router.answer(iq, { from: sender(iq.attrs.from), to: JID.parse(iq.attrs.to ?? BROKER) });
  };
  const request: Harness['request'] = (from, type, child, id = '1') =>
    ask(`<iq type='${type}' from='${from}' to='${BROKER}' id='${id}'>${child}</iq>`);
  return {
    broker,
    store,
    registry,
    online,
    session,
    ask,
    request,
    async must(from, type, child, id) {
      const answer = await request(from, type, child, id);
      if (answer.attrs.type !== 'result') throw new Error(`refused: ${answer}`);
      return answer;
    },
    async message(xml) {
      const message = parse(xml);
      try {
        await broker.message(message, sender(message.attrs.from));
        return undefined;
      } catch (error) {
        if (error instanceof Error && 'toElement' in error) return (error as { toElement(): Element }).toElement();
        throw error;
      }
    },
    async bounce(xml) {
      const message = parse(xml);
      await broker.bounced(message, sender(message.attrs.from));
    },
    sent() {
      const before = sent;
      sent = [];
      return before;
    },
    interest() {
      const before = interest;
      interest = [];
      return before;
    },
    denied() {
      const before = denied;
      denied = [];
      return before;
    },
    async close() {
      await store.close();
      await root.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

// --- short forms ------------------------------------------------------------------------------------------------

export const pubsub = (child: string): string => `<pubsub xmlns='${NS.pubsub}'>${child}</pubsub>`;
export const owner = (child: string): string => `<pubsub xmlns='${NS.pubsubOwner}'>${child}</pubsub>`;

/** A submitted node_config form. */
export function configForm(
  fields: Readonly<Record<string, string>>,
  formType: string = 'http://jabber.org/protocol/pubsub#node_config',
): string {
  const values = Object.entries(fields).map(([name, value]) => `<field var='pubsub#${name}'><value>${value}</value></field>`);
  return `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>${formType}</value></field>${values.join('')}</x>`;
}

export const createNode = (node: string, fields?: Readonly<Record<string, string>>): string =>
  pubsub(`<create node='${node}'/>${fields === undefined ? '' : `<configure>${configForm(fields)}</configure>`}`);
