/**
 * A plain model of the Broker: what XEP-0060, RFC 8600 §8.3.4 and delivery.md say that each request is answered with and whom
 * it notifies. No store, no streams, no clock; everything is a map and every rule stands once, with its section. It shares no
 * code with the product.
 */

export type Affiliation = 'owner' | 'publisher' | 'publish-only' | 'member' | 'none' | 'outcast';
export type Verb =
  | 'create'
  | 'configure'
  | 'delete'
  | 'publish'
  | 'retract'
  | 'purge'
  | 'subscribe'
  | 'retrieve'
  | 'discover'
  | 'manage';

/** Role templates in the model's own terms; a pattern is a prefix of the topic's name. */
export interface ModelRole {
  readonly grants: readonly { readonly verbs: readonly Verb[]; readonly prefix: string }[];
  readonly approves: readonly string[];
}

/** Values of the configuration form by field name without `pubsub#`. */
export type Fields = Readonly<Record<string, string>>;

/** Who asks: an account by its name, and the resource of the session. */
export interface Asker {
  readonly name: string;
  readonly resource: string;
}

export type Request =
  | { readonly verb: 'create'; readonly node: string; readonly fields: Fields }
  | { readonly verb: 'configuration'; readonly node: string }
  | { readonly verb: 'defaults' }
  | { readonly verb: 'configure'; readonly node: string; readonly fields: Fields | 'cancel' }
  | { readonly verb: 'delete'; readonly node: string; readonly redirect?: string }
  | { readonly verb: 'subscribe'; readonly node: string; readonly jid: string | undefined }
  | { readonly verb: 'unsubscribe'; readonly node: string; readonly jid: string | undefined }
  | { readonly verb: 'publish'; readonly node: string; readonly item?: PublishedItem }
  | { readonly verb: 'retract'; readonly node: string; readonly itemId: string | undefined; readonly notify: boolean }
  | { readonly verb: 'purge'; readonly node: string }
  | { readonly verb: 'items'; readonly node: string; readonly ids?: readonly string[]; readonly max?: number }
  | { readonly verb: 'subscriptions'; readonly node?: string }
  | { readonly verb: 'affiliations'; readonly node?: string }
  | { readonly verb: 'owner-subscriptions'; readonly node: string }
  | { readonly verb: 'owner-affiliations'; readonly node: string }
  | { readonly verb: 'set-subscriptions'; readonly node: string; readonly entries: readonly Entry[] }
  | { readonly verb: 'set-affiliations'; readonly node: string; readonly entries: readonly Entry[] }
  | { readonly verb: 'authorize'; readonly node: string; readonly jid: string; readonly allow: 'yes' | 'no' | 'cancel' };

/** One line of a list that an owner sends; `value` undefined leaves things as they are. */
export interface Entry {
  readonly jid: string;
  readonly value: string | undefined;
}

export interface PublishedItem {
  /** Undefined lets the service choose. */
  readonly id?: string;
  /** What the script calls the item whose id the service chose. */
  readonly as?: string;
  /** Namespace and text of each payload element; a correct publish has one, or none where the topic takes none. */
  readonly payloads: readonly { readonly ns: string; readonly text: string }[];
}

/** What a notification says, as one line; several where the texts leave a choice. */
export interface Notice {
  /** The subscribed address, or the bare JID of somebody who is told. */
  readonly to: string;
  readonly node: string;
  readonly says: readonly string[];
  /** The `type` of the message. */
  readonly type: string;
  /** Of the log, so that who is away gets it later; undefined for a message that is sent once. */
  readonly entry: LogEntry | undefined;
}

/** One event of a topic. */
export interface LogEntry {
  readonly node: string;
  readonly kind: 'published' | 'other';
  readonly itemId: string | undefined;
  /** Whether its payload is kept for who is away (delivery.md §9.2); what is not kept becomes a gap. */
  readonly isKept: boolean;
  /** Withdrawn entries are not sent any more (delivery.md §1.4). */
  isWithdrawn: boolean;
  /** Its item was displaced by max_items; it is still owed to who is away (delivery.md §1.4). */
  isEvicted: boolean;
  /** Displaced, and then an item with the same id was retracted: that may reach back to it, or not. */
  isDoubtful: boolean;
}

export interface Outcome {
  /** The answers that are right, each as one line; most often one. */
  readonly answers: readonly string[];
  readonly notices: readonly Notice[];
  /** Subscriptions that ended: nothing is owed to them any more. */
  readonly ended: readonly Ended[];
  /** What was published of the topics, whoever is told. */
  readonly events: readonly Omit<Notice, 'to'>[];
}

