import { readdirSync, readFileSync } from 'node:fs';
import { type Element, OpaqueElement, serialize, XmlFault, type XmlLimits, XmlTokenizer } from '@xmpp-grid/stream';
import { describe, expect, it } from 'vitest';
import { read } from '../../fuzz/xml-oracles.ts';

const LIMITS: XmlLimits = { maxStanzaBytes: 10_000, hardStanzaBytes: 20_000, maxDepth: 32, maxAttributes: 32, maxNameBytes: 128 };
const HEADER =
  "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:a='urn:a' version='1.0' xml:lang='en'>";
const itemChildren = (parent: Element) => parent.name === 'item';

/** The word for what comes of a stanza (or of anything else) after the header: the fault's kind, or `accepted`. */
function verdict(body: string | Buffer, limits = LIMITS): string {
  const bytes = Buffer.concat([Buffer.from(HEADER), Buffer.from(body)]);
  const { fault, stanzas } = read(bytes, [bytes.length], limits, itemChildren);
  return fault?.kind ?? (stanzas.length > 0 ? 'accepted' : 'nothing');
}

/** The same for the first bytes of a stream. */
function opening(bytes: string | Buffer): string {
  const { fault, header } = read(Buffer.from(bytes), [bytes.length], LIMITS);
  return fault?.kind ?? (header === undefined ? 'nothing' : 'accepted');
}

function stanza(body: string, header = HEADER): Element {
  const tokenizer = new XmlTokenizer(LIMITS, itemChildren);
  tokenizer.feed(Buffer.from(header + body));
  expect(tokenizer.next()?.kind).toBe('open');
  const event = tokenizer.next();
  if (event?.kind !== 'stanza') throw new Error(`no stanza but ${event?.kind}`);
  return event.element;
}

function payload(body: string, header = HEADER): OpaqueElement {
  const found = stanza(body, header).getChild('item')?.children[0];
  if (!(found instanceof OpaqueElement)) throw new Error('no payload');
  return found;
}

describe('RFC 6120 §11.1, restricted XML', () => {
  it.each([
    ['a comment (C-058)', '<iq><!-- x --></iq>'],
    ['a comment between stanzas (C-058)', '<!-- x -->'],
    ['a comment that has only begun (C-058)', '<!-'],
    ['a document type (C-059)', '<!DOCTYPE x [<!ENTITY a "b">]>'],
    ['an entity declaration (C-059)', '<iq><!ENTITY a "b"></iq>'],
    ['a processing instruction (C-060)', '<iq><?php x?></iq>'],
    ['an XML declaration in mid-stream (C-060)', "<?xml version='1.0'?>"],
    ['an entity of its own (C-061)', '<iq>&foo;</iq>'],
    ['an entity of its own in an attribute (C-061)', "<iq a='&foo;'/>"],
    ['an entity that begins like a predefined one (C-061)', '<iq>&ltx;</iq>'],
    ['a comment inside a payload (C-058)', '<iq><item><x><!-- x --></x></item></iq>'],
    ['one parser sees a comment, the other a stanza', "<!x><iq from='evil'/>-->"],
  ])('%s', (_, body) => expect(verdict(body)).toBe('restricted'));

  it('a document type is refused before a header is there (C-059)', () => expect(opening('<!DOCTYPE')).toBe('restricted'));
  it('a style sheet is refused before a header is there (C-060)', () => expect(opening('<?xml-stylesheet ')).toBe('restricted'));

  it('the five predefined entities and character references are text (C-061)', () => {
    expect(stanza('<iq>&lt;&gt;&amp;&apos;&quot;&#65;&#x1F600;&#xe9;&#0000065;</iq>').getText()).toBe('<>&\'"A\u{1F600}\u00e9A');
  });

  it('CDATA is text, also beside text', () => {
    expect(stanza('<iq>a<![CDATA[<b>&amp;]]]]><![CDATA[>]]>c</iq>').children).toEqual(['a<b>&amp;]]>c']);
  });
});

