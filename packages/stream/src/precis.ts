/**
 * PRECIS string classes and profiles (RFC 8264, RFC 8265) and the IDNA2008 code point rules (RFC 5892, RFC 5893)
 * that the parts of a JID need. Everything is computed from the Unicode properties of the running engine, so a new
 * Unicode version arrives with Node; the few properties that JavaScript cannot name are in `unicode-tables.ts`.
 */
import { AFTER_JOINER, BEFORE_JOINER, BIDI_ON, VIRAMA } from './unicode-tables.ts';

/** A string that a profile refuses. `message` says which rule, in words for a log. */
export class PrecisError extends Error {
  override readonly name: string = 'PrecisError';
}

// RFC 5892 §2.6: code points whose value is not what their properties would give.
const EXCEPTION_PVALID = /^[\u00DF\u03C2\u06FD\u06FE\u0F0B\u3007]$/u;
const EXCEPTION_DISALLOWED = /^[\u0640\u07FA\u302E\u302F\u3031-\u3035\u303B]$/u;
const CONTEXTUAL = /[\u00B7\u0375\u05F3\u05F4\u30FB\u0660-\u0669\u06F0-\u06F9\u200C\u200D]/u;
/** RFC 5892 §2.9: the conjoining Jamo blocks, whose Hangul_Syllable_Type is L, V or T. */
const OLD_HANGUL_JAMO = /^[\u1100-\u11FF\uA960-\uA97C\uD7B0-\uD7C6\uD7CB-\uD7FB]$/u;
/** RFC 8264 §9.12, §9.13, with unassigned code points (§9.10) and surrogates, which are in no valid category. */
const NEVER = /^[\p{Cc}\p{Cn}\p{Cs}\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}]$/u;
/** RFC 8264 §9.1 */
const LETTER_DIGITS = /^[\p{Ll}\p{Lu}\p{Lo}\p{Nd}\p{Lm}\p{Mn}\p{Mc}]$/u;
/** RFC 8264 §9.14, §9.15, §9.16, §9.18: valid in free-form strings only. */
const FREEFORM_ONLY = /^[\p{Zs}\p{S}\p{P}\p{Lt}\p{Nl}\p{No}\p{Me}]$/u;
/**
 * RFC 5892 §2.2 (Unstable: changed by NFKC of its case folding), §2.3 and §2.4 (the blocks by their ranges).
 * Changes_When_NFKC_Casefolded also covers the default ignorable code points.
 */
const IDNA_UNSTABLE =
  /^(?:[\u20D0-\u20FF]|[\u{1D100}-\u{1D1FF}]|[\u{1D200}-\u{1D24F}]|[\p{Changes_When_NFKC_Casefolded}\p{White_Space}])$/u;

type StringClass = 'identifier' | 'freeform';

/** RFC 8264 §8, in the order that the algorithm prescribes. Contextual code points pass here; `checkContext` judges them. */
function isAllowed(char: string, stringClass: StringClass): boolean {
  const code = char.codePointAt(0)!;
  if (code >= 0x21 && code <= 0x7e) return true; // ASCII7 (§9.11): none of them is an exception
  if (code < 0x80) return code === 0x20 && stringClass === 'freeform';
  if (CONTEXTUAL.test(char) || EXCEPTION_PVALID.test(char)) return true;
  if (EXCEPTION_DISALLOWED.test(char) || NEVER.test(char) || OLD_HANGUL_JAMO.test(char)) return false;
  if (char.normalize('NFKC') !== char) return stringClass === 'freeform'; // HasCompat (§9.17)
  if (LETTER_DIGITS.test(char)) return true;
  return stringClass === 'freeform' && FREEFORM_ONLY.test(char);
}

const GREEK = /^\p{Script=Greek}/u;
const HEBREW = /\p{Script=Hebrew}$/u;
const KANA_OR_HAN = /[\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Han}]/u;
const ARABIC_INDIC = /[\u0660-\u0669]/u;
const EXTENDED_ARABIC_INDIC = /[\u06F0-\u06F9]/u;

