import { Element } from 'ltx';
import { NS } from './ns.ts';

export { Element };

/** Attributes by qualified name, as ltx types them; values that were read from a stream are strings. */
export type Attributes = Element['attrs'];

/**
 * An attribute map without `Object.prototype` behind it: `__proto__` or `constructor` as an attribute name is an
 * ordinary key, and an attribute that is not there reads as undefined whatever it is called. A constructor function with
 * an empty prototype, because objects from `Object.create(null)` are hash tables and twice as slow to fill.
 */
const BareMap = function BareMap() {} as unknown as new () => Attributes;
BareMap.prototype = Object.create(null);

/** Makes an empty attribute map that is safe for any attribute name. */
export function newAttributes(): Attributes {
  return new BareMap();
}

/** An element that came from a stream: its attribute map is safe for any attribute name. */
export class WireElement extends Element {
  constructor(name: string, attrs: Attributes = newAttributes()) {
    super(name);
    this.attrs = attrs;
  }

  /**
   * Finds the namespace of a prefix, or the default one; undefined when there is none. ltx looks past `xmlns=''`, so that
   * an element in no namespace would pass for one in its parent's.
   */
  override findNS(prefix?: string): string | undefined {
    if (prefix === 'xml') return NS.xml;
    const declaration = prefix ? `xmlns:${prefix}` : 'xmlns';
    for (let at: Element | null = this; at !== null; at = at.parent) {
      const uri: string | undefined = at.attrs[declaration];
      if (uri !== undefined) return uri === '' ? undefined : uri;
    }
    return undefined;
  }

  /** ltx asks the attribute map for `hasOwnProperty`, which ours does not have. */
  override getXmlns(): { [uri: string]: string } {
    const found: { [uri: string]: string } = this.parent ? this.parent.getXmlns() : Object.create(null);
    for (const [name, value] of Object.entries(this.attrs)) {
      if (name === 'xmlns') found[String(value)] = '';
      else if (name.startsWith('xmlns:')) found[String(value)] = name.slice(6);
    }
    return found;
  }
}

/**
 * A payload that nobody here looks into: the root's name and own attributes are readable as usual, its content is only
 * `bytes`, which stand by themselves (every namespace declaration that they need is in them).
 *
 * @see delivery.md §4.7
 */
export class OpaqueElement extends WireElement {
  /** The whole element as UTF-8, from `<` to `>`: the bytes received, plus inherited namespace declarations after its name. */
  readonly bytes: Buffer;
  /** The `xml:lang` that the payload inherits and that is not in `bytes`; undefined when none applies. */
  readonly lang: string | undefined;
  /** Why the payload cannot stand by itself (`bytes` is then as received); undefined when it can. */
  readonly invalid: string | undefined;

  constructor(name: string, attrs: Attributes, bytes: Buffer, lang?: string, invalid?: string) {
    super(name, attrs);
    this.bytes = bytes;
    this.lang = lang;
    this.invalid = invalid;
  }

  /** What ltx's own serialiser calls: passes the bytes on untouched. */
  override write(writer: (text: string) => void): void {
    writer(this.bytes.toString('utf8'));
  }
}

/** Lists the child elements, leaving text out. */
export function childElements(parent: Element): Element[] {
  const found: Element[] = [];
  for (const child of parent.children) if (typeof child === 'object') found.push(child);
  return found;
}

/** Finds the only child element, as an IQ get or set has it (RFC 6120 §8.2.3); undefined when there are none or several. */
export function soleChild(parent: Element): Element | undefined {
  let sole: Element | undefined;
  for (const child of parent.children) {
    if (typeof child !== 'object') continue;
    if (sole !== undefined) return undefined;
    sole = child;
  }
  return sole;
}
