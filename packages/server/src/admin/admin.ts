import {
  type AccountStore,
  deriveScramKeys,
  type PlatformAccount,
  type Profile,
  profileHashes,
  type VersionedAccount,
} from '@xmpp-grid/auth';
import type { PositionStore, RolePolicy, TopicRecord, TopicStore } from '@xmpp-grid/pubsub';
import { JID, type OfflineMessages, StoreUnavailable } from '@xmpp-grid/stream';
import { moveToHeads } from './new-grant.ts';
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

/** What was done to an account. `replaced`: it has other credentials and perhaps another role. */
export type AccountChange = 'added' | 'replaced' | 'disabled' | 'enabled' | 'removed';

export interface AdminDeps {
  readonly accounts: AccountStore;
  readonly topics: TopicStore & Pick<PositionStore, 'update'>;
  /** Undefined: no messages are kept for who is away. */
  readonly offline?: Pick<OfflineMessages, 'take'> | undefined;
  readonly domain: string;
  readonly profile: Profile;
  readonly scramIterations: number;
  /** Role names that exist. */
  readonly roles: readonly string[];
  /** What they are granted. Undefined: none hides anything from anybody. */
  readonly policy?: RolePolicy | undefined;
  /** Undefined: no instance runs, the command line works on the store alone. */
  readonly live?: LiveInstance | undefined;
  /**
   * Tells every instance of a change (delivery.md §8.2). Runs after the account is written and the streams on this instance
   * have ended, before the operation is answered; resolves when the word is durable. Also runs when a change is asked for
   * again and was there already: whoever asked first may have failed between writing and telling. Undefined: there are no
   * other instances.
   *
   * What the followers of the control log then do: forget what they remember of the account, read it again, end its
   * sessions unless it is enabled, and delete its hibernating sessions, resumption states and tokens.
   */
  readonly changed?: ((account: JID, why: AccountChange) => Promise<void>) | undefined;
}

const DEFAULT_PAGE = 100;
const MAX_PAGE = 1000;
/** A guarded write lost that often means that somebody else keeps changing the same platform. */
const MAX_TRIES = 8;
/** Topics read at once for a listing. */
const TOPICS_AT_ONCE = 64;

/**
 * The operations over the stores; owner of no state. Several instances may work on one store: each write of an account is
 * guarded by the version that it was decided on.
 *
 * The order of a change: for an account that gets access and had none, its positions go to the heads; the account is
 * written, durable; streams on this instance end; `changed` tells the others. Positions move before the new grant and not
 * when access is cut, because what is published in between must not be delivered either (delivery.md §8.3).
 */
export class Admin implements AdminOperations {
  readonly #deps: AdminDeps;

  constructor(deps: AdminDeps) {
    this.#deps = deps;
  }

  async status(): Promise<StatusView> {
    const { live } = this.#deps;
    if (live === undefined) throw new AdminError('not-running', 'no instance runs on this data directory');
    const [platforms, topics] = await Promise.all([
      this.#deps.accounts.count(),
      this.#deps.topics.topics({ max: 0 }, () => true),
    ]);
    let sessions = 0;
    for (const _ of live.sessions()) sessions++;
    return { ...live.status(), platforms, topics: topics.count, sessions };
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
      if (existing === undefined) await this.#endInheritance(jid);
      else if (existing.account.role !== account.role) await this.#changeRole(existing.account);
      if ((await this.#write(jid, () => accounts.put(account, existing?.version))) !== 'stale') {
        await this.#tell(jid, existing === undefined ? 'added' : 'replaced');
        return this.#view(account, this.#sessionCounts());
      }
    }
    throw contended(jid);
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
    await this.#tell(account.jid, 'disabled');
    return { platform: this.#view(account, this.#sessionCounts()), endedStreams };
  }

  async platformEnable({ name }: { readonly name: string }): Promise<PlatformView> {
    const account = await this.#setState(name, 'enabled');
    await this.#tell(account.jid, 'enabled');
    return this.#view(account, this.#sessionCounts());
  }

  async platformRemove({ name }: { readonly name: string }): Promise<{ endedStreams: number }> {
    const jid = this.#jid(name);
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const existing = await this.#deps.accounts.get(jid);
      if (existing !== undefined) {
        const removed = await this.#write(jid, () => this.#deps.accounts.remove(jid, existing.version));
        if (removed === 'stale') continue;
      }
      const endedStreams = this.#deps.live?.endStreams(jid, 'account-removed') ?? 0;
      await this.#tell(jid, 'removed');
      await this.#deps.offline?.take(jid); // nobody is left to read them
      if (existing === undefined) throw noSuchPlatform(jid);
      return { endedStreams };
    }
    throw contended(jid);
  }

