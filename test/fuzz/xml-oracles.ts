/**
 * One plain picture of a stream, drawn by our tokenizer and by two parsers that nobody here wrote, so that they can be
 * compared: names and attributes with their namespaces, text in one piece, declarations left out.
 */
import { type Element, OpaqueElement, type OpaqueRule, XmlFault, type XmlLimits, XmlTokenizer } from '@xmpp-grid/stream';
import { type XmlElement as LibxmlElement, XmlDocument, XmlElement, XmlText } from 'libxml2-wasm';
import { SaxesParser } from 'saxes';

/** `{namespace}local`, attributes sorted by such names, children in order. */
export interface Picture {
  readonly name: string;
  readonly attributes: readonly (readonly [string, string])[];
  readonly children: (Picture | string)[];
}

export const WIDE: XmlLimits = {
  maxStanzaBytes: 1 << 24,
  hardStanzaBytes: 1 << 24,
  maxDepth: 1000,
  maxAttributes: 1000,
  maxNameBytes: 4096,
};

export interface Reading {
  /** One line for each event, the fault last when there was one. Equal for equal bytes, however they were cut up. */
  readonly log: readonly string[];
  readonly stanzas: readonly Element[];
  readonly header: Element | undefined;
  readonly fault: XmlFault | undefined;
  readonly isClosed: boolean;
  /** Bytes fed when the last event or fault came. */
  readonly fedBytes: number;
}

/** Feeds `bytes` in pieces of the sizes given (the last size repeats) and takes every event as soon as it is there. */
export function read(bytes: Buffer, sizes: readonly number[], limits: XmlLimits = WIDE, rule?: OpaqueRule): Reading {
  const tokenizer = new XmlTokenizer(limits, rule);
  const log: string[] = [];
  const stanzas: Element[] = [];
  let header: Element | undefined;
  let isClosed = false;
  let fedBytes = 0;
  let turn = 0;
  for (let at = 0; at < bytes.length && !isClosed; ) {
    const size = Math.max(1, sizes[Math.min(turn++, sizes.length - 1)] ?? bytes.length);
    // A copy: what the tokenizer keeps must not change with the chunk that it came in.
    const chunk = Buffer.from(bytes.subarray(at, at + size));
    at += chunk.length;
    tokenizer.feed(chunk);
    try {
      for (let event = tokenizer.next(); event !== undefined; event = tokenizer.next()) {
        fedBytes = at;
        switch (event.kind) {
          case 'open':
            header = event.header;
            log.push(`open ${dump(event.header)}`);
            break;
          case 'stanza':
            stanzas.push(event.element);
            log.push(`stanza ${event.bytes} ${dump(event.element)}`);
            break;
          case 'oversize':
            log.push(`oversize ${event.bytes} ${dump(event.head)} ${JSON.stringify(event.path)}`);
            break;
          case 'close':
            isClosed = true;
            log.push('close');
        }
      }
    } catch (fault) {
      if (!(fault instanceof XmlFault)) throw fault;
      if (tokenizer.next() !== undefined || tokenizer.pendingBytes !== 0)
        throw new Error('a dead tokenizer goes on', { cause: fault });
      log.push(fault.message);
      return { log, stanzas, header, fault, isClosed, fedBytes: at };
    }
    if (tokenizer.pendingBytes !== 0) throw new Error('bytes left over after everything was read');
    chunk.fill(0x21);
  }
  return { log, stanzas, header, fault: undefined, isClosed, fedBytes };
}

/** Everything that an element holds, in its own order and with its own prefixes. */
function dump(element: Element): string {
  const own = JSON.stringify([element.name, Object.entries(element.attrs)]);
  if (element instanceof OpaqueElement)
    return `${own}${JSON.stringify([element.bytes.toString('latin1'), element.lang, element.invalid])}`;
  return `${own}[${element.children.map((child) => (typeof child === 'string' ? JSON.stringify(child) : dump(child))).join(',')}]`;
}

const XML = 'http://www.w3.org/XML/1998/namespace';
const byName = (a: readonly [string, string], b: readonly [string, string]) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0);

