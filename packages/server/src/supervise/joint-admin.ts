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
} from '../admin/operations.ts';
import { type ControlClient, connectControl } from '../control/client.ts';

/** An instance that this one speaks for. */
export interface Member {
  readonly name: string;
  readonly dataDir: string;
  /** Lifecycle as its supervisor knows it; one that is `away` is not asked. */
  state(): StatusView['state'] | 'away';
}

/** What the members cannot know of the whole. */
export interface Whole {
  readonly startedMs: number;
  state(): StatusView['state'];
  /** Where platforms connect, as `host:port` by listener. */
  listeners(): StatusView['listeners'];
}

const DEFAULT_PAGE = 100;

/**
 * The operations over several instances of one store, each spoken to over its control socket: what is in the store is asked of
 * any of them, what lives on an instance (sessions, streams) of all. Members that do not answer are left out. Owner of no state.
 */
export class JointAdmin implements AdminOperations {
  readonly #members: readonly Member[];
  readonly #whole: Whole;

  constructor(members: readonly Member[], whole: Whole) {
    this.#members = members;
    this.#whole = whole;
  }

  async status(): Promise<StatusView> {
    return await this.#together(async (clients) => {
      const views = await answersOf(clients, async ({ name, admin }) => ({ name, view: await admin.status() }));
      return {
        ...views[0].view,
        instanceId: views.map(({ view }) => view.instanceId).join(', '),
        state: this.#whole.state(),
        pid: process.pid,
        startedMs: this.#whole.startedMs,
        listeners: this.#whole.listeners(),
        sessions: views.reduce((sum, { view }) => sum + view.sessions, 0),
        members: this.#members.map((member) => {
          const view = views.find((each) => each.name === member.name)?.view;
          if (view === undefined) return { name: member.name, state: 'away' as const, sessions: 0 };
          const { instanceId, pid, sessions } = view;
          return { name: member.name, instanceId, state: member.state(), pid, sessions };
        }),
      };
    });
  }

  platformAdd(platform: NewPlatform): Promise<PlatformView> {
    return this.#any((admin) => admin.platformAdd(platform));
  }

  async platformList(request: ListRequest): Promise<readonly PlatformView[]> {
    return await this.#together(async (clients) => {
      const pages = await answersOf(clients, ({ admin }) => admin.platformList(request));
      const counts = new Map<string, number>();
      for (const { jid, sessions } of pages.flat()) counts.set(jid, (counts.get(jid) ?? 0) + sessions);
      return pages[0].map((platform) => ({ ...platform, sessions: counts.get(platform.jid) ?? 0 }));
    });
  }

  platformShow(request: { readonly name: string }): Promise<PlatformView> {
    return this.#together(async (clients) => {
      return withSessionsOf(await answersOf(clients, ({ admin }) => admin.platformShow(request)));
    });
  }

  platformDisable(request: {
    readonly name: string;
  }): Promise<{ readonly platform: PlatformView; readonly endedStreams: number }> {
    return this.#together((clients) => disableEverywhere(clients, request));
  }

  platformEnable(request: { readonly name: string }): Promise<PlatformView> {
    return this.#any((admin) => admin.platformEnable(request));
  }

  platformRemove(request: { readonly name: string }): Promise<{ readonly endedStreams: number }> {
    return this.#together(async (clients) => {
      // A platform can be removed once, its streams are on any member: disabled first, it has none left and can make none.
      const { endedStreams } = await disableEverywhere(clients, request);
      const removed = await clients[0]!.admin.platformRemove(request);
      return { endedStreams: endedStreams + removed.endedStreams };
    });
  }

  topicList(request: ListRequest): Promise<{ readonly topics: readonly TopicSummary[]; readonly count: number }> {
    return this.#any((admin) => admin.topicList(request));
  }

  topicShow(request: { readonly node: string }): Promise<TopicView> {
    return this.#any((admin) => admin.topicShow(request));
  }

  async sessionList(request: ListRequest): Promise<readonly SessionView[]> {
    return await this.#together(async (clients) => {
      const pages = await answersOf(clients, ({ admin }) => admin.sessionList(request));
      return pages
        .flat()
        .sort((a, b) => (a.jid < b.jid ? -1 : 1))
        .slice(0, request.max ?? DEFAULT_PAGE);
    });
  }

  #any<T>(use: (admin: AdminOperations) => Promise<T>): Promise<T> {
    return this.#together(([first]) => use(first.admin));
  }

  /** Connects to all members, uses those that answer. @throws AdminError `not-running` when none does */
  async #together<T>(use: (clients: readonly [Connected, ...Connected[]]) => Promise<T>): Promise<T> {
    const tried = await Promise.allSettled(
      this.#members
        .filter((member) => member.state() !== 'away')
        .map(async ({ name, dataDir }) => ({ name, client: await connectControl(dataDir) })),
    );
    const connected = tried.flatMap((outcome) => {
      if (outcome.status === 'rejected' || outcome.value.client === undefined) return [];
      const { name, client } = outcome.value;
      return [{ name, client, admin: client.admin }];
    });
    const [first, ...rest] = connected;
    if (first === undefined) throw new AdminError('not-running', 'no instance answers; see the log for why they are away');
    try {
      return await use([first, ...rest]);
    } finally {
      for (const { client } of connected) client.close();
    }
  }
}

interface Connected {
  readonly name: string;
  readonly client: ControlClient;
  readonly admin: AdminOperations;
}

/** Well before whoever asked us gives up; a member that stands still keeps its socket open. */
const ANSWER_TIMEOUT_MS = 3_000;

function inTime<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('the instances do not answer in time')), ANSWER_TIMEOUT_MS);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}

/**
 * What the members answer to a question that changes nothing; one that ends or stands still meanwhile is left out.
 *
 * @throws AdminError that a member answers; what went wrong with the first when none answers
 */
async function answersOf<T>(
  clients: readonly Connected[],
  ask: (client: Connected) => Promise<T>,
): Promise<readonly [T, ...T[]]> {
  const outcomes = await Promise.allSettled(clients.map((client) => inTime(ask(client))));
  const answers: T[] = [];
  let failure: unknown;
  for (const outcome of outcomes) {
    if (outcome.status === 'fulfilled') answers.push(outcome.value);
    else if (outcome.reason instanceof AdminError) throw outcome.reason;
    else failure ??= outcome.reason;
  }
  const [first, ...rest] = answers;
  if (first === undefined) throw failure;
  return [first, ...rest];
}

/** One after the other: the first writes, the rest find it done and end their own streams. */
async function disableEverywhere(
  clients: readonly [Connected, ...Connected[]],
  request: { readonly name: string },
): Promise<{ readonly platform: PlatformView; readonly endedStreams: number }> {
  const [first, ...rest] = clients;
  let { platform, endedStreams } = await first.admin.platformDisable(request);
  for (const { admin } of rest) {
    const there = await admin.platformDisable(request);
    platform = withSessionsOf([platform, there.platform]);
    endedStreams += there.endedStreams;
  }
  return { platform, endedStreams };
}

function withSessionsOf(views: readonly [PlatformView, ...PlatformView[]]): PlatformView {
  return { ...views[0], sessions: views.reduce((sum, view) => sum + view.sessions, 0) };
}
