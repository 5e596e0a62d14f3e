/**
 * Runs operations against real instances and against the model at once, and compares after each: the answer, who is notified of
 * what and in which order, and that nobody else is. A difference is cut down to a short script.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Element } from '@xmpp-grid/stream';
import { RawClient } from '../support/raw-client.ts';
import type { TestInstance } from '../support/start-instance.ts';
import { type Expectation, ExpectedDelivery, type KnownTopics, type ModelSession } from './expected-delivery.ts';
import { MarkerTopic } from './marker-topic.ts';
import { lineOf, nextOperation, type Operation, opening, PARTIES, Random, ROLES, rolesSetting } from './operations.ts';
import { bareOf, type Fields, type LogEntry, type Outcome, ReferenceBroker, type Request } from './reference.ts';
import { answerLine, authorizationXml, hear, publishedId, requestXml } from './wire.ts';

const SM = 'urn:xmpp:sm:3';
/** Longer than any notification takes on a machine that does other things too. */
const ARRIVAL_MS = 6_000;
/** The same while a script is cut down, where what never comes is waited for again and again. */
const REPLAY_ARRIVAL_MS = 1_000;
/** A stream ends when `<r/>` stays unanswered for 60 s (delivery.md §6.1): on a slow machine clients answer before that. */
const ANSWER_MS = 30_000;
/** A marker event that not all have heard by then is followed by another. */
const MARKER_AGAIN_MS = 100;
/** Runs of one cut-down; a script of 200 operations needs about a third. */
const MOST_REPLAYS = 150;

/** The configuration of a topic created without one, as the instance is told and as the documentation of the settings says. */
export const DEFAULTS: Fields = {
  title: '',
  description: '',
  type: '',
  access_model: 'authorize',
  publish_model: 'publishers',
  persist_items: '1',
  max_items: '1000',
  max_payload_size: String(256 * 1024),
  deliver_payloads: '1',
  notification_type: 'normal',
  notify_config: '0',
  notify_delete: '1',
  notify_retract: '1',
  send_last_published_item: 'never',
};

/** What was asked and answered how often, by verb and outcome. */
export type Counts = Map<string, number>;

export interface Difference {
  readonly operation: Operation;
  readonly what: string;
}

/** Settings of an instance that the checker runs against. */
export const SETTINGS = {
  roles: rolesSetting,
  'log.level': 'error',
  // A broken stream waits for its client however slow the machine is.
  'streamManagement.resumeTimeoutMs': 86_400_000,
};

/** What an episode runs on: instances that share one store, with the profile of their configuration. */
export interface Grid {
  readonly instances: readonly TestInstance[];
  readonly profile: 'grid' | 'compat';
  /** Before each operation up to so many milliseconds pass, drawn at random: the run meets what only happens in time. */
  readonly mostRestMs?: number;
}

/** Accounts of one episode are its own, so that episodes on one instance do not meet: `hamlet` is `e1-hamlet` there. */
let episodes = 0;

interface Connected {
  readonly client: RawClient;
  smId: string | undefined;
  /** Stanzas received since stream management was enabled, and how many the server knows of. */
  received: number;
  /** Which of them a message is. */
  readonly places: WeakMap<Element, number>;
  acknowledged: number;
  /** When the server asked for a count that it did not get yet. */
  askedAtMs: number | undefined;
  /** The newest marker event that it heard. */
  marker: number;
}

/** One sequence of operations on fresh accounts and topics. */
class Episode {
  readonly #grid: Grid;
  readonly #prefix = `e${++episodes}-`;
  readonly #broker: ReferenceBroker;
  readonly #delivery: ExpectedDelivery;
  readonly #connections = new Map<string, Connected>();
  readonly #labels = new Map<string, string>();
  readonly #ids = new Map<string, string>();
  readonly #messageIds = new Map<string, string>();
  /** Where in its topic's log an entry is, learned from whoever heard it first: for all it is the same (delivery.md §1.2). */
  readonly #numbers = new Map<LogEntry, number>();
  readonly #counts: Counts;
  readonly #arrivalMs: number;
  readonly #rests = new Random(episodes);
  #published: { by: string; serial: number; request: Request; type: 'get' | 'set'; xml: string; got: string } | undefined;
  #serial = 0;
  /** With several instances. */
  #markerTopic: MarkerTopic | undefined;
  #markers = 0;
  #notifications = 0;

