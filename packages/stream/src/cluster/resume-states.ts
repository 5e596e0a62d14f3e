import type { JID } from '../jid.ts';
import type { EntryRef } from '../session/ports.ts';

/**
 * States of sessions whose stream ended on one instance and may be resumed on any (XEP-0198 §5, delivery.md §6.2, §6.3).
 * Written by the instance that drains or hands over; whoever resumes takes it. Nobody owns a state in between: it expires.
 *
 * Every method throws StoreUnavailable when the store cannot be reached.
 */
export interface ResumeStates {
  /**
   * Keeps a state for `forMs`; resolves when it is durable. `full`: the account has its most states, or this one is too
   * large; the session cannot be resumed.
   */
  put(account: JID, smId: string, state: ResumeState, forMs: number): Promise<'stored' | 'full'>;
  /**
   * Takes a state out; of several callers one gets it, durably. Undefined: never there, taken, expired or dropped.
   * When it throws, nobody may resume from the state: it may have been taken.
   */
  take(account: JID, smId: string): Promise<ResumeState | undefined>;
  /**
   * Adds a stanza behind what is unacknowledged in a state, durably. `gone`: somebody took it, or it is no more. `full`: it
   * has its most bytes.
   */
  append(account: JID, smId: string, stanza: string): Promise<'kept' | 'gone' | 'full'>;
  /** Forgets every state of an account, whose rights changed (delivery.md §8.2). */
  dropAll(account: JID): Promise<void>;
}

/** What was sent and not acknowledged, in the order in which it was sent. */
export type UnacknowledgedRecord =
  | { readonly entry: EntryRef }
  /** A stanza that is in no log: its XML. */
  | { readonly stanza: string };

/** All that a session needs to go on elsewhere. Its rights are not here: they are those of the new login. */
export interface ResumeState {
  readonly sessionId: string;
  readonly resource: string;
  readonly boundAtMs: number;
  /** The client's stanzas that were answered, stored or handed on: our `h`. */
  readonly handled: number;
  /** The client's last `h`. */
  readonly acknowledged: number;
  readonly unacknowledged: readonly UnacknowledgedRecord[];
  /** Undefined: never sent. */
  readonly presence?: { readonly available: boolean; readonly priority: number };
  readonly directedPresence?: readonly string[];
  readonly lang?: string;
  /** What services keep with the session, by their name: delivery its cursors, for example. */
  readonly extra: Readonly<Record<string, string>>;
}

/** An account's resources are few; a state is at most 1 MiB of stanzas and 1,000 references. */
export const MAX_RESUME_STATES = 32;
export const MAX_RESUME_BYTES = 4_194_304;

/** A state as text: a line of JSON, and one for each stanza that came after it. */
export const stateText = (state: ResumeState): string => JSON.stringify(state);
export const stanzaLine = (stanza: string): string => JSON.stringify(stanza);

export function parseState(text: string): ResumeState {
  const [state, ...stanzas] = text.split('\n').map((line) => JSON.parse(line) as unknown) as [ResumeState, ...string[]];
  if (stanzas.length === 0) return state;
  return { ...state, unacknowledged: [...state.unacknowledged, ...stanzas.map((stanza) => ({ stanza }))] };
}
