import { JID, prepareDomainpart, prepareLocalpart, prepareResourcepart, StanzaError } from '@xmpp-grid/stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const conditionOf = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    if (error instanceof StanzaError) return error.condition;
    throw error;
  }
  return 'accepted';
};

describe('RFC 7622 §3.5 table 1, legal JIDs (A-041)', () => {
  it.each<[number, string, string | undefined, string, string | undefined]>([
    [1, 'juliet@example.com', 'juliet', 'example.com', undefined],
    [2, 'juliet@example.com/foo', 'juliet', 'example.com', 'foo'],
    [3, 'juliet@example.com/foo bar', 'juliet', 'example.com', 'foo bar'],
    [4, 'juliet@example.com/foo@bar', 'juliet', 'example.com', 'foo@bar'],
    [5, 'foo\\20bar@example.com', 'foo\\20bar', 'example.com', undefined],
    [6, 'fussball@example.com', 'fussball', 'example.com', undefined],
    [7, 'fu\u00DFball@example.com', 'fu\u00DFball', 'example.com', undefined],
    [8, '\u03C0@example.com', '\u03C0', 'example.com', undefined],
    [9, '\u03A3@example.com/foo', '\u03C3', 'example.com', 'foo'],
    [10, '\u03C3@example.com/foo', '\u03C3', 'example.com', 'foo'],
    [11, '\u03C2@example.com/foo', '\u03C2', 'example.com', 'foo'],
    [12, 'king@example.com/\u265A', 'king', 'example.com', '\u265A'],
    [13, 'example.com', undefined, 'example.com', undefined],
    [14, 'example.com/foobar', undefined, 'example.com', 'foobar'],
    [15, 'a.example.com/b@example.net', undefined, 'a.example.com', 'b@example.net'],
  ])('row %i <%s>', (_row, text, local, domain, resource) => {
    const jid = JID.parse(text);
    expect([jid.local, jid.domain, jid.resource]).toEqual([local, domain, resource]);
    expect(JID.parse(jid.toString()).equals(jid)).toBe(true);
  });

  it('matches rows 9 and 10, and neither with row 11', () => {
    const [capital, small, final] = ['\u03A3', '\u03C3', '\u03C2'].map((c) => JID.parse(`${c}@example.com/foo`));
    expect(capital!.equals(small!)).toBe(true);
    expect(capital!.equals(final!)).toBe(false);
    expect(small!.equals(final!)).toBe(false);
    expect(prepareLocalpart('\u039F\u03A3')).toBe('\u03BF\u03C3'); // also at the end of a word
  });
});

describe('RFC 7622 §3.5 table 2, strings that are no JIDs (A-041)', () => {
  it.each<[number, string]>([
    [16, '"juliet"@example.com'],
    [17, 'foo bar@example.com'],
    [18, 'juliet@example.com/ foo'],
    [19, '@example.com/'],
    [20, 'henry\u2163@example.com'],
    [21, '\u265A@example.com'],
    [22, 'juliet@'],
    [23, '/foobar'],
  ])('row %i <%s> -> jid-malformed', (_row, text) => {
    expect(conditionOf(() => JID.parse(text))).toBe('jid-malformed');
  });
});

