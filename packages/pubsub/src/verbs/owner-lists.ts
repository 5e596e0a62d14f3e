/** What the two lists that owners manage have in common (XEP-0060 §8.8, §8.9). */

import { IqFailure, type RsmRequest } from '@xmpp-grid/stream';
import type { Element } from 'ltx';
import { decideOwn } from '../access/decide.ts';
import { demand, demandGrant, type OpenTopic, openTopic } from '../access/topic-access.ts';
import { PubsubError } from '../errors.ts';
import { pubsubElement } from '../request/render.ts';
import type { Requester } from '../request/verb.ts';
import type { VerbDeps } from './deps.ts';

export interface ListRequest {
  readonly node: string;
  readonly rsm: RsmRequest | undefined;
}

/** One line of a request to change: `value` undefined leaves things as they are (§8.8.2.1, §8.9.2.1). */
export interface Entry {
  /** As given, to be returned when the entry fails. */
  readonly jid: string;
  readonly value: string | undefined;
}

export interface ChangeRequest {
  readonly node: string;
  readonly entries: readonly Entry[];
}

/** Most entries in one request; more make the one atomic step too long. */
const MAX_ENTRIES = 1000;

/** @throws PubsubError `malformed-request` */
export function parseEntries(list: Element, name: 'affiliation' | 'subscription'): Entry[] {
  const entries = list
    .getChildren(name, list.getNS())
    .map((element): Entry => ({ jid: element.attrs.jid ?? '', value: element.attrs[name] }));
  if (entries.length === 0) throw new PubsubError('malformed-request', { text: `no <${name}/> to change` });
  if (entries.length > MAX_ENTRIES) throw new PubsubError('malformed-request', { text: `at most ${MAX_ENTRIES} entries` });
  return entries;
}

/** @throws PubsubError `node-does-not-exist` | `insufficient-privileges` | `blocked` */
export async function openOwned(node: string, who: Requester, deps: VerbDeps): Promise<OpenTopic> {
  const topic = await openTopic(node, who, deps);
  demandGrant('manage', node, who, deps);
  demand(decideOwn(topic.affiliation), 'manage', node, who, deps);
  return topic;
}

/** The error that lists the entries which failed, each with its present value; all others were changed (§8.8.2.4, §8.9.2.4). */
export function failedEntries(list: Element): IqFailure {
  return new IqFailure('not-acceptable', pubsubElement('owner', list));
}
