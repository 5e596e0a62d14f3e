import type { EntryKind, LogEntry, Payload } from '../../log/entry.ts';
import type { LogPage } from '../log-reader.ts';
import type { Item, Subscription } from '../topic-store.ts';
import { Netstrings } from './netstrings.ts';

export const text = (value: unknown): string => (Buffer.isBuffer(value) ? value.toString() : String(value));
export const number = (value: unknown): number => Number(text(value));
export const list = (value: unknown): readonly unknown[] => {
  if (!Array.isArray(value)) throw new TypeError('an unexpected reply of Redis');
  return value;
};

/** Copies the bytes: what the client hands out may be a view into a chunk of its socket. */
function payloadOf(view: Buffer, lang: string | undefined): Payload {
  const bytes = Buffer.from(view);
  return lang === undefined ? { bytes } : { bytes, lang };
}

/** An entry from the fields that `append` wrote (includes/topic.lua). */
export function entryOf(seq: number, fields: readonly unknown[], withdrawnSeq = 0): LogEntry {
  const found = new Map<string, unknown>();
  for (let i = 0; i + 1 < fields.length; i += 2) found.set(text(fields[i]), fields[i + 1]);
  const optional = (name: string) => (found.has(name) ? text(found.get(name)) : undefined);
  const kind = text(found.get('k')) as EntryKind;
  const isWithdrawn = kind === 'published' && seq <= withdrawnSeq;
  const bytes = found.get('b');
  const itemId = optional('i');
  const publisher = optional('p');
  const redirect = optional('r');
  return {
    seq,
    uid: text(found.get('u')),
    prevUid: text(found.get('q')),
    kind,
    stampMs: number(found.get('s')),
    accessToken: text(found.get('a')),
    ...(itemId === undefined ? {} : { itemId }),
    ...(publisher === undefined ? {} : { publisher }),
    ...(Buffer.isBuffer(bytes) && !isWithdrawn ? { payload: payloadOf(bytes, optional('l')) } : {}),
    isWithdrawn,
    ...(found.has('t') ? { isTransient: true } : {}),
    ...(found.has('e') ? { isEviction: true } : {}),
    notify: text(found.get('n')) === '1',
    ...(redirect === undefined ? {} : { redirect }),
  };
}

/**
 * A page from the reply of read-log. A number without an entry was withdrawn: its neighbours tell its uid where they can, else
 * it is ''.
 */
export function logPageOf(reply: readonly unknown[]): LogPage {
  const [, headSeq, headUid, first, withdrawn, fromText, lastText, raw, tells, token] = reply;
  const withdrawnSeq = number(withdrawn);
  const present = new Map<number, LogEntry>();
  for (const each of list(raw)) {
    const [id, fields] = list(each);
    const seq = Number.parseInt(text(id), 10);
    present.set(seq, entryOf(seq, list(fields), withdrawnSeq));
  }
  const from = number(fromText);
  const last = number(lastText);
  const entries: LogEntry[] = [];
  for (let seq = from; seq <= last; seq += 1) {
    const before = entries.at(-1);
    const after = present.get(seq + 1);
    entries.push(
      present.get(seq) ?? {
        seq,
        uid: after?.prevUid ?? (seq === last ? text(tells) : ''),
        prevUid: before?.uid ?? '',
        kind: 'published',
        stampMs: before?.stampMs ?? after?.stampMs ?? 0,
        accessToken: before?.accessToken ?? after?.accessToken ?? text(token),
        isWithdrawn: true,
        notify: true,
      },
    );
  }
  return { entries, firstSeq: number(first), head: { seq: number(headSeq), uid: text(headUid) } };
}

/** A retained item from its value (keys.ts `items`). */
export function itemOf(itemId: string, value: Buffer): Item {
  const fields = new Netstrings(value);
  const seq = Number(fields.text());
  const uid = fields.text();
  const stampMs = Number(fields.text());
  const publisher = fields.text();
  const lang = fields.text();
  const hasPayload = fields.text() === '1';
  return {
    itemId,
    publisher,
    stampMs,
    entry: { seq, uid },
    ...(hasPayload ? { payload: payloadOf(fields.rest(), lang === '' ? undefined : lang.slice(1)) } : {}),
  };
}

type StoredSubscription = readonly [rest: string, state: 's' | 'p', seq: number, uid: string, sinceMs: number];

/** All subscriptions of an account from its value (keys.ts `subscriptions`). */
export const subscriptionsOf = (account: string, value: string): readonly Subscription[] =>
  (JSON.parse(value) as readonly StoredSubscription[]).map(([rest, state, seq, uid, sinceMs]) => ({
    jid: `${account}${rest}`,
    state: state === 's' ? 'subscribed' : 'pending',
    start: { seq, uid },
    sinceMs,
  }));

/** What a bell says; no entries when they are too big to be carried: the log has them. */
export interface Bell {
  readonly configToken: string;
  readonly accessToken: string;
  readonly head: { readonly seq: number; readonly uid: string };
  readonly entries: readonly LogEntry[];
}

type BellHeader = readonly [
  configToken: string,
  accessToken: string,
  seq: string,
  uid: string,
  entries: readonly (readonly [seq: string, ...fields: string[]])[] | false,
  payloads: readonly (readonly [length: number, lang: string])[] | false,
];

/** @throws SyntaxError or TypeError for what is no bell */
export function bellOf(message: Buffer): Bell {
  const end = message.indexOf(0x0a);
  const header = JSON.parse(message.toString('utf8', 0, end === -1 ? 0 : end)) as BellHeader;
  const [configToken, accessToken, headSeq, uid, made, payloads] = header;
  let at = end + 1;
  const entries = (made || []).map(([seq, ...fields], i): LogEntry => {
    const entry = entryOf(Number(seq), fields);
    const [length, lang] = (payloads || [])[i] ?? [-1, ''];
    if (length < 0) return entry;
    at += length;
    return { ...entry, payload: payloadOf(message.subarray(at - length, at), lang === '' ? undefined : lang.slice(1)) };
  });
  return { configToken, accessToken, head: { seq: Number(headSeq), uid }, entries };
}