export interface Ended {
  readonly node: string;
  readonly jid: string;
  /** The subscriber left; no right was taken. */
  readonly isOwn: boolean;
}

interface Item {
  readonly id: string;
  readonly publisher: string;
  readonly payload: string;
}

interface Topic {
  fields: Record<string, string>;
  readonly affiliations: Map<string, Affiliation>;
  readonly subscriptions: Map<string, 'pending' | 'subscribed'>;
  /** Oldest first (§6.5.7: the most recent are the last). */
  items: Item[];
  log: LogEntry[];
}

const newEntry = (fixed: Pick<LogEntry, 'node' | 'kind' | 'itemId' | 'isKept'>): LogEntry => ({
  ...fixed,
  isWithdrawn: false,
  isEvicted: false,
  isDoubtful: false,
});

/** Refuses; the message is the answer. */
class Refusal extends Error {
  readonly answers: readonly string[];
  constructor(...answers: readonly string[]) {
    super(answers[0]);
    this.answers = answers;
  }
}

const NOT_FOUND = 'error cancel item-not-found';
const FORBIDDEN = 'error auth forbidden';
const NO_PERSISTENCE = 'error cancel feature-not-implemented+unsupported[persistent-items]';

const nameOf = (jid: string): string => jid.split('@', 1)[0] as string;

export const bareOf = (jid: string): string => jid.split('/', 1)[0] as string;

export class ReferenceBroker {
  readonly domain: string;
  readonly #profile: 'grid' | 'compat';
  readonly #defaults: Fields;
  readonly #roles: Readonly<Record<string, ModelRole>>;
  readonly #roleOf: (name: string) => string;
  readonly #topics = new Map<string, Topic>();
  /** Where deleted topics went, by name. */
  readonly #moved = new Map<string, string>();
  #notices: Notice[] = [];
  #ended: Ended[] = [];
  #events: Omit<Notice, 'to'>[] = [];

  constructor(options: {
    readonly domain: string;
    readonly profile: 'grid' | 'compat';
    readonly defaults: Fields;
    readonly roles: Readonly<Record<string, ModelRole>>;
    /** The role of an account by its name; undefined accounts do not exist. */
    readonly roleOf: (name: string) => string;
  }) {
    this.domain = options.domain;
    this.#profile = options.profile;
    this.#defaults = options.defaults;
    this.#roles = options.roles;
    this.#roleOf = options.roleOf;
  }

