import {
  SASL_CONDITIONS,
  SaslFailure,
  STANZA_CONDITIONS,
  STREAM_CONDITIONS,
  type StanzaCondition,
  StanzaError,
  StreamError,
  serialize,
} from '@xmpp-grid/stream';
import { Element } from 'ltx';
import { describe, expect, it } from 'vitest';

describe('stanza errors, RFC 6120 §8.3', () => {
  it('§8.3.3 all 22 conditions, in the order of the text', () => {
    const conditions = Object.keys(STANZA_CONDITIONS);
    expect(conditions).toHaveLength(22);
    expect(conditions).toEqual(conditions.toSorted());
  });

  it.each<[StanzaCondition, string]>([
    ['bad-request', 'modify'],
    ['conflict', 'cancel'],
    ['forbidden', 'auth'],
    ['item-not-found', 'cancel'],
    ['not-authorized', 'auth'],
    ['policy-violation', 'modify'],
    ['recipient-unavailable', 'wait'],
    ['redirect', 'modify'],
    ['resource-constraint', 'wait'],
    ['service-unavailable', 'cancel'],
    ['unexpected-request', 'wait'],
  ])('§8.3.3 %s is of type %s', (condition, type) => {
    expect(serialize(new StanzaError(condition).toElement())).toBe(
      `<error type='${type}'><${condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`,
    );
  });

  it('§8.3.2 text, application condition and author, in the order of the syntax', () => {
    const child = new Element('closed-node', { xmlns: 'http://jabber.org/protocol/pubsub#errors' });
    const error = new StanzaError('not-allowed', {
      text: 'no & no',
      type: 'wait',
      child,
      by: 'broker.grid.example',
      cause: new Error('inner'),
    });
    expect(serialize(error.toElement())).toBe(
      "<error type='wait' by='broker.grid.example'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" +
        "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no &amp; no</text>" +
        "<closed-node xmlns='http://jabber.org/protocol/pubsub#errors'/></error>",
    );
    expect(error.message).toBe('not-allowed: no & no');
    expect(error.cause).toBeInstanceOf(Error);
    expect(error).toBeInstanceOf(Error);
  });

  it('§8.3.3.5 gone says where to go', () => {
    expect(serialize(new StanzaError('gone', { uri: 'xmpp:a@grid.example' }).toElement())).toBe(
      "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:a@grid.example</gone></error>",
    );
  });
});

describe('stream errors, RFC 6120 §4.9', () => {
  it('§4.9.3 all 25 conditions, in the order of the text (C-042)', () => {
    expect(STREAM_CONDITIONS).toHaveLength(25);
    expect([...STREAM_CONDITIONS]).toEqual(STREAM_CONDITIONS.toSorted());
  });

  it.each(STREAM_CONDITIONS)('§4.9.2 %s (C-042)', (condition) => {
    expect(serialize(new StreamError(condition).toElement())).toBe(
      `<stream:error><${condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>`,
    );
  });

  it('§4.9.3.19 see-other-host says which', () => {
    const error = new StreamError('see-other-host', { host: '[2001:41D0:1:A49b::1]:9222', text: 'moved' });
    expect(serialize(error.toElement())).toBe(
      "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>[2001:41D0:1:A49b::1]:9222</see-other-host>" +
        "<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>moved</text></stream:error>",
    );
  });

  it('§4.9.4 application conditions', () => {
    const error = new StreamError('undefined-condition', { child: new Element('late', { xmlns: 'urn:xmpp-grid:0' }) });
    expect(serialize(error.toElement())).toContain("<late xmlns='urn:xmpp-grid:0'/></stream:error>");
  });
});

describe('SASL failures, RFC 6120 §6.5', () => {
  it('all 11 conditions, in the order of the text', () => {
    expect(SASL_CONDITIONS).toHaveLength(11);
    expect([...SASL_CONDITIONS]).toEqual(SASL_CONDITIONS.toSorted());
  });

  it('the text goes out, the reason stays', () => {
    const failure = new SaslFailure('not-authorized', { text: 'try again', why: 'no such account' });
    expect(serialize(failure.toElement())).toBe(
      "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/><text xml:lang='en'>try again</text></failure>",
    );
    expect(failure.message).toBe('not-authorized: no such account');
  });
});
