/**
 * Data forms (XEP-0004 2.13.2) with the field standardization of XEP-0068 1.3.0: a form is declared once as a table of
 * typed fields, and is parsed, checked and rendered from it. Missing: `<reported/>` and `<item/>` (§3.4), media.
 */
import { Element } from 'ltx';
import { JID } from '../jid.ts';
import { NS } from '../xml/ns.ts';

/** XEP-0004 §3.1 */
export const FORM_KINDS = ['form', 'submit', 'cancel', 'result'] as const;
export type FormKind = (typeof FORM_KINDS)[number];

/** XEP-0004 §3.3 */
export type FieldType =
  | 'boolean'
  | 'fixed'
  | 'hidden'
  | 'jid-multi'
  | 'jid-single'
  | 'list-multi'
  | 'list-single'
  | 'text-multi'
  | 'text-private'
  | 'text-single';

/** A form as it came in: field name to values, in the order of the XML. FORM_TYPE is apart. */
export interface ReceivedForm {
  readonly kind: FormKind;
  /** Value of the hidden field FORM_TYPE (XEP-0068 §3.1); undefined when the form has none. */
  readonly formType: string | undefined;
  readonly fields: ReadonlyMap<string, readonly string[]>;
}

/** What is wrong with a form, in words for people. The using protocol decides which stanza error it is. */
export class FormFault extends Error {
  override readonly name = 'FormFault';
  /** The `var` concerned; undefined when the form as a whole is wrong. */
  readonly field: string | undefined;

  constructor(field: string | undefined, reason: string) {
    super(field === undefined ? reason : `${field}: ${reason}`);
    this.field = field;
  }
}

/** Most fields that a submitted form may have; the longest registered form has under 40. */
const MAX_FIELDS = 200;

/**
 * Reads a form of any kind.
 *
 * @throws FormFault for an unknown kind, a field without name, a name given twice, more than 200 fields
 */
export function parseForm(x: Element): ReceivedForm {
  const kind = FORM_KINDS.find((known) => known === x.attrs.type);
  if (kind === undefined) throw new FormFault(undefined, 'the form has no known type');
  const fields = new Map<string, readonly string[]>();
  let formType: string | undefined;
  const elements = x.getChildren('field', NS.dataForms);
  if (elements.length > MAX_FIELDS) throw new FormFault(undefined, `the form has more than ${MAX_FIELDS} fields`);
  for (const field of elements) {
    const name: string | undefined = field.attrs.var;
    if (!name) {
      if (field.attrs.type === 'fixed') continue; // §3.2: only such a field may lack a name
      throw new FormFault(undefined, 'a field has no name');
    }
    const values = field.getChildren('value', NS.dataForms).map((value) => value.getText());
    if (name === 'FORM_TYPE') {
      if (formType !== undefined || values.length !== 1) throw new FormFault(name, 'must be given once, with one value');
      formType = values[0];
      continue;
    }
    if (fields.has(name)) throw new FormFault(name, 'is given twice');
    fields.set(name, values);
  }
  return { kind, formType, fields };
}

export interface FieldOption {
  readonly value: string;
  readonly label?: string;
}

/** One typed field. `read` gets the values as submitted, `write` gives those to show. */
export interface FieldSpec<T> {
  readonly var: string;
  readonly type: FieldType;
  readonly label: string;
  readonly options?: readonly FieldOption[];
  /** @throws FormFault */
  read(values: readonly string[]): T;
  write(value: T): readonly string[];
}

/** A form's table: each property of `T` and the field that carries it. */
export type FormTable<T> = { readonly [K in keyof T]-?: FieldSpec<T[K]> };

function single(name: string, values: readonly string[]): string {
  if (values.length > 1) throw new FormFault(name, 'takes one value'); // §3.2
  return values[0] ?? ''; // §3.6: no value and an empty value are the same
}

/** A line of text of at most `maxBytes` bytes of UTF-8; newlines are refused. */
export function textField(name: string, label: string, maxBytes: number): FieldSpec<string> {
  return {
    var: name,
    type: 'text-single',
    label,
    read(values) {
      const text = single(name, values);
      if (Buffer.byteLength(text) > maxBytes) throw new FormFault(name, `is longer than ${maxBytes} bytes`);
      if (/[\r\n]/.test(text)) throw new FormFault(name, 'takes one line');
      return text;
    },
    write: (value) => (value === '' ? [] : [value]),
  };
}

/** Both lexical forms of xs:boolean are read (XEP-0004 §3.3); `0` and `1` are written, as in XEP-0060's notifications. */
export function booleanField(name: string, label: string): FieldSpec<boolean> {
  return {
    var: name,
    type: 'boolean',
    label,
    read(values) {
      const value = parseXsBoolean(single(name, values));
      if (value === undefined) throw new FormFault(name, 'takes 0, 1, false or true');
      return value;
    },
    write: (value) => [value ? '1' : '0'],
  };
}

