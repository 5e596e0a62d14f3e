/** The form that asks a topic's owners about a subscription request (XEP-0060 §8.6, §16.4.1). */
import { createHash } from 'node:crypto';
import {
  booleanField,
  FORM_TYPE,
  FormFault,
  type FormTable,
  JID,
  jidField,
  parseForm,
  readSubmission,
  renderForm,
  shownFields,
  textField,
} from '@xmpp-grid/stream';
import { Element } from 'ltx';
import { PubsubError } from '../errors.ts';
import { MAX_NODE_BYTES } from '../node/node-name.ts';
import type { VerbDeps } from './deps.ts';

interface Authorization {
  readonly node: string;
  readonly subscriber: JID;
  readonly allow: boolean;
}

const TABLE: FormTable<Authorization> = {
  node: textField('pubsub#node', 'The NodeID of the relevant node', MAX_NODE_BYTES),
  subscriber: jidField('pubsub#subscriber_jid', 'The address (JID) of the subscriber'),
  allow: booleanField('pubsub#allow', 'Whether to allow the subscription'),
};

export interface PendingRequest {
  readonly node: string;
  readonly jid: string;
  readonly sinceMs: number;
}

/** The same request has the same id whenever and to whomever it is sent, so that an owner's client can tell repeats. */
function requestId({ node, jid, sinceMs }: PendingRequest): string {
  return `approve-${createHash('sha256')
    .update(JSON.stringify([node, jid, sinceMs]))
    .digest('hex')
    .slice(0, 32)}`;
}

export function authorizationMessage(from: string, to: string, request: PendingRequest): Element {
  const message = new Element('message', { from, to, id: requestId(request) });
  const fields = shownFields(TABLE, { node: request.node, subscriber: JID.parse(request.jid), allow: false });
  message.cnode(
    renderForm('form', FORM_TYPE.subscribeAuthorization, fields, {
      title: 'Subscription request',
      instructions:
        'Submit the form with the last field set to allow the subscription, unset to deny it; cancel it to decide later.',
    }),
  );
  return message;
}

/**
 * Reads an owner's answer.
 *
 * @returns 'cancelled' when the owner put the decision off (§8.6)
 * @throws PubsubError `malformed-request` for a form that is no such answer
 */
export function parseAuthorization(x: Element): Authorization | 'cancelled' {
  try {
    const form = parseForm(x);
    if (form.kind === 'cancel') return 'cancelled';
    if (form.kind !== 'submit') throw new FormFault(undefined, 'the form is not of type submit');
    if (form.formType !== FORM_TYPE.subscribeAuthorization)
      throw new FormFault('FORM_TYPE', 'is not that of a subscription request');
    const { node, subscriber, allow } = readSubmission(TABLE, form, () => {}); // others, pubsub#subid among them: XEP-0004 §3.1
    if (!node || subscriber === undefined || allow === undefined) {
      throw new FormFault(undefined, 'pubsub#node, pubsub#subscriber_jid and pubsub#allow are needed');
    }
    return { node, subscriber, allow };
  } catch (error) {
    if (error instanceof FormFault) throw new PubsubError('malformed-request', { text: error.message, cause: error });
    throw error;
  }
}

/** Sends the request to every owner who can take it now; the others get it when their next session starts. */
export async function askOwners(request: PendingRequest, deps: VerbDeps): Promise<void> {
  for (const [account, affiliation] of await deps.store.affiliations(request.node)) {
    if (affiliation !== 'owner') continue;
    const isAway = !(await deps.outbound.isConnected(JID.parse(account))) && (await deps.policy.roleOf(account)) !== undefined;
    if (!isAway) await deps.outbound.send(authorizationMessage(deps.domain, account, request));
  }
}
