import { createSecretKey } from 'node:crypto';
import { join } from 'node:path';
import { AccountRoles, AuditFile, type AuditSink, Authorizer, PlatformAuthenticator, TlsContext } from '@xmpp-grid/auth';
import {
  type BrokerAudit,
  brokerMetrics,
  createBroker,
  Delivery,
  INTEREST,
  NodeConfigForm,
  observeDelivery,
  type TopicPolicy,
} from '@xmpp-grid/pubsub';
import {
  accountRoutes,
  type ClusterParts,
  type ControlFollow,
  ControllerDoor,
  controllerService,
  type Element,
  type InboxHandler,
  Instances,
  JID,
  KeyedRateLimit,
  Listener,
  NS,
  type OpenInbox,
  RateLimitMetrics,
  Router,
  randomText,
  Sessions,
  StreamError,
  StreamMetrics,
  serialize,
} from '@xmpp-grid/stream';
import { Admin, type LiveInstance } from './admin/admin.ts';
import type { Config } from './config.ts';
import { housekeepingShare } from './housekeeping-share.ts';
import { ACCOUNT_CHANGED, followRights } from './rights.ts';
import type { InstanceDeps, RunningInstance, StartInstance } from './running-instance.ts';
import { topicDefaults, topicLimits } from './topic-settings.ts';

/** Which payloads stay bytes from the socket to the subscribers: the content of items (design D3). */
const isOpaque = (parent: Element): boolean => parent.name === 'item' && parent.getNS() === NS.pubsub;

/** delivery.md §7.2 (d). */
const MAX_HEAD_AGE_MS = 1_000;
/** Nobody watches; 60 s is no more than a sign of life. */
const LONE_BEAT_MS = 60_000;
/** A new primary may refuse writes for some seconds more. */
const RECLAIM_AGAIN_MS = 1_000;
/** Topics looked at in one second: 100,000 take under a minute. */
const SWEEP_TOPICS = 2_000;

