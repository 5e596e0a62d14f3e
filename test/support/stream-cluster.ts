import { randomBytes } from 'node:crypto';
import {
  type AuthenticatedAccount,
  accountRoutes,
  type ClusterParts,
  ControllerDoor,
  controllerService,
  type Element,
  EmbeddedInboxes,
  EmbeddedResumeStates,
  EmbeddedSessionRegistry,
  type EntryKeeper,
  type EntryRef,
  type Inboxes,
  JID,
  Listener,
  type Logger,
  type OfflineMessages,
  type OpenInbox,
  RedisConnections,
  RedisInboxes,
  RedisResumeStates,
  RedisSessionRegistry,
  type ResumeStates,
  Router,
  randomText,
  SaslFailure,
  type SessionObserver,
  type SessionPort,
  type SessionRegistry,
  Sessions,
  serializeStanza,
} from '@xmpp-grid/stream';
import { testCertificates } from './certs.ts';
import { RawClient } from './raw-client.ts';

/**
 * Several instances of the `stream` package in one process, on what they share: the embedded twins or one Redis. Real sockets,
 * TLS and streams; in place of accounts a mechanism that believes a name, in place of topics one log in memory.
 */

export const DOMAIN = 'localhost';
export const account = (name: string): JID => JID.of(name, DOMAIN);

/** What instances share. A test may put another object in the place of each part. */
export interface Shared {
  registry: SessionRegistry;
  inboxes: Inboxes;
  resumeStates: ResumeStates;
  readonly offline: OfflineInMemory;
  /** Ids of instances that are dead: nobody's claims count that name them. */
  readonly dead: Set<string>;
  readonly log: Logger;
  readonly entries: string[];
  /** Entries that were withdrawn: not sent again. */
  readonly withdrawn: Set<number>;
  close(): void;
}

/** Messages for who is away, of one process. */
export class OfflineInMemory implements OfflineMessages {
  readonly #kept = new Map<string, Buffer[]>();

  /** How many wait for an account. */
  count(account: JID): number {
    return this.#kept.get(account.bareString)?.length ?? 0;
  }

  async store(account: JID, message: Element): Promise<void> {
    this.#kept.set(account.bareString, [...(this.#kept.get(account.bareString) ?? []), serializeStanza(message)]);
  }

  async take(account: JID): Promise<readonly Buffer[]> {
    const kept = this.#kept.get(account.bareString) ?? [];
    this.#kept.delete(account.bareString);
    return kept;
  }
}

export function sharedInProcess(log: Logger): Shared {
  const dead = new Set<string>();
  class Registry extends EmbeddedSessionRegistry {
    override async sessionsOf(account: JID) {
      return (await super.sessionsOf(account)).filter(({ claim }) => !dead.has(claim.instanceId));
    }
  }
  return {
    registry: new Registry(),
    inboxes: new EmbeddedInboxes(log),
    resumeStates: new EmbeddedResumeStates(),
    offline: new OfflineInMemory(),
    dead,
    log,
    entries: [],
    withdrawn: new Set(),
    close: () => undefined,
  };
}

export async function sharedOnRedis(url: string, log: Logger): Promise<Shared> {
  const dead = new Set<string>();
  const redis = await RedisConnections.open(
    {
      servers: { kind: 'standalone', url },
      keyPrefix: `test-${randomBytes(6).toString('hex')}:`,
      durability: { kind: 'memory' },
    },
    { log, retryMs: 20 },
  );
  const judge = { live: () => [], goneOf: async (ids: readonly string[]) => new Set(ids.filter((id) => dead.has(id))) };
  return {
    registry: new RedisSessionRegistry(redis, judge),
    inboxes: new RedisInboxes(redis, log),
    resumeStates: new RedisResumeStates(redis),
    offline: new OfflineInMemory(),
    dead,
    log,
    entries: [],
    withdrawn: new Set(),
    close: () => redis.close(),
  };
}

const TOPIC = 'log';

