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

interface Kept {
  text: string;
  readonly untilMs: number;
}

/** States in one process: they end with it, as the sessions that could be resumed from them do. */
export class EmbeddedResumeStates implements ResumeStates {
  readonly #accounts = new Map<string, Map<string, Kept>>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  async put(account: JID, smId: string, state: ResumeState, forMs: number): Promise<'stored' | 'full'> {
    const text = stateText(state);
    if (Buffer.byteLength(text) > MAX_RESUME_BYTES) return 'full';
    const key = account.bare.toString();
    const kept = this.#accounts.get(key) ?? new Map<string, Kept>();
    for (const [id, { untilMs }] of kept) if (untilMs <= this.#now()) kept.delete(id);
    if (!kept.has(smId) && kept.size >= MAX_RESUME_STATES) return 'full';
    kept.set(smId, { text, untilMs: this.#now() + forMs });
    this.#accounts.set(key, kept);
    return 'stored';
  }

  async take(account: JID, smId: string): Promise<ResumeState | undefined> {
    const key = account.bare.toString();
    const kept = this.#accounts.get(key);
    const found = kept?.get(smId);
    if (kept === undefined || found === undefined) return undefined;
    kept.delete(smId);
    if (kept.size === 0) this.#accounts.delete(key);
    return found.untilMs <= this.#now() ? undefined : parseState(found.text);
  }

  async append(account: JID, smId: string, stanza: string): Promise<'kept' | 'gone' | 'full'> {
    const found = this.#accounts.get(account.bare.toString())?.get(smId);
    if (found === undefined || found.untilMs <= this.#now()) return 'gone';
    const text = `${found.text}\n${stanzaLine(stanza)}`;
    if (Buffer.byteLength(text) > MAX_RESUME_BYTES) return 'full';
    found.text = text;
    return 'kept';
  }

  async dropAll(account: JID): Promise<void> {
    this.#accounts.delete(account.bare.toString());
  }
}