/** RFC 5892 Appendix A: the contextual rule of each code point that has one. `before` and `after` are the whole rest. */
function contextAllows(char: string, before: string, after: string): boolean {
  switch (char) {
    case '\u200C': // A.1
      return VIRAMA.test(before) || (BEFORE_JOINER.test(before) && AFTER_JOINER.test(after));
    case '\u200D': // A.2
      return VIRAMA.test(before);
    case '\u00B7': // A.3
      return before.endsWith('l') && after.startsWith('l');
    case '\u0375': // A.4
      return GREEK.test(after);
    case '\u05F3': // A.5
    case '\u05F4': // A.6
      return HEBREW.test(before);
    case '\u30FB': // A.7
      return KANA_OR_HAN.test(before) || KANA_OR_HAN.test(after);
    default:
      return true; // the digits of A.8 and A.9, which `checkContext` judges once per string
  }
}

/** The most code points with a contextual rule in one string: each may cost a look at the whole string. */
const MAX_CONTEXTUAL = 64;

function checkContext(s: string): void {
  if (!CONTEXTUAL.test(s)) return;
  if (ARABIC_INDIC.test(s) && EXTENDED_ARABIC_INDIC.test(s)) throw new PrecisError('mixes two sets of Arabic digits'); // A.8, A.9
  let seen = 0;
  let at = 0;
  for (const char of s) {
    const end = at + char.length;
    if (CONTEXTUAL.test(char) && !ARABIC_INDIC.test(char) && !EXTENDED_ARABIC_INDIC.test(char)) {
      if (++seen > MAX_CONTEXTUAL) throw new PrecisError('has too many code points that need a contextual rule');
      if (!contextAllows(char, s.slice(0, at), s.slice(end))) throw new PrecisError(`${codeName(char)} is not allowed here`);
    }
    at = end;
  }
}

function checkClass(s: string, stringClass: StringClass): void {
  for (const char of s) {
    if (!isAllowed(char, stringClass)) throw new PrecisError(`${codeName(char)} is not allowed`);
  }
  checkContext(s);
}

function codeName(char: string): string {
  return `U+${char.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}`;
}

/** Bidi classes R and AL, by block; non-spacing marks and Arabic numbers there are classes of their own. */
const RTL =
  /^(?![\p{Mn}\u0660-\u0669\u06F0-\u06F9\u{10D30}-\u{10D39}])[\u0590-\u08FF\uFB1D-\uFDFF\uFE70-\uFEFE\u{10800}-\u{10FFF}\u{1E800}-\u{1EFFF}]$/u;
const HAS_RTL_OR_AN = /[\u0590-\u08FF\uFB1D-\uFDFF\uFE70-\uFEFE\u{10800}-\u{10FFF}\u{1E800}-\u{1EFFF}]/u;
const BIDI_AN = /^[\u0660-\u0669\u{10D30}-\u{10D39}]$/u;
const BIDI_EN = /^[0-9\u06F0-\u06F9\u{1FBF0}-\u{1FBF9}]$/u;
/** ES, CS, ET and ON among ASCII, then ON and BN among what the identifier class admits. */
const BIDI_NEUTRAL = /^[\u0021-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u007E\u200C\u200D]$/u;

type BidiClass = 'L' | 'RTL' | 'AN' | 'EN' | 'neutral' | 'NSM';

function bidiClass(char: string): BidiClass {
  if (/^\p{Mn}$/u.test(char)) return 'NSM';
  if (BIDI_EN.test(char)) return 'EN';
  if (BIDI_AN.test(char)) return 'AN';
  if (RTL.test(char)) return 'RTL';
  return BIDI_NEUTRAL.test(char) || BIDI_ON.test(char) ? 'neutral' : 'L';
}

/** Whether a string has right-to-left code points, so that the Bidi Rule applies to it. */
export function isRightToLeft(s: string): boolean {
  if (!HAS_RTL_OR_AN.test(s)) return false;
  for (const char of s) {
    const kind = bidiClass(char);
    if (kind === 'RTL' || kind === 'AN') return true;
  }
  return false;
}

/** The six conditions of RFC 5893 §2, for a string of valid code points. */
export function satisfiesBidiRule(s: string): boolean {
  const kinds = Array.from(s, bidiClass);
  const first = kinds[0];
  if (first !== 'L' && first !== 'RTL') return false; // condition 1
  const last = kinds.findLast((kind) => kind !== 'NSM');
  if (first === 'RTL') {
    if (kinds.includes('L')) return false; // condition 2
    if (last !== 'RTL' && last !== 'EN' && last !== 'AN') return false; // condition 3
    return !(kinds.includes('EN') && kinds.includes('AN')); // condition 4
  }
  if (kinds.includes('RTL') || kinds.includes('AN')) return false; // condition 5
  return last === 'L' || last === 'EN'; // condition 6
}