  constructor(grid: Grid, counts: Counts, arrivalMs: number) {
    this.#arrivalMs = arrivalMs;
    this.#grid = grid;
    this.#counts = counts;
    const domain = this.#instance(0).domain;
    this.#broker = new ReferenceBroker({
      domain,
      profile: grid.profile,
      defaults: DEFAULTS,
      roles: ROLES,
      roleOf: (name) => PARTIES[name]?.role ?? 'platform',
    });
    this.#delivery = new ExpectedDelivery(domain, grid.instances.length > 1);
  }

  get broker(): ReferenceBroker {
    return this.#broker;
  }

  get delivery(): ExpectedDelivery {
    return this.#delivery;
  }

  get notifications(): number {
    return this.#notifications;
  }

  #instance(index: number): TestInstance {
    return this.#grid.instances[index % this.#grid.instances.length] as TestInstance;
  }

  /** Makes the accounts. */
  async open(): Promise<void> {
    const first = this.#instance(0);
    for (const [name, { role }] of Object.entries(PARTIES)) await first.addPlatform(this.#prefix + name, { role });
    if (this.#grid.instances.length === 1) return;
    await first.addPlatform(`${this.#prefix}marker`);
    const accounts = Object.keys(PARTIES).map((name) => `${this.#prefix}${name}@${first.domain}`);
    this.#markerTopic = await MarkerTopic.open(await this.#enter(first, 'marker'), first.broker, this.#prefix, accounts);
  }

  /** Logs in on this instance with an account that may have been made on another. */
  async #enter({ port, domain, certificates }: TestInstance, name: string, resource?: string): Promise<RawClient> {
    const user = this.#prefix + name;
    const bound = resource === undefined ? {} : { resource };
    return await RawClient.login({ port, domain, ca: certificates.ca.certificate, user, password: user, ...bound });
  }

  async close(): Promise<void> {
    for (const { client } of this.#connections.values()) client.kill();
    this.#markerTopic?.close();
  }

  /** Performs one operation on both sides; undefined when they agree, or when it makes no sense here. */
  async step(operation: Operation): Promise<Difference | undefined> {
    this.#serial++;
    const { mostRestMs } = this.#grid;
    if (mostRestMs !== undefined) await sleep(this.#rests.below(mostRestMs + 1));
    try {
      const what = (await this.#perform(operation)) ?? (await this.#compareMessages());
      await this.#answerInTime();
      return what === undefined ? undefined : { operation, what };
    } catch (error) {
      return { operation, what: `the run broke: ${(error as Error).stack}` };
    }
  }

  async #perform(operation: Operation): Promise<string | undefined> {
    const [name, resource] = operation.by.split('/') as [string, string];
    const session = this.#delivery.session(name, resource);
    const isLive = session !== undefined && !session.isBroken;
    switch (operation.do) {
      case 'login':
        if (isLive) return undefined;
        return await this.#login(name, resource, operation.sm, operation.presence);
      case 'logout':
        if (!isLive) return undefined;
        this.#count('logout');
        await this.#connection(operation.by).client.close();
        this.#connections.delete(operation.by);
        this.#delivery.logout(session);
        return undefined;
      case 'acknowledge':
        if (!isLive || !session.hasStreamManagement) return undefined;
        this.#count('acknowledge');
        this.#acknowledge(this.#connection(operation.by));
        this.#delivery.acknowledge(session);
        return undefined;
      case 'break':
        if (!isLive || !session.hasStreamManagement) return undefined;
        this.#count('break');
        this.#connection(operation.by).client.kill();
        this.#delivery.breakStream(session);
        return undefined;
      case 'repeat':
        if (!isLive) return undefined;
        return await this.#repeat(operation.by);
      case 'resume':
        if (session === undefined || !session.isBroken) return undefined;
        return await this.#resume(session, operation.has === 'everything');
      case 'request':
        if (!isLive) return undefined;
        return await this.#request(operation.by, operation.request);
      case 'together': {
        if (!isLive) return undefined;
        const both = [operation, operation.also].filter(({ by }) => this.#isLive(by));
        this.#count('together');
        const found = await Promise.all(both.map(({ by, request }) => this.#request(by, request)));
        return found.find((each) => each !== undefined);
      }
    }
  }

  #isLive(by: string): boolean {
    const [name, resource] = by.split('/') as [string, string];
    const session = this.#delivery.session(name, resource);
    return session !== undefined && !session.isBroken;
  }

  get #topics(): KnownTopics {
    return {
      exists: (node) => this.#broker.look(node) !== undefined,
      movedTo: (node) => this.#broker.movedTo(node),
    };
  }

  #connection(by: string): Connected {
    return this.#connections.get(by) as Connected;
  }

  #count(key: string): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  // Coming and going

  async #login(name: string, resource: string, hasSm: boolean, hasPresence: boolean): Promise<string | undefined> {
    this.#count(`login${hasSm ? ' with stream management' : ''}`);
    const by = `${name}/${resource}`;
    const client = await this.#enter(this.#instance(this.#serial), name, resource);
    const connected = this.#connect(by, client);
    if (hasSm) {
      client.send(`<enable xmlns='${SM}' resume='true'/>`);
      connected.smId = (await client.next(({ name: its }) => its === 'enabled', '<enabled/>')).attrs.id as string;
    }
    this.#delivery.login(name, resource, hasSm, this.#broker.waitingFor(name), this.#topics);
    if (hasPresence) client.send('<presence/>');
    // The first request to the Broker at the latest makes the session a receiver (delivery.md §4.2).
    return await this.#request(by, { verb: 'subscriptions' });
  }

  #connect(by: string, client: RawClient): Connected {
    const connected: Connected = {
      client,
      smId: undefined,
      received: 0,
      places: new WeakMap(),
      acknowledged: 0,
      askedAtMs: undefined,
      marker: 0,
    };
    this.#connections.set(by, connected);
    client.keepsBytes = false;
    client.tap = (element) => {
      if (element.name === 'r') connected.askedAtMs ??= Date.now();
      if (!['iq', 'message', 'presence'].includes(element.name)) return element.name === 'r' || element.name === 'a';
      connected.received++;
      connected.places.set(element, connected.received);
      if (element.name === 'iq' && element.attrs.type === 'get') {
        client.send(`<iq type='result' id='${element.attrs.id}' to='${element.attrs.from ?? client.domain}'/>`);
        return true;
      }
      const marker = element.name === 'message' ? this.#markerTopic?.numberIn(element) : undefined;
      connected.marker = Math.max(connected.marker, marker ?? 0);
      return element.name === 'presence' || marker !== undefined;
    };
    return connected;
  }

  #acknowledge(connected: Connected): void {
    connected.acknowledged = this.#compared(connected);
    connected.askedAtMs = undefined;
    connected.client.send(`<a xmlns='${SM}' h='${connected.acknowledged}'/>`);
  }

  /** Stanzas received, up to the first message that was not looked at. */
  #compared({ client, received, places }: Connected): number {
    const first = client.inbox.find(({ name }) => name === 'message');
    return first === undefined ? received : (places.get(first) as number) - 1;
  }

  async #answerInTime(): Promise<void> {
    for (const session of this.#delivery.sessions) {
      if (session.isBroken) continue;
      const connected = this.#connection(`${session.name}/${session.resource}`);
      if (Date.now() - (connected.askedAtMs ?? Number.POSITIVE_INFINITY) < ANSWER_MS) continue;
      this.#acknowledge(connected);
      this.#delivery.acknowledge(session);
      await this.#marker(connected.client);
    }
  }

  async #resume(session: ModelSession, saysAll: boolean): Promise<string | undefined> {
    this.#count('resume');
    const by = `${session.name}/${session.resource}`;
    const old = this.#connection(by);
    const client = await this.#instance(this.#serial).connect();
    await client.openStream();
    await client.startTls();
    await client.scram(this.#prefix + session.name, this.#prefix + session.name);
    const h = saysAll ? this.#compared(old) : old.acknowledged;
    const connected = this.#connect(by, client);
    connected.smId = old.smId;
    connected.received = h;
    connected.acknowledged = h;
    client.send(`<resume xmlns='${SM}' previd='${old.smId}' h='${h}'/>`);
    const answer = await client.next(({ name }) => name === 'resumed' || name === 'failed', '<resumed/>');
    if (answer.name !== 'resumed') return `the stream does not resume: ${answer}`;
    client.jid = old.client.jid;
    this.#delivery.resume(session, saysAll, this.#topics);
    return undefined;
  }

  // Requests

  async #request(by: string, asked: Request): Promise<string | undefined> {
    const { client } = this.#connection(by);
    const [name, resource] = by.split('/') as [string, string];
    const request = this.#outside(asked);
    if (request.verb === 'authorize') {
      client.send(authorizationXml(request, this.#instance(0).broker, `answer-${this.#serial}`));
      const outcome = this.#broker.perform({ name, resource }, asked, undefined);
      this.#delivery.follow(outcome, by);
      this.#count(`authorize: ${outcome.answers[0]}`);
      await this.#marker(client);
      const bounce = this.#take(client, (element) => element.attrs.type === 'error');
      const got = bounce === undefined ? 'nothing' : hear(bounce, (id) => id).says.replace('bounce', 'error');
      if (bounce !== undefined) this.#delivery.bounced(name, resource, got.replace('error', 'bounce'));
      return outcome.answers.includes(got) ? undefined : `bounced as "${got}"; right is ${quoted(outcome.answers)}`;
    }
    const { type, xml } = requestXml(request, (label) => this.#ids.get(label) ?? label);
    const answer = await client.iq(type, xml, this.#instance(0).broker, `op-${this.#serial}-${by}`);
    const made = publishedId(answer);
    let madeLabel: string | undefined;
    if (made !== undefined && request.verb === 'publish' && request.item?.id === undefined) {
      madeLabel = request.item?.as ?? made;
      this.#labels.set(made, madeLabel);
      this.#ids.set(madeLabel, made);
    }
    const got = this.#inside(answerLine(request, answer, (id) => this.#labels.get(id) ?? id));
    if (request.verb === 'publish') this.#published = { by, serial: this.#serial, request, type, xml, got };
    const outcome: Outcome = this.#broker.perform({ name, resource }, asked, madeLabel);
    this.#delivery.follow(outcome, by);
    this.#count(`${request.verb}: ${got.startsWith('error') ? got.split(' ').slice(1, 3).join(' ') : 'result'}`);
    if (outcome.answers.includes(got)) return undefined;
    return `answered "${got}"; right is ${quoted(outcome.answers)}`;
  }

  /** delivery.md §2.3: answered as before, and nobody is told. */
  async #repeat(by: string): Promise<string | undefined> {
    const first = this.#published;
    if (first === undefined || first.by !== by || first.serial !== this.#serial - 1) return undefined;
    const { request, type, xml, serial } = first;
    const answer = await this.#connection(by).client.iq(type, xml, this.#instance(0).broker, `op-${serial}-${by}`);
    const got = this.#inside(answerLine(request, answer, (id) => this.#labels.get(id) ?? id));
    this.#count(`repeat: ${got.startsWith('error') ? 'error' : 'result'}`);
    return got === first.got ? undefined : `answered a repeated publish "${got}", after "${first.got}"`;
  }

  /** Names of topics and accounts as they are in this episode on the instance. */
  #outside<T>(value: T): T {
    const text = JSON.stringify(value)
      .replace(/"node":"([^"]+)"/g, (_all, node: string) => `"node":"${this.#node(node)}"`)
      .replace(/"jid":"([^"]+)"/g, (_all, jid: string) => `"jid":"${this.#prefix}${jid}"`);
    return JSON.parse(text) as T;
  }

  /** The first letter stays first: roles see topics by it. */
  #node(node: string): string {
    return `${node}-${this.#prefix}`;
  }

  #inside(text: string): string {
    return text.replaceAll(`-${this.#prefix}`, '').replaceAll(this.#prefix, '');
  }

  // Notifications

  async #marker(client: RawClient): Promise<void> {
    // An id of its own: a resumed stream brings old answers again.
    await client.iq('get', "<ping xmlns='urn:xmpp:ping'/>", this.#instance(0).broker, `marker-${++this.#markers}`);
  }

  /** All of them have heard what led here. */
  async #hearMarker(sessions: readonly ModelSession[]): Promise<void> {
    const deadline = Date.now() + ARRIVAL_MS;
    for (;;) {
      const number = await this.#markerTopic?.publish();
      if (number === undefined) return;
      // Who just came may not be there for the first.
      const again = Date.now() + MARKER_AGAIN_MS;
      for (;;) {
        const deaf = sessions.filter(({ name, resource }) => this.#connection(`${name}/${resource}`).marker < number);
        if (deaf.length === 0) return;
        if (Date.now() > deadline)
          throw new Error(`${deaf.map(({ name, resource }) => `${name}/${resource}`).join()} hear no marker`);
        if (Date.now() > again) break;
        await sleep(2);
      }
    }
  }

  #take(client: RawClient, wants: (element: Element) => boolean): Element | undefined {
    const index = client.inbox.findIndex((element) => element.name === 'message' && wants(element));
    return index < 0 ? undefined : client.inbox.splice(index, 1)[0];
  }

  async #compareMessages(): Promise<string | undefined> {
    const live = this.#delivery.sessions.filter(({ isBroken }) => !isBroken);
    await this.#hearMarker(live);
    const found = await Promise.all(live.map((session) => this.#compareSession(session)));
    return found.find((each) => each !== undefined);
  }

  async #compareSession(session: ModelSession): Promise<string | undefined> {
    const by = `${session.name}/${session.resource}`;
    const { client } = this.#connection(by);
    const deadline = Date.now() + this.#arrivalMs;
    for (;;) {
      await this.#marker(client);
      for (;;) {
        const message = this.#take(client, () => true);
        if (message === undefined) break;
        const wrong = this.#match(session, message);
        if (wrong !== undefined) return wrong;
      }
      const missing = session.expected.filter(({ isOptional, entry }) => !isOptional && entry?.isWithdrawn !== true);
      if (missing.length === 0) return undefined;
      if (Date.now() > deadline) return `${by} never hears ${missing.map(shown).join(' | ')}`;
      await sleep(5);
    }
  }

  /** Strikes the message off what the session is owed; says what is wrong with it. */
  #match(session: ModelSession, message: Element): string | undefined {
    this.#notifications++;
    const by = `${session.name}/${session.resource}`;
    const raw = hear(message, (id) => this.#labels.get(id) ?? id);
    const heard = { ...raw, to: this.#inside(raw.to), node: this.#inside(raw.node), says: this.#inside(raw.says) };
    const what = `"${heard.says}" of ${heard.node} to ${heard.to} as ${heard.type}`;
    const bare = `${session.name}@${this.#broker.domain}`;
    const lane = (each: Expectation) =>
      each.node === heard.node && (each.to === heard.to || (each.to === undefined && bareOf(heard.to) === bare));
    const isNow = heard.says === this.#broker.configurationOf(heard.node);
    const fits = ({ says, type, mayBeGap, isLate, entry }: Expectation) => {
      if (heard.says === 'gap') {
        if (mayBeGap !== true || heard.type !== 'normal') return false;
      } else if (isLate === true && heard.says.startsWith('delete') && heard.number === undefined) {
        // delivery.md §1.5: told from what is left of the topic; or, to who had asked to subscribe, as when it was deleted
        return says.includes(heard.says) && (heard.type === 'normal' || (entry === undefined && heard.type === type));
      } else {
        const isThen = says.includes(heard.says) || (isLate === true && isNow && says[0]?.startsWith('configuration') === true);
        if (!isThen || type !== heard.type) return false;
      }
      const number = entry === undefined ? undefined : this.#numbers.get(entry);
      return number === undefined || heard.number === undefined || number === heard.number;
    };
    const fitting = session.expected.filter((each) => lane(each) && fits(each));
    if (fitting.length === 0) {
      const instead = session.expected.filter(({ isOptional }) => !isOptional).map(shown);
      return `${by} hears ${what}, which nothing accounts for; it is owed ${instead.join(' | ') || 'nothing'}`;
    }
    /** What comes before it on the same way and of the same log; requests to an owner come in any order (§8.6). */
    const before = (one: Expectation) =>
      session.expected
        .slice(0, session.expected.indexOf(one))
        .filter((each) => lane(each) && !each.says[0]?.startsWith('form ') && !heard.says.startsWith('form '));
    const isDue = (each: Expectation) => !each.isOptional && each.entry?.isWithdrawn !== true;
    const known = fitting.find(({ entry }) => entry !== undefined && this.#numbers.has(entry));
    const found = known ?? fitting.find((each) => isDue(each) && !before(each).some(isDue)) ?? (fitting[0] as Expectation);
    if (found.entry !== undefined && !(found.isLate === true && heard.says.startsWith('delete'))) {
      if (heard.number === undefined) return `${by} hears ${what} without its place in the log`;
      this.#numbers.set(found.entry, heard.number);
    }
    const passed = before(found);
    const early = passed.find(isDue);
    if (early !== undefined) return `${by} hears ${what} before ${shown(early)}`;
    // What the log has before it cannot come any more.
    session.expected = session.expected.filter((each) => each !== found && !(each.entry !== undefined && passed.includes(each)));
    this.#delivery.received(session, found, heard.says === 'gap');
    return this.#checkId(by, heard);
  }

  /** §12.4: the same id is the same notification, to the same address. */
  #checkId(
    by: string,
    heard: { readonly id: string; readonly to: string; readonly node: string; readonly says: string },
  ): string | undefined {
    if (heard.id === '') return `${by} hears a notification without an id: ${heard.says}`;
    if (heard.says.startsWith('form ')) return undefined; // §8.6: one request has one id, whoever of the owners is asked
    const content = `${heard.to} ${heard.node} ${heard.says}`;
    const before = this.#messageIds.get(heard.id);
    this.#messageIds.set(heard.id, content);
    // A repeat may leave the payload out after the configuration changed, or bring the configuration of now.
    if (heard.says.startsWith('configuration')) return undefined;
    if (before === undefined || before.startsWith(content) || content.startsWith(before)) return undefined;
    return `${by} hears one message id for "${before}" and "${content}"`;
  }
}