describe('RFC 7622 §3.1 length of the parts (A-037)', () => {
  it.each<[string, string, string]>([
    ['localpart of 1023 bytes', `${'a'.repeat(1023)}@example.com`, 'accepted'],
    ['localpart of 1024 bytes', `${'a'.repeat(1024)}@example.com`, 'jid-malformed'],
    ['localpart of 1023 bytes beyond ASCII', `${'é'.repeat(511)}a@example.com`, 'accepted'],
    ['localpart of 1024 bytes beyond ASCII', `${'é'.repeat(512)}@example.com`, 'jid-malformed'],
    ['localpart of 1023 bytes after composition', `${'e\u0301'.repeat(511)}a@example.com`, 'accepted'],
    ['empty localpart', '@example.com', 'jid-malformed'],
    ['resourcepart of 1023 bytes', `a@example.com/${'r'.repeat(1023)}`, 'accepted'],
    ['resourcepart of 1024 bytes', `a@example.com/${'r'.repeat(1024)}`, 'jid-malformed'],
    ['resourcepart of 1023 bytes beyond ASCII', `a@example.com/${'\u265A'.repeat(341)}`, 'accepted'],
    ['resourcepart of 1026 bytes beyond ASCII', `a@example.com/${'\u265A'.repeat(342)}`, 'jid-malformed'],
    ['empty resourcepart', 'a@example.com/', 'jid-malformed'],
    ['empty string', '', 'jid-malformed'],
    ['largest whole', `${'a'.repeat(1023)}@example.com/${'r'.repeat(1023)}`, 'accepted'],
    ['domain of 253 characters', `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(61)}`, 'accepted'],
    ['domain of 254 characters', `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(62)}`, 'jid-malformed'],
    ['label of 64 characters', `${'a'.repeat(64)}.example`, 'jid-malformed'],
    ['input of a megabyte', 'x'.repeat(1 << 20), 'jid-malformed'],
  ])('%s -> %s', (_name, text, want) => {
    expect(conditionOf(() => JID.parse(text))).toBe(want);
  });
});

describe('RFC 7622 §3.2 domainpart (A-038)', () => {
  it.each<[string, string]>([
    ['EXAMPLE.Com', 'example.com'],
    ['example.com.', 'example.com'],
    ['localhost', 'localhost'],
    ['1.2.3.4', '1.2.3.4'],
    ['[::1]', '[::1]'],
    ['[2001:DB8:0:0:0:0:0:1]', '[2001:db8::1]'],
    ['fu\u00DFball.example', 'fu\u00DFball.example'],
    ['xn--fuball-cta.example', 'fu\u00DFball.example'],
    ['B\u00DCCHER.example', 'b\u00FCcher.example'],
    ['bu\u0308cher.example', 'b\u00FCcher.example'],
    ['\uFF45xample\u3002com', 'example.com'],
    ['\u05D0\u05D1.\u05D2', '\u05D0\u05D1.\u05D2'],
    ['l\u00B7l.example', 'l\u00B7l.example'],
  ])('%s -> %s', (text, want) => {
    expect(prepareDomainpart(text)).toBe(want);
    expect(prepareDomainpart(want)).toBe(want);
  });

  it.each<[string, string]>([
    ['two final dots', 'example.com..'],
    ['an empty label', 'a..b'],
    ['only a dot', '.'],
    ['an underscore', 'ex_ample.com'],
    ['a space', 'exa mple.com'],
    ['a percent sign', 'a%41.com'],
    ['a port', 'example.com:5222'],
    ['a leading hyphen', '-a.com'],
    ['a trailing hyphen', 'a-.com'],
    ['reserved hyphens', 'ab--cd.com'],
    ['a broken A-label', 'xn--a.com'],
    ['an A-label of ASCII', 'xn--abc-.com'],
    ['an A-label of a symbol', 'xn--n3h.net'],
    ['a symbol', '\u2603.net'],
    ['an emoji', '\u{1F4A9}.la'],
    ['a leading combining mark', '\u0301a.com'],
    ['a soft hyphen', 'a\u00ADb.com'],
    ['a middle dot elsewhere', 'a\u00B7b.com'],
    ['mixed directions', '\u05D0a.com'],
    ['a bare IPv6 address', '::1'],
    ['a zone', '[fe80::1%eth0]'],
    ['no IPv6 address', '[1.2.3.4]'],
    ['an unclosed bracket', '[::1'],
    ['a NUL', 'a\u0000.com'],
    ['a lone surrogate', '\uD800.com'],
  ])('refuses %s', (_name, text) => {
    expect(conditionOf(() => prepareDomainpart(text))).toBe('jid-malformed');
  });
});

