import { createHash } from 'node:crypto';

/**
 * Keys of the embedded store. lmdb takes at most 1,978 bytes, JIDs have up to 3,071 and item ids are as long as a stanza
 * allows. A topic has a number of fixed width, so that no name from outside can reach into another topic's keys; a name
 * stands only at the end of a key, whole when short, else as its beginning and its hash.
 */

/** Node names are resourceparts at most (RFC 7622 §3.4). */
export const MAX_NODE_BYTES = 1023;

const NUMBER_BYTES = 6;
const MAX_PLAIN_BYTES = 512;
const HEAD_BYTES = 256;

const sha256 = (text: string) => createHash('sha256').update(text).digest();

/** The part of a key that names something from outside. */
function namePart(name: string): Buffer {
  const bytes = Buffer.from(name);
  if (bytes.length <= MAX_PLAIN_BYTES) return Buffer.concat([Buffer.of(0), bytes]);
  return Buffer.concat([Buffer.of(1), bytes.subarray(0, HEAD_BYTES), sha256(name)]);
}

/** Undefined for what can be no node: empty or over 1,023 bytes. */
export function nodeKey(node: string): Buffer | undefined {
  const key = Buffer.from(node);
  return key.length === 0 || key.length > MAX_NODE_BYTES ? undefined : key;
}

export function topicKey(topicId: number): Buffer {
  const key = Buffer.allocUnsafe(NUMBER_BYTES);
  key.writeUIntBE(topicId, 0, NUMBER_BYTES);
  return key;
}

export function entryKey(topicId: number, seq: number): Buffer {
  const key = Buffer.allocUnsafe(2 * NUMBER_BYTES);
  key.writeUIntBE(topicId, 0, NUMBER_BYTES);
  key.writeUIntBE(seq, NUMBER_BYTES, NUMBER_BYTES);
  return key;
}

export const seqOf = (key: Buffer): number => key.readUIntBE(NUMBER_BYTES, NUMBER_BYTES);

export const nameKey = (topicId: number, name: string): Buffer => Buffer.concat([topicKey(topicId), namePart(name)]);

/** All subscriptions of an account at a topic stand together. */
export const accountAtTopicKey = (topicId: number, account: string): Buffer =>
  Buffer.concat([topicKey(topicId), sha256(account)]);

export const subscriptionKey = (topicId: number, account: string, jid: string): Buffer =>
  Buffer.concat([accountAtTopicKey(topicId, account), namePart(jid)]);

export const accountKey = (account: string): Buffer => sha256(account);

export const accountTopicKey = (account: string, node: string): Buffer => Buffer.concat([sha256(account), Buffer.from(node)]);

export const nodeOfAccountTopic = (key: Buffer): string => key.toString('utf8', 32);

export const positionKey = (topicId: number, jid: string): Buffer =>
  Buffer.concat([topicKey(topicId), Buffer.of(0), namePart(jid)]);

export const watermarkKey = (topicId: number, instance: string): Buffer =>
  Buffer.concat([topicKey(topicId), Buffer.of(1), namePart(instance)]);

export const watermarksKey = (topicId: number): Buffer => Buffer.concat([topicKey(topicId), Buffer.of(1)]);

/** The first key after all that start with `prefix`. */
export function endOf(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  for (let i = end.length - 1; i >= 0; i -= 1) {
    const byte = end[i]!;
    if (byte < 0xff) {
      end[i] = byte + 1;
      return end.subarray(0, i + 1);
    }
  }
  throw new RangeError('no key follows this prefix');
}

/** The account that a bare or full JID belongs to (RFC 7622 §3.2: neither localpart nor domainpart holds a slash). */
export function accountOf(jid: string): string {
  const slash = jid.indexOf('/');
  return slash === -1 ? jid : jid.slice(0, slash);
}
