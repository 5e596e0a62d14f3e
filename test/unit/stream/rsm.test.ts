import { parseRsm, type RsmRequest, renderRsm, StanzaError } from '@xmpp-grid/stream';
import { Element } from 'ltx';
import { describe, expect, it } from 'vitest';

const NS = 'http://jabber.org/protocol/rsm';

function request(children: Readonly<Record<string, string>>): RsmRequest | undefined {
  const query = new Element('query', { xmlns: 'http://jabber.org/protocol/disco#items' });
  const set = query.c('set', { xmlns: NS });
  for (const [name, text] of Object.entries(children)) set.c(name).t(text);
  return parseRsm(query);
}

const condition = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (error instanceof StanzaError) return error.condition;
    throw error;
  }
  return 'none';
};

describe('the request, XEP-0059 §2', () => {
  it.each<[string, Readonly<Record<string, string>>, RsmRequest]>([
    ['§2.1 a limit (X-007)', { max: '10' }, { max: 10 }],
    ['§2.2 forwards (X-008)', { max: '10', after: 'a' }, { max: 10, after: 'a' }],
    ['§2.2 an empty <after/> is the beginning', { after: '' }, {}],
    ['§2.3 backwards (X-009)', { before: 'b' }, { before: 'b' }],
    ['§2.5 the last page (X-011)', { before: '' }, { before: '' }],
    ['§2.6 by index (X-012)', { max: '10', index: '371' }, { max: 10, index: 371 }],
    ['§2.7 the count alone (X-013)', { max: '0' }, { max: 0 }],
    ['an empty <set/>', {}, {}],
    ['white space around a number', { max: '\n 7 ' }, { max: 7 }],
    ['a UID as it is, spaces too', { after: ' a ' }, { after: ' a ' }],
  ])('%s', (_, children, want) => {
    expect(request(children)).toEqual(want);
  });

  it('is undefined without a <set/> of the namespace', () => {
    const query = new Element('query');
    query.c('set', { xmlns: 'urn:other' }).c('max').t('x');
    expect(parseRsm(query)).toBeUndefined();
  });

  it.each<[string, Readonly<Record<string, string>>, string]>([
    ['a word for a number', { max: 'ten' }, 'bad-request'],
    ['a negative number', { max: '-1' }, 'bad-request'],
    ['a fraction', { max: '1.5' }, 'bad-request'],
    ['an empty number', { max: '' }, 'bad-request'],
    ['a number beyond all measure', { index: '99999999999' }, 'bad-request'],
    ['two places', { after: 'a', before: '' }, 'bad-request'],
    ['a place and an index', { before: 'a', index: '1' }, 'bad-request'],
    ['a UID longer than any (§2.4, X-010)', { after: 'x'.repeat(5000) }, 'item-not-found'],
  ])('refuses %s', (_, children, want) => {
    expect(condition(() => request(children))).toBe(want);
  });
});

describe('the result, XEP-0059 §2.2', () => {
  it('names first, last and count', () => {
    expect(renderRsm({ index: 10, ends: { first: 'a', last: 'z' }, count: 800 }).toString()).toBe(
      `<set xmlns="${NS}"><first index="10">a</first><last>z</last><count>800</count></set>`,
    );
  });

  it('names neither for an empty page (X-014)', () => {
    expect(renderRsm({ index: 0, count: 790 }).toString()).toBe(`<set xmlns="${NS}"><count>790</count></set>`);
  });
});