  async topicList(request: ListRequest): Promise<{ topics: readonly TopicSummary[]; count: number }> {
    const { topics } = this.#deps;
    const page = await topics.topics(
      { max: pageSize(request), ...(request.after === undefined ? {} : { after: request.after }) },
      () => true,
    );
    const summaries: TopicSummary[] = [];
    for (let from = 0; from < page.entries.length; from += TOPICS_AT_ONCE) {
      const nodes = page.entries.slice(from, from + TOPICS_AT_ONCE);
      const some = await Promise.all(nodes.map((node) => this.#summaryOf(node)));
      summaries.push(...some.filter((summary) => summary !== undefined)); // the others were deleted meanwhile
    }
    return { topics: summaries, count: page.count };
  }

  async topicShow({ node }: { readonly node: string }): Promise<TopicView> {
    const { topics } = this.#deps;
    const record = await topics.record(node);
    if (record === undefined)
      throw new AdminError('no-such-topic', `there is no topic ${node}; \`xmpp-grid topic list\` shows those there are`);
    const [summary, items, affiliations, subscriptions] = await Promise.all([
      this.#summary(record),
      topics.items(node, { max: 0 }),
      topics.affiliations(node),
      topics.subscriptions(node),
    ]);
    return {
      ...summary,
      creator: record.creator,
      createdMs: record.createdMs,
      description: record.config.description,
      items: items === 'unknown-key' ? 0 : items.count,
      config: { ...record.config },
      affiliations: [...affiliations].slice(0, MAX_PAGE).map(([jid, affiliation]) => ({ jid, affiliation })),
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
    if (found === undefined) throw noSuchPlatform(jid);
    return found;
  }

  async #setState(name: string, state: PlatformAccount['state']): Promise<PlatformAccount> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const { account, version } = await this.#existing(name);
      if (account.state === state) return account;
      if (state === 'enabled') await moveToHeads(this.#deps.topics, account.jid);
      const changed = { ...account, state };
      const written = await this.#write(account.jid, () => this.#deps.accounts.put(changed, version));
      if (written !== 'stale') return changed;
    }
    throw contended(this.#jid(name));
  }

  /** What its former role hid is not shown to it by another one (delivery.md §8.3). */
  async #changeRole({ jid, role }: PlatformAccount): Promise<void> {
    const { policy, topics } = this.#deps;
    if (policy) await moveToHeads(topics, jid, { role, policy });
  }

  /** A former owner of the name may have left subscriptions and messages: what was sent until now is not the new one's. */
  async #endInheritance(jid: JID): Promise<void> {
    await moveToHeads(this.#deps.topics, jid);
    await this.#deps.offline?.take(jid);
  }

  /** Runs a guarded write; tells a failure of the store so that the caller knows what may have happened. */
  async #write<T>(jid: JID, write: () => Promise<T>): Promise<T> {
    try {
      return await write();
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error;
      throw new AdminError(
        'store-unavailable',
        error.outcome === 'not-done'
          ? `the store cannot be reached: ${jid} was not changed; try again later`
          : `the store did not confirm the change of ${jid}: it may have been made or not; \`xmpp-grid platform show\` tells`,
      );
    }
  }

  async #tell(jid: JID, why: AccountChange): Promise<void> {
    try {
      await this.#deps.changed?.(jid, why);
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error;
      throw new AdminError(
        'store-unavailable',
        `${jid} is ${why}, but the store could not tell the other instances: they find out within a minute; ` +
          'do the same again to tell them now',
      );
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

  async #summaryOf(node: string): Promise<TopicSummary | undefined> {
    const record = await this.#deps.topics.record(node);
    return record && (await this.#summary(record));
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

function noSuchPlatform(jid: JID): AdminError {
  return new AdminError('no-such-platform', `there is no platform ${jid}; \`xmpp-grid platform list\` shows those there are`);
}

function contended(jid: JID): AdminError {
  return new AdminError('contended', `${jid} is being changed by somebody else; try again`);
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