/**
 * Code points with a decomposition of type wide or narrow. The half-width Hangul letters (U+FFA0 to U+FFDC) decompose
 * to compatibility Jamo, which the identifier class refuses; left alone here they are refused as HasCompat.
 */
const WIDE_OR_NARROW = /[\u3000\uFF01-\uFF9F\uFFE0-\uFFE6\uFFE8-\uFFEE]/gu;

/** RFC 8264 §5.2.1 */
function mapWidth(s: string): string {
  return s.replace(WIDE_OR_NARROW, (char) => char.normalize('NFKC'));
}

/**
 * RFC 8264 §5.2.3, one code point at a time: a string-wide toLowerCase() would turn a final capital sigma into U+03C2,
 * and the mapping is to take no account of that letter's special status (RFC 7622 §3.5).
 */
function mapCase(s: string): string {
  let out = '';
  for (const char of s) out += char.toLowerCase();
  return out;
}

/** RFC 8264 §7: rules are applied until nothing changes, at most three times more than once. */
function untilStable(s: string, apply: (s: string) => string): string {
  let current = s;
  for (let round = 0; round < 4; round++) {
    const next = apply(current);
    if (next === current) return next;
    current = next;
  }
  throw new PrecisError('does not come to rest under its profile');
}

/**
 * Enforces UsernameCaseMapped: width mapping, lower case, NFC, Bidi Rule, IdentifierClass.
 *
 * @see RFC 8265 §3.3; RFC 8264 §4.2
 * @throws PrecisError
 */
export function usernameCaseMapped(s: string): string {
  if (!s.isWellFormed()) throw new PrecisError('has a lone surrogate');
  const prepared = untilStable(s, (current) => {
    const width = mapWidth(current);
    checkClass(width, 'identifier');
    return mapCase(width).normalize('NFC');
  });
  if (prepared === '') throw new PrecisError('is empty'); // RFC 8265 §3.3.3
  if (isRightToLeft(prepared) && !satisfiesBidiRule(prepared)) throw new PrecisError('breaks the Bidi Rule');
  return prepared;
}

/**
 * Enforces OpaqueString: other spaces become U+0020, NFC, FreeformClass. Case and width are kept.
 *
 * @see RFC 8265 §4.2; RFC 8264 §4.3
 * @throws PrecisError
 */
export function opaqueString(s: string): string {
  if (!s.isWellFormed()) throw new PrecisError('has a lone surrogate');
  const prepared = untilStable(s, (current) => {
    checkClass(current, 'freeform');
    return current.replace(/\p{Zs}/gu, ' ').normalize('NFC');
  });
  if (prepared === '') throw new PrecisError('is empty');
  return prepared;
}

/**
 * Maps a domain name as RFC 5895 §2 does (lower case, width, NFC, ideographic full stop to dot), before its labels
 * are checked. Never fails; a string that is no domain name comes out as one no label check will pass.
 */
export function mapDomain(s: string): string {
  return mapCase(mapWidth(s)).normalize('NFC').replaceAll('\u3002', '.');
}

/**
 * Checks that a mapped label with code points beyond ASCII is a U-label: valid code points (RFC 5892 §3), contextual
 * rules, no leading combining mark, no hyphens in places three and four, first or last (RFC 5891 §4.2.3).
 *
 * @throws PrecisError
 */
export function checkULabel(label: string): void {
  if (label.normalize('NFC') !== label) throw new PrecisError('is not in normalization form C');
  if (/^\p{M}/u.test(label)) throw new PrecisError('begins with a combining mark'); // §4.2.3.2
  if (label.startsWith('-') || label.endsWith('-') || label.slice(2, 4) === '--') throw new PrecisError('has a misplaced hyphen'); // §4.2.3.1
  for (const char of label) {
    if (/^[a-z0-9-]$/.test(char)) continue; // LDH (§2.5)
    if (CONTEXTUAL.test(char) || EXCEPTION_PVALID.test(char)) continue;
    const allowed =
      !EXCEPTION_DISALLOWED.test(char) &&
      !NEVER.test(char) &&
      !IDNA_UNSTABLE.test(char) &&
      !OLD_HANGUL_JAMO.test(char) &&
      char > '\u007f' &&
      LETTER_DIGITS.test(char);
    if (!allowed) throw new PrecisError(`${codeName(char)} is not allowed`);
  }
  checkContext(label);
}