/** Wires one instance: stores, who may come in, the Broker, delivery, the doors. Reads from the ground up. */
export const startInstance: StartInstance = async (config, deps) => {
  const { stores, log, registry } = deps;
  const { accounts, topics } = stores;
  const startedMs = Date.now();
  const audit = await AuditFile.open(join(config.dataDir, 'audit.jsonl'), {
    now: Date.now,
    onTrouble: (error) => log.error({ err: error }, 'the audit file cannot be written; events are counted as dropped'),
  });

  // Who lives (delivery.md §7.1). Alone in its store an instance has nobody to be fenced from.
  const lease = config.store.kind === 'embedded' ? { leaseMs: Infinity, beatMs: LONE_BEAT_MS } : config.instance;
  const instances = new Instances({ table: stores.instances, ...lease, log });
  let rights: ControlFollow | undefined;
  const mayServe = () => !instances.isFenced && (rights === undefined || rights.headAgeMs <= MAX_HEAD_AGE_MS);
  const cluster: ClusterParts = {
    registry: stores.sessionRegistry(instances),
    inboxes: stores.inboxes,
    resumeStates: stores.resumeStates,
    instanceId: () => instances.id,
    mayServe,
  };

  // Who may come in, and what for
  const roles = new Authorizer(config.roles);
  const accountRoles = new AccountRoles({ accounts });
  const authenticator = new PlatformAuthenticator({
    accounts,
    roles,
    profile: config.profile,
    domains: [config.domain],
    secret: createSecretKey(await stores.secret()),
    iterations: config.sasl.scramIterations,
    log,
    audit,
    now: Date.now,
  });

  // Sessions and routing
  const metrics = new StreamMetrics(registry);
  const sessions = new Sessions({
    domain: config.domain,
    log,
    resumeTimeoutMs: config.streamManagement.resumeTimeoutMs,
    idleMs: config.ping.intervalMs,
    answerMs: config.ping.timeoutMs,
    cluster,
  });
  const offline = stores.offlineMessages(config.domain, async (account) => (await accounts.get(account)) !== undefined);
  const router = new Router({
    domain: config.domain,
    sessions,
    accountRoutes: accountRoutes(),
    offline,
    allowsDirect: config.allowsDirect,
    log,
    received: (kind) => metrics.received(kind),
  });
  sessions.sink = router;

  // The Broker and delivery
  const policy: TopicPolicy = {
    decide: (role, verb, node, type) => roles.decide(role, verb, node, type),
    isHidden: (role, node) => roles.isHidden(role, node),
    approves: (role, node) => roles.approves(role, node),
    roleOf: (account) => accountRoles.roleOf(account),
  };
  const form = new NodeConfigForm(config.profile, topicLimits(config));
  const delivery = new Delivery({
    topics,
    instanceId: () => instances.id,
    mayServe,
    cluster: {
      async instancesOf(account) {
        const bound = await cluster.registry.sessionsOf(JID.parse(account));
        return [...new Set(bound.map(({ claim }) => claim.instanceId))].filter((id) => id !== instances.id);
      },
      send: (instanceId, message) => stores.inboxes.send(instanceId, message),
    },
    domain: config.brokerDomain,
    log,
    policy,
    renderConfiguration: (topic) => serialize(form.renderResult(topic)),
  });
  const broker = createBroker({
    domain: config.brokerDomain,
    profile: config.profile,
    defaults: topicDefaults(config),
    limits: topicLimits(config),
    store: topics,
    interest: delivery,
    policy,
    outbound: router,
    audit: brokerAudit(audit),
    log,
    metrics: brokerMetrics(registry),
    now: Date.now,
    isNotificationFor: (messageId, node, jid) => delivery.isNotificationFor(messageId, node, jid),
    randomId: () => randomText(16, 'hex'),
  });
  router.addService(controllerService(config.domain, [{ jid: config.brokerDomain, name: 'XMPP-Grid Broker' }]));
  router.addService(broker);
  sessions.keeper = delivery;
  sessions.observe(delivery);
  sessions.observe({
    bound: () => metrics.bound(),
    started: (session) => broker.ownerStarted(session),
    availabilityChanged: (session, { receivesBare }) => {
      if (receivesBare) router.deliverOffline(session);
    },
    writable: () => undefined,
    resumed: () => metrics.resumed(),
    ended: (_session, why) => metrics.closed(why),
  });

  // The other instances (delivery.md §7)
  const handle: InboxHandler = (message) =>
    message.kind === INTEREST ? delivery.interestHeard(message.body) : router.fromInbox(message);
  let inbox: OpenInbox | undefined;
  const openInbox = async () => {
    inbox = await stores.inboxes.open(instances.id, handle, () => !instances.isFenced);
  };
  // What told the dead one of its own sessions' interest went with them.
  instances.addCleaner((deadId, signal) =>
    stores.inboxes.clean(deadId, (message) => (message.kind === INTEREST ? undefined : router.fromInbox(message)), signal),
  );
  instances.observe({
    async rejoined() {
      await inbox?.close();
      await openInbox();
      await sessions.reclaimAll();
      delivery.rejoined();
    },
  });
  let reclaimAgain: NodeJS.Timeout | undefined;
  const reclaimAfterFailover = () => {
    clearTimeout(reclaimAgain);
    sessions.reclaimAll().catch((error: unknown) => {
      log.warn({ err: error }, 'sessions could not be written again after a failover; trying once more');
      reclaimAgain = setTimeout(reclaimAfterFailover, RECLAIM_AGAIN_MS).unref();
    });
  };
  const stopWatching = stores.onPrimaryChanged(reclaimAfterFailover);

  // The doors
  const tls = new TlsContext(deps.tls);
  const rates = new RateLimitMetrics(registry);
  const { connectionsPerSecondPerAddress: perSecond, connectionBurstPerAddress: burst, bytesPerSecond } = config.limits;
  const bandwidth = { perSecond: bytesPerSecond, burst: 2 * Math.max(bytesPerSecond, config.limits.maxStanzaBytes) };
  rates.configured('bandwidth', bandwidth);
  const listener = new Listener({
    connectionRate: new KeyedRateLimit('connections', { perSecond, burst }, rates),
    tls: { options: () => ({ ...tls.options(), minVersion: config.tls.minVersion }) },
    handshakeTimeoutMs: config.limits.handshakeTimeoutMs,
    maxConnections: config.limits.maxConnections,
    maxConnectionsPerAddress: config.limits.maxConnectionsPerAddress,
    log,
    trustedProxies: config.listeners.trustedProxies,
    rejected: (why) => metrics.rejected(why),
  });
  const door = new ControllerDoor({
    domain: config.domain,
    listener,
    authenticator,
    sessions,
    facts: (socket) => tls.facts(socket),
    mayStay: async (who) => (await authenticator.standing(who)) === 'stands',
    preAuthLimits: {
      maxStanzaBytes: config.limits.preAuthBytes,
      hardStanzaBytes: config.limits.preAuthBytes,
      maxDepth: config.limits.maxDepth,
      maxAttributes: 32,
      maxNameBytes: 256,
    },
    isOpaque,
    bandwidth,
    rateMetrics: rates,
    idleSeconds: Math.ceil(config.ping.intervalMs / 1_000),
    saslRetries: config.sasl.maxAttempts,
    negotiationTimeoutMs: config.limits.authTimeoutMs,
    log,
    saslOutcome: ({ mechanism, result }) => metrics.authenticated(mechanism, result),
    streamClosed: (reason) => metrics.closed(reason),
  });
  metrics.observe({
    openConnections: () => listener.openConnections,
    sessions: () => sessions.size,
    queuedBytes: () => queuedBytes(sessions),
  });

  observeDelivery(registry, () => delivery.stats());
  // Age and tombstones: a share of the topics each second, so that no sweep is long.
  let isSweepFailing = false; // said once per outage
  const sweeper = setInterval(() => {
    topics.sweep(Date.now(), SWEEP_TOPICS, housekeepingShare(instances)).then(
      () => {
        isSweepFailing = false;
      },
      (error: unknown) => {
        if (!isSweepFailing) log.error({ err: error }, 'old entries cannot be trimmed; trying again every second');
        isSweepFailing = true;
      },
    );
  }, 1_000);
  sweeper.unref();

  const stopAll = async (graceMs: number): Promise<void> => {
    clearInterval(sweeper);
    listener.close();
    door.endNegotiations();
    await sessions.drain(graceMs);
    await listener.idle(graceMs);
    sessions.close();
    await rights?.close();
    await delivery.close();
    stopWatching();
    clearTimeout(reclaimAgain);
    await inbox?.close();
    await instances
      .close()
      .catch((error: unknown) =>
        log.warn({ err: error }, 'the others cannot be told of this stop: they see it when the lease ends'),
      );
    await audit.close();
  };

  try {
    await instances.start();
    await openInbox();
    rights = await followRights({
      control: stores.control,
      accounts,
      roles: accountRoles,
      resumeStates: stores.resumeStates,
      sessions,
      delivery,
      log,
    });
    const { starttls, directTls } = config.listeners;
    const addresses = {
      ...(starttls.enabled ? { starttls: await door.listenStartTls(starttls.port, starttls.host) } : {}),
      ...(directTls.enabled ? { directTls: await door.listenDirectTls(directTls.port, directTls.host) } : {}),
    };
    return {
      get instanceId() {
        return instances.id;
      },
      mayServe,
      addresses,
      admin: new Admin({
        accounts,
        topics,
        domain: config.domain,
        profile: config.profile,
        scramIterations: config.sasl.scramIterations,
        roles: roles.names,
        policy: roles,
        offline,
        changed: (account) => stores.control.append({ kind: ACCOUNT_CHANGED, body: account.bareString }),
        live: liveInstance({ sessions, instances, startedMs, addresses, config, deps }),
      }),
      stop: (_reason, graceMs) => stopAll(graceMs),
    };
  } catch (error) {
    await stopAll(0);
    throw error;
  }
};