describe('RFC 6120 §11.3, not well-formed', () => {
  it.each([
    ['an end tag of another name (C-062)', '<a></b>'],
    ['an end tag that is longer (C-062)', '<a></aa>'],
    ['an end tag with attributes', "<a></a x='1'>"],
    ['an end tag of nothing', '</iq>'],
    ['an unbound prefix on an element (C-063)', '<iq><p:x/></iq>'],
    ['an unbound prefix on an attribute (C-063)', "<iq p:x='1'/>"],
    ['a prefix out of scope (C-063)', "<iq><x xmlns:p='u'/><p:x/></iq>"],
    ['an attribute twice', "<iq to='a' to='b'/>"],
    ['an attribute twice by two prefixes', "<iq xmlns:b='urn:a' a:x='1' b:x='2'/>"],
    ['no space between attributes', "<iq a='1'b='2'/>"],
    ['an attribute without value', '<iq a/>'],
    ['an attribute without quotes', '<iq a=1/>'],
    ['< in an attribute', "<iq a='<'/>"],
    ['a bare &', '<iq>a & b</iq>'],
    ['& with nothing', '<iq>&;</iq>'],
    ['a bad name', '<i$q/>'],
    ['a name that begins with a digit', '<1q/>'],
    ['a name of two colons', '<iq><a:b:c/></iq>'],
    ['a name that begins with a colon', '<:iq/>'],
    ['a local name that begins with a digit', '<a:1/>'],
    ['a name with a character that names do not have', '<iq\u00d7/>'],
    [']]> in text', '<iq>]]></iq>'],
    ['a control character', '<iq>\x01</iq>'],
    ['a zero byte', '<iq>\0</iq>'],
    ['a control character in an attribute', "<iq a='\x02'/>"],
    ['a reference to U+0000', '<iq>&#0;</iq>'],
    ['a reference to a surrogate', '<iq>&#xD800;</iq>'],
    ['a reference past Unicode', '<iq>&#x110000;</iq>'],
    ['a reference that wraps around', '<iq>&#4294967361;</iq>'],
    ['a reference without digits', '<iq>&#x;</iq>'],
    ['U+FFFE', '<iq>\ufffe</iq>'],
    ['U+FFFF in an attribute', "<iq a='\uffff'/>"],
    ['xml bound to something else', "<iq xmlns:xml='u'/>"],
    ['something else bound to the namespace of xml', "<iq xmlns:x='http://www.w3.org/XML/1998/namespace'/>"],
    ['xmlns declared', "<iq xmlns:xmlns='u'/>"],
    ['the namespace of xmlns declared', "<iq xmlns:x='http://www.w3.org/2000/xmlns/'/>"],
    ['an element with the prefix xmlns', '<xmlns:iq/>'],
    ['a prefix undeclared', "<iq xmlns:a=''/>"],
    ['text between stanzas', 'text'],
    ['a no-break space between stanzas', '\u00a0'],
    ['CDATA between stanzas', '<![CDATA[ ]]>'],
    ['/ before something else than >', '<iq / >'],
    ['a space before a name', '< iq/>'],
  ])('%s', (_, body) => expect(verdict(body)).toBe('not-well-formed'));

  it.each([
    ['two declarations of one namespace', "<iq xmlns:b='urn:b' xmlns:c='urn:b' b:x='1' c:y='2'/>"],
    ['the same local name in two namespaces', "<iq xmlns:b='urn:b' x='0' a:x='1' b:x='2'/>"],
    ['the default namespace undeclared', "<iq><x xmlns=''/></iq>"],
    ['xml declared as what it is', "<iq xmlns:xml='http://www.w3.org/XML/1998/namespace'/>"],
    ['spaces wherever they may be', "<iq\n a\t=\r'1'\n ></iq\n >"],
    ['names beyond ASCII', '<iq><\u00e9l\u00e9ment \u4e2d\u00b7="1"/><\u{10000}/></iq>'],
    ['brackets that close nothing', '<iq>]] > ]&gt; ]]&gt; ></iq>'],
    ['the other quote inside a value', `<iq a="'" b='"'/>`],
  ])('accepts %s', (_, body) => expect(verdict(body)).toBe('accepted'));
});