  /**
   * Performs the request and says what is right to happen. `madeId` is the item id that the service chose in its answer, where
   * it had to choose.
   */
  perform(who: Asker, request: Request, madeId: string | undefined): Outcome {
    this.#notices = [];
    this.#ended = [];
    this.#events = [];
    let answers: readonly string[];
    try {
      answers = this.#dispatch(who, request, madeId);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      answers = error.answers;
      this.#notices = [];
    }
    return { answers, notices: this.#notices, ended: this.#ended, events: this.#events };
  }

  /** For whoever makes up requests: the topics that there are. */
  get nodes(): readonly string[] {
    return [...this.#topics.keys()];
  }

  /** For whoever makes up requests: what is true of a topic now. */
  look(node: string):
    | {
        readonly affiliations: ReadonlyMap<string, Affiliation>;
        readonly subscriptions: ReadonlyMap<string, 'pending' | 'subscribed'>;
        readonly itemIds: readonly string[];
        readonly fields: Fields;
      }
    | undefined {
    const topic = this.#topics.get(node);
    if (!topic) return undefined;
    const { affiliations, subscriptions, fields } = topic;
    return { affiliations, subscriptions, fields, itemIds: topic.items.map(({ id }) => id) };
  }

  /** What tells the topic's configuration of now (§8.2.5.3). */
  configurationOf(node: string): string | undefined {
    const topic = this.#topics.get(node);
    return topic && this.#configurationEvent(topic);
  }

  /** What a deletion is told with: where the topic went, as long as nobody made it anew (§8.4.2). */
  movedTo(node: string): string | undefined {
    return this.#moved.get(node);
  }

  /** The requests that wait for the owner, as notices: what a new session of the owner is sent (§8.6). */
  waitingFor(name: string): readonly Notice[] {
    const found: Notice[] = [];
    for (const [node, topic] of this.#topics) {
      if (topic.affiliations.get(this.#bare(name)) !== 'owner') continue;
      for (const [jid, state] of topic.subscriptions) {
        if (state === 'pending') found.push(this.#form(this.#bare(name), node, jid));
      }
    }
    return found;
  }

  #dispatch(who: Asker, request: Request, madeId: string | undefined): readonly string[] {
    switch (request.verb) {
      case 'create':
        return this.#create(who, request.node, request.fields);
      case 'configuration':
        return this.#configuration(who, request.node);
      case 'defaults':
        return [`result ${this.#shown(this.#defaults)}`];
      case 'configure':
        return this.#configure(who, request.node, request.fields);
      case 'delete':
        return this.#delete(who, request.node, request.redirect);
      case 'subscribe':
        return this.#subscribe(who, request.node, request.jid);
      case 'unsubscribe':
        return this.#unsubscribe(who, request.node, request.jid);
      case 'publish':
        return this.#publish(who, request.node, request.item, madeId);
      case 'retract':
        return this.#retract(who, request.node, request.itemId, request.notify);
      case 'purge':
        return this.#purge(who, request.node);
      case 'items':
        return this.#items(who, request.node, request.ids, request.max);
      case 'subscriptions':
        return this.#ownSubscriptions(who, request.node);
      case 'affiliations':
        return this.#ownAffiliations(who, request.node);
      case 'owner-subscriptions':
        return this.#listSubscriptions(who, request.node);
      case 'owner-affiliations':
        return this.#listAffiliations(who, request.node);
      case 'set-subscriptions':
        return this.#setSubscriptions(who, request.node, request.entries);
      case 'set-affiliations':
        return this.#setAffiliations(who, request.node, request.entries);
      case 'authorize':
        return this.#authorize(who, request.node, request.jid, request.allow);
    }
  }

  // Topics

  #create(who: Asker, node: string, fields: Fields): readonly string[] {
    const isNew = !this.#topics.has(node);
    // §8.1.1: not allowed to create; a hidden name tells nothing of whether the topic exists (design D11).
    if (!this.#grants(who.name, 'create', node)) throw new Refusal(FORBIDDEN);
    const faults = this.#formFaults(fields);
    if (!isNew) throw new Refusal('error cancel conflict', ...faults); // §8.1.1; the texts set no order among faults
    if (faults.length > 0) throw new Refusal(...faults);
    this.#moved.delete(node);
    this.#topics.set(node, {
      fields: { ...this.#defaults, ...this.#normal(fields) },
      affiliations: new Map([[this.#bare(who.name), 'owner']]),
      subscriptions: new Map(),
      items: [],
      log: [],
    });
    return ['result'];
  }

  #configuration(who: Asker, node: string): readonly string[] {
    const topic = this.#own(who, node, 'configure');
    return [`result ${this.#shown(topic.fields)}`];
  }

  #configure(who: Asker, node: string, fields: Fields | 'cancel'): readonly string[] {
    const topic = this.#own(who, node, 'configure');
    if (fields === 'cancel') return ['result']; // §8.2.4: changes nothing
    const faults = this.#formFaults(fields);
    if (faults.length > 0) throw new Refusal(...faults);
    const before = topic.fields;
    topic.fields = { ...before, ...this.#normal(fields) };
    const isOtherModel = topic.fields.access_model !== before.access_model;
    // §14.3, delivery.md §8.1: who is not let in any more hears of the end, not of the configuration that brought it
    if (isOtherModel) this.#endForbidden(node, topic);
    if (topic.fields.notify_config === '1') {
      this.#broadcast(node, topic, { says: this.#configurationEvent(topic) });
    }
    this.#evict(node, topic);
    if (isOtherModel) this.#grantWaiting(node, topic);
    return ['result'];
  }

  #delete(who: Asker, node: string, redirect: string | undefined): readonly string[] {
    const topic = this.#own(who, node, 'delete');
    if (topic.fields.notify_delete === '1') {
      const says = [redirect === undefined ? 'delete' : `delete ${redirect}`];
      const type = this.#messageType(topic);
      const entry = newEntry({ node, kind: 'other', itemId: undefined, isKept: true });
      this.#events.push({ node, says, type, entry });
      // §8.4.2: all subscribers, which SHOULD include pending ones
      for (const [jid, state] of topic.subscriptions) {
        if (!this.#grants(nameOf(jid), 'subscribe', node)) continue; // design D11
        this.#notices.push({ to: jid, node, says, type, entry: state === 'subscribed' ? entry : undefined });
      }
    }
    for (const entry of topic.log) entry.isWithdrawn ||= entry.kind === 'published'; // delivery.md §1.4
    for (const jid of topic.subscriptions.keys()) this.#ended.push({ node, jid, isOwn: false });
    this.#topics.delete(node);
    if (redirect !== undefined) this.#moved.set(node, redirect);
    return ['result'];
  }

  // Subscriptions

  #subscribe(who: Asker, node: string, jid: string | undefined): readonly string[] {
    if (jid === undefined) throw new Refusal('error modify bad-request+jid-required'); // §6.1.1
    if (bareOf(jid) !== this.#bare(who.name)) throw new Refusal('error modify bad-request+invalid-jid'); // §6.1.3.1
    if (!this.#topics.has(node) && !this.#isHidden(who.name, node) && this.#moved.has(node)) {
      throw new Refusal('error modify gone'); // §6.1.3.11
    }
    const topic = this.#visible(who, node);
    this.#demandGrant(who, 'subscribe', node);
    const affiliation = this.#effective(node, topic, bareOf(jid));
    const may = this.#maySubscribe(affiliation, topic);
    if (may !== 'subscribed' && may !== 'pending') throw new Refusal(may);
    const now = topic.subscriptions.get(jid);
    if (now === 'subscribed') return [`result ${node} ${jid} subscribed`]; // §6.1.6
    if (now === 'pending' && may === 'pending') throw new Refusal('error auth not-authorized+pending-subscription'); // §6.1.3.7
    topic.subscriptions.set(jid, may);
    if (may === 'pending') {
      // §8.6: to the owners
      for (const [owner, its] of topic.affiliations) if (its === 'owner') this.#notices.push(this.#form(owner, node, jid));
    }
    return [`result ${node} ${jid} ${may}`];
  }

  #unsubscribe(who: Asker, node: string, jid: string | undefined): readonly string[] {
    if (jid === undefined) throw new Refusal('error modify bad-request+jid-required'); // §6.2.1
    if (bareOf(jid) !== this.#bare(who.name)) throw new Refusal(FORBIDDEN); // §6.2.3.3
    const topic = this.#visible(who, node); // whoever is in may leave: no grant is needed
    if (!topic.subscriptions.has(jid)) throw new Refusal('error cancel unexpected-request+not-subscribed'); // §6.2.3.2
    topic.subscriptions.delete(jid);
    this.#ended.push({ node, jid, isOwn: true });
    return ['result', `result ${node} ${jid} none`]; // §6.2.2
  }

  #ownSubscriptions(who: Asker, node: string | undefined): readonly string[] {
    if (node !== undefined) this.#visible(who, node);
    const lines: string[] = [];
    for (const [name, topic] of this.#topics) {
      if ((node !== undefined && name !== node) || this.#isHidden(who.name, name)) continue;
      // §5.6: of all JIDs that match the bare JID
      for (const [jid, state] of topic.subscriptions) {
        if (bareOf(jid) === this.#bare(who.name)) lines.push(`${name} ${jid} ${state}`);
      }
    }
    return [`result ${lines.sort().join('; ')}`];
  }

  #listSubscriptions(who: Asker, node: string): readonly string[] {
    const topic = this.#own(who, node, 'manage');
    // §8.8.1.2: without those that are pending
    const lines = [...topic.subscriptions].filter(([, state]) => state === 'subscribed').map(([jid, state]) => `${jid} ${state}`);
    return [`result ${lines.sort().join('; ')}`];
  }

  #setSubscriptions(who: Asker, node: string, entries: readonly Entry[]): readonly string[] {
    const jids = entries.map(({ jid }) => jid);
    if (new Set(jids).size < jids.length) throw new Refusal('error modify bad-request'); // §8.8.2.4: needs SubIDs
    const topic = this.#own(who, node, 'manage');
    const failed: string[] = [];
    for (const { jid, value } of entries) {
      const now = topic.subscriptions.get(jid) ?? 'none';
      if (value === undefined || value === now) continue; // §8.8.2.1
      if (value === 'none') this.#endSubscription(node, topic, jid);
      else if (value === 'subscribed' && this.#mayStand(this.#effective(node, topic, bareOf(jid)), topic)) {
        topic.subscriptions.set(jid, 'subscribed');
        this.#tell(node, topic, jid, 'subscribed'); // §8.8.4
      } else failed.push(`${jid} ${now}`);
    }
    if (failed.length === 0) return ['result'];
    return [`error modify not-acceptable ${failed.sort().join('; ')}`]; // §8.8.2.4: the others are changed
  }

  #authorize(who: Asker, node: string, jid: string, allow: 'yes' | 'no' | 'cancel'): readonly string[] {
    if (allow === 'cancel') return ['nothing']; // §8.6: stays pending
    const topic = this.#own(who, node, 'manage');
    if (topic.subscriptions.get(jid) !== 'pending') throw new Refusal(NOT_FOUND); // the first answer counts
    if (allow === 'yes' && this.#mayStand(this.#effective(node, topic, bareOf(jid)), topic)) {
      topic.subscriptions.set(jid, 'subscribed');
      this.#tell(node, topic, jid, 'subscribed');
    } else this.#endSubscription(node, topic, jid);
    return ['nothing'];
  }

  // Affiliations

  #ownAffiliations(who: Asker, node: string | undefined): readonly string[] {
    if (node !== undefined) this.#visible(who, node);
    const must: string[] = [];
    const may: string[] = [];
    const bare = this.#bare(who.name);
    for (const [name, topic] of this.#topics) {
      if ((node !== undefined && name !== node) || this.#isHidden(who.name, name)) continue;
      const stored = topic.affiliations.get(bare) ?? 'none';
      const effective = this.#effective(name, topic, bare);
      if (effective === 'none') continue;
      // Membership by approval is shown where the account has anything to do with the topic, or perhaps had (delivery.md §2.7).
      const hasToDo =
        stored !== 'none' || node !== undefined || [...topic.subscriptions.keys()].some((jid) => bareOf(jid) === bare);
      (hasToDo ? must : may).push(`${name} ${effective}`);
    }
    let lists = [must];
    for (const each of may) lists = lists.flatMap((list) => [list, [...list, each]]);
    return lists.map((list) => `result ${list.sort().join('; ')}`);
  }

  #listAffiliations(who: Asker, node: string): readonly string[] {
    const topic = this.#own(who, node, 'manage');
    return [
      `result ${[...topic.affiliations]
        .map(([jid, its]) => `${jid} ${its}`)
        .sort()
        .join('; ')}`,
    ]; // §8.9.1.2
  }

  #setAffiliations(who: Asker, node: string, entries: readonly Entry[]): readonly string[] {
    const bares = entries.map(({ jid }) => bareOf(jid)); // §4.1: on bare JIDs
    if (new Set(bares).size < bares.length) throw new Refusal('error modify bad-request'); // §8.9.2.4
    const topic = this.#own(who, node, 'manage');
    const failed: string[] = [];
    // Before the request: who is the only owner cannot make another and resign in one (§8.9.2.4 lets a service be stricter).
    const owners = [...topic.affiliations.values()].filter((each) => each === 'owner').length;
    for (const { jid, value } of entries) {
      const bare = bareOf(jid);
      const now = topic.affiliations.get(bare) ?? 'none';
      if (value === undefined || value === now) continue; // §8.9.2.1
      if (!this.#mayBecome(owners, now, value, bare === this.#bare(who.name))) {
        failed.push(`${jid} ${now}`);
        continue;
      }
      const before = this.#effective(node, topic, bare);
      if (value === 'none') topic.affiliations.delete(bare);
      else topic.affiliations.set(bare, value as Affiliation);
      const after = this.#effective(node, topic, bare);
      if (before !== after) this.#judge(node, topic, bare, before, after);
    }
    if (failed.length === 0) return ['result'];
    return [`error modify not-acceptable ${failed.sort().join('; ')}`];
  }

  /** §4.1 Table 2: owners only resign, publishers become members by way of none; §8.9.2.4: the last owner stays. */
  #mayBecome(owners: number, from: Affiliation, to: string, isSelf: boolean): boolean {
    if (!['owner', 'publisher', 'publish-only', 'member', 'none', 'outcast'].includes(to)) return false;
    if (from === 'owner') return to === 'none' && isSelf && owners > 1;
    return !((from === 'publisher' || from === 'publish-only') && to === 'member');
  }

