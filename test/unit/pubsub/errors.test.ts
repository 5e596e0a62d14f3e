import { PUBSUB_FAILURES, PubsubError, type PubsubFailure, unsupported } from '@xmpp-grid/pubsub';
import { STANZA_CONDITIONS } from '@xmpp-grid/stream';
import { describe, expect, it } from 'vitest';
import { xep0060 } from '../../support/examples.ts';
import { errorOf } from '../../support/stanzas.ts';

/** `type condition[+detail]` of the `<error/>` in an example of the XEP. */
function errorIn(text: string): string {
  const type = /<error type='(\w+)'/.exec(text)![1];
  const condition = /<([a-z-]+) xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/.exec(text)![1];
  const detail = /<([a-z-]+) xmlns='http:\/\/jabber.org\/protocol\/pubsub#errors'/.exec(text)?.[1];
  return `${type} ${condition}${detail === undefined ? '' : `+${detail}`}`;
}

describe('failures on the wire are those of the examples of XEP-0060', () => {
  it.each<[PubsubFailure, number]>([
    ['jids-do-not-match', 30], // P-E003
    ['not-on-whitelist', 33], // P-E006
    ['subscription-pending', 36], // P-E009
    ['blocked', 37], // P-E010
    ['too-many-subscriptions', 38], // P-E011
    ['node-has-moved', 40], // P-E013
    ['node-does-not-exist', 41], // P-E014
    ['no-such-subscriber', 50], // P-E017
    ['insufficient-privileges', 51], // P-E018
    ['entity-not-subscribed', 86], // P-E033
    ['payload-too-big', 109], // P-E047
    ['bad-payload', 110], // P-E048, P-E049
    ['item-required', 111], // P-E050
    ['payload-required', 112], // P-E051
    ['item-forbidden', 113], // P-E052
    ['item-does-not-exist', 120], // P-E055
    ['nodeid-required', 121], // P-E056
    ['nodeid-exists', 129], // P-E063
    ['unsupported-access-model', 136], // P-E065
    ['configuration-not-processable', 149], // P-E071
  ])('%s is that of example %i', (failure, number) => {
    expect(errorOf(new PubsubError(failure).toElement())).toBe(errorIn(xep0060(number)));
  });

  it.each<[PubsubFailure, string]>([
    ['jid-required', 'modify bad-request+jid-required'], // P-B10
    ['malformed-configure', 'modify bad-request'], // §8.1.3, P-B23
    ['duplicate-entries', 'modify bad-request'], // §8.9.2.4, P-B33
    ['malformed-request', 'modify bad-request'],
  ])('%s, which has no example, is %s', (failure, want) => {
    expect(errorOf(new PubsubError(failure).toElement())).toBe(want);
  });

  it('names the feature of what is not supported (§6.3.4.6, example 62)', () => {
    expect(errorOf(unsupported('subscription-options').toElement())).toBe(
      'cancel feature-not-implemented+unsupported[subscription-options]',
    );
  });

  it('every row has a condition of RFC 6120, and none is untested above', () => {
    expect(Object.values(PUBSUB_FAILURES).filter(([condition]) => !(condition in STANZA_CONDITIONS))).toEqual([]);
    expect(Object.keys(PUBSUB_FAILURES)).toHaveLength(25);
  });
});