const shown = ({ to, node, says, type }: Expectation): string => `"${says[0]}" of ${node} to ${to ?? 'itself'} as ${type}`;
const quoted = (answers: readonly string[]): string => answers.map((each) => `"${each}"`).join(' or ');

/** Runs given operations on fresh accounts; undefined when both sides agree to the end. */
export async function replay(
  grid: Grid,
  operations: readonly Operation[],
  counts: Counts = new Map(),
): Promise<Difference | undefined> {
  const episode = new Episode(grid, counts, REPLAY_ARRIVAL_MS);
  await episode.open();
  try {
    for (const operation of operations) {
      const difference = await episode.step(operation);
      if (difference !== undefined) return difference;
    }
    return undefined;
  } finally {
    await episode.close();
  }
}

export interface EpisodeResult {
  /** Every operation that was run. */
  readonly operations: readonly Operation[];
  readonly notifications: number;
  readonly difference: Difference | undefined;
}

const publisherOf = (operation: Operation | undefined): string | undefined =>
  operation?.do === 'request' && operation.request.verb === 'publish' ? operation.by : undefined;

/** Draws operations from the seed and runs them until one differs or there are enough. */
export async function runEpisode(grid: Grid, seed: number, length: number, counts: Counts): Promise<EpisodeResult> {
  const random = new Random(seed);
  const episode = new Episode(grid, counts, ARRIVAL_MS);
  await episode.open();
  const operations: Operation[] = [];
  const start = opening(random);
  try {
    while (operations.length < length) {
      const operation =
        start.shift() ??
        nextOperation(random, episode.broker, episode.delivery, operations.length, publisherOf(operations.at(-1)));
      operations.push(operation);
      const difference = await episode.step(operation);
      if (difference !== undefined) return { operations, notifications: episode.notifications, difference };
    }
    return { operations, notifications: episode.notifications, difference: undefined };
  } finally {
    await episode.close();
  }
}

