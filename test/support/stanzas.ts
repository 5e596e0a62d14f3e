/** Stanzas in tests: read from XML, compared by what they say, errors in short. */
import { type Element, NS, serialize, XmlTokenizer } from '@xmpp-grid/stream';

const LIMITS = { maxStanzaBytes: 1 << 24, hardStanzaBytes: 1 << 24, maxDepth: 200, maxAttributes: 200, maxNameBytes: 1024 };
const isPayloadParent = (parent: Element): boolean => parent.name === 'item' && parent.getNS() === NS.pubsub;

/** Reads one stanza as a stream does: payloads of items are bytes. */
export function parse(xml: string, isOpaque: (parent: Element) => boolean = isPayloadParent): Element {
  const tokenizer = new XmlTokenizer(LIMITS, isOpaque);
  tokenizer.feed(Buffer.from(`<stream:stream xmlns='jabber:client' xmlns:stream='${NS.streams}'>${xml.trim()}`));
  tokenizer.next();
  const event = tokenizer.next();
  if (event?.kind !== 'stanza') throw new Error(`no stanza: ${xml}`);
  return event.element;
}

/** The same for the same information: attributes in order, namespaces resolved, no white space between elements. */
export function canonical(stanza: Element | string): string {
  const element = parse(typeof stanza === 'string' ? stanza : serialize(stanza), () => false);
  const lines: string[] = [];
  const write = (each: Element, indent: string): void => {
    const attrs = Object.entries(each.attrs)
      .filter(([name]) => name !== 'xmlns' && !name.startsWith('xmlns:'))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => ` ${name}='${value}'`)
      .join('');
    lines.push(`${indent}{${each.getNS()}}${each.getName()}${attrs}`);
    for (const child of each.children as (Element | string)[]) {
      if (typeof child !== 'string') write(child, `${indent}  `);
      else if (child.trim() !== '') lines.push(`${indent}  ${JSON.stringify(child.trim())}`);
    }
  };
  write(element, '');
  return lines.join('\n');
}

/** An error as `type condition[+detail[feature]]`, the way the requirement rows write it. */
export function errorOf(answer: Element | undefined): string {
  const error = answer?.getName() === 'error' ? answer : answer?.getChild('error');
  if (!error) return `no error: ${answer}`;
  let condition = '';
  let detail = '';
  for (const child of error.getChildElements()) {
    if (child.getName() === 'text') continue;
    if (child.getNS() === NS.stanzaErrors) condition = child.getName();
    else if (child.getNS() === NS.pubsubErrors) {
      detail = `+${child.getName()}${child.attrs.feature === undefined ? '' : `[${child.attrs.feature}]`}`;
    }
  }
  return `${error.attrs.type} ${condition}${detail}`;
}
