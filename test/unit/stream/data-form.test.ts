import {
  booleanField,
  FormFault,
  type FormTable,
  integerField,
  type JID,
  jidField,
  listField,
  parseForm,
  parseXsBoolean,
  readSubmission,
  renderForm,
  shownFields,
  textField,
} from '@xmpp-grid/stream';
import { Element } from 'ltx';
import { describe, expect, it } from 'vitest';

interface Sample {
  readonly name: string;
  readonly isOn: boolean;
  readonly colour: 'red' | 'blue';
  readonly size: number;
  readonly who: JID;
}

const TABLE: FormTable<Sample> = {
  name: textField('s#name', 'Name', 10),
  isOn: booleanField('s#on', 'On'),
  colour: listField('s#colour', 'Colour', [{ value: 'red', label: 'Red' }, { value: 'blue' }]),
  size: integerField('s#size', 'Size', { min: 1, max: 9, maxWord: true }),
  who: jidField('s#who', 'Who'),
};

function form(type: string, fields: [string, ...string[]][], formType = 'urn:s'): Element {
  const x = new Element('x', { xmlns: 'jabber:x:data', type });
  x.c('field', { var: 'FORM_TYPE', type: 'hidden' }).c('value').t(formType);
  for (const [name, ...values] of fields) {
    const field = x.c('field', { var: name });
    for (const value of values) field.c('value').t(value);
  }
  return x;
}
const read = (...fields: [string, ...string[]][]) => readSubmission(TABLE, parseForm(form('submit', fields)), () => {});

describe('parse, XEP-0004 §3 (X-019)', () => {
  it.each(['form', 'submit', 'cancel', 'result'])('knows the type %s (§3.1)', (kind) => {
    expect(parseForm(new Element('x', { xmlns: 'jabber:x:data', type: kind })).kind).toBe(kind);
  });

  it('keeps FORM_TYPE apart (XEP-0068 §3.1)', () => {
    const parsed = parseForm(form('submit', [['a', '1', '2']]));
    expect(parsed.formType).toBe('urn:s');
    expect([...parsed.fields]).toEqual([['a', ['1', '2']]]);
    expect(parseForm(new Element('x', { type: 'submit' })).formType).toBeUndefined();
  });

  it('a fixed field may lack a name, no other may (§3.2)', () => {
    const x = form('submit', []);
    x.c('field', { type: 'fixed' }).c('value').t('words');
    expect(parseForm(x).fields.size).toBe(0);
    x.c('field', { type: 'text-single' });
    expect(() => parseForm(x)).toThrow(FormFault);
  });

  it.each<[string, Element]>([
    ['an unknown type', new Element('x', { type: 'frobnicate' })],
    ['no type', new Element('x')],
    [
      'a name given twice',
      form('submit', [
        ['a', '1'],
        ['a', '2'],
      ]),
    ],
    ['FORM_TYPE twice', form('submit', [['FORM_TYPE', 'x']])],
    [
      '201 fields',
      form(
        'submit',
        Array.from({ length: 201 }, (_, at): [string] => [`f${at}`]),
      ),
    ],
  ])('refuses %s', (_, x) => {
    expect(() => parseForm(x)).toThrow(FormFault);
  });

  it('takes names of Object.prototype for ordinary ones', () => {
    expect([...parseForm(form('submit', [['__proto__', 'x'], ['constructor']])).fields]).toEqual([
      ['__proto__', ['x']],
      ['constructor', []],
    ]);
  });
});

describe('typed fields, XEP-0004 §3.3', () => {
  it.each<[[string, ...string[]], object]>([
    [['s#name', 'abc'], { name: 'abc' }],
    [['s#name'], { name: '' }], // §3.6
    [['s#on', '1'], { isOn: true }],
    [['s#on', 'true'], { isOn: true }],
    [['s#on', '0'], { isOn: false }],
    [['s#on', 'false'], { isOn: false }],
    [['s#colour', 'blue'], { colour: 'blue' }],
    [['s#size', '9'], { size: 9 }],
    [['s#size', 'max'], { size: 9 }],
    [['s#size', ' 3 '], { size: 3 }],
  ])('%s', (field, want) => {
    expect(read(field)).toEqual(want);
  });

  it('jid-single is prepared (RFC 7622)', () => {
    expect(read(['s#who', 'A@B.Example/x']).who?.toString()).toBe('a@b.example/x');
  });

  it.each<[string, ...string[]]>([
    ['s#name', '12345678901'],
    ['s#name', 'a\nb'],
    ['s#name', 'a', 'b'],
    ['s#on', 'yes'],
    ['s#on'],
    ['s#on', '1', '1'],
    ['s#colour', 'green'],
    ['s#size', '0'],
    ['s#size', '10'],
    ['s#size', '0x5'],
    ['s#size', ''],
    ['s#who', '@'],
    ['s#who'],
  ])('refuses %s = %s %s and names the field', (...field) => {
    expect(() => read(field as [string, ...string[]])).toThrow(expect.objectContaining({ field: field[0] }));
  });

  it('leaves out what was not submitted (§3.5) and hands on what is not in the table (§3.1)', () => {
    const others: string[] = [];
    const form_ = parseForm(
      form('submit', [
        ['s#size', '2'],
        ['strange', 'x', 'y'],
      ]),
    );
    expect(readSubmission(TABLE, form_, (name, values) => void others.push(name, ...values))).toEqual({ size: 2 });
    expect(others).toEqual(['strange', 'x', 'y']);
  });

  it.each([
    ['1', true],
    ['true', true],
    [' false ', false],
    ['0', false],
    ['TRUE', undefined],
    ['', undefined],
  ])('xs:boolean "%s" is %s', (text, want) => {
    expect(parseXsBoolean(text)).toBe(want);
  });
});

describe('render', () => {
  const values = { name: 'n', isOn: true, colour: 'red', size: 3, who: read(['s#who', 'a@b']).who! } as const;

  it('a form has types, labels, options and values (§3.2, X-020)', () => {
    expect(renderForm('form', 'urn:s', shownFields(TABLE, values), { title: 'T', instructions: 'I' }).toString()).toBe(
      '<x xmlns="jabber:x:data" type="form"><title>T</title><instructions>I</instructions>' +
        '<field var="FORM_TYPE" type="hidden"><value>urn:s</value></field>' +
        '<field var="s#name" type="text-single" label="Name"><value>n</value></field>' +
        '<field var="s#on" type="boolean" label="On"><value>1</value></field>' +
        '<field var="s#colour" type="list-single" label="Colour"><option label="Red"><value>red</value></option>' +
        '<option><value>blue</value></option><value>red</value></field>' +
        '<field var="s#size" type="text-single" label="Size"><value>3</value></field>' +
        '<field var="s#who" type="jid-single" label="Who"><value>a@b</value></field></x>',
    );
  });

  it('a result has no options: there is nothing to choose', () => {
    expect(renderForm('result', 'urn:s', shownFields(TABLE, values)).toString()).not.toContain('option');
  });

  it('what is shown can be read again', () => {
    const shown = renderForm('form', 'urn:s', shownFields(TABLE, values));
    shown.attrs.type = 'submit';
    expect(readSubmission(TABLE, parseForm(shown), () => {})).toEqual(values);
  });
});