/** Leaves out whatever is not needed for a difference: halves first, then smaller and smaller parts. */
export async function shrink(
  grid: Grid,
  operations: readonly Operation[],
): Promise<{ script: readonly Operation[]; difference: Difference } | undefined> {
  let script = [...operations];
  let difference = await replay(grid, script);
  if (difference === undefined) return undefined;
  let replays = 1;
  for (let size = Math.ceil(script.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = Math.max(0, script.length - 1 - size); ; at = Math.max(0, at - size)) {
      const shorter = [...script.slice(0, at), ...script.slice(at + size)];
      if (shorter.length < script.length && shorter.length > 0 && replays++ < MOST_REPLAYS) {
        const still = await replay(grid, shorter);
        if (still !== undefined && kindOf(still) === kindOf(difference)) {
          script = shorter;
          difference = still;
        }
      }
      if (at === 0) break;
    }
  }
  return { script, difference };
}

/** The same kind of difference, so that cutting down does not wander off to another one. */
const kindOf = ({ operation, what }: Difference): string =>
  `${'request' in operation ? operation.request.verb : operation.do} ${what.replace(/[0-9]+/g, '#').slice(0, 24)}`;

export interface RunReport {
  readonly operations: number;
  readonly notifications: number;
  readonly counts: Counts;
  /** Undefined: no difference. */
  readonly failure: string | undefined;
}

