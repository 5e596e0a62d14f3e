import type { Account, Endpoint, TlsMode } from './client.ts';
import type { ConsumerReport } from './consumer.ts';
import type { LatencyCounts } from './latency.ts';

/** What the driver asks of a swarm process and what it gets back: one answer to each request, by id. */
export interface SwarmRequests {
  /** First of all: where the server's instances are. */
  configure: { ask: { endpoints: readonly Endpoint[]; tls: TlsMode }; answer: null };
  /** Logs in; sessions become members of `group`. Member i on instance places[i % places.length]; left out: over all in turn. */
  open: {
    ask: {
      group: string;
      accounts: readonly Account[];
      concurrency: number;
      resource: string;
      places?: readonly number[];
      localAddress?: string;
    };
    answer: number;
  };
  /** Connects by TLS alone to the calibration server. */
  openBare: { ask: { group: string; count: number; concurrency: number; port: number; ca: string }; answer: number };
  /** Member i subscribes to nodes[i % nodes.length]. */
  subscribe: { ask: { group: string; nodes: readonly string[]; concurrency: number; streamManagement: boolean }; answer: null };
  /** Answers once the group has received so many events. */
  received: { ask: { group: string; events: number }; answer: null };
  reset: { ask: { group: string }; answer: null };
  report: { ask: { group: string }; answer: ConsumerReport };
  /**
   * Member i publishes to nodes[i] as source i for so long. `window`: that many requests unanswered at any time (closed loop).
   * `perSecond`: at this rate over all members, however long answers take (open loop); times count from when an event was due.
   */
  publish: {
    ask: { group: string; nodes: readonly string[]; seconds: number; pace: Pace; reportBytes: number; seed: number };
    answer: PublishReport;
  };
  /** Logs in and out again, `total` times. */
  login: { ask: { accounts: readonly Account[]; total: number; concurrency: number }; answer: TimedReport };
  /** Every member pings the server, `window` requests unanswered at any time, for so long. */
  ping: { ask: { group: string; seconds: number; window: number }; answer: TimedReport };
  /** Connects to the calibration server by TLS alone and closes, `total` times. */
  handshakes: {
    ask: { total: number; concurrency: number; port: number; ca: string; certificate?: Account['certificate'] };
    answer: number;
  };
  close: { ask: { group: string }; answer: null };
  /** CPU seconds of this process so far. */
  cpu: { ask: Record<string, never>; answer: number };
}

/** What decides when the next request leaves. */
export type Pace = { readonly window: number } | { readonly perSecond: number };

export type SwarmOperation = keyof SwarmRequests;

export interface TimedReport {
  readonly done: number;
  /** Time from request to answer. */
  readonly latency: LatencyCounts;
}

export interface PublishReport extends TimedReport {
  /** Events acknowledged since the group was opened, by member. */
  readonly published: readonly number[];
}

/** On the IPC channel, to the swarm. */
export interface SwarmMessage {
  readonly id: number;
  readonly operation: SwarmOperation;
  readonly ask: unknown;
}

/** On the IPC channel, from the swarm. */
export type SwarmAnswer = { readonly id: number; readonly answer: unknown } | { readonly id: number; readonly error: string };
