import {
  type AccountStore,
  deriveScramKeys,
  type PlatformAccount,
  type Profile,
  profileHashes,
  type VersionedAccount,
} from '@xmpp-grid/auth';
import type { TopicRecord, TopicStore } from '@xmpp-grid/pubsub';
import { JID } from '@xmpp-grid/stream';
import {
  AdminError,
  type AdminOperations,
  type ListRequest,
  type NewPlatform,
  type PlatformView,
  type SessionView,
  type StatusView,
  type TopicSummary,
  type TopicView,
} from './operations.ts';

/** What only a running instance knows and can do. */
export interface LiveInstance {
  /** Every bound session, in no order. */
  sessions(): Iterable<SessionView>;
  /** Ends the streams of one account, hibernating ones too. Returns how many there were. */
  endStreams(account: JID, reason: 'account-disabled' | 'account-removed'): number;
  /** The live part of a status report. */
  status(): Omit<StatusView, 'platforms' | 'topics' | 'sessions'>;
}

export interface AdminDeps {
  readonly accounts: AccountStore;
  readonly topics: TopicStore;
  readonly domain: string;
  readonly profile: Profile;
  readonly scramIterations: number;
  /** Role names that exist. */
  readonly roles: readonly string[];
  /** Undefined: no instance runs, the command line works on the store alone. */
  readonly live?: LiveInstance | undefined;
}

const DEFAULT_PAGE = 100;
const MAX_PAGE = 1000;
/** A guarded write lost that often means that somebody else keeps changing the same platform. */
const MAX_TRIES = 8;

/** The operations over the stores; owner of no state. */
export class Admin implements AdminOperations {
  readonly #deps: AdminDeps;

  constructor(deps: AdminDeps) {
    this.#deps = deps;
  }

  async status(): Promise<StatusView> {
    const { live } = this.#deps;
    if (live === undefined) throw new AdminError('not-running', 'no instance runs on this data directory');
    let platforms = 0;
    for await (const _ of this.#accounts()) platforms++;
    const topics = await this.#deps.topics.topics({ max: 0 }, () => true);
    return { ...live.status(), platforms, topics: topics.count, sessions: [...live.sessions()].length };
  }

  async platformAdd(platform: NewPlatform): Promise<PlatformView> {
    const { accounts, roles, profile, scramIterations } = this.#deps;
    const jid = this.#jid(platform.name);
    if (!roles.includes(platform.role)) {
      throw new AdminError('no-such-role', `there is no role ${platform.role}; roles: ${roles.join(', ')}`);
    }
    const scram = platform.password === undefined ? {} : await derive(platform.password, profile, scramIterations);
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const existing = await accounts.get(jid);
      if (existing !== undefined && platform.replace !== true) {
        throw new AdminError('platform-exists', `${jid} exists already; --replace gives it new credentials`);
      }
      const account: PlatformAccount = {
        jid,
        role: platform.role,
        state: existing?.account.state ?? 'enabled',
        scram,
        certificateFingerprints: platform.certificates ?? [],
        createdAtMs: existing?.account.createdAtMs ?? Date.now(),
      };
      if ((await accounts.put(account, existing?.version)) !== 'stale') return this.#view(account, this.#sessionCounts());
    }
    throw new Error(`${jid} is being changed by somebody else; try again`);
  }

