import { Element, newAttributes, OpaqueElement, serialize, serializeStanza } from '@xmpp-grid/stream';
import { describe, expect, it } from 'vitest';

describe('serialize', () => {
  it('escapes the five characters in values, three in text', () => {
    expect(serialize(new Element('a', { k: `&<>"'` }).t(`&<>"'`))).toBe(`<a k='&amp;&lt;&gt;&quot;&apos;'>&amp;&lt;&gt;"'</a>`);
  });

  it('writes TAB, LF and CR in values, and CR in text, as references (D3)', () => {
    expect(serialize(new Element('a', { k: '\t\n\r' }).t('\t\n\r'))).toBe("<a k='&#9;&#10;&#13;'>\t\n&#13;</a>");
  });

  it("leaves out the stream's default namespace on the root, and only there (RFC 6120 §4.8.2)", () => {
    const iq = new Element('iq', { xmlns: 'jabber:client', id: '1' });
    iq.c('x', { xmlns: 'urn:x' }).c('message', { xmlns: 'jabber:client' });
    expect(serialize(iq)).toBe("<iq id='1'><x xmlns='urn:x'><message xmlns='jabber:client'/></x></iq>");
    expect(serialize(iq, 'jabber:server')).toContain("<iq xmlns='jabber:client'");
    expect(serialize(new Element('iq', { xmlns: 'jabber:server' }), 'jabber:server')).toBe('<iq/>');
  });

  it('leaves out what is not there', () => {
    const element = new Element('a', { k: undefined, l: null, m: 1 });
    element.children.push(undefined as unknown as string);
    expect(serialize(element)).toBe("<a m='1'></a>");
  });

  it('passes payload bytes on untouched, as text and as bytes (G-031)', () => {
    const raw = Buffer.from(`<d  k = "\u00e9"\n/>`);
    const item = new Element('item', { id: '\u00e9' });
    item.cnode(new OpaqueElement('d', newAttributes(), raw));
    item.t('&');
    const want = `<item id='\u00e9'><d  k = "\u00e9"\n/>&amp;</item>`;
    expect(serialize(item)).toBe(want);
    expect(serializeStanza(item).toString()).toBe(want);
    expect(item.toString()).toContain(raw.toString());
  });

  it('writes any depth', () => {
    const root = new Element('a');
    let inner = root;
    for (let level = 0; level < 100_000; level++) inner = inner.c('a');
    expect(serialize(root)).toHaveLength(100_000 * 7 + 4);
  });

  it.each([
    ['a control character', new Element('a').t('\x01')],
    ['a zero in a value', new Element('a', { k: '\0' })],
    ['a lone surrogate', new Element('a').t('\ud800')],
    ['U+FFFE', new Element('a', { k: '\ufffe' })],
    ['a name with a space', new Element('a b')],
    ['a name that is markup', new Element('a', { "k='' x": '' })],
    ['an empty name', new Element('')],
    ['a name of two colons', new Element('a:b:c')],
  ])('never writes %s (RFC 6120 §11.3)', (_, element) => expect(() => serialize(element)).toThrow(RangeError));

  it('writes characters past the first plane', () => expect(serialize(new Element('a').t('\u{1F600}'))).toBe('<a>\u{1F600}</a>'));
});