function pushText(children: (Picture | string)[], text: string): void {
  if (text === '') return;
  const last = children.length - 1;
  if (typeof children[last] === 'string') children[last] += text;
  else children.push(text);
}

/** What our element says, on its own: a stanza or payload must carry all declarations that it needs. */
export function ourPicture(element: Element): Picture {
  const namespaceOf = (prefix: string): string => {
    if (prefix === 'xml') return XML;
    const found = element.findNS(prefix);
    if (prefix !== '' && found === undefined) throw new Error(`an element that does not stand by itself: no ${prefix}`);
    return found ?? '';
  };
  const expanded = (name: string, isAttribute: boolean): string => {
    const [prefix, local] = name.includes(':') ? name.split(':') : ['', name];
    return prefix === '' && isAttribute ? `{}${local}` : `{${findNamespace(element, prefix!)}}${local}`;
  };
  const findNamespace = (from: Element, prefix: string): string => {
    if (prefix !== '') return namespaceOf(prefix);
    // Not ltx's findNS: it looks past xmlns="".
    for (let at: Element | null = from; at !== null; at = at.parent) if (at.attrs.xmlns !== undefined) return at.attrs.xmlns;
    return '';
  };
  const attributes: [string, string][] = [];
  for (const [name, value] of Object.entries(element.attrs)) {
    if (name !== 'xmlns' && !name.startsWith('xmlns:')) attributes.push([expanded(name, true), String(value)]);
  }
  const children: (Picture | string)[] = [];
  for (const child of element.children) {
    if (typeof child === 'string') pushText(children, child);
    else children.push(ourPicture(child));
  }
  return { name: expanded(element.name, false), attributes: attributes.sort(byName), children };
}

/** What saxes makes of a document or of its beginning. @throws Error when it refuses */
export function saxesPicture(text: string, isWhole: boolean): Picture | undefined {
  // XML 1.0 §2.8: any version 1.x is read as 1.0; saxes would take 1.8 for 1.1.
  const parser = new SaxesParser({ xmlns: true, forceXMLVersion: true, defaultXMLVersion: '1.0' });
  const open: Picture[] = [];
  let root: Picture | undefined;
  parser.on('error', (error) => {
    throw error;
  });
  for (const kind of ['comment', 'processinginstruction', 'doctype'] as const) {
    parser.on(kind, () => {
      throw new Error(`saxes met a ${kind}`);
    });
  }
  parser.on('opentag', (tag) => {
    const attributes: [string, string][] = [];
    for (const { uri, local, prefix, value } of Object.values(tag.attributes)) {
      if (prefix !== 'xmlns' && !(prefix === '' && local === 'xmlns')) attributes.push([`{${uri}}${local}`, value]);
    }
    const picture = { name: `{${tag.uri}}${tag.local}`, attributes: attributes.sort(byName), children: [] };
    if (open.length > 0) open.at(-1)!.children.push(picture);
    else root = picture;
    open.push(picture);
  });
  parser.on('closetag', () => {
    open.pop();
  });
  const onText = (piece: string) => {
    if (open.length > 0) pushText(open.at(-1)!.children, piece);
  };
  parser.on('text', onText);
  parser.on('cdata', onText);
  parser.write(text);
  if (isWhole) parser.close();
  return root;
}

/** What libxml2 makes of a whole document. @throws Error when it refuses */
export function libxmlPicture(bytes: Buffer): Picture {
  const document = XmlDocument.fromBuffer(bytes);
  try {
    return draw(document.root);
  } finally {
    document.dispose();
  }
}

function draw(element: LibxmlElement): Picture {
  const attributes = element.attrs.map(({ name, namespaceUri, value }): [string, string] => [`{${namespaceUri}}${name}`, value]);
  const children: (Picture | string)[] = [];
  for (let child = element.firstChild; child !== null; child = child.next) {
    if (child instanceof XmlElement) children.push(draw(child));
    else if (child instanceof XmlText || child.constructor.name === 'XmlCData') pushText(children, child.content);
    else throw new Error(`libxml2 made a ${child.constructor.name}`);
  }
  return { name: `{${element.namespaceUri}}${element.name}`, attributes: attributes.sort(byName), children };
}
