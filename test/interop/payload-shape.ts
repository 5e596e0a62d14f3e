/** Compares a document with what a library of others hands to its user. */
import { SaxesParser } from 'saxes';

/** An element: its name with its namespace, its attributes, its own text, its children. */
export interface Shape {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  text: string;
  readonly children: Shape[];
}

/**
 * Attributes that a library may drop or rename before its user sees them: libstrophe forgets prefixes (`xml:lang` becomes `lang`), and
 * slixmpp drops attributes of foreign namespaces (`xsi:schemaLocation`).
 */
const UNRELIABLE = new Set(['lang', 'schemaLocation']);

/**
 * Reduces a document to what every library keeps: elements with their namespaces, attributes without a prefix, text without its outer
 * white space (aioxmpp moves white space that stands between elements). What travels byte for byte is proved elsewhere, without them.
 */
export function shapeOf(xml: string): Shape {
  const parser = new SaxesParser({ xmlns: true });
  const open: Shape[] = [];
  let root: Shape | undefined;
  parser.on('error', (error) => {
    throw error;
  });
  parser.on('opentag', (tag) => {
    const attributes = Object.fromEntries(
      Object.values(tag.attributes)
        .filter(({ prefix, local }) => prefix === '' && local !== 'xmlns' && !UNRELIABLE.has(local))
        .map(({ local, value }) => [local, value]),
    );
    const shape: Shape = { name: `{${tag.uri}}${tag.local}`, attributes, text: '', children: [] };
    open.at(-1)?.children.push(shape);
    root ??= shape;
    open.push(shape);
  });
  parser.on('text', (text) => {
    const inside = open.at(-1);
    if (inside) inside.text += text;
  });
  parser.on('closetag', () => {
    const closed = open.pop()!;
    closed.text = closed.text.trim();
  });
  parser.write(xml).close();
  if (root === undefined) throw new Error('no element');
  return root;
}
