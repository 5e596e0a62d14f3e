import {
  type AccessModel,
  type Affiliation,
  decideOwn,
  decidePublish,
  decideRetract,
  decideRetrieve,
  decideSubscribe,
  effectiveAffiliation,
  mayChangeAffiliation,
  type PublishModel,
} from '@xmpp-grid/pubsub';
import { describe, expect, it } from 'vitest';

type Decision = { readonly verdict: string; readonly why?: string };
const show = (decision: Decision): string => decision.why ?? decision.verdict;

/** P-B02: every cell of §4.1 Table 1, for each access model where it matters. */
describe('subscribe, XEP-0060 §6.1.3, §6.1.4 (P-B02, P-B07, P-B40)', () => {
  it.each<[Affiliation, AccessModel, string]>([
    ['owner', 'authorize', 'allow'],
    ['owner', 'whitelist', 'allow'],
    ['owner', 'open', 'allow'],
    ['publisher', 'authorize', 'allow'],
    ['publisher', 'whitelist', 'allow'],
    ['publisher', 'open', 'allow'],
    ['publish-only', 'authorize', 'insufficient-privileges'],
    ['publish-only', 'whitelist', 'insufficient-privileges'],
    ['publish-only', 'open', 'insufficient-privileges'],
    ['member', 'authorize', 'allow'],
    ['member', 'whitelist', 'allow'],
    ['member', 'open', 'allow'],
    ['none', 'authorize', 'pending'],
    ['none', 'whitelist', 'not-on-whitelist'],
    ['none', 'open', 'allow'],
    ['outcast', 'authorize', 'blocked'],
    ['outcast', 'whitelist', 'blocked'],
    ['outcast', 'open', 'blocked'],
  ])('%s at %s -> %s', (affiliation, model, want) => {
    expect(show(decideSubscribe(affiliation, model))).toBe(want);
  });
});

describe('retrieve, XEP-0060 §6.5.1 (P-B02, P-B13)', () => {
  it.each<[Affiliation, AccessModel, 'subscribed' | 'not', string]>([
    ['owner', 'authorize', 'not', 'allow'],
    ['owner', 'whitelist', 'not', 'allow'],
    ['owner', 'open', 'not', 'allow'],
    ['publisher', 'authorize', 'not', 'allow'],
    ['publisher', 'whitelist', 'not', 'allow'],
    ['publisher', 'open', 'not', 'allow'],
    ['publish-only', 'authorize', 'subscribed', 'insufficient-privileges'],
    ['publish-only', 'authorize', 'not', 'insufficient-privileges'],
    ['publish-only', 'whitelist', 'not', 'insufficient-privileges'],
    ['publish-only', 'open', 'not', 'insufficient-privileges'],
    ['member', 'authorize', 'subscribed', 'allow'],
    ['member', 'authorize', 'not', 'entity-not-subscribed'],
    ['member', 'whitelist', 'subscribed', 'allow'],
    ['member', 'whitelist', 'not', 'entity-not-subscribed'],
    ['member', 'open', 'subscribed', 'allow'],
    ['member', 'open', 'not', 'allow'],
    ['none', 'authorize', 'subscribed', 'allow'],
    ['none', 'authorize', 'not', 'entity-not-subscribed'],
    ['none', 'whitelist', 'subscribed', 'not-on-whitelist'],
    ['none', 'whitelist', 'not', 'not-on-whitelist'],
    ['none', 'open', 'subscribed', 'allow'],
    ['none', 'open', 'not', 'allow'],
    ['outcast', 'authorize', 'subscribed', 'blocked'],
    ['outcast', 'authorize', 'not', 'blocked'],
    ['outcast', 'whitelist', 'subscribed', 'blocked'],
    ['outcast', 'whitelist', 'not', 'blocked'],
    ['outcast', 'open', 'subscribed', 'blocked'],
    ['outcast', 'open', 'not', 'blocked'],
  ])('%s at %s, %s -> %s', (affiliation, model, subscription, want) => {
    expect(show(decideRetrieve(affiliation, model, subscription === 'subscribed'))).toBe(want);
  });
});

