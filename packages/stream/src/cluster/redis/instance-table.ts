import type { InstanceState, InstanceTable } from '../instances.ts';
import type { RedisConnections } from './connections.ts';
import { streamKeys } from './keys.ts';
import { asAnswer, streamScript } from './scripts.ts';

const BEAT = streamScript('heartbeat-1');
const MARK_DEAD = streamScript('mark-dead-1');
const CLAIM_CLEANING = streamScript('claim-cleaning-1');
const FINISH_CLEANING = streamScript('finish-cleaning-1');

/** The table in Redis: one hash. Instances write their own field, the judge and the cleaner those of the dead. */
export class RedisInstanceTable implements InstanceTable {
  readonly #redis: RedisConnections;
  readonly #key: string;

  constructor(redis: RedisConnections) {
    this.#redis = redis;
    this.#key = streamKeys(redis.settings.keyPrefix).instances;
  }

  async beat(id: string, counter: number, how: 'join' | 'beat'): Promise<ReadonlyMap<string, InstanceState> | 'fenced'> {
    const [word, ...rest] = asAnswer(
      BEAT,
      ['lives', 'fenced'],
      await this.#redis.run(BEAT, [this.#key], [id, String(counter), how]),
    );
    if (word === 'fenced') return 'fenced';
    const states = new Map<string, InstanceState>();
    for (let i = 0; i + 1 < rest.length; i += 2) states.set(rest[i] as string, parseState(rest[i + 1] as string));
    return states;
  }

  async markDead(id: string, counter: number | undefined): Promise<boolean> {
    const reply = await this.#redis.run(MARK_DEAD, [this.#key], [id, counter === undefined ? '' : String(counter)]);
    return asAnswer(MARK_DEAD, ['dead', 'changed'], reply)[0] === 'dead';
  }

  async claimCleaning(id: string, by: string, forMs: number): Promise<'yours' | 'theirs' | 'gone'> {
    const reply = await this.#redis.run(CLAIM_CLEANING, [this.#key], [id, by, String(Math.ceil(forMs))]);
    return asAnswer(CLAIM_CLEANING, ['yours', 'theirs', 'gone'], reply)[0];
  }

  async finishCleaning(id: string, by: string): Promise<boolean> {
    const reply = await this.#redis.run(FINISH_CLEANING, [this.#key], [id, by]);
    return asAnswer(FINISH_CLEANING, ['gone', 'theirs'], reply)[0] === 'gone';
  }

  async goneOf(ids: readonly string[]): Promise<ReadonlySet<string>> {
    if (ids.length === 0) return new Set();
    const states = await this.#redis.ask((client) => client.hmget(this.#key, ...ids));
    return new Set(ids.filter((_, i) => states[i]?.startsWith('live ') !== true));
  }
}

/** @throws Error for what no version of ours wrote */
function parseState(text: string): InstanceState {
  const [word, detail] = text.split(' ');
  if (word === 'live') return { kind: 'live', counter: Number(detail) };
  if (word === 'dead') return { kind: 'dead' };
  if (word === 'cleaning' && detail !== undefined) return { kind: 'cleaning', by: detail };
  throw new Error(`unknown state of an instance: ${text}`);
}
