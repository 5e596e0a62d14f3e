import type { Element } from 'ltx';
import { utf8Text } from './bytes.ts';
import { OpaqueElement } from './element.ts';
import { isXmlName } from './names.ts';
import { NS } from './ns.ts';

/** Anything in a value that must be escaped or must not be there at all; lone surrogates are told apart below. */
const SUSPECT_IN_ATTRIBUTE = /[&<>"'\u0000-\u001F\uD800-\uDFFF\uFFFE\uFFFF]/;
const SUSPECT_IN_TEXT = /[&<>\u0000-\u0008\u000B-\u001F\uD800-\uDFFF\uFFFE\uFFFF]/;
/** Everything outside the production Char (XML 1.0 §2.2). With the flag `u` a surrogate pair is one character. */
const ILLEGAL = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/u;

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&apos;',
  '\t': '&#9;',
  '\n': '&#10;',
  '\r': '&#13;',
};
const escapeOne = (character: string) => ESCAPES[character] ?? character;

function refuseIllegal(value: string): void {
  const found = ILLEGAL.exec(value);
  if (found === null) return;
  throw new RangeError(
    `character U+${found[0].codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')} cannot be written in XML`,
  );
}

/**
 * Escapes an attribute value for either kind of quote. TAB, LF and CR become character references, because a reader
 * turns them into spaces otherwise (XML 1.0 §3.3.3).
 *
 * @throws RangeError on a character that XML cannot carry
 */
export function escapeAttribute(value: string): string {
  if (!SUSPECT_IN_ATTRIBUTE.test(value)) return value;
  refuseIllegal(value);
  return value.replace(/[&<>"'\t\n\r]/g, escapeOne);
}

/**
 * Escapes character data. CR becomes a character reference, because a reader turns it into LF otherwise (XML 1.0 §2.11).
 *
 * @throws RangeError on a character that XML cannot carry
 */
export function escapeText(text: string): string {
  if (!SUSPECT_IN_TEXT.test(text)) return text;
  refuseIllegal(text);
  return text.replace(/[&<>\r]/g, escapeOne);
}

function checkedName(name: string): string {
  if (!isXmlName(name)) throw new RangeError(`not a qualified XML name: ${JSON.stringify(name.slice(0, 80))}`);
  return name;
}

/** Writes an element and all it holds, without recursion: depth costs heap, never stack. */
function write(root: Element, streamNs: string, text: (piece: string) => void, opaque: (bytes: Buffer) => void): void {
  /** Elements whose start tag is written and whose end tag is not, with the index of the next child of each. */
  const open: Element[] = [];
  const nextChild: number[] = [];
  let element: Element = root;
  for (;;) {
    if (element instanceof OpaqueElement) {
      opaque(element.bytes);
    } else {
      let tag = `<${checkedName(element.name)}`;
      for (const name in element.attrs) {
        const value: unknown = element.attrs[name];
        if (value === undefined || value === null) continue; // ltx: absent
        if (name === 'xmlns' && element === root && value === streamNs) continue; // RFC 6120 §4.8.2: the stream's default
        tag += ` ${checkedName(name)}='${escapeAttribute(String(value))}'`;
      }
      if (element.children.length === 0) {
        text(`${tag}/>`);
      } else {
        text(`${tag}>`);
        open.push(element);
        nextChild.push(0);
      }
    }
    // Goes on to the next element in document order; closes what ends before it.
    let following: Element | undefined;
    while (following === undefined) {
      const top = open.length - 1;
      if (top < 0) return;
      const parent = open[top]!;
      const at = nextChild[top]!;
      if (at === parent.children.length) {
        text(`</${parent.name}>`);
        open.pop();
        nextChild.pop();
        continue;
      }
      nextChild[top] = at + 1;
      const child: unknown = parent.children[at];
      if (child === undefined || child === null) continue; // ltx: absent
      if (typeof child === 'object') following = child as Element;
      else text(escapeText(String(child)));
    }
    element = following;
  }
}

/**
 * Writes an element as it goes onto a stream whose default namespace is `streamNs`: attributes in single quotes, payload
 * bytes untouched, the root without the `xmlns` that the stream header declares already.
 *
 * @throws RangeError when a name or a value cannot be written as XML: a bug of the caller, nothing malformed leaves
 */
export function serialize(element: Element, streamNs: string = NS.client): string {
  let out = '';
  write(
    element,
    streamNs,
    (piece) => {
      out += piece;
    },
    (bytes) => {
      out += utf8Text(bytes, 0, bytes.length);
    },
  );
  return out;
}

/** The same as `serialize`, as UTF-8 bytes; payloads are copied, never decoded. */
export function serializeStanza(element: Element, streamNs: string = NS.client): Buffer {
  const parts: Buffer[] = [];
  let pending = '';
  write(
    element,
    streamNs,
    (piece) => {
      pending += piece;
    },
    (bytes) => {
      if (pending !== '') parts.push(Buffer.from(pending, 'utf8'));
      pending = '';
      parts.push(bytes);
    },
  );
  if (parts.length === 0) return Buffer.from(pending, 'utf8');
  if (pending !== '') parts.push(Buffer.from(pending, 'utf8'));
  return Buffer.concat(parts);
}