describe('publish, XEP-0060 §7.1.3.1, §16.4.4 (P-B02)', () => {
  it.each<[Affiliation, PublishModel, 'subscribed' | 'not', string]>([
    ['owner', 'publishers', 'not', 'allow'],
    ['owner', 'subscribers', 'not', 'allow'],
    ['owner', 'open', 'not', 'allow'],
    ['publisher', 'publishers', 'not', 'allow'],
    ['publisher', 'subscribers', 'not', 'allow'],
    ['publisher', 'open', 'not', 'allow'],
    ['publish-only', 'publishers', 'not', 'allow'],
    ['publish-only', 'subscribers', 'not', 'allow'],
    ['publish-only', 'open', 'not', 'allow'],
    ['member', 'publishers', 'subscribed', 'insufficient-privileges'],
    ['member', 'subscribers', 'subscribed', 'allow'],
    ['member', 'subscribers', 'not', 'insufficient-privileges'],
    ['member', 'open', 'not', 'allow'],
    ['none', 'publishers', 'subscribed', 'insufficient-privileges'],
    ['none', 'subscribers', 'subscribed', 'allow'],
    ['none', 'subscribers', 'not', 'insufficient-privileges'],
    ['none', 'open', 'not', 'allow'],
    ['outcast', 'publishers', 'subscribed', 'blocked'],
    ['outcast', 'subscribers', 'subscribed', 'blocked'],
    ['outcast', 'open', 'subscribed', 'blocked'],
  ])('%s at publish model %s, %s -> %s', (affiliation, model, subscription, want) => {
    expect(show(decidePublish(affiliation, model, subscription === 'subscribed'))).toBe(want);
  });
});

describe('retract, XEP-0060 §4.1, §7.2.3.1 (P-B02, P-B03)', () => {
  it.each<[Affiliation, 'own' | 'foreign', string]>([
    ['owner', 'own', 'allow'],
    ['owner', 'foreign', 'allow'],
    ['publisher', 'own', 'allow'],
    ['publisher', 'foreign', 'allow'],
    ['publish-only', 'own', 'allow'],
    ['publish-only', 'foreign', 'insufficient-privileges'],
    ['member', 'own', 'insufficient-privileges'],
    ['member', 'foreign', 'insufficient-privileges'],
    ['none', 'own', 'insufficient-privileges'],
    ['none', 'foreign', 'insufficient-privileges'],
    ['outcast', 'own', 'blocked'],
    ['outcast', 'foreign', 'blocked'],
  ])('%s, %s item -> %s', (affiliation, whose, want) => {
    expect(show(decideRetract(affiliation, whose === 'own'))).toBe(want);
  });
});

describe('configure, delete, purge, manage, XEP-0060 §8, §14.2 (P-B02, P-B42)', () => {
  it.each<[Affiliation, string]>([
    ['owner', 'allow'],
    ['publisher', 'insufficient-privileges'],
    ['publish-only', 'insufficient-privileges'],
    ['member', 'insufficient-privileges'],
    ['none', 'insufficient-privileges'],
    ['outcast', 'blocked'],
  ])('%s -> %s', (affiliation, want) => {
    expect(show(decideOwn(affiliation))).toBe(want);
  });
});

describe('affiliation changes, XEP-0060 §4.1 Table 2 (P-B04)', () => {
  // rows: from; columns: to. o an owner may, s only for oneself, - never
  const TO: readonly Affiliation[] = ['outcast', 'none', 'member', 'publish-only', 'publisher', 'owner'];
  it.each<[Affiliation, string]>([
    ['outcast', 'o o o o o o'],
    ['none', 'o o o o o o'],
    ['member', 'o o o o o o'],
    ['publish-only', 'o o - o o o'],
    ['publisher', 'o o - o o o'],
    ['owner', '- s - - - o'],
  ])('from %s', (from, row) => {
    const shown = TO.map((to) => {
      if (mayChangeAffiliation(from, to, false)) return 'o';
      return mayChangeAffiliation(from, to, true) ? 's' : '-';
    });
    expect(shown.join(' ')).toBe(row);
  });
});

describe('approval by role, RFC 8600 §8.3.4', () => {
  it.each<[Affiliation, Affiliation]>([
    ['none', 'member'],
    ['outcast', 'outcast'],
    ['publish-only', 'publish-only'],
    ['member', 'member'],
    ['publisher', 'publisher'],
    ['owner', 'owner'],
  ])('makes %s a %s', (stored, effective) => {
    expect(effectiveAffiliation(stored, true)).toBe(effective);
    expect(effectiveAffiliation(stored, false)).toBe(stored);
  });
});