/** Operations in one episode: enough to get somewhere, few enough to be cut down quickly. */
export const EPISODE_OPERATIONS = 200;

/** Runs episodes one after the other; each has its own seed, counted up from the given one. */
export async function check(grid: Grid, seed: number, total: number, say: (line: string) => void): Promise<RunReport> {
  const counts: Counts = new Map();
  let done = 0;
  let notifications = 0;
  for (let episodeSeed = seed; done < total; episodeSeed++) {
    const length = Math.min(EPISODE_OPERATIONS, total - done);
    const result = await runEpisode(grid, episodeSeed, length, counts);
    done += result.operations.length;
    notifications += result.notifications;
    if (result.difference === undefined) continue;
    say(`seed ${episodeSeed}: operation ${result.operations.length} differs, ${result.difference.what}; cutting down ...`);
    const short = await shrink(grid, result.operations);
    const lines = (short?.script ?? result.operations).map(lineOf).join('\n');
    const failure =
      `seed ${episodeSeed}, profile ${grid.profile}: ${(short?.difference ?? result.difference).what}\n` +
      `${short === undefined ? 'it did not happen again; the whole script:' : 'the shortest script:'}\n${lines}\n` +
      `again: npm run model -- --seed ${episodeSeed} --operations ${EPISODE_OPERATIONS} --profile ${grid.profile} --instances ${grid.instances.length}`;
    return { operations: done, notifications, counts, failure };
  }
  return { operations: done, notifications, counts, failure: undefined };
}

/** Counts as lines, most frequent verbs together. */
export function tableOf(counts: Counts): string {
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, count]) => `  ${String(count).padStart(6)}  ${key}`)
    .join('\n');
}