/** One of a closed list; `refuse` may throw another error than FormFault for a value outside of it. */
export function listField<T extends string>(
  name: string,
  label: string,
  options: readonly { readonly value: T; readonly label?: string }[],
  refuse?: (value: string) => never,
): FieldSpec<T> {
  return {
    var: name,
    type: 'list-single',
    label,
    options,
    read(values) {
      const value = single(name, values);
      const option = options.find((candidate) => candidate.value === value);
      if (option) return option.value;
      if (refuse) refuse(value);
      throw new FormFault(name, `takes one of ${options.map((candidate) => candidate.value).join(', ')}`);
    },
    write: (value) => [value],
  };
}

/** A decimal integer from `min` to `max`. With `maxWord` the word `max` stands for `max` (XEP-0060 §16.7, `integer-or-max`). */
export function integerField(
  name: string,
  label: string,
  range: { readonly min: number; readonly max: number; readonly maxWord?: boolean },
): FieldSpec<number> {
  return {
    var: name,
    type: 'text-single',
    label,
    read(values) {
      const text = single(name, values).trim();
      if (range.maxWord && text === 'max') return range.max;
      const value = /^[+-]?\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
      if (!(value >= range.min && value <= range.max)) {
        throw new FormFault(name, `takes ${range.maxWord ? "'max' or " : ''}an integer from ${range.min} to ${range.max}`);
      }
      return value;
    },
    write: (value) => [String(value)],
  };
}

/** One address, prepared by RFC 7622. */
export function jidField(name: string, label: string): FieldSpec<JID> {
  return {
    var: name,
    type: 'jid-single',
    label,
    read(values) {
      const text = single(name, values);
      try {
        return JID.parse(text);
      } catch {
        throw new FormFault(name, 'takes a JID'); // the cause would only repeat the value
      }
    },
    write: (value) => [value.toString()],
  };
}

/**
 * Reads the fields that were submitted; those left out are left out of the result (XEP-0004 §3.5). Names outside the
 * table are handed to `other`, which may throw; XEP-0004 §3.1 says that fields not understood are ignored.
 *
 * @throws FormFault for a value that its field does not take
 */
export function readSubmission<T extends object>(
  table: FormTable<T>,
  form: ReceivedForm,
  other: (name: string, values: readonly string[]) => void,
): Partial<T> {
  const byName = new Map<string, keyof T>();
  for (const key of Object.keys(table) as (keyof T)[]) byName.set(table[key].var, key);
  const read: Partial<T> = {};
  for (const [name, values] of form.fields) {
    const key = byName.get(name);
    if (key === undefined) other(name, values);
    else read[key] = table[key].read(values);
  }
  return read;
}

/** Whether the boolean words of XML Schema were used; undefined for any other text. */
export function parseXsBoolean(text: string): boolean | undefined {
  switch (text.trim()) {
    case '1':
    case 'true':
      return true;
    case '0':
    case 'false':
      return false;
    default:
      return undefined;
  }
}

/** One field to render, for forms whose fields are not all in one table. */
export interface ShownField {
  readonly var: string;
  readonly type?: FieldType;
  readonly label?: string;
  readonly values: readonly string[];
  readonly options?: readonly FieldOption[];
}

/** Renders a form. A field of kind `result` shows no options (there is nothing to choose). */
export function renderForm(
  kind: Exclude<FormKind, 'cancel'>,
  formType: string,
  fields: readonly ShownField[],
  words: { readonly title?: string; readonly instructions?: string } = {},
): Element {
  const x = new Element('x', { xmlns: NS.dataForms, type: kind });
  if (words.title !== undefined) x.c('title').t(words.title);
  if (words.instructions !== undefined) x.c('instructions').t(words.instructions);
  x.c('field', { var: 'FORM_TYPE', type: 'hidden' }).c('value').t(formType); // XEP-0068 §3.1
  for (const shown of fields) {
    const attrs: Record<string, string> = { var: shown.var };
    if (shown.type !== undefined) attrs.type = shown.type;
    if (shown.label !== undefined) attrs.label = shown.label;
    const field = x.c('field', attrs);
    if (kind === 'form') {
      for (const option of shown.options ?? []) {
        field
          .c('option', option.label === undefined ? {} : { label: option.label })
          .c('value')
          .t(option.value);
      }
    }
    for (const value of shown.values) field.c('value').t(value);
  }
  return x;
}

/** All fields of a table with their present values, in the order of the table. */
export function shownFields<T extends object>(table: FormTable<T>, values: T): ShownField[] {
  return (Object.keys(table) as (keyof T)[]).map((key) => {
    const spec: FieldSpec<T[keyof T]> = table[key];
    const shown = { var: spec.var, type: spec.type, label: spec.label, values: spec.write(values[key]) };
    return spec.options === undefined ? shown : { ...shown, options: spec.options };
  });
}
