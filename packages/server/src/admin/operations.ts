/**
 * What an administrator can do, as plain data in and out: the control socket carries these as JSON, the admin API will too.
 * Every method rejects with `AdminError` for what the caller got wrong.
 */

export type AdminErrorCode =
  | 'no-such-platform'
  | 'platform-exists'
  | 'no-such-topic'
  | 'no-such-role'
  | 'bad-request'
  /** Others change the same platform all the time. */
  | 'contended'
  /** The store cannot be reached, or did not say whether it did what was asked; the message tells which. */
  | 'store-unavailable'
  /** Needs a running instance. */
  | 'not-running';

/** What the caller got wrong; the message says what to do. */
export class AdminError extends Error {
  override readonly name = 'AdminError';
  readonly code: AdminErrorCode;

  constructor(code: AdminErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

export interface PlatformView {
  /** Bare JID. */
  readonly jid: string;
  readonly role: string;
  readonly state: 'enabled' | 'disabled';
  readonly createdMs: number;
  /** SASL mechanism families that the account has credentials for. */
  readonly credentials: readonly string[];
  /** SHA-256 fingerprints (hex) of bound certificates. */
  readonly certificates: readonly string[];
  /** Live sessions on this instance; 0 when none runs. */
  readonly sessions: number;
}

export interface NewPlatform {
  /** Localpart or bare JID. */
  readonly name: string;
  readonly role: string;
  /** Undefined: no password, certificate only. */
  readonly password?: string | undefined;
  /** SHA-256 fingerprints (hex): with any, only these certificates may log in. */
  readonly certificates?: readonly string[] | undefined;
  /** Replaces the credentials and role of an existing platform instead of refusing. */
  readonly replace?: boolean | undefined;
}

export interface TopicSummary {
  readonly node: string;
  readonly title: string;
  readonly type: string;
  readonly accessModel: string;
  readonly subscriptions: number;
  /** Sequence number of the newest log entry. */
  readonly head: number;
}

export interface TopicView extends TopicSummary {
  readonly creator: string;
  readonly createdMs: number;
  readonly description: string;
  readonly items: number;
  /** As the store keeps it; names as in the configuration form, in camel case. */
  readonly config: Readonly<Record<string, string | number | boolean>>;
  /** The first 1,000. */
  readonly affiliations: readonly { readonly jid: string; readonly affiliation: string }[];
  /** The first 1,000. */
  readonly subscribers: readonly { readonly jid: string; readonly state: string; readonly sinceMs: number }[];
}

export interface SessionView {
  /** Full JID. */
  readonly jid: string;
  readonly role: string;
  readonly mechanism: string;
  readonly remoteAddress: string;
  readonly tlsVersion: string;
  readonly sinceMs: number;
}

export interface StatusView {
  readonly version: string;
  readonly instanceId: string;
  readonly state: 'starting' | 'ready' | 'draining' | 'stopped';
  readonly domain: string;
  readonly brokerDomain: string;
  readonly profile: string;
  readonly pid: number;
  readonly startedMs: number;
  /** `host:port` by listener. */
  readonly listeners: Readonly<Record<string, string>>;
  readonly platforms: number;
  readonly topics: number;
  readonly sessions: number;
  readonly certificateNotAfterMs?: number;
  /** The instances of a process that runs several (`serve --workers`, `cluster`); `away`: it does not answer now. */
  readonly members?: readonly {
    readonly name: string;
    readonly state: 'starting' | 'ready' | 'draining' | 'stopped' | 'away';
    readonly sessions: number;
    readonly instanceId?: string;
    readonly pid?: number;
  }[];
}

/** A page of a listing: the first `max` rows (100 when absent, at most 1,000) after the key `after`. */
export interface ListRequest {
  readonly max?: number | undefined;
  readonly after?: string | undefined;
}

export interface AdminOperations {
  status(): Promise<StatusView>;
  /** @throws AdminError `platform-exists` | `no-such-role` | `bad-request` */
  platformAdd(platform: NewPlatform): Promise<PlatformView>;
  /** In order of JID; `after` is one. */
  platformList(request: ListRequest): Promise<readonly PlatformView[]>;
  /** @throws AdminError `no-such-platform` */
  platformShow(request: { readonly name: string }): Promise<PlatformView>;
  /** Refuses logins from now on and ends the platform's live streams; `endedStreams` are those of this instance. @throws AdminError `no-such-platform` */
  platformDisable(request: {
    readonly name: string;
  }): Promise<{ readonly platform: PlatformView; readonly endedStreams: number }>;
  /** @throws AdminError `no-such-platform` */
  platformEnable(request: { readonly name: string }): Promise<PlatformView>;
  /** Forgets the platform and ends its live streams, as `platformDisable` does. @throws AdminError `no-such-platform` */
  platformRemove(request: { readonly name: string }): Promise<{ readonly endedStreams: number }>;
  topicList(request: ListRequest): Promise<{ readonly topics: readonly TopicSummary[]; readonly count: number }>;
  /** @throws AdminError `no-such-topic` */
  topicShow(request: { readonly node: string }): Promise<TopicView>;
  /** In order of full JID; `after` is one. */
  sessionList(request: ListRequest): Promise<readonly SessionView[]>;
}