  async platformList(request: ListRequest): Promise<readonly PlatformView[]> {
    const page = await this.#deps.accounts.list(request.after, pageSize(request));
    const counts = this.#sessionCounts();
    return page.map(({ account }) => this.#view(account, counts));
  }

  async platformShow({ name }: { readonly name: string }): Promise<PlatformView> {
    return this.#view((await this.#existing(name)).account, this.#sessionCounts());
  }

  async platformDisable({ name }: { readonly name: string }): Promise<{ platform: PlatformView; endedStreams: number }> {
    const account = await this.#setState(name, 'disabled');
    // After the write: a login that the write did not stop is bound by now, and ended here (delivery.md §2.6).
    const endedStreams = this.#deps.live?.endStreams(account.jid, 'account-disabled') ?? 0;
    return { platform: this.#view(account, this.#sessionCounts()), endedStreams };
  }

  async platformEnable({ name }: { readonly name: string }): Promise<PlatformView> {
    return this.#view(await this.#setState(name, 'enabled'), this.#sessionCounts());
  }

  async platformRemove({ name }: { readonly name: string }): Promise<{ endedStreams: number }> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const { account, version } = await this.#existing(name);
      if ((await this.#deps.accounts.remove(account.jid, version)) === 'removed') {
        return { endedStreams: this.#deps.live?.endStreams(account.jid, 'account-removed') ?? 0 };
      }
    }
    throw new Error(`${name} is being changed by somebody else; try again`);
  }

  async topicList(request: ListRequest): Promise<{ topics: readonly TopicSummary[]; count: number }> {
    const { topics } = this.#deps;
    const page = await topics.topics(
      { max: pageSize(request), ...(request.after === undefined ? {} : { after: request.after }) },
      () => true,
    );
    const summaries: TopicSummary[] = [];
    for (const node of page.entries) {
      const record = await topics.record(node);
      if (record !== undefined) summaries.push(await this.#summary(record)); // else deleted meanwhile
    }
    return { topics: summaries, count: page.count };
  }

  async topicShow({ node }: { readonly node: string }): Promise<TopicView> {
    const { topics } = this.#deps;
    const record = await topics.record(node);
    if (record === undefined)
      throw new AdminError('no-such-topic', `there is no topic ${node}; \`xmpp-grid topic list\` shows those there are`);
    const items = await topics.items(node, { max: 0 });
    const affiliations = await topics.affiliations(node);
    const subscriptions = await topics.subscriptions(node);
    return {
      ...(await this.#summary(record)),
      creator: record.creator,
      createdMs: record.createdMs,
      description: record.config.description,
      items: items === 'unknown-key' ? 0 : items.count,
      config: { ...record.config },
      affiliations: [...affiliations].map(([jid, affiliation]) => ({ jid, affiliation })),
      subscribers: subscriptions.slice(0, MAX_PAGE).map(({ jid, state, sinceMs }) => ({ jid, state, sinceMs })),
    };
  }

  async sessionList(request: ListRequest): Promise<readonly SessionView[]> {
    const { live } = this.#deps;
    if (live === undefined)
      throw new AdminError('not-running', 'no instance runs on this data directory, so there are no sessions');
    const { after = '' } = request;
    return [...live.sessions()]
      .filter(({ jid }) => jid > after)
      .sort((a, b) => (a.jid < b.jid ? -1 : 1))
      .slice(0, pageSize(request));
  }

  #jid(name: string): JID {
    const { domain } = this.#deps;
    let jid: JID;
    try {
      jid = name.includes('@') ? JID.parse(name) : JID.of(name, domain);
    } catch (error) {
      throw new AdminError('bad-request', `${name} is no platform name: ${(error as Error).message}`);
    }
    if (jid.local === undefined || jid.isFull)
      throw new AdminError('bad-request', `${name}: a platform is NAME or NAME@${domain}`);
    if (jid.domain !== JID.of(undefined, domain).domain)
      throw new AdminError('bad-request', `${name}: this Controller serves ${domain} alone`);
    return jid;
  }

  async #existing(name: string): Promise<VersionedAccount> {
    const jid = this.#jid(name);
    const found = await this.#deps.accounts.get(jid);
    if (found === undefined)
      throw new AdminError('no-such-platform', `there is no platform ${jid}; \`xmpp-grid platform list\` shows those there are`);
    return found;
  }

  async #setState(name: string, state: PlatformAccount['state']): Promise<PlatformAccount> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const { account, version } = await this.#existing(name);
      if (account.state === state) return account;
      const changed = { ...account, state };
      if ((await this.#deps.accounts.put(changed, version)) !== 'stale') return changed;
    }
    throw new Error(`${name} is being changed by somebody else; try again`);
  }

  async *#accounts(): AsyncGenerator<PlatformAccount> {
    for (let after: string | undefined; ; ) {
      const page = await this.#deps.accounts.list(after, MAX_PAGE);
      for (const { account } of page) yield account;
      if (page.length < MAX_PAGE) return;
      after = page.at(-1)?.account.jid.bareString;
    }
  }

  #sessionCounts(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { jid } of this.#deps.live?.sessions() ?? []) {
      const bare = JID.parse(jid).bareString;
      counts.set(bare, (counts.get(bare) ?? 0) + 1);
    }
    return counts;
  }

  #view(account: PlatformAccount, sessions: ReadonlyMap<string, number>): PlatformView {
    return {
      jid: account.jid.bareString,
      role: account.role,
      state: account.state,
      createdMs: account.createdAtMs,
      credentials: Object.keys(account.scram).map((hash) => `SCRAM-${hash.toUpperCase().replace('SHA', 'SHA-')}`),
      certificates: account.certificateFingerprints,
      sessions: sessions.get(account.jid.bareString) ?? 0,
    };
  }

  async #summary(record: TopicRecord): Promise<TopicSummary> {
    const { node, config, head } = record;
    return {
      node,
      title: config.title,
      type: config.type,
      accessModel: config.accessModel,
      subscriptions: await this.#deps.topics.countSubscriptions(node),
      head: head.seq,
    };
  }
}

async function derive(password: string, profile: Profile, iterations: number): Promise<PlatformAccount['scram']> {
  try {
    return await deriveScramKeys(password, { hashes: profileHashes(profile), iterations });
  } catch (error) {
    if (error instanceof RangeError) throw new AdminError('bad-request', error.message);
    throw error;
  }
}

function pageSize({ max = DEFAULT_PAGE }: ListRequest): number {
  return Math.min(max, MAX_PAGE);
}