  // Items

  #publish(who: Asker, node: string, item: PublishedItem | undefined, madeId: string | undefined): readonly string[] {
    const topic = this.#visible(who, node);
    this.#demandGrant(who, 'publish', node);
    const bare = this.#bare(who.name);
    const affiliation = this.#effective(node, topic, bare);
    const isSubscribed = this.#isSubscribed(topic, bare);
    const { publish_model: model } = topic.fields;
    const may =
      ['owner', 'publisher', 'publish-only'].includes(affiliation) ||
      (affiliation !== 'outcast' && (model === 'open' || (model === 'subscribers' && isSubscribed)));
    if (!may) throw new Refusal(FORBIDDEN); // §7.1.3.1
    const faults = this.#publishFaults(topic, item);
    if (faults.length > 0) throw new Refusal(...faults);
    const isPersistent = topic.fields.persist_items === '1';
    const withPayload = topic.fields.deliver_payloads === '1';
    if (item === undefined) {
      this.#broadcast(node, topic, { says: 'items', kind: 'published' }); // §4.3 Table 4; nothing to keep out of the log
      return ['result'];
    }
    const id = item.id ?? madeId;
    if (id === undefined) return ['result with an item id']; // §7.1.1: it had to make one
    // §7.1.2: the id is in the answer when the service made it; an id that the publisher chose need not be.
    const answers = item.id === undefined ? [`result ${node} ${id}`] : ['result', `result ${node} ${id}`];
    const payload = item.payloads.map(({ ns, text }) => `${ns}|${text}`).join();
    if (isPersistent) {
      topic.items = [...topic.items.filter((each) => each.id !== id), { id, publisher: bare, payload }]; // §7.1.3: overwrites
    }
    const bareSays = `item ${id} by ${bare}`; // §7.1.2.3
    this.#broadcast(node, topic, {
      says: withPayload ? `${bareSays} ${payload}` : bareSays,
      later: [`${bareSays} ${payload}`, bareSays],
      kind: 'published',
      itemId: id,
      isKept: isPersistent,
    });
    this.#evict(node, topic);
    return answers;
  }

  #publishFaults(topic: Topic, item: PublishedItem | undefined): string[] {
    const faults: string[] = [];
    const isPersistent = topic.fields.persist_items === '1';
    const withPayload = topic.fields.deliver_payloads === '1';
    const bad = (detail: string) => faults.push(`error modify bad-request+${detail}`);
    if (item === undefined) {
      // §7.1.3.7: the rule of the item is for persistent topics, that of the payload for both
      if (isPersistent) bad('item-required');
      else if (withPayload) bad('payload-required');
      return faults;
    }
    const bytes = item.payloads.reduce((sum, { ns, text }) => sum + payloadXml(ns, text).length, 0);
    if (bytes > Number(topic.fields.max_payload_size)) faults.push('error modify not-acceptable+payload-too-big'); // §7.1.3.5
    if (item.payloads.length > 1) bad('invalid-payload'); // §7.1.3.6
    const { type } = topic.fields;
    if (type !== '' && item.payloads.some(({ ns }) => ns !== type)) bad('invalid-payload'); // §7.1.3.6, RFC 8600 §2
    if (!isPersistent && !withPayload)
      bad('item-forbidden'); // §7.1.3.7
    else if (withPayload && item.payloads.length === 0) bad('payload-required'); // §7.1.3.7
    return faults;
  }

  /** §7.1.2.5: first in, first out; told where retractions are told. */
  #evict(node: string, topic: Topic): void {
    while (topic.items.length > Number(topic.fields.max_items)) {
      const oldest = topic.items.shift() as Item;
      for (const entry of topic.log) entry.isEvicted ||= entry.itemId === oldest.id;
      if (topic.fields.notify_retract === '1') this.#broadcast(node, topic, { says: `retract ${oldest.id}` });
    }
  }

  #retract(who: Asker, node: string, itemId: string | undefined, notify: boolean): readonly string[] {
    if (itemId === undefined) throw new Refusal('error modify bad-request+item-required'); // §7.2.3.4
    const topic = this.#visible(who, node);
    this.#demandGrant(who, 'retract', node);
    const bare = this.#bare(who.name);
    const affiliation = this.#effective(node, topic, bare);
    if (!['owner', 'publisher', 'publish-only'].includes(affiliation)) throw new Refusal(FORBIDDEN); // §4.1 Table 1
    if (topic.fields.persist_items !== '1') throw new Refusal(NO_PERSISTENCE); // §7.2.3.5
    const item = topic.items.find(({ id }) => id === itemId);
    if (!item) throw new Refusal(NOT_FOUND); // §7.2.3.2
    if (affiliation === 'publish-only' && item.publisher !== bare) throw new Refusal(FORBIDDEN); // §4.1: its own only
    topic.items = topic.items.filter((each) => each !== item);
    for (const entry of topic.log) {
      if (entry.kind !== 'published' || entry.itemId !== itemId) continue;
      if (entry.isEvicted) entry.isDoubtful = true;
      else entry.isWithdrawn = true;
    }
    if (notify || topic.fields.notify_retract === '1') this.#broadcast(node, topic, { says: `retract ${itemId}` }); // §7.2.2.1
    return ['result'];
  }

  #purge(who: Asker, node: string): readonly string[] {
    const topic = this.#own(who, node, 'purge'); // §8.5.3.2
    if (topic.fields.persist_items !== '1') throw new Refusal(NO_PERSISTENCE); // §8.5.3.3
    topic.items = [];
    for (const entry of topic.log) entry.isWithdrawn ||= entry.kind === 'published';
    if (topic.fields.notify_retract === '1') this.#broadcast(node, topic, { says: 'purge' }); // §8.5.2
    return ['result'];
  }

  #items(who: Asker, node: string, ids: readonly string[] | undefined, max: number | undefined): readonly string[] {
    const topic = this.#visible(who, node);
    this.#demandGrant(who, 'retrieve', node);
    const bare = this.#bare(who.name);
    const affiliation = this.#effective(node, topic, bare);
    const { access_model: model } = topic.fields;
    if (affiliation === 'outcast' || affiliation === 'publish-only') throw new Refusal(FORBIDDEN); // §6.5.9.10; §4.1 Table 1
    if (affiliation !== 'owner' && affiliation !== 'publisher' && model !== 'open') {
      if (model === 'whitelist' && affiliation === 'none') throw new Refusal('error cancel not-allowed+closed-node'); // §6.5.9.8
      // §6.5.1: MUST allow only subscribed entities
      if (!this.#isSubscribed(topic, bare)) throw new Refusal('error auth not-authorized+not-subscribed'); // §6.5.9.3
    }
    if (topic.fields.persist_items !== '1') throw new Refusal(NO_PERSISTENCE); // §6.5.9.4
    const answer = (items: readonly Item[]) =>
      `result ${items.map(({ id, publisher, payload }) => `${id} by ${publisher} ${payload}`).join('; ')}`;
    if (ids !== undefined) {
      // §6.5.8, in either order; §6.5.9.12: none is no error
      const inOrderOfRequest = ids.flatMap((id) => topic.items.filter((each) => each.id === id));
      return [answer(inOrderOfRequest), answer(topic.items.filter(({ id }) => ids.includes(id)))];
    }
    return [answer(max === undefined ? topic.items : topic.items.slice(-max))]; // §6.5.7
  }

  // Rights

  #bare(name: string): string {
    return `${name}@${this.domain}`;
  }

  #role(name: string): ModelRole {
    return this.#roles[this.#roleOf(name)] as ModelRole;
  }

  #grants(name: string, verb: Verb, node: string): boolean {
    return this.#role(name).grants.some(({ verbs, prefix }) => node.startsWith(prefix) && verbs.includes(verb));
  }

  /** Design D11: a topic for which the role grants no verb. */
  #isHidden(name: string, node: string): boolean {
    return !this.#role(name).grants.some(({ prefix }) => node.startsWith(prefix));
  }

  #visible(who: Asker, node: string): Topic {
    const topic = this.#topics.get(node);
    if (!topic || this.#isHidden(who.name, node)) throw new Refusal(NOT_FOUND);
    return topic;
  }

  #demandGrant(who: Asker, verb: Verb, node: string): void {
    if (!this.#grants(who.name, verb, node)) throw new Refusal(FORBIDDEN);
  }

  /** §8: what is the owner's alone. */
  #own(who: Asker, node: string, verb: Verb): Topic {
    const topic = this.#visible(who, node);
    this.#demandGrant(who, verb, node);
    if (topic.affiliations.get(this.#bare(who.name)) !== 'owner') throw new Refusal(FORBIDDEN);
    return topic;
  }

  /** RFC 8600 §8.3.4: a role's approval makes a member of whoever has no affiliation. */
  #effective(node: string, topic: Topic, bare: string): Affiliation {
    const stored = topic.affiliations.get(bare);
    if (stored !== undefined) return stored;
    const name = nameOf(bare);
    const role = this.#role(name);
    const isApproved = !this.#isHidden(name, node) && role.approves.some((prefix) => node.startsWith(prefix));
    return isApproved ? 'member' : 'none';
  }

  /** The state that a request to subscribe ends in, or the error. */
  #maySubscribe(affiliation: Affiliation, topic: Topic): string {
    if (affiliation === 'outcast' || affiliation === 'publish-only') return FORBIDDEN; // §6.1.3.8; §4.1 Table 1
    if (affiliation !== 'none' || topic.fields.access_model === 'open') return 'subscribed';
    return topic.fields.access_model === 'whitelist' ? 'error cancel not-allowed+closed-node' : 'pending'; // §6.1.3.4, §6.1.4
  }

  #mayStand(affiliation: Affiliation, topic: Topic): boolean {
    const state = this.#maySubscribe(affiliation, topic);
    return state === 'subscribed' || state === 'pending';
  }

  #isSubscribed(topic: Topic, bare: string): boolean {
    return [...topic.subscriptions].some(([jid, state]) => bareOf(jid) === bare && state === 'subscribed');
  }

  /** §14.3: subscriptions that the access model forbids. */
  #endForbidden(node: string, topic: Topic): void {
    for (const jid of [...topic.subscriptions.keys()]) {
      if (!this.#mayStand(this.#effective(node, topic, bareOf(jid)), topic)) this.#endSubscription(node, topic, jid);
    }
  }

  /** Requests that need no approval under the access model. */
  #grantWaiting(node: string, topic: Topic): void {
    for (const [jid, state] of [...topic.subscriptions]) {
      if (state !== 'pending') continue;
      if (this.#maySubscribe(this.#effective(node, topic, bareOf(jid)), topic) === 'subscribed') this.#grant(node, topic, jid);
    }
  }

  /** §8.7.4, and the rights that end with an affiliation. */
  #judge(node: string, topic: Topic, bare: string, before: Affiliation, after: Affiliation): void {
    for (const [jid, state] of [...topic.subscriptions]) {
      if (bareOf(jid) !== bare) continue;
      const may = this.#maySubscribe(after, topic);
      const keeps = state === 'pending' ? may === 'pending' || may === 'subscribed' : may === 'subscribed';
      const wasPlain = before === 'none' || before === 'outcast';
      if (!keeps && !(after === 'none' && wasPlain && may === 'pending')) this.#endSubscription(node, topic, jid);
      else if (state === 'pending' && may === 'subscribed') this.#grant(node, topic, jid);
    }
  }

  // Notifications

  #grant(node: string, topic: Topic, jid: string): void {
    topic.subscriptions.set(jid, 'subscribed');
    this.#tell(node, topic, jid, 'subscribed');
  }

  #endSubscription(node: string, topic: Topic, jid: string): void {
    topic.subscriptions.delete(jid);
    this.#ended.push({ node, jid, isOwn: false });
    this.#tell(node, topic, jid, 'none');
  }

  /** §12.14 */
  #tell(node: string, _topic: Topic, jid: string, state: string): void {
    this.#notices.push({ to: jid, node, says: [`subscription ${jid} ${state}`], type: 'normal', entry: undefined });
  }

  #form(owner: string, node: string, jid: string): Notice {
    return { to: owner, node, says: [`form ${jid}`], type: 'normal', entry: undefined };
  }

  #messageType(topic: Topic): string {
    return topic.fields.notification_type as string;
  }

  #broadcast(
    node: string,
    topic: Topic,
    event: {
      readonly says: string;
      readonly later?: readonly string[];
      readonly kind?: LogEntry['kind'];
      readonly itemId?: string;
      readonly isKept?: boolean;
    },
  ): void {
    const { kind = 'other', itemId, isKept = true } = event;
    const entry = newEntry({ node, kind, itemId, isKept });
    topic.log.push(entry);
    const says = [event.says, ...(event.later ?? []).filter((each) => each !== event.says)];
    const type = this.#messageType(topic);
    this.#events.push({ node, says, type, entry });
    for (const [jid, state] of topic.subscriptions) {
      if (state !== 'subscribed') continue; // §4.2
      if (!this.#grants(nameOf(jid), 'subscribe', node)) continue; // design D11, whatever the subscription says
      this.#notices.push({ to: jid, node, says, type, entry });
    }
  }

  // Configuration

  /** §8.2.5.3: with the configuration when payloads are delivered. */
  #configurationEvent({ fields }: Topic): string {
    return fields.deliver_payloads === '1' ? `configuration ${this.#shown(fields)}` : 'configuration';
  }

  #shown(fields: Fields): string {
    return Object.entries(fields)
      .map(([name, value]) => `${name}=${value}`)
      .sort()
      .join(' ');
  }

  #normal(fields: Fields): Record<string, string> {
    const normal: Record<string, string> = {};
    for (const [name, value] of Object.entries(fields)) {
      if (!(name in this.#defaults)) continue; // XEP-0004 §3.1: unknown fields are ignored
      normal[name] = value === 'true' ? '1' : value === 'false' ? '0' : value;
    }
    return normal;
  }

  #formFaults(fields: Fields): string[] {
    const faults: string[] = [];
    const models = this.#profile === 'compat' ? ['authorize', 'whitelist', 'open'] : ['authorize', 'whitelist'];
    const { access_model: model, max_items: max, publish_model: publishModel } = fields;
    if (model !== undefined && !models.includes(model)) faults.push('error modify not-acceptable+unsupported-access-model'); // §8.1.2
    const badNumber = max !== undefined && !/^[1-9][0-9]{0,3}$/.test(max);
    const badModel = publishModel !== undefined && !['publishers', 'subscribers', 'open'].includes(publishModel);
    if (badNumber || badModel) faults.push('error modify not-acceptable'); // §8.2.5.2
    return faults;
  }
}

/** A payload as every publisher here writes it. */
export const payloadXml = (ns: string, text: string): string => `<e xmlns='${ns}'>${text}</e>`;
