import type { JID } from '../../jid.ts';
import type { BindOutcome, BoundResource, InstanceJudge, SessionClaim, SessionRegistry } from '../session-registry.ts';
import { StoreUnavailable } from '../store-unavailable.ts';
import type { RedisConnections } from './connections.ts';
import { type StreamKeys, streamKeys } from './keys.ts';
import { asAnswer, streamScript } from './scripts.ts';

const BIND = streamScript('bind-resource-1');
const DROP = streamScript('drop-resource-1');
const RECLAIM = streamScript('reclaim-resource-1');

/** Each round judges every claim there was; another one is needed only when a claim came in between. */
const MAX_JUDGE_ROUNDS = 5;

export class RedisSessionRegistry implements SessionRegistry {
  readonly #redis: RedisConnections;
  readonly #keys: StreamKeys;
  readonly #instances: InstanceJudge;

  constructor(redis: RedisConnections, instances: InstanceJudge) {
    this.#redis = redis;
    this.#keys = streamKeys(redis.settings.keyPrefix);
    this.#instances = instances;
  }

  async bind(account: JID, resource: string, claim: SessionClaim, maxResources: number): Promise<BindOutcome> {
    const live = new Set([claim.instanceId, ...this.#instances.live()]);
    const dead = new Set<string>();
    for (let round = 0; round < MAX_JUDGE_ROUNDS; round++) {
      const args = [resource, written(claim), String(maxResources), String(live.size), ...live, ...dead];
      const reply = await this.#redis.run(BIND, [this.#keys.sessions(account)], args);
      const [word, ...rest] = asAnswer(BIND, ['bound', 'full', 'judge'], reply);
      switch (word) {
        case 'bound':
          return { kind: 'bound', displaced: parseClaim(rest[0] as string) };
        case 'full':
          return { kind: 'full', resources: Number(rest[0]) };
        case 'judge': {
          // The claims are read before the instances are: one that joins later cannot have made them.
          const gone = await this.#instances.goneOf(rest);
          for (const id of rest) (gone.has(id) ? dead : live).add(id);
        }
      }
    }
    throw new StoreUnavailable('not-done', new Error('claims on the account came faster than they could be judged'));
  }

  async drop(account: JID, resource: string, sessionId: string): Promise<boolean> {
    const reply = await this.#redis.run(DROP, [this.#keys.sessions(account)], [resource, sessionId]);
    return asAnswer(DROP, ['dropped', 'kept'], reply)[0] === 'dropped';
  }

  async reclaim(account: JID, resource: string, claim: SessionClaim, formerId = claim.sessionId): Promise<boolean> {
    const [keys, args] = [[this.#keys.sessions(account)], [resource, written(claim), formerId]];
    // Who writes its own claim does so again after a failover. One that was taken over must not be the former owner's again.
    const isOwn = formerId === claim.sessionId;
    const reply = await (isOwn ? this.#redis.run(RECLAIM, keys, args) : this.#redis.runDurably(RECLAIM, keys, args));
    return asAnswer(RECLAIM, ['claimed', 'taken'], reply)[0] === 'claimed';
  }

  async sessionsOf(account: JID): Promise<readonly BoundResource[]> {
    const fields = await this.#redis.ask((client) => client.hgetall(this.#keys.sessions(account)));
    const all = Object.entries(fields).flatMap(([resource, owner]) => {
      const claim = parseClaim(owner);
      return claim === undefined ? [] : [{ resource, claim }];
    });
    const live = new Set(this.#instances.live());
    const unknown = new Set(all.map(({ claim }) => claim.instanceId).filter((id) => !live.has(id)));
    if (unknown.size === 0) return all;
    const gone = await this.#instances.goneOf([...unknown]);
    return all.filter(({ claim }) => !gone.has(claim.instanceId));
  }
}

const written = ({ instanceId, sessionId, sinceMs }: SessionClaim): string => `${instanceId} ${sessionId} ${sinceMs}`;

function parseClaim(owner: string): SessionClaim | undefined {
  const [instanceId, sessionId, sinceMs] = owner.split(' ');
  if (instanceId === undefined || sessionId === undefined || sinceMs === undefined) return undefined;
  return { instanceId, sessionId, sinceMs: Number(sinceMs) };
}
