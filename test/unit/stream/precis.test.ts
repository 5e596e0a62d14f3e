import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  isRightToLeft,
  opaqueString,
  PrecisError,
  satisfiesBidiRule,
  usernameCaseMapped,
} from '../../../packages/stream/src/precis.ts';

const outcome = (act: () => string): string => {
  try {
    return act();
  } catch (error) {
    if (error instanceof PrecisError) return 'refused';
    throw error;
  }
};

describe('RFC 8265 §3.3 UsernameCaseMapped (A-039, A-017)', () => {
  it.each<[string, string]>([
    ['Juliet', 'juliet'],
    ['\uFF2A\uFF35LIET', 'juliet'], // full-width letters
    ['\uFF76', '\u30AB'], // half-width katakana
    ['A\u030A', '\u00E5'],
    ['\u0130', 'i\u0307'],
    ['l\u00B7l', 'l\u00B7l'],
    ['\u0915\u094D\u200D\u0937', '\u0915\u094D\u200D\u0937'], // joiner behind a virama
    ['\u0646\u0627\u0645\u0647\u200C\u0627\u06CC', '\u0646\u0627\u0645\u0647\u200C\u0627\u06CC'], // non-joiner in Persian
    ['\u30AB\u30FB\u30AB', '\u30AB\u30FB\u30AB'],
    ['\u0375\u03B1', '\u0375\u03B1'],
    ['\u05D0\u05F3', '\u05D0\u05F3'],
    ['\u0661\u0662\u0663', 'refused'], // begins with an Arabic number: Bidi condition 1
    ['\u0627\u0661\u0662', '\u0627\u0661\u0662'],
    ['\u3007', '\u3007'],
  ])('%s -> %s', (text, want) => {
    expect(outcome(() => usernameCaseMapped(text))).toBe(want);
  });

  it.each<[string, string]>([
    ['compatibility character', '\u212B'],
    ['ligature', '\uFB01'],
    ['roman numeral', '\u2163'],
    ['symbol', '\u2605'],
    ['space', 'a b'],
    ['punctuation beyond ASCII', '\u00BF'],
    ['titlecase letter', '\u01C5'],
    ['unassigned', '\u0378'],
    ['noncharacter', '\uFFFE'],
    ['private use', '\uE000'],
    ['control', '\u0000'],
    ['old Jamo', '\u1100'],
    ['half-width Jamo', '\uFFA1'],
    ['tatweel', '\u0640'],
    ['variation selector', 'a\uFE0F'],
    ['joiner without virama', 'a\u200Db'],
    ['non-joiner between Latin letters', 'a\u200Cb'],
    ['katakana middle dot alone', 'a\u30FBb'],
    ['keraia before Latin', '\u0375a'],
    ['geresh behind Latin', 'a\u05F3'],
    ['both kinds of Arabic digits', '\u0627\u0661\u06F1'],
    ['right-to-left with Latin', '\u05D0a'],
    ['Latin with right-to-left', 'a\u05D0'],
    ['right-to-left ending in a neutral', '\u05D0-'],
    ['lone surrogate', '\uDC00'],
    ['nothing', ''],
  ])('refuses %s', (_name, text) => {
    expect(outcome(() => usernameCaseMapped(text))).toBe('refused');
  });
});

describe('RFC 8265 §4.2 OpaqueString (A-040)', () => {
  it.each<[string, string]>([
    ['correct horse battery staple', 'correct horse battery staple'],
    ['Correct Horse Battery Staple', 'Correct Horse Battery Staple'],
    ['\u03C0\u00DF\u00E5', '\u03C0\u00DF\u00E5'],
    ['Jack of \u2666s', 'Jack of \u2666s'],
    ['foo\u1680bar', 'foo bar'],
    ['', 'refused'],
    ['my cat is a \u0009by', 'refused'],
  ])('§4.3 table 2: %j -> %j', (text, want) => {
    expect(outcome(() => opaqueString(text))).toBe(want);
  });
});

describe('RFC 5893 §2 the Bidi Rule', () => {
  it.each<[string, boolean]>([
    ['abc', true],
    ['abc1', true],
    ['1abc', false], // condition 1
    ['\u05D0\u05D1', true],
    ['\u05D01', true],
    ['\u05D0a', false], // condition 2
    ['\u05D0-', false], // condition 3
    ['\u05D0\u05B0', true], // condition 3: marks may follow
    ['\u05D01\u0661', false], // condition 4
    ['a\u05D0', false], // condition 5
    ['a-', false], // condition 6
  ])('%j -> %s', (text, want) => {
    expect(satisfiesBidiRule(text)).toBe(want);
  });

  it('applies to strings with right-to-left code points only', () => {
    expect(isRightToLeft('abc-1')).toBe(false);
    expect(isRightToLeft('a\u0661')).toBe(true);
  });
});

describe('RFC 8264 §7', () => {
  it('is idempotent and throws PrecisError only', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 20 }), (text) => {
        for (const profile of [usernameCaseMapped, opaqueString]) {
          const once = outcome(() => profile(text));
          if (once !== 'refused') expect(profile(once)).toBe(once);
        }
      }),
      { numRuns: 800 },
    );
  });
});