describe('RFC 7622 §3.3 localpart (A-039)', () => {
  it.each([...'"&\'/:<>@'])('§3.3.1 refuses %s', (char) => {
    expect(conditionOf(() => prepareLocalpart(`a${char}b`))).toBe('jid-malformed');
  });

  it('§3.3.1 refuses a full-width form of a forbidden character, which width mapping would reveal', () => {
    expect(conditionOf(() => prepareLocalpart('a\uFF20b'))).toBe('jid-malformed');
  });

  it('maps every other ASCII character to itself in lower case', () => {
    for (let code = 0x21; code <= 0x7e; code++) {
      const char = String.fromCharCode(code);
      if (!'"&\'/:<>@'.includes(char)) expect(prepareLocalpart(char)).toBe(char.toLowerCase());
    }
  });
});

describe('RFC 7622 §3.4 resourcepart (A-040)', () => {
  it.each<[string, string]>([
    ['MixedCase', 'MixedCase'],
    ['a\u00A0b', 'a b'],
    ['e\u0301', '\u00E9'],
    ['\u2163', '\u2163'],
    ['\uFF21', '\uFF21'],
    ['ends with a space ', 'ends with a space '],
  ])('%s -> %s', (text, want) => {
    expect(prepareResourcepart(text)).toBe(want);
  });

  it.each(['\u0007', 'a\nb', '\u00A0a', 'a\u200Bb', 'a\u00AD', '\uFDD0', '\u{E000}', '\u0378', '\u1100'])(
    'refuses %j',
    (text) => {
      expect(conditionOf(() => prepareResourcepart(text))).toBe('jid-malformed');
    },
  );
});

describe('JID', () => {
  it('gives its bare form, also from the memory of parsed strings', () => {
    for (let round = 0; round < 2; round++) {
      const jid = JID.parse('Juliet@Example.com/Balcony');
      expect([jid.bareString, jid.bare.toString(), jid.toString()]).toEqual([
        'juliet@example.com',
        'juliet@example.com',
        'juliet@example.com/Balcony',
      ]);
      expect([jid.isFull, jid.isBare, jid.bare.isBare, jid.bare.bare === jid.bare]).toEqual([true, false, true, true]);
    }
  });

  it('keeps parsing rightly when more strings come than are remembered', () => {
    for (let i = 0; i < 20_000; i++) expect(JID.parse(`p${i}@example.com`).local).toBe(`p${i}`);
    expect(JID.parse('P0@example.com').toString()).toBe('p0@example.com');
  });

  it('takes another resource, prepared', () => {
    expect(JID.parse('a@b').withResource('x y').toString()).toBe('a@b/x y');
    expect(conditionOf(() => JID.parse('a@b').withResource(''))).toBe('jid-malformed');
  });

  it('tells why in words that repeat nothing of the input but one code point', () => {
    expect(() => JID.parse('\u265A@example.com')).toThrow(/localpart U\+265A is not allowed/);
  });

  it('is stable: what it prints it parses to itself, and nothing but jid-malformed is thrown', () => {
    const part = fc.oneof(fc.string({ unit: 'binary', maxLength: 12 }), fc.string({ unit: 'grapheme', maxLength: 12 }));
    const address = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 30 }),
      fc.tuple(part, part, part).map(([l, d, r]) => `${l}@${d}/${r}`),
    );
    fc.assert(
      fc.property(address, (text) => {
        let jid: JID;
        try {
          jid = JID.parse(text);
        } catch (error) {
          expect((error as StanzaError).condition).toBe('jid-malformed');
          return;
        }
        const again = JID.parse(jid.toString());
        expect([again.local, again.domain, again.resource]).toEqual([jid.local, jid.domain, jid.resource]);
      }),
      { numRuns: 500 },
    );
  });
});