function queuedBytes(sessions: Sessions): { sum: number; max: number } {
  let sum = 0;
  let max = 0;
  for (const session of sessions.all()) {
    sum += session.queuedBytes;
    max = Math.max(max, session.queuedBytes);
  }
  return { sum, max };
}

function brokerAudit(sink: AuditSink): BrokerAudit {
  return {
    denied: ({ account, action, node, why }) => sink.record({ kind: 'denied', account, action, node, why }),
    changed: ({ account, action, node, detail }) =>
      sink.record({ kind: 'topic-changed', account, action, node, ...(detail === undefined ? {} : { detail }) }),
  };
}

function liveInstance(of: {
  sessions: Sessions;
  instances: Instances;
  startedMs: number;
  addresses: RunningInstance['addresses'];
  config: Config;
  deps: InstanceDeps;
}): LiveInstance {
  const { sessions, config } = of;
  return {
    *sessions() {
      for (const session of sessions.all()) {
        yield {
          jid: session.jid.toString(),
          role: session.role,
          mechanism: session.who.mechanism,
          remoteAddress: session.remoteAddress,
          tlsVersion: session.tlsVersion,
          sinceMs: session.boundAtMs,
        };
      }
    },
    endStreams: (account, reason) =>
      sessions.endAccount(
        account,
        reason,
        new StreamError('not-authorized', { text: 'an administrator ended the access of this account' }),
      ),
    status: () => ({
      version: of.deps.version,
      instanceId: of.instances.id,
      state: of.deps.state(),
      domain: config.domain,
      brokerDomain: config.brokerDomain,
      profile: config.profile,
      pid: process.pid,
      startedMs: of.startedMs,
      listeners: Object.fromEntries(
        Object.entries(of.addresses).map(([name, at]) => [name, at === undefined ? '' : `${at.address}:${at.port}`]),
      ),
      certificateNotAfterMs: of.deps.tls.notAfterMs,
    }),
  };
}
