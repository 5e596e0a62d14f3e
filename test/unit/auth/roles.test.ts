import { Authorizer, BUILT_IN_ROLES, DEFAULT_LIMITS, matchesPattern, type RoleTemplate, VERBS, type Verb } from '@xmpp-grid/auth';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

describe('topic patterns', () => {
  it.each<[string, string, boolean]>([
    ['*', '', true],
    ['*', 'anything', true],
    ['MILEHost', 'MILEHost', true],
    ['MILEHost', 'milehost', false],
    ['incident/*', 'incident/', true],
    ['incident/*', 'incident/a/b', true],
    ['incident/*', 'incidents', false],
    ['*/iodef', 'a/b/iodef', true],
    ['*a*b', 'xaybzb', true],
    ['*a*b', 'xaybz', false],
    ['a?c', 'abc', true],
    ['a?c', 'ac', false],
    ['a?c', 'a\u{1F4A9}c', true],
    ['?', '\u{1F4A9}', true],
    ['??', '\u{1F4A9}', false],
    ['*?', '', false],
    ['', '', true],
    ['', 'x', false],
    ['a*', '*', false],
    ['a.c', 'abc', false],
  ])('%j on %j: %s', (pattern, name, want) => {
    expect(matchesPattern(pattern, name)).toBe(want);
  });

  it('agree with a regular expression', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?'), maxLength: 8 });
    const name = fc.string({ unit: fc.constantFrom('a', 'b', '\u{1F4A9}'), maxLength: 10 });
    fc.assert(
      fc.property(letters, name, (pattern, node) => {
        const reference = new RegExp(`^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`, 'us');
        expect(matchesPattern(pattern, node)).toBe(reference.test(node));
      }),
    );
  });

  it('end in bounded time on what makes others explode', () => {
    expect(matchesPattern('*a'.repeat(50), 'a'.repeat(1000))).toBe(true);
    expect(matchesPattern(`${'*a'.repeat(50)}b`, 'a'.repeat(1000))).toBe(false);
  });
});

describe('decisions', () => {
  const analyst: RoleTemplate = {
    name: 'analyst',
    grants: [
      { verbs: ['subscribe', 'retrieve', 'discover'], topics: ['incident/*'] },
      { verbs: ['publish'], topics: ['incident/*'], types: ['urn:ietf:params:xml:ns:iodef-2.0'] },
      { verbs: ['publish', 'discover'], topics: ['scratch'] },
      { verbs: [], topics: ['empty'] },
    ],
    approve: ['incident/public-*', 'secret'],
    limits: DEFAULT_LIMITS,
  };
  const roles = new Authorizer([analyst]);

  it.each<[string, Verb, string, string | undefined, string]>([
    ['analyst', 'subscribe', 'incident/a', undefined, 'allow'],
    ['analyst', 'create', 'incident/a', undefined, 'verb-not-granted'],
    ['analyst', 'publish', 'incident/a', 'urn:ietf:params:xml:ns:iodef-2.0', 'allow'],
    ['analyst', 'publish', 'incident/a', 'urn:other', 'payload-type-not-granted'],
    ['analyst', 'publish', 'incident/a', undefined, 'payload-type-not-granted'],
    ['analyst', 'publish', 'scratch', 'urn:other', 'allow'],
    ['analyst', 'publish', 'scratch', undefined, 'allow'],
    ['analyst', 'subscribe', 'scratch', undefined, 'verb-not-granted'],
    ['analyst', 'subscribe', 'secret', undefined, 'topic-hidden'],
    ['analyst', 'discover', 'empty', undefined, 'topic-hidden'],
    ['nobody', 'subscribe', 'incident/a', undefined, 'unknown-role'],
    ['remote', 'discover', 'incident/a', undefined, 'unknown-role'],
    ['demo', 'delete', 'anything', undefined, 'allow'],
  ])('%s may %s on %s (%s): %s', (role, verb, node, type, want) => {
    const decision = roles.decide(role, verb, node, type);
    expect(decision.verdict === 'deny' ? decision.why : decision.verdict).toBe(want);
  });

  it.each<[Verb, boolean]>(VERBS.map((verb) => [verb, ['subscribe', 'retrieve', 'discover'].includes(verb)]))(
    'RFC 8600 §8.3.2 read-only: %s %s (G-088)',
    (verb, may) => {
      expect(roles.decide('read-only', verb, 'MILEHost').verdict).toBe(may ? 'allow' : 'deny');
      expect(roles.decide('platform', verb, 'MILEHost').verdict).toBe('allow');
    },
  );

  it('hide topics on which nothing is granted', () => {
    expect(['incident/a', 'scratch', 'secret', 'empty'].map((node) => roles.isHidden('analyst', node))).toEqual([
      false,
      false,
      true,
      true,
    ]);
    expect(roles.isHidden('nobody', 'incident/a')).toBe(true);
  });

  it('RFC 8600 §8.3.4 approve by pattern', () => {
    expect(roles.approves('analyst', 'incident/public-1')).toBe(true);
    expect(roles.approves('analyst', 'incident/a')).toBe(false);
    expect(roles.approves('analyst', 'secret')).toBe(false); // approved, but hidden
    expect([roles.approves('demo', 'x'), roles.approves('platform', 'x'), roles.approves('nobody', 'x')]).toEqual([
      true,
      false,
      false,
    ]);
  });

  it('give limits, and none for a role that does not exist', () => {
    expect(roles.limits('analyst')).toBe(DEFAULT_LIMITS);
    expect(roles.limits('nobody')).toBeUndefined();
    expect(roles.names).toEqual([...BUILT_IN_ROLES.map(({ name }) => name), 'analyst']);
  });

  it('let the configuration replace a built-in role', () => {
    const strict = new Authorizer([{ name: 'platform', grants: [], approve: [], limits: DEFAULT_LIMITS }]);
    expect(strict.decide('platform', 'subscribe', 'x')).toEqual({ verdict: 'deny', why: 'topic-hidden' });
  });
});
