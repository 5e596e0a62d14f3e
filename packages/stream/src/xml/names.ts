/** Names of XML 1.0 (fifth edition) §2.3 and Namespaces in XML 1.0 §3 and §4. */

/** NameStartChar without the colon. */
const START =
  'A-Z_a-z\\u00C0-\\u00D6\\u00D8-\\u00F6\\u00F8-\\u02FF\\u0370-\\u037D\\u037F-\\u1FFF\\u200C-\\u200D\\u2070-\\u218F' +
  '\\u2C00-\\u2FEF\\u3001-\\uD7FF\\uF900-\\uFDCF\\uFDF0-\\uFFFD\\u{10000}-\\u{EFFFF}';
/** NameChar without the colon. */
const FOLLOW = `${START}\\-.0-9\\u00B7\\u0300-\\u036F\\u203F-\\u2040`;

const ASCII_QNAME = /^[A-Za-z_][A-Za-z0-9_.-]*(?::[A-Za-z_][A-Za-z0-9_.-]*)?$/;
const QNAME = new RegExp(`^[${START}][${FOLLOW}]*(?::[${START}][${FOLLOW}]*)?$`, 'u');

/** Says whether a string is a qualified name: one or two NCNames, joined by a colon. */
export function isXmlName(name: string): boolean {
  return ASCII_QNAME.test(name) || QNAME.test(name);
}
