import { Counter, Gauge, type Registry } from 'prom-client';

/** This package's metrics. Label values come from closed lists; children are looked up once, not per stanza. */

export interface StreamGauges {
  openConnections(): number;
  sessions(): number;
  /** Bytes that wait in all outboxes, and in the fullest. */
  queuedBytes(): { readonly sum: number; readonly max: number };
}

const KINDS = ['iq', 'message', 'presence'] as const;
export type StanzaKind = (typeof KINDS)[number];

export class StreamMetrics {
  readonly #closed: Counter<'reason'>;
  readonly #rejected: Counter<'reason'>;
  readonly #auth: Counter<'mechanism' | 'result'>;
  readonly #received: Record<StanzaKind, () => void>;
  readonly #bound: Counter;
  readonly #resumed: Counter;
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
    const registers = [registry];
    this.#closed = new Counter({
      name: 'xmppgrid_connections_closed_total',
      help: 'Streams that ended before or after login, by reason',
      labelNames: ['reason'],
      registers,
    });
    this.#rejected = new Counter({
      name: 'xmppgrid_connections_rejected_total',
      help: 'Connections refused at the door',
      labelNames: ['reason'],
      registers,
    });
    this.#auth = new Counter({
      name: 'xmppgrid_auth_attempts_total',
      help: 'SASL attempts, by mechanism and result',
      labelNames: ['mechanism', 'result'],
      registers,
    });
    const stanzas = new Counter({
      name: 'xmppgrid_stanzas_total',
      help: 'Stanzas received from clients, by kind',
      labelNames: ['kind', 'direction'],
      registers,
    });
    const counter = (kind: StanzaKind) => {
      const child = stanzas.labels(kind, 'in');
      return () => child.inc();
    };
    this.#received = { iq: counter('iq'), message: counter('message'), presence: counter('presence') };
    this.#bound = new Counter({ name: 'xmppgrid_sessions_bound_total', help: 'Resources bound', registers });
    this.#resumed = new Counter({ name: 'xmppgrid_sessions_resumed_total', help: 'Sessions resumed by XEP-0198', registers });
  }

  /** Registers what is read at scrape time. */
  observe(gauges: StreamGauges): void {
    const registers = [this.#registry];
    const gauge = (name: string, help: string, read: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    gauge('xmppgrid_connections_open', 'Open connections', gauges.openConnections);
    gauge('xmppgrid_sessions', 'Bound sessions, resumable ones too', gauges.sessions);
    gauge('xmppgrid_session_queue_bytes', 'Bytes that wait to be written to clients', () => gauges.queuedBytes().sum);
    gauge('xmppgrid_session_queue_bytes_max', 'Bytes that wait for the slowest client', () => gauges.queuedBytes().max);
  }

  closed(reason: string): void {
    this.#closed.inc({ reason });
  }

  rejected(reason: 'limit' | 'rate' | 'tls' | 'proxy_header'): void {
    this.#rejected.inc({ reason });
  }

  /** `mechanism` must be one that was offered; anything else a client named counts as `other`. */
  authenticated(mechanism: string, result: string): void {
    this.#auth.inc({ mechanism, result });
  }

  received(kind: StanzaKind): void {
    this.#received[kind]();
  }

  bound(): void {
    this.#bound.inc();
  }

  resumed(): void {
    this.#resumed.inc();
  }
}