describe('RFC 6120 §11.6, encoding', () => {
  it.each<[string, number[]]>([
    ['an overlong slash', [0xc0, 0xaf]],
    ['an overlong sequence of three', [0xe0, 0x80, 0xaf]],
    ['an overlong sequence of four', [0xf0, 0x80, 0x80, 0xaf]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
    ['a character past U+10FFFF', [0xf4, 0x90, 0x80, 0x80]],
    ['a lone continuation', [0x80]],
    ['a sequence cut short', [0xe2, 0x82]],
    ['a byte that UTF-8 does not have', [0xff]],
  ])('%s is refused in text, values, names and payloads', (_, raw) => {
    const bad = Buffer.from(raw);
    const around = (before: string, after: string) => verdict(Buffer.concat([Buffer.from(before), bad, Buffer.from(after)]));
    expect(around('<iq>', '</iq>')).toBe('bad-utf8');
    expect(around('<iq><![CDATA[', ']]></iq>')).toBe('bad-utf8');
    expect(around("<iq a='", "'/>")).toBe('bad-utf8');
    expect(around('<iq x', "='1'/>")).toBe('bad-utf8');
    expect(around('<iq><item><x>', '</x></item></iq>')).toBe('bad-utf8');
  });

  it('U+FEFF is a character like any other: refused before the header, text inside', () => {
    expect(opening(`\ufeff${HEADER}`)).toBe('not-well-formed');
    expect(stanza('<iq>\ufeff</iq>').getText()).toBe('\ufeff');
  });

  it('takes a declaration of UTF-8 and none of anything else', () => {
    expect(opening(`<?xml version='1.0' encoding='utf-8' standalone='no' ?>\n${HEADER}`)).toBe('accepted');
    expect(opening(`<?xml version="1.0"?>${HEADER}`)).toBe('accepted');
    expect(opening(`<?xml version='1.0' encoding='ISO-8859-1'?>`)).toBe('unsupported-encoding');
    expect(opening(`<?xml version='2.0'?>`)).toBe('not-well-formed');
    expect(opening(`<?xml encoding='UTF-8'?>`)).toBe('not-well-formed');
    expect(opening(`<?xml version='1.0'${' '.repeat(300)}`)).toBe('not-well-formed');
  });

  it('a stream in UTF-16 is called so', () => {
    expect(opening(Buffer.from(`\ufeff${HEADER}`, 'utf16le'))).toBe('unsupported-encoding');
    expect(opening(Buffer.from(HEADER, 'utf16le'))).toBe('unsupported-encoding');
  });

  it('a declaration comes first or not at all (§11.5)', () =>
    expect(opening(` <?xml version='1.0'?>${HEADER}`)).toBe('restricted'));
});

describe('text and values, XML 1.0 §2.11 and §3.3.3', () => {
  it('line ends become LF in text, what was written as a reference stays', () => {
    expect(stanza('<iq>a\r\nb\rc\n\r\r\nd&#13;e<![CDATA[\r\n]]></iq>').getText()).toBe('a\nb\nc\n\n\nd\re\n');
  });

  it('white space in values becomes spaces, what was written as a reference stays', () => {
    expect(stanza("<iq a='1\r\n2\t3\n4\r5&#10;6&#9;7'/>").attrs.a).toBe('1 2 3 4 5\n6\t7');
  });

  it('white space in payloads stays as it is', () => {
    expect(payload("<iq><item><x a='1\r\n2'>\r\n</x></item></iq>").bytes.toString()).toContain("a='1\r\n2'>\r\n</x>");
  });
});

describe('attribute names that mean something to JavaScript', () => {
  it('are attributes like any other and pollute nothing', () => {
    const { attrs } = stanza("<iq __proto__='1' constructor='2' hasOwnProperty='3' toString='4'/>");
    expect(Object.entries(attrs).filter(([name]) => name !== 'xmlns')).toEqual([
      ['__proto__', '1'],
      ['constructor', '2'],
      ['hasOwnProperty', '3'],
      ['toString', '4'],
    ]);
    expect(stanza('<iq/>').attrs.constructor).toBeUndefined();
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  it('pass the serialiser', () => {
    expect(serialize(stanza("<iq __proto__='1' constructor='2'/>"))).toBe("<iq __proto__='1' constructor='2'/>");
  });

  it('do not confuse the look-up of namespaces', () => {
    expect(stanza("<iq hasOwnProperty='x' xmlns:p='urn:p' p:k='v'/>").getAttr('k', 'urn:p')).toBe('v');
  });
});

describe('a stanza stands by itself, RFC 6120 §4.8.3', () => {
  it('states the default namespace that it takes from the header', () => {
    expect(stanza('<iq/>').getNS()).toBe('jabber:client');
    expect(stanza("<iq xmlns='jabber:server'/>").getNS()).toBe('jabber:server');
  });

  it('is in no namespace where it says so, whatever its parent is in', () => {
    const iq = stanza("<iq><x xmlns=''><y/></x><a:z/></iq>");
    const x = iq.getChild('x')!;
    expect([x.getNS(), x.getChild('y')?.getNS(), x.is('x', 'jabber:client')]).toEqual([undefined, undefined, false]);
    expect(iq.getChild('z')?.getNS()).toBe('urn:a');
    expect(x.findNS('xml')).toBe('http://www.w3.org/XML/1998/namespace');
  });

  it('states none when the header declares none', () => {
    const plain = stanza('<x/>', "<s:stream xmlns:s='http://etherx.jabber.org/streams'>");
    expect(plain.attrs.xmlns).toBeUndefined();
  });

  it('has the declarations of the header that it uses, no others', () => {
    const { attrs } = stanza("<stream:features><x a:k='1'/></stream:features>");
    expect({ ...attrs }).toEqual({
      xmlns: 'jabber:client',
      'xmlns:stream': 'http://etherx.jabber.org/streams',
      'xmlns:a': 'urn:a',
    });
    expect(Object.keys(stanza('<iq/>').attrs)).toEqual(['xmlns']);
    expect(Object.keys(stanza("<iq xmlns:a='urn:b'><a:x/></iq>").attrs)).toEqual(['xmlns:a', 'xmlns']);
  });

  it('reports the header with its prefix and all its attributes', () => {
    const { header } = read(Buffer.from(HEADER), [1]);
    expect(header?.name).toBe('stream:stream');
    expect({ ...header?.attrs }).toEqual({
      xmlns: 'jabber:client',
      'xmlns:stream': 'http://etherx.jabber.org/streams',
      'xmlns:a': 'urn:a',
      version: '1.0',
      'xml:lang': 'en',
    });
  });
});

describe('payloads, delivery.md §4.7', () => {
  const wrap = (inner: string) =>
    `<iq xmlns:p='urn:p' xmlns:q='urn:q'><item xmlns='urn:item' xmlns:q='urn:q2'>${inner}</item></iq>`;

  it('are the bytes received when they inherit nothing (G-031)', () => {
    const document = `<d xmlns='urn:d'  k = "&#65;" >a&amp;\u00e9<![CDATA[<]]><e f=''\n/></d >`;
    const found = payload(`<iq xmlns=''><item>${document}</item></iq>`, "<s:s xmlns:s='u'>");
    expect(found.bytes.toString()).toBe(document);
    expect(found.invalid).toBeUndefined();
  });

  it('state every declaration of the stanza that they inherit, right after the name', () => {
    const found = payload(wrap('<d k="1"/>'));
    expect(found.bytes.toString()).toBe(`<d xmlns='urn:item' xmlns:p='urn:p' xmlns:q='urn:q2' k="1"/>`);
    expect({ ...found.attrs }).toEqual({ k: '1', 'xmlns:p': 'urn:p', 'xmlns:q': 'urn:q2', xmlns: 'urn:item' });
    expect(found.getNS()).toBe('urn:item');
  });

  it('state nothing that their own root declares', () => {
    expect(
      payload("<iq><item xmlns='urn:i' xmlns:p='urn:p'><d xmlns='urn:d' xmlns:p='urn:p2'/></item></iq>").bytes.toString(),
    ).toBe("<d xmlns='urn:d' xmlns:p='urn:p2'/>");
  });

  it('state of the header only what their names use', () => {
    expect(payload("<iq><item xmlns='urn:i'><d xmlns='urn:d'><a:e/></d></item></iq>").bytes.toString()).toBe(
      "<d xmlns:a='urn:a' xmlns='urn:d'><a:e/></d>",
    );
    expect(payload("<iq><item xmlns='urn:i'><d xmlns='urn:d' a:k=''/></item></iq>").bytes.toString()).toBe(
      "<d xmlns:a='urn:a' xmlns='urn:d' a:k=''/>",
    );
    expect(payload("<iq a:k=''><item xmlns='urn:i'><d xmlns='urn:d'/></item></iq>").bytes.toString()).toBe("<d xmlns='urn:d'/>");
  });

  it('state that they are in no namespace when that is so', () => {
    expect(payload("<iq><item xmlns=''><d/></item></iq>").bytes.toString()).toBe("<d xmlns=''/>");
  });

  it('have their inherited language beside them, not in them', () => {
    expect(payload("<iq><item><d xmlns='u'/></item></iq>").lang).toBe('en');
    expect(payload("<iq xml:lang='de'><item><d xmlns='u'/></item></iq>").lang).toBe('de');
    expect(payload("<iq xml:lang='de'><item xml:lang=''><d xmlns='u'/></item></iq>").lang).toBeUndefined();
    expect(payload("<iq xml:lang='de'><item><d xmlns='u' xml:lang='fr'/></item></iq>").lang).toBeUndefined();
    expect(payload("<iq xml:lang='de'><item><d xmlns='u'/></item></iq>").bytes.toString()).toBe("<d xmlns='u'/>");
  });

  it('escape what they copy', () => {
    expect(payload(`<iq><item xmlns='u&apos;&lt;&amp;&#10;'><d/></item></iq>`).bytes.toString()).toBe(
      "<d xmlns='u&apos;&lt;&amp;&#10;'/>",
    );
  });

  it.each([
    [
      '33 declarations',
      Array.from({ length: 33 }, (_, at) => ` xmlns:n${at}='u'`)
        .join('')
        .split(' xmlns')
        .slice(1),
      'invalid',
    ],
    [
      '32 declarations',
      Array.from({ length: 31 }, (_, at) => ` xmlns:n${at}='u'`)
        .join('')
        .split(' xmlns')
        .slice(1),
      'valid',
    ],
    ['over 4 KiB of them', [`:n='${'u'.repeat(4090)}'`], 'invalid'],
  ])('that inherit %s are told apart', (_, declarations, want) => {
    // Spread over two elements, for the limit on attributes.
    const half = Math.ceil(declarations.length / 2);
    const list = (part: string[]) => part.map((one) => ` xmlns${one}`).join('');
    const found = payload(
      `<iq${list(declarations.slice(0, half))}><item xmlns='urn:i'${list(declarations.slice(half))}><d/></item></iq>`,
    );
    expect(found.invalid === undefined ? 'valid' : 'invalid').toBe(want);
    if (found.invalid !== undefined) expect(found.bytes.toString()).toBe('<d/>');
  });

  it('cannot multiply what they inherit past the size of the stanza', () => {
    const uri = 'u'.repeat(3000);
    const items = '<d/>'.repeat(1000);
    const { stanzas } = read(
      Buffer.from(`${HEADER}<iq><item xmlns='${uri}'>${items}</item></iq>`),
      [1 << 20],
      LIMITS,
      itemChildren,
    );
    const payloads = stanzas[0]!.getChild('item')!.children.filter((child) => child instanceof OpaqueElement);
    expect(payloads).toHaveLength(1000);
    expect(payloads.filter((one) => one.invalid === undefined)).toHaveLength(3);
    expect(payloads.reduce((sum, one) => sum + one.bytes.length, 0)).toBeLessThan(2 * LIMITS.maxStanzaBytes);
  });

  it('are copies: what comes into the chunk afterwards does not change them', () => {
    const tokenizer = new XmlTokenizer(LIMITS, itemChildren);
    const chunk = Buffer.from(`${HEADER}<iq><item><d xmlns='u'>text</d></item></iq>`);
    tokenizer.feed(chunk);
    tokenizer.next();
    const event = tokenizer.next();
    chunk.fill(0x21);
    expect(event?.kind === 'stanza' && serialize(event.element)).toBe("<iq><item><d xmlns='u'>text</d></item></iq>");
  });

  it('are checked like everything else', () => {
    expect(verdict('<iq><item><d><e></d></e></item></iq>')).toBe('not-well-formed');
    expect(verdict('<iq><item><d><p:e/></d></item></iq>')).toBe('not-well-formed');
    expect(verdict(`<iq><item>${'<d>'.repeat(31)}`)).toBe('too-deep');
  });
});

describe('limits', () => {
  const bytesOf = (name: string, total: number) =>
    `<iq id='1'><${name}>${'x'.repeat(total - `<iq id='1'><${name}></${name}></iq>`.length)}</${name}></iq>`;

  it('a stanza of just the soft limit is handed out, one byte more is reported and the stream goes on', () => {
    const fits = bytesOf('b', LIMITS.maxStanzaBytes);
    const over = bytesOf('b', LIMITS.maxStanzaBytes + 1);
    expect([fits.length, over.length]).toEqual([10_000, 10_001]);
    const { log } = read(Buffer.from(`${HEADER}${fits}${over}<presence/>`), [4096], LIMITS);
    expect(log.slice(1).map((line) => line.split(' ', 2).join(' '))).toEqual(['stanza 10000', 'oversize 10001', 'stanza 11']);
  });

  it('a skipped publish can be told by its head and path (G-020)', () => {
    const tokenizer = new XmlTokenizer(LIMITS, itemChildren);
    tokenizer.feed(
      Buffer.from(
        `${HEADER}<iq type='set' id='7'> <pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n'><item><d xmlns='u'>${'x'.repeat(15_000)}</d></item></publish></pubsub></iq>`,
      ),
    );
    tokenizer.next();
    const event = tokenizer.next();
    if (event?.kind !== 'oversize') throw new Error(`${event?.kind}`);
    expect(serialize(event.head)).toBe("<iq type='set' id='7'/>");
    expect(event.path).toEqual([
      { ns: 'http://jabber.org/protocol/pubsub', name: 'pubsub' },
      { ns: 'http://jabber.org/protocol/pubsub', name: 'publish' },
      { ns: 'http://jabber.org/protocol/pubsub', name: 'item' },
    ]);
  });

  it('what is skipped is checked all the same', () => {
    expect(verdict(`<iq><b>${'x'.repeat(11_000)}<!-- --></b></iq>`)).toBe('restricted');
    expect(verdict(`<iq><b>${'x'.repeat(11_000)}<p:c/></b></iq>`)).toBe('not-well-formed');
    expect(verdict(`<iq><b>${'x'.repeat(11_000)}</c></b></iq>`)).toBe('not-well-formed');
    expect(verdict(`<iq><b k='${'x'.repeat(11_000)}<'/></iq>`)).toBe('not-well-formed');
  });

  it.each([
    ['a stanza over the hard limit', `<iq><b>${'x'.repeat(20_000)}`, 'too-big'],
    ['an element that never ends', `<iq>${'<b/>'.repeat(6_000)}`, 'too-big'],
    ['an attribute of 1 MiB on a stanza', `<iq a='${'x'.repeat(1 << 20)}'/>`, 'too-big'],
    ['an attribute of 1 MiB further in', `<iq><b a='${'x'.repeat(1 << 20)}'/></iq>`, 'too-big'],
    ['10,000 levels', '<x>'.repeat(10_000), 'too-deep'],
    ['33 levels', `<iq>${'<x>'.repeat(32)}`, 'too-deep'],
    ['33 attributes', `<iq${Array.from({ length: 33 }, (_, at) => ` a${at}=''`).join('')}/>`, 'too-many-attributes'],
    ['a long element name', `<${'n'.repeat(129)}/>`, 'name-too-long'],
    ['a long attribute name', `<iq ${'n'.repeat(129)}=''/>`, 'name-too-long'],
    ['a name without end', `<${'n'.repeat(9_000)}`, 'name-too-long'],
    ['a long entity name', `<iq>&${'n'.repeat(200)}`, 'name-too-long'],
    ['a long namespace name', `<iq xmlns:n='${'n'.repeat(4097)}'/>`, 'name-too-long'],
  ])('%s', (_, body, want) => expect(verdict(body)).toBe(want));

  it.each([
    ['32 levels', `<iq>${'<x>'.repeat(31)}${'</x>'.repeat(31)}</iq>`],
    ['32 attributes', `<iq${Array.from({ length: 32 }, (_, at) => ` a${at}=''`).join('')}/>`],
    ['a name of just the limit', `<${'n'.repeat(128)}/>`],
  ])('%s are taken', (_, body) => expect(verdict(body)).toBe('accepted'));

  it('hold for the header too', () => {
    expect(opening(`<s a='${'x'.repeat(10_000)}'>`)).toBe('too-big');
    expect(opening(`<s ${' '.repeat(10_000)}>`)).toBe('too-big');
  });

  it('declarations that a skipped stanza piles up are bounded', () => {
    const level = (at: number) =>
      `<b ${Array.from({ length: 4 }, (_, n) => `xmlns:p${at}-${n}='${'u'.repeat(4000)}'`).join(' ')}>`;
    const body = `<iq>${Array.from({ length: 30 }, (_, at) => level(at)).join('')}`;
    expect(verdict(body, { ...LIMITS, hardStanzaBytes: 1 << 24 })).toBe('too-big');
  });

  it('memory stays within the soft limit while a stanza of any size is skipped', () => {
    const tokenizer = new XmlTokenizer({ ...LIMITS, hardStanzaBytes: 1 << 30 });
    tokenizer.feed(Buffer.from(`${HEADER}<iq><b a='`));
    const chunk = Buffer.alloc(1 << 16, 0x78);
    tokenizer.next();
    const before = process.memoryUsage().arrayBuffers;
    let events = 0;
    for (let sent = 0; sent < 64 << 20; sent += chunk.length) {
      tokenizer.feed(chunk);
      if (tokenizer.next() !== undefined) events++;
    }
    expect(events).toBe(0);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
    expect(tokenizer.isInside).toBe(true);
  });

  it('new limits hold from the next stanza on', () => {
    const tokenizer = new XmlTokenizer(LIMITS);
    tokenizer.feed(Buffer.from(`${HEADER}${bytesOf('b', 15_000)}${bytesOf('b', 15_000)}`));
    tokenizer.next();
    expect(tokenizer.next()?.kind).toBe('oversize');
    tokenizer.setLimits({ ...LIMITS, maxStanzaBytes: 15_000 });
    expect(tokenizer.next()?.kind).toBe('stanza');
  });
});

describe('pulling events', () => {
  it('next() reads up to its event and no further (RFC 6120 §5.4.3.3)', () => {
    const tokenizer = new XmlTokenizer(LIMITS);
    tokenizer.feed(Buffer.from(`${HEADER}<starttls/>`));
    tokenizer.feed(Buffer.from('<iq/>'));
    tokenizer.next();
    expect(tokenizer.next()?.kind).toBe('stanza');
    expect(tokenizer.pendingBytes).toBe(5);
    tokenizer.discardPending();
    expect(tokenizer.pendingBytes).toBe(0);
    expect(tokenizer.next()).toBeUndefined();
  });

  it('a fault comes after the events before it, once; then nothing is taken or said', () => {
    const tokenizer = new XmlTokenizer(LIMITS);
    tokenizer.feed(Buffer.from(`${HEADER}<iq/><!--`));
    expect([tokenizer.next()?.kind, tokenizer.next()?.kind]).toEqual(['open', 'stanza']);
    expect(() => tokenizer.next()).toThrow(XmlFault);
    tokenizer.feed(Buffer.from('<iq/>'));
    expect(tokenizer.next()).toBeUndefined();
    expect(tokenizer.pendingBytes).toBe(0);
  });

  it('a restart expects a header, with or without declaration, and keeps what was fed (§4.3.3)', () => {
    const tokenizer = new XmlTokenizer(LIMITS);
    tokenizer.feed(Buffer.from(`${HEADER}<auth/>\n<?xml version='1.0'?><s2 xmlns='jabber:server'><iq/></s2>`));
    tokenizer.next();
    tokenizer.next();
    tokenizer.restart();
    expect(tokenizer.next()).toMatchObject({ kind: 'open', header: { name: 's2' } });
    const event = tokenizer.next();
    expect(event?.kind === 'stanza' && event.element.getNS()).toBe('jabber:server');
    expect(tokenizer.next()?.kind).toBe('close');
  });

  it('a restart forgets the declarations of the old header', () => {
    const tokenizer = new XmlTokenizer(LIMITS);
    tokenizer.feed(Buffer.from(HEADER));
    tokenizer.next();
    tokenizer.restart();
    tokenizer.feed(Buffer.from('<s><a:x/>'));
    tokenizer.next();
    expect(() => tokenizer.next()).toThrow('unbound prefix');
  });

  it('the end of the stream is an event, and what follows is dropped', () => {
    const tokenizer = new XmlTokenizer(LIMITS);
    tokenizer.feed(Buffer.from(`${HEADER} </stream:stream> <!-- `));
    tokenizer.next();
    expect(tokenizer.next()).toEqual({ kind: 'close' });
    expect(tokenizer.next()).toBeUndefined();
    expect(tokenizer.pendingBytes).toBe(0);
  });

  it('a header that is its own end opens and closes', () => {
    const tokenizer = new XmlTokenizer(LIMITS);
    tokenizer.feed(Buffer.from('<s/>'));
    expect([tokenizer.next()?.kind, tokenizer.next()?.kind, tokenizer.next()]).toEqual(['open', 'close', undefined]);
  });

  it('white space between stanzas costs nothing, however much it is (§4.6.1, §11.7)', () => {
    const tokenizer = new XmlTokenizer(LIMITS);
    tokenizer.feed(Buffer.from(HEADER));
    tokenizer.next();
    for (let sent = 0; sent < 100; sent++) {
      tokenizer.feed(Buffer.alloc(1000, 0x20));
      expect(tokenizer.next()).toBeUndefined();
      expect(tokenizer.isInside).toBe(false);
    }
    tokenizer.feed(Buffer.from('<iq/>'));
    expect(tokenizer.next()).toMatchObject({ kind: 'stanza', bytes: 5 });
  });
});

describe('any chunking of the examples of RFC 8600', () => {
  const folder = new URL('../../fixtures/rfc8600/', import.meta.url);
  const examples = readdirSync(folder).filter((name) => name.endsWith('.xml'));

  it('finds all eleven', () => expect(examples).toHaveLength(11));

  it.each(examples)('%s: cut at every byte, and byte by byte, the events are the same', (name) => {
    const bytes = Buffer.concat([Buffer.from(HEADER), readFileSync(new URL(name, folder)), Buffer.from('</stream:stream>')]);
    const whole = read(bytes, [bytes.length], LIMITS, itemChildren);
    expect(whole.log).toHaveLength(3);
    expect(whole.isClosed).toBe(true);
    expect(read(bytes, [1], LIMITS, itemChildren).log).toEqual(whole.log);
    for (let cut = 1; cut < bytes.length; cut++) {
      const { log } = read(bytes, [cut, bytes.length], LIMITS, itemChildren);
      if (log.join() !== whole.log.join()) expect(log, `cut at ${cut}`).toEqual(whole.log);
    }
  });
});

describe('the IODEF documents of the specifications as payloads (G-031)', () => {
  const folder = new URL('../../fixtures/iodef/', import.meta.url);
  const documents = readdirSync(folder).filter((name) => name.endsWith('.xml'));
  const wide: XmlLimits = { ...LIMITS, maxStanzaBytes: 1 << 20, hardStanzaBytes: 1 << 20 };
  const publish = (document: string) =>
    Buffer.from(
      `${HEADER}<iq type='set' id='1'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n'><item>${document}</item></publish></pubsub></iq>`,
    );

  it('finds all nine', () => expect(documents).toHaveLength(9));

  it.each(documents)('%s comes out as it went in; with its comments it is restricted XML', (name) => {
    const text = readFileSync(new URL(name, folder), 'utf8').replace(/<\?xml[^>]*\?>\s*/, '');
    const document = text.replace(/<!--.*?-->/gs, '').trim();
    const { stanzas, fault } = read(publish(document), [1000], wide, itemChildren);
    expect(fault).toBeUndefined();
    const item = stanzas[0]?.getChild('pubsub')?.getChild('publish')?.getChild('item');
    const found = item?.children[0];
    expect(found instanceof OpaqueElement && found.bytes.toString()).toBe(document);
    if (text.includes('<!--')) expect(read(publish(text), [1000], wide, itemChildren).fault?.kind).toBe('restricted');
  });
});