/** Hands the shared log to every started session, in order, as far as each takes it. */
class LogKeeper implements EntryKeeper, SessionObserver {
  readonly #shared: Shared;
  readonly #at = new Map<SessionPort, number>();

  constructor(shared: Shared) {
    this.#shared = shared;
  }

  deliver(): void {
    for (const session of this.#at.keys()) this.#hand(session);
  }

  #hand(session: SessionPort): void {
    for (let at = this.#at.get(session); at !== undefined && at < this.#shared.entries.length && session.isWritable; ) {
      const body = this.#encode(session, at);
      this.#at.set(session, ++at);
      session.sendEntry(body, Buffer.alloc(0), this, { topic: TOPIC, seq: at, uid: 'uid' });
    }
  }

  #encode(session: SessionPort, index: number): Buffer {
    return Buffer.from(`<message to='${session.jid}' id='e${index + 1}'><x>${this.#shared.entries[index]}</x></message>`);
  }

  bound(): void {}
  started(session: SessionPort): void {
    this.#at.set(session, this.#shared.entries.length);
  }
  availabilityChanged(): void {}
  writable(session: SessionPort): void {
    this.#hand(session);
  }
  resumed(session: SessionPort): void {
    this.#hand(session);
  }
  ended(session: SessionPort): void {
    this.#at.delete(session);
  }
  acknowledged(): void {}

  async encodeAgain(session: SessionPort, { seq }: EntryRef) {
    if (this.#shared.withdrawn.has(seq)) return undefined;
    return { prefix: this.#encode(session, seq - 1), body: Buffer.alloc(0) };
  }

  async settle(): Promise<void> {}

  leave(session: SessionPort): string {
    return String(this.#at.get(session));
  }

  async arrive(session: SessionPort, kept: string): Promise<void> {
    this.#at.set(session, Number(kept));
  }
}

export interface StreamInstanceOptions {
  readonly idleMs?: number;
  readonly answerMs?: number;
  /** When the certificates of those who log in end, ms since the epoch. */
  readonly certificateNotAfterMs?: number;
  readonly maxResources?: number;
  readonly resumeTimeoutMs?: number;
}

export class StreamInstance {
  id = randomText(9);
  /** False: fenced. */
  serves = true;
  /** By account name; `platform` for others. */
  readonly roles = new Map<string, string>();
  /** Accounts that may not log in. */
  readonly disabled = new Set<string>();
  readonly sessions: Sessions;
  readonly router: Router;
  port = 0;
  readonly #shared: Shared;
  readonly #keeper: LogKeeper;
  readonly #listener: Listener;
  readonly #door: ControllerDoor;
  readonly #ca: string;
  #inbox: OpenInbox | undefined;

  private constructor(
    shared: Shared,
    certificates: { ca: string; certificate: string; key: string },
    options: StreamInstanceOptions,
  ) {
    this.#shared = shared;
    this.#ca = certificates.ca;
    const { log } = shared;
    const cluster: ClusterParts = {
      get registry() {
        return shared.registry;
      },
      get inboxes() {
        return shared.inboxes;
      },
      get resumeStates() {
        return shared.resumeStates;
      },
      instanceId: () => this.id,
      mayServe: () => this.serves,
    };
    this.sessions = new Sessions({
      domain: DOMAIN,
      log,
      resumeTimeoutMs: options.resumeTimeoutMs ?? 60_000,
      idleMs: options.idleMs ?? 60_000,
      answerMs: options.answerMs ?? 60_000,
      cluster,
    });
    this.router = new Router({
      domain: DOMAIN,
      sessions: this.sessions,
      accountRoutes: accountRoutes(),
      offline: shared.offline,
      allowsDirect: true,
      log,
    });
    this.router.addService(controllerService(DOMAIN, []));
    this.#keeper = new LogKeeper(shared);
    this.sessions.sink = this.router;
    this.sessions.keeper = this.#keeper;
    this.sessions.observe(this.#keeper);
    this.sessions.observe({
      bound: () => undefined,
      started: () => undefined,
      availabilityChanged: (session, { receivesBare }) => {
        if (receivesBare) this.router.deliverOffline(session);
      },
      writable: () => undefined,
      resumed: () => undefined,
      ended: () => undefined,
    });
    const limits = { maxStanzaBytes: 65_536, hardStanzaBytes: 65_536, maxDepth: 50, maxAttributes: 32, maxNameBytes: 256 };
    this.#listener = new Listener({
      tls: { options: () => ({ cert: certificates.certificate, key: certificates.key }) },
      handshakeTimeoutMs: 5_000,
      maxConnections: 1_000,
      maxConnectionsPerAddress: 1_000,
      log,
    });
    const who = (name: string): AuthenticatedAccount => ({
      account: JID.of(name, DOMAIN),
      role: this.roles.get(name) ?? 'platform',
      mechanism: 'TEST',
      limits: { maxStanzaBytes: 65_536, hardStanzaBytes: 65_536, maxResources: options.maxResources ?? 10 },
      ...(options.certificateNotAfterMs === undefined ? {} : { certificateNotAfterMs: options.certificateNotAfterMs }),
    });
    this.#door = new ControllerDoor({
      domain: DOMAIN,
      listener: this.#listener,
      sessions: this.sessions,
      authenticator: {
        mechanisms: () => ['TEST'],
        channelBindingTypes: () => [],
        begin: () => ({
          step: async (data) => {
            if (data === undefined) throw new SaslFailure('malformed-request');
            return { kind: 'success', who: who(data.toString()) };
          },
        }),
      },
      facts: () => ({ version: 'TLSv1.3', remoteAddress: '', peerVerified: false, channelBinding: () => undefined }),
      mayStay: async ({ account }) => !this.disabled.has(account.local ?? ''),
      preAuthLimits: limits,
      isOpaque: () => false,
      idleSeconds: 60,
      saslRetries: 3,
      negotiationTimeoutMs: 20_000,
      log,
    });
  }

  static async start(shared: Shared, options: StreamInstanceOptions = {}): Promise<StreamInstance> {
    const { ca, server } = await testCertificates(DOMAIN);
    const pems = { ca: ca.certificate, certificate: server.certificate, key: server.key };
    const instance = new StreamInstance(shared, pems, options);
    await instance.openInbox();
    instance.port = (await instance.#door.listenDirectTls(0, '127.0.0.1')).port;
    return instance;
  }

  async openInbox(): Promise<void> {
    await this.#inbox?.close();
    this.#inbox = await this.#shared.inboxes.open(
      this.id,
      (message) => this.router.fromInbox(message),
      () => this.serves,
    );
  }

  async closeInbox(): Promise<void> {
    await this.#inbox?.close();
  }

  /** Hands out what is new in the shared log to the sessions here. */
  deliver(): void {
    this.#keeper.deliver();
  }

  /** A stream up to the point where it may bind or resume. */
  async authenticated(name: string): Promise<RawClient> {
    const client = await RawClient.connect({ port: this.port, domain: DOMAIN, ca: this.#ca, directTls: true });
    await client.openStream();
    client.auth('TEST', Buffer.from(name).toString('base64'));
    await client.next((element) => element.name === 'success', 'success');
    await client.openStream();
    return client;
  }

  async login(name: string, resource?: string): Promise<RawClient> {
    const client = await this.authenticated(name);
    await client.bind(resource);
    return client;
  }

  /** Stops as a program does: drains, then is no more. */
  async stop(graceMs = 1_000): Promise<void> {
    this.#listener.close();
    this.#door.endNegotiations();
    await this.sessions.drain(graceMs);
    await this.#listener.idle(graceMs);
    await this.die();
  }

  /** Is gone without a word. */
  async die(): Promise<void> {
    this.#shared.dead.add(this.id);
    this.serves = true;
    this.#listener.close();
    await this.#listener.idle(0);
    this.sessions.close();
    await this.#inbox?.close();
  }
}

/** Puts an entry into the log and hands it out on all these instances. */
export function publish(shared: Shared, instances: readonly StreamInstance[], text: string): void {
  shared.entries.push(text);
  for (const instance of instances) instance.deliver();
}
