import type { RoleTemplate } from '@xmpp-grid/auth';
import { isNetwork } from '@xmpp-grid/stream';
import { parseRedisNode } from './redis-node.ts';
import { roles } from './role-setting.ts';
import type { ValuesOf } from './setting.ts';
import {
  address,
  domain,
  duration,
  flag,
  integer,
  listOf,
  oneOf,
  optionalDomain,
  optionalPath,
  optionalText,
  path,
  port,
  size,
  text,
} from './setting.ts';

/**
 * Every setting of the program: name, type, unit, default, one sentence. The file has this shape in YAML;
 * `docs/configuration.md` is generated from here (`xmpp-grid config reference`).
 */
export const SETTINGS = {
  domain: domain({ default: 'localhost', doc: 'Domain of the Controller: platforms are NAME@domain (RFC 6120 §2.1).' }),
  brokerDomain: optionalDomain({
    defaultText: '`broker.` before `domain`',
    doc: 'Address of the Broker, the publish-subscribe service (RFC 8600 §4).',
  }),
  profile: oneOf(['grid', 'compat'], {
    default: 'grid',
    doc: '`grid` is RFC 8600 strictly; `compat` adds the open access model, SCRAM-SHA-1 and leniency for deployed clients.',
  }),
  dataDir: path({
    default: 'var',
    doc: 'Directory of this instance: embedded store, control socket, audit file; made when missing, readable by its owner alone.',
  }),
  store: {
    kind: oneOf(['embedded', 'redis'], {
      default: 'embedded',
      doc: '`embedded` keeps everything in `dataDir`, for one instance; `redis` shares it between any number of instances.',
    }),
  },
  /** Used with `store.kind: redis` alone. */
  redis: {
    mode: oneOf(['standalone', 'sentinel', 'cluster'], {
      default: 'standalone',
      doc: 'One server, the primary that Sentinels name, or Redis Cluster.',
    }),
    nodes: listOf({
      check: (node) => parseRedisNode(node) !== undefined,
      accepts: '`host:port`',
      max: 100,
      default: [],
      defaultText: 'required for `store.kind: redis`',
      doc: 'The server; the Sentinels; or some nodes of the Cluster, which name the others.',
    }),
    sentinelName: text({ maxLength: 200, default: 'mymaster', doc: 'Name of the primary that the Sentinels watch.' }),
    username: optionalText({ maxLength: 200, defaultText: 'none', doc: 'ACL user at Redis.' }),
    passwordFile: optionalPath({ defaultText: 'no password', doc: 'File with the password at Redis, and nothing else.' }),
    sentinelUsername: optionalText({ maxLength: 200, defaultText: 'none', doc: 'ACL user at the Sentinels.' }),
    sentinelPasswordFile: optionalPath({ defaultText: 'no password', doc: 'File with the password at the Sentinels.' }),
    tls: {
      enabled: flag({ default: false, doc: 'TLS to Redis, and to the Sentinels.' }),
      ca: optionalPath({
        defaultText: 'the authorities of the system',
        doc: 'PEM file with the authorities that Redis must be signed by.',
      }),
      certificate: optionalPath({ defaultText: 'none', doc: 'PEM file with a client certificate for Redis.' }),
      key: optionalPath({ defaultText: 'none', doc: 'PEM file with its private key.' }),
    },
    database: integer({ min: 0, max: 1_000, default: 0, doc: 'Database number; a Cluster has only 0.' }),
    keyPrefix: text({
      maxLength: 64,
      default: 'xg:',
      doc: 'Put before every key and channel; instances with one prefix are one cluster.',
    }),
    durability: oneOf(['auto', 'memory', 'fsync', 'replicas'], {
      default: 'auto',
      doc:
        'When a change is acknowledged: held by `replicas`, on the primary’s disk (`fsync`, AOF with `appendfsync always`), or at once ' +
        '(`memory`: a crash of Redis loses acknowledged events). `auto` is `replicas` where the primary has a replica, else `fsync`; ' +
        'where Redis offers neither it is refused.',
    }),
    replicas: integer({
      min: 1,
      max: 10,
      unit: 'replicas',
      default: 1,
      doc:
        'How many replicas hold a change before it is acknowledged, for `durability: replicas`; needs as many in ' +
        '`min-replicas-to-write`. Fewer than there are: one that lacks the change may be promoted over a primary that still runs.',
    }),
    commandTimeoutMs: duration({
      minMs: 100,
      maxMs: 60_000,
      default: '5s',
      doc: 'Time for the answer to a command; then its outcome counts as unknown.',
    }),
    replicaTimeoutMs: duration({
      minMs: 100,
      maxMs: 60_000,
      default: '2s',
      doc: 'Time for the replicas to confirm a change; then its outcome counts as unknown.',
    }),
  },
  instance: {
    leaseMs: duration({
      minMs: 1_000,
      maxMs: 600_000,
      default: '10s',
      doc: 'An instance that cannot reach the store for so long serves nothing, and the others take it for dead.',
    }),
  },
  listeners: {
    trustedProxies: listOf({
      check: isNetwork,
      accepts: 'addresses or networks (`address/bits`)',
      max: 1_000,
      default: [],
      defaultText: 'none',
      doc: 'Load balancers: connections from there must begin with a PROXY header (version 2), from elsewhere it is refused.',
    }),
    starttls: {
      enabled: flag({
        default: true,
        doc: 'Listen for streams that begin in plain text and are upgraded by STARTTLS (RFC 6120 §5).',
      }),
      host: address({ default: '::', doc: 'Address to listen on; `::` is every address, IPv4 too.' }),
      port: port({ default: 5222, doc: 'Port for STARTTLS streams; 0 lets the system choose.' }),
    },
    directTls: {
      enabled: flag({ default: true, doc: 'Listen for streams that begin with TLS (XEP-0368).' }),
      host: address({ default: '::', doc: 'Address to listen on.' }),
      port: port({ default: 5223, doc: 'Port for direct TLS streams; 0 lets the system choose.' }),
    },
    http: {
      enabled: flag({ default: true, doc: 'Serve /metrics and the probes.' }),
      host: address({
        default: '127.0.0.1',
        doc: 'Address to listen on; the endpoint has no authentication, so keep it off public networks.',
      }),
      port: port({ default: 5280, doc: 'Port for /metrics, /startupz, /readyz and /livez; 0 lets the system choose.' }),
    },
  },
  tls: {
    certificate: optionalPath({
      defaultText: 'required for `serve`',
      doc: 'PEM file with the certificate of `domain`, then its intermediates.',
    }),
    key: optionalPath({ defaultText: 'required for `serve`', doc: 'PEM file with the private key of the certificate.' }),
    clientCa: optionalPath({
      defaultText: 'no client certificates',
      doc: 'PEM file with the authorities that issue platform certificates; SASL EXTERNAL is offered only with it (XEP-0178).',
    }),
    minVersion: oneOf(['TLSv1.2', 'TLSv1.3'], { default: 'TLSv1.2', doc: 'Oldest TLS version that is accepted.' }),
  },
  sasl: {
    maxAttempts: integer({
      min: 2,
      max: 5,
      unit: 'attempts',
      default: 3,
      doc: 'Failed authentications after which a stream ends (RFC 6120 §6.4.5 allows 2 to 5).',
    }),
    scramIterations: integer({
      min: 4096,
      max: 1_000_000,
      unit: 'iterations',
      default: 10_000,
      doc: 'Iterations for passwords set from now on (RFC 7677 §4 asks for at least 4096).',
    }),
  },
  roles: roles({ doc: 'Role templates by name: what a platform of that role may do, on which topics, within which limits.' }),
  topics: {
    defaultAccessModel: oneOf(['authorize', 'whitelist', 'open'], {
      default: 'authorize',
      doc: 'Access model of a topic created without one; `open` only in profile `compat` (RFC 8600 §8.3.4).',
    }),
    defaults: {
      persistItems: flag({ default: true, doc: 'Whether a new topic keeps its items (`pubsub#persist_items`).' }),
      maxItems: integer({
        min: 1,
        max: 1_000_000,
        unit: 'items',
        default: 1000,
        doc: 'Items that a new topic keeps (`pubsub#max_items`).',
      }),
      maxPayloadBytes: size({
        minBytes: 1024,
        maxBytes: 64 * 1024 ** 2,
        default: '256KiB',
        doc: 'Largest payload of a new topic (`pubsub#max_payload_size`).',
      }),
      deliverPayloads: flag({
        default: true,
        doc: 'Whether a new topic sends payloads with its events (`pubsub#deliver_payloads`).',
      }),
      notifyConfig: flag({ default: false, doc: 'Whether a new topic tells subscribers of configuration changes.' }),
      notifyDelete: flag({ default: true, doc: 'Whether a new topic tells subscribers that it was deleted.' }),
      notifyRetract: flag({ default: true, doc: 'Whether a new topic tells subscribers of retracted items.' }),
    },
    maxItems: integer({
      min: 1,
      max: 1_000_000,
      unit: 'items',
      default: 10_000,
      doc: 'Most items that an owner may configure a topic to keep.',
    }),
    maxPayloadBytes: size({
      minBytes: 1024,
      maxBytes: 64 * 1024 ** 2,
      default: '512KiB',
      doc: 'Largest payload limit that an owner may configure.',
    }),
  },
  retention: {
    maxAgeMs: duration({
      minMs: 60_000,
      maxMs: 3650 * 86_400_000,
      default: '30d',
      doc: 'Age at which entries leave a topic’s log.',
    }),
    minAgeMs: duration({
      minMs: 0,
      maxMs: 86_400_000,
      default: '10min',
      doc: 'Entries younger than this are never trimmed; at the byte maximum a publish is refused instead.',
    }),
    maxEntries: integer({
      min: 100,
      max: 100_000_000,
      unit: 'entries',
      default: 100_000,
      doc: 'Most entries in one topic’s log.',
    }),
    maxBytes: size({ minBytes: 1024 ** 2, maxBytes: 1024 ** 4, default: '1GiB', doc: 'Most payload bytes in one topic’s log.' }),
  },
  limits: {
    preAuthBytes: size({
      minBytes: 10_000,
      maxBytes: 1024 ** 2,
      default: '10KiB',
      doc: 'Largest stanza before authentication (RFC 6120 §13.12 asks for at least 10000 bytes).',
    }),
    maxStanzaBytes: size({
      minBytes: 10_000,
      maxBytes: 64 * 1024 ** 2,
      default: '512KiB',
      doc: 'Largest stanza that is handled after authentication; a role may set its own. Announced by XEP-0478.',
    }),
    hardStanzaBytes: size({
      minBytes: 10_000,
      maxBytes: 256 * 1024 ** 2,
      default: '4MiB',
      doc: 'Largest stanza that is skipped and answered with an error; beyond it the stream ends.',
    }),
    maxDepth: integer({ min: 8, max: 1000, unit: 'levels', default: 32, doc: 'Deepest nesting of elements in a stream.' }),
    maxResources: integer({
      min: 1,
      max: 10_000,
      unit: 'sessions',
      default: 10,
      doc: 'Most sessions of one account; a role may set its own.',
    }),
    maxConnections: integer({ min: 1, max: 1_000_000, unit: 'connections', default: 20_000, doc: 'Most open connections.' }),
    maxConnectionsPerAddress: integer({
      min: 1,
      max: 1_000_000,
      unit: 'connections',
      default: 1000,
      doc: 'Most open connections from one remote address.',
    }),
    connectionsPerSecondPerAddress: integer({
      min: 1,
      max: 1_000_000,
      unit: 'connections',
      default: 50,
      doc: 'Most new connections a second from one remote address in the long run; those beyond it are refused (RFC 6120 §13.12).',
    }),
    connectionBurstPerAddress: integer({
      min: 1,
      max: 1_000_000,
      unit: 'connections',
      default: 1000,
      doc: 'New connections from one remote address that may come at once, as after an outage.',
    }),
    bytesPerSecond: size({
      minBytes: 1024,
      maxBytes: 1024 ** 4,
      default: '8MiB',
      doc: 'Bytes a second that one stream may send in the long run; beyond it the stream is read more slowly (RFC 6120 §13.12).',
    }),
    handshakeTimeoutMs: duration({ minMs: 100, maxMs: 600_000, default: '10s', doc: 'Time for the TLS handshake.' }),
    authTimeoutMs: duration({ minMs: 100, maxMs: 600_000, default: '30s', doc: 'Time from the connection to a bound resource.' }),
  },
  /** RFC 8600 §3, interface C. */
  allowsDirect: flag({
    default: true,
    doc: 'Whether platforms may send stanzas to each other directly, beside the Broker (RFC 8600 §3).',
  }),
  streamManagement: {
    resumeTimeoutMs: duration({
      minMs: 1000,
      maxMs: 86_400_000,
      default: '5min',
      doc: 'Time in which a broken stream may be resumed (XEP-0198 §5).',
    }),
  },
  ping: {
    intervalMs: duration({
      minMs: 1000,
      maxMs: 86_400_000,
      default: '1min',
      doc: 'Silence after which a session is pinged (XEP-0199).',
    }),
    timeoutMs: duration({
      minMs: 1000,
      maxMs: 3_600_000,
      default: '30s',
      doc: 'Time for the answer to a ping before the stream ends.',
    }),
  },
  drain: {
    graceMs: duration({
      minMs: 0,
      maxMs: 3_600_000,
      default: '10s',
      doc: 'Time that a graceful stop gives to what is in flight.',
    }),
  },
  log: {
    level: oneOf(['debug', 'info', 'warn', 'error'], { default: 'info', doc: 'Least level that is written.' }),
    format: oneOf(['auto', 'json', 'text'], {
      default: 'auto',
      doc: '`json` is one object a line, `text` one readable line; `auto` is text on a terminal and json elsewhere.',
    }),
  },
};

/** All settings as code receives them: checked, in base units, paths absolute. */
export type Config = Omit<ValuesOf<typeof SETTINGS>, 'brokerDomain' | 'roles'> & {
  readonly brokerDomain: string;
  /** Built-in and configured roles together, each with all its limits. */
  readonly roles: readonly RoleTemplate[];
};
