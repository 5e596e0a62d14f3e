/** What goes along when a session moves to another instance: where it stands on each topic (delivery.md §6.2). */
import type { TopicRecord } from '../store/topic-store.ts';
import type { Place, Receiver } from './cursor.ts';

/** All but the first three only while something of the topic is not acknowledged, or its deletion not told. */
type StoredPlace =
  | readonly [key: string, at: number, atUid: string]
  | readonly [
      key: string,
      at: number,
      atUid: string,
      sent: number,
      acknowledged: number,
      acknowledgedUid: string,
      doubtful: number,
      deleted?: TopicRecord,
    ];
/** A topic that was deleted, which the client was told and did not acknowledge. */
type StoredEnd = readonly [key: string, jid: string, seq: number, record: TopicRecord];

interface StoredPlaces {
  readonly v: 1;
  readonly places: readonly StoredPlace[];
  readonly ended: readonly StoredEnd[];
}

/**
 * All places of a session as text: about 30 bytes and the topic's name for each. Also of topics where the store's position is
 * the same: another session of the account may acknowledge more before this one goes on.
 */
export function placesText(receiver: Receiver): string {
  const places: StoredPlace[] = [];
  const add = (key: string, { at, sentSeq, acknowledged, doubtfulSeq, deleted }: Place) => {
    if (sentSeq <= acknowledged.seq && doubtfulSeq === 0 && !deleted) places.push([key, at.seq, at.uid]);
    else {
      const rest = deleted ? ([deleted] as const) : ([] as const);
      places.push([key, at.seq, at.uid, sentSeq, acknowledged.seq, acknowledged.uid, doubtfulSeq, ...rest]);
    }
  };
  for (const cursor of receiver.cursors.values()) add(cursor.key, cursor);
  // Not opened yet since the session came from another instance itself.
  for (const [key, place] of receiver.restored) add(key, place);
  const ended = [...receiver.ended].map(([key, { jid, seq, record }]): StoredEnd => [key, jid, seq, record]);
  return JSON.stringify({ v: 1, places, ended } satisfies StoredPlaces);
}

/**
 * The way back. Nothing from an instance that knew nothing of the session.
 *
 * @throws SyntaxError or TypeError for a text that is none of ours
 */
export function placesOfText(text: string): {
  readonly places: Map<string, Place>;
  readonly ended: readonly StoredEnd[];
} {
  if (text === '') return { places: new Map(), ended: [] };
  const stored = JSON.parse(text) as StoredPlaces;
  if (stored.v !== 1) throw new TypeError('places in an unknown format');
  const places = new Map<string, Place>();
  for (const [
    key,
    seq,
    uid,
    sentSeq = seq,
    acknowledged = seq,
    acknowledgedUid = uid,
    doubtfulSeq = 0,
    deleted,
  ] of stored.places) {
    places.set(key, {
      at: { seq, uid },
      sentSeq,
      acknowledged: { seq: acknowledged, uid: acknowledgedUid },
      doubtfulSeq,
      ...(deleted ? { deleted } : {}),
    });
  }
  return { places, ended: stored.ended };
}
