import type { JID } from '../../jid.ts';
import {
  MAX_RESUME_BYTES,
  MAX_RESUME_STATES,
  parseState,
  type ResumeState,
  type ResumeStates,
  stanzaLine,
  stateText,
} from '../resume-states.ts';
import type { RedisConnections } from './connections.ts';
import { type StreamKeys, streamKeys } from './keys.ts';
import { asAnswer, streamScript } from './scripts.ts';

const PUT = streamScript('put-resume-1');
const TAKE = streamScript('take-resume-1');
const APPEND = streamScript('append-resume-1');
const DROP = streamScript('drop-resume-1');

export class RedisResumeStates implements ResumeStates {
  readonly #redis: RedisConnections;
  readonly #keys: StreamKeys;

  constructor(redis: RedisConnections) {
    this.#redis = redis;
    this.#keys = streamKeys(redis.settings.keyPrefix);
  }

  async put(account: JID, smId: string, state: ResumeState, forMs: number): Promise<'stored' | 'full'> {
    const text = stateText(state);
    if (Buffer.byteLength(text) > MAX_RESUME_BYTES) return 'full';
    const args = [smId, text, String(Math.ceil(forMs)), String(MAX_RESUME_STATES)];
    return asAnswer(PUT, ['stored', 'full'], await this.#redis.runDurably(PUT, [this.#keys.resume(account)], args))[0];
  }

  async take(account: JID, smId: string): Promise<ResumeState | undefined> {
    const reply = await this.#redis.runDurably(TAKE, [this.#keys.resume(account)], [smId]);
    const [word, text] = asAnswer(TAKE, ['taken', 'none'], reply);
    return word === 'taken' ? parseState(text as string) : undefined;
  }

  async append(account: JID, smId: string, stanza: string): Promise<'kept' | 'gone' | 'full'> {
    const args = [smId, stanzaLine(stanza), String(MAX_RESUME_BYTES)];
    const reply = await this.#redis.runDurably(APPEND, [this.#keys.resume(account)], args);
    return asAnswer(APPEND, ['kept', 'gone', 'full'], reply)[0];
  }

  async dropAll(account: JID): Promise<void> {
    asAnswer(DROP, ['dropped'], await this.#redis.runDurably(DROP, [this.#keys.resume(account)], []));
  }
}
