import type { Element } from 'ltx';
import {
  AMP,
  APOS,
  asciiText,
  BANG_SIGN,
  CDATA_BYTES,
  CLOSE_BRACKET,
  CR,
  copyBytes,
  EQUALS,
  GT,
  grown,
  HASH,
  isUtf8Lead,
  LF,
  LOWER_X,
  LT,
  MINUS,
  OPEN_BRACKET,
  PLAIN,
  QUESTION,
  QUOTE,
  SEMICOLON,
  SLASH,
  SPACE,
  TAB,
  TEXT_BYTES,
  utf8Text,
  VALUE_BYTES,
} from './bytes.ts';
import { type Attributes, newAttributes, OpaqueElement, WireElement } from './element.ts';
import { fault } from './fault.ts';
import {
  DECLARES_DEFAULT,
  HASH_PRIME,
  HASH_START,
  NAME_BYTES,
  NAME_START,
  type Name,
  nameOf,
  PREFIXED,
  UNPREFIXED,
} from './name-table.ts';
import { NS } from './ns.ts';
import { escapeAttribute } from './serialize.ts';

export { XmlFault, type XmlFaultKind } from './fault.ts';

/**
 * Bytes of a stream to stanzas: RFC 6120 §11 on XML 1.0 (fifth edition) and Namespaces in XML 1.0 (third edition).
 *
 * Every byte is looked at once. The state survives the end of a chunk anywhere, so the cost does not depend on how the
 * bytes are cut up, and neither do the events or the fault. What is held is bounded by the limits below plus a constant.
 *
 * Not supported, because RFC 6120 §11.1 forbids it: comments, processing instructions, DTDs, entities of one's own.
 */

/** Bounds on what one stream may send. Setting them is the caller's business: there is no default here. */
export interface XmlLimits {
  /** Largest stanza that is handed out, and largest stream header. Bytes from `<` to `>`. */
  readonly maxStanzaBytes: number;
  /** Largest stanza that is skipped and reported as oversize; a larger one is a fault. Bytes. */
  readonly hardStanzaBytes: number;
  /** Levels of elements inside the stream's root; the stanza itself is the first. */
  readonly maxDepth: number;
  /** Attributes of one element, declarations included. They are compared with each other: keep it to a few dozen. */
  readonly maxAttributes: number;
  /** Bytes of one qualified name. */
  readonly maxNameBytes: number;
}

/** Says whether the child elements of `parent` are payloads: they become `OpaqueElement`s. Asked once per element. */
export type OpaqueRule = (parent: Element) => boolean;

export interface PathStep {
  readonly ns: string;
  readonly name: string;
}

/**
 * A stanza over the soft limit, skipped: its start tag without children, and the chain of first child elements as far as
 * it was read (not the stanza itself): enough to know what was asked.
 */
interface OversizeEvent {
  readonly kind: 'oversize';
  readonly head: Element;
  readonly bytes: number;
  readonly path: readonly PathStep[];
}

export type XmlEvent =
  /** The start tag of the stream's root, whatever it is called; the name keeps its prefix, attributes include declarations. */
  | { readonly kind: 'open'; readonly header: Element }
  /** A whole child of the root, with the declarations and the default namespace that it takes from the header. */
  | { readonly kind: 'stanza'; readonly element: Element; readonly bytes: number }
  | OversizeEvent
  /** The end tag of the root. Whatever follows is dropped. */
  | { readonly kind: 'close' };

/** A longer namespace name is refused (`name-too-long`): declarations are held even while a stanza is skipped. */
const MAX_NAMESPACE_BYTES = 4096;
/** delivery.md §4.7: at most this much is copied onto a payload's root. */
const MAX_INHERITED_DECLARATIONS = 32;
const MAX_INHERITED_BYTES = 4096;
/** An XML declaration has about 60 bytes; XML sets no bound. */
const MAX_DECLARATION_BYTES = 256;
/** A buffer up to this size is kept from one stanza to the next; an idle stream holds no more than two of them. */
const KEPT_BUFFER_BYTES = 256;

// States. Numbers and not strings, because the state is compared for each piece of a tag.
const START = 0; // nothing read yet: an XML declaration may come
const PROLOG = 1; // before the root
const BETWEEN = 2; // inside the root, between stanzas
const TEXT = 3; // character data inside a stanza
const AFTER_LT = 4;
const ELEMENT_NAME = 5;
const IN_TAG = 6; // after the name or a value: needs a space before an attribute
const IN_TAG_SPACE = 7; // after a space in a tag
const ATTRIBUTE_NAME = 8;
const BEFORE_EQUALS = 9;
const BEFORE_QUOTE = 10;
const VALUE = 11;
const EMPTY_TAG = 12; // after the `/` of `<a/>`
const END_NAME = 13;
const END_SPACE = 14; // after the name of an end tag
const REFERENCE = 15;
const BANG = 16; // after `<!`
const CDATA = 17;
const DECLARATION = 18; // in `<?xml … ?>`
const CLOSE_DUE = 19; // `<stream:stream/>`: the root has ended, the event has not been handed out
const CLOSED = 20;
const DEAD = 21;

// What becomes of the element being read.
const KEEP = 0; // element tree
const OPAQUE = 1; // checked and captured as bytes
const SKIP = 2; // checked only: the stanza is over the soft limit

const NOTHING: Buffer = Buffer.alloc(0);
const CDATA_OPENING = Buffer.from('[CDATA[', 'latin1');
const DECLARATION_OPENING = Buffer.from('<?xml', 'latin1');
/** XMLDecl of XML 1.0 §2.8; group 1 is the encoding with its quotes. */
const XML_DECLARATION =
  /^<\?xml[ \t\r\n]+version[ \t\r\n]*=[ \t\r\n]*(?:'1\.[0-9]+'|"1\.[0-9]+")(?:[ \t\r\n]+encoding[ \t\r\n]*=[ \t\r\n]*('[A-Za-z][\w.-]*'|"[A-Za-z][\w.-]*"))?(?:[ \t\r\n]+standalone[ \t\r\n]*=[ \t\r\n]*(?:'(?:yes|no)'|"(?:yes|no)"))?[ \t\r\n]*\?>$/;
/** One namespace declaration in scope. */
class Binding {
  readonly prefix: string;
  readonly uri: string;
  /** Level of the element that declared it; the root is 1. */
  readonly level: number;
  /** For declarations of the root: the newest stanza and the newest payload that used it, by their running numbers. */
  stanza = 0;
  payload = 0;

  constructor(prefix: string, uri: string, level: number) {
    this.prefix = prefix;
    this.uri = uri;
    this.level = level;
  }
}

export class XmlTokenizer {
  #limits: XmlLimits;
  readonly #opaque: OpaqueRule | undefined;
  #state = START;
  #event: XmlEvent | undefined;

  // Input: the chunk being read, where, and up to where before a limit has to be looked at.
  #chunk = NOTHING;
  #at = 0;
  #end = 0;
  readonly #queue: Buffer[] = [];
  #queueHead = 0;
  #queuedBytes = 0;
  /** Bytes that the header or stanza being read may have in all; 0 between stanzas. */
  #allowance = 0;
  /** Index in the chunk where it started; negative when it started in an earlier chunk. */
  #origin = 0;

  // The run (name, value or text) being read: `#saved` up to `#savedLength`, then the chunk from `#run`; -1 keeps nothing.
  #run = -1;
  #saved = NOTHING;
  #savedLength = 0;
  /** Whether the text or value being read is wanted. */
  #isWanted = false;
  #hasMultibyte = false;
  #isAfterCr = false;
  /** How many `]` stand directly before this byte. */
  #brackets = 0;
  #hash = HASH_START;
  /** Bytes that the UTF-8 sequence being read still needs, and the range that the next one must be in. */
  #utf8Needs = 0;
  #utf8Low = 0x80;
  #utf8High = 0xbf;
  #utf8IsAfterEf = false;

  // The reference being read.
  #referenceReturn = TEXT;
  #referenceLength = 0;
  /** The name's characters, packed; for a character reference its number. */
  #referenceValue = 0;
  #referenceBase = 0;

  // The tag being read.
  #tagName: Name | undefined;
  readonly #attributeNames: Name[] = [];
  readonly #attributeValues: string[] = [];
  #attributeCount = 0;
  #quote = QUOTE;
  /** Bytes matched of whatever is expected: an end tag's name, `[CDATA[`, `<?xml`. */
  #matched = 0;
  #mayDeclare = true;
  #isRestarted = false;

  // Open elements; index 0 is the root.
  #level = 0;
  readonly #names: Name[] = [];
  readonly #elements: (WireElement | undefined)[] = [];
  readonly #hasOpaqueChildren: boolean[] = [];
  readonly #undoMarks: number[] = [];
  #mode = KEEP;

  // Namespaces in scope by prefix ('' is the default), and what each declaration replaced.
  readonly #scope = new Map<string, Binding>();
  readonly #undo: [string, Binding | undefined][] = [];
  #namespaceBytes = 0;
  readonly #headerBindings: Binding[] = [];
  #headerDefault = '';
  #headerLang: string | undefined;
  #stanzaNumber = 0;
  #payloadNumber = 0;

  // The payload being captured: `#captured` up to `#capturedLength`, then the chunk from `#capture`; -1 captures nothing.
  #capture = -1;
  #captured = NOTHING;
  #capturedLength = 0;
  #payloadLevel = 0;
  #payloadName: Name | undefined;
  #payloadAttributes: Attributes | undefined;
  /** Bytes of declarations copied onto payloads of this stanza: as many again as it may have, or small payloads would multiply them. */
  #inheritedBytes = 0;

  // The stanza being skipped.
  #head: WireElement | undefined;
  #path: readonly PathStep[] = [];

  constructor(limits: XmlLimits, opaque?: OpaqueRule) {
    this.#limits = limits;
    this.#opaque = opaque;
    this.#scope.set('xml', new Binding('xml', NS.xml, 0));
  }

  /** Takes bytes to read later; nothing is parsed here. The chunk must not be changed afterwards. */
  feed(chunk: Buffer): void {
    if (chunk.length === 0 || this.#state === DEAD || this.#state === CLOSED) return;
    if (this.#at === this.#chunk.length && this.#queueHead === this.#queue.length && this.#chunk.length === 0) {
      this.#take(chunk);
    } else {
      this.#queue.push(chunk);
      this.#queuedBytes += chunk.length;
    }
  }

  /**
   * Reads up to the end of the next event; undefined when more bytes are needed for one.
   *
   * @throws XmlFault once; afterwards the tokenizer is dead: it takes no bytes and has no events
   */
  next(): XmlEvent | undefined {
    if (this.#state === CLOSE_DUE) return this.#close();
    try {
      for (;;) {
        while (this.#at === this.#end) if (!this.#refill()) return undefined;
        this.#step();
        const event = this.#event;
        if (event !== undefined) {
          this.#event = undefined;
          return event;
        }
      }
    } catch (error) {
      this.#die();
      throw error;
    }
  }

  /** Bytes that were fed and not read yet. After a `<starttls/>` it must be 0: nothing in plain text may survive (RFC 6120 §5.4.3.3). */
  get pendingBytes(): number {
    return this.#chunk.length - this.#at + this.#queuedBytes;
  }

  /** True while a header, stanza or end tag has begun and not ended: a peer that stays there is stuck or hostile. */
  get isInside(): boolean {
    return this.#allowance > 0;
  }

  /** Changes the limits, from the next stanza on. */
  setLimits(limits: XmlLimits): void {
    this.#limits = limits;
  }

  /** Forgets the stream so far and expects a new header next (RFC 6120 §4.3.3); bytes not read yet are kept. */
  restart(): void {
    if (this.#state === DEAD) return;
    this.#reset();
    this.#state = START;
    this.#mayDeclare = true;
    this.#isRestarted = true;
  }

  /** Drops the bytes that were fed and not read. */
  discardPending(): void {
    this.#dropInput();
  }

  #dropInput(): void {
    this.#queue.length = 0;
    this.#queueHead = 0;
    this.#queuedBytes = 0;
    this.#chunk = NOTHING;
    this.#at = 0;
    this.#end = 0;
  }

  /** Back to before the header, holding nothing but unread input. */
  #reset(): void {
    this.#allowance = 0;
    this.#bound();
    this.#run = -1;
    this.#saved = NOTHING;
    this.#savedLength = 0;
    this.#level = 0;
    this.#names.length = 0;
    this.#elements.length = 0;
    this.#hasOpaqueChildren.length = 0;
    this.#undoMarks.length = 0;
    this.#attributeNames.length = 0;
    this.#attributeValues.length = 0;
    this.#attributeCount = 0;
    this.#tagName = undefined;
    this.#mode = KEEP;
    this.#scope.clear();
    this.#scope.set('xml', new Binding('xml', NS.xml, 0));
    this.#undo.length = 0;
    this.#namespaceBytes = 0;
    this.#headerBindings.length = 0;
    this.#headerDefault = '';
    this.#headerLang = undefined;
    this.#dropCapture();
    this.#captured = NOTHING;
    this.#head = undefined;
    this.#path = [];
  }

  #die(): void {
    this.#state = DEAD;
    this.#reset();
    this.#dropInput();
  }

  #close(): XmlEvent {
    this.#reset();
    this.#dropInput();
    this.#state = CLOSED;
    return { kind: 'close' };
  }

  // ——— input ———

  #take(chunk: Buffer): void {
    this.#chunk = chunk;
    this.#at = 0;
    this.#bound();
  }

  /** Works out how far to read before `#refill` has to look at a limit. */
  #bound(): void {
    const length = this.#chunk.length;
    this.#end = this.#allowance === 0 ? length : Math.max(this.#at, Math.min(length, this.#origin + this.#allowance));
  }

  /** Called with everything up to `#end` read: meets a limit or goes to the next chunk. False when no bytes are left. */
  #refill(): boolean {
    const state = this.#state;
    if (state === DEAD || state === CLOSED) return false;
    const chunk = this.#chunk;
    if (state === ELEMENT_NAME || state === ATTRIBUTE_NAME) {
      if (this.#savedLength + this.#at - this.#run > this.#limits.maxNameBytes) fault('name-too-long', 'a name over the limit');
    }
    if (this.#end < chunk.length) {
      this.#meetAllowance();
      return true;
    }
    if (this.#run >= 0) {
      this.#save(this.#run, chunk.length);
      this.#run = 0;
    }
    if (this.#capture >= 0) {
      this.#saveCapture(chunk.length);
      this.#capture = 0;
    }
    if (this.#allowance > 0) this.#origin -= chunk.length;
    if (this.#queueHead === this.#queue.length) {
      this.#chunk = NOTHING;
      this.#at = 0;
      this.#end = 0;
      return false;
    }
    const next = this.#queue[this.#queueHead++]!;
    this.#queuedBytes -= next.length;
    if (this.#queueHead === this.#queue.length) {
      this.#queue.length = 0;
      this.#queueHead = 0;
    } else if (this.#queueHead === 1024) {
      this.#queue.splice(0, 1024);
      this.#queueHead = 0;
    }
    this.#take(next);
    return true;
  }

  /** The header or stanza needs more bytes than it may have. */
  #meetAllowance(): void {
    if (this.#level === 0) fault('too-big', 'a stream header over the limit');
    if (this.#mode === SKIP) fault('too-big', 'a stanza over the hard limit');
    // Nobody could answer a stanza whose id and addresses were not read.
    if (this.#level === 1) fault('too-big', 'a start tag over the limit');
    this.#skip();
  }

  /** Over the soft limit: from here the stanza is checked and nothing of it is kept. */
  #skip(): void {
    const root = this.#elements[1]!;
    this.#seal(root);
    const path: PathStep[] = [];
    for (let step = firstElement(root); step !== undefined; step = firstElement(step)) {
      path.push({ ns: step.getNS() ?? '', name: step.getName() });
    }
    root.children = [];
    this.#head = root;
    this.#path = path;
    this.#elements.length = 1;
    this.#mode = SKIP;
    this.#dropCapture();
    this.#captured = NOTHING;
    const state = this.#state;
    if (state !== ELEMENT_NAME && state !== ATTRIBUTE_NAME) {
      const inValue = state === VALUE || (state === REFERENCE && this.#referenceReturn === VALUE);
      if (!(inValue && this.#isDeclaration())) {
        this.#isWanted = false;
        this.#run = -1;
        this.#savedLength = 0;
        this.#saved = NOTHING;
      }
    }
    this.#allowance = Math.max(this.#limits.hardStanzaBytes, this.#limits.maxStanzaBytes);
    this.#bound();
  }

  /** Starts to count a header or stanza at the current byte. */
  #begin(): void {
    this.#origin = this.#at;
    this.#allowance = this.#limits.maxStanzaBytes;
    this.#bound();
  }

  /** Stops counting. */
  #finish(): void {
    this.#allowance = 0;
    this.#bound();
    if (this.#saved.length > KEPT_BUFFER_BYTES) this.#saved = NOTHING;
    if (this.#captured.length > KEPT_BUFFER_BYTES) this.#captured = NOTHING;
    if (this.#attributeNames.length > 16) {
      this.#attributeNames.length = 0;
      this.#attributeValues.length = 0;
    }
  }

  // ——— what is held of a run that a chunk's end or a reference cut up ———

  #room(more: number): void {
    const needed = this.#savedLength + more;
    if (needed > this.#saved.length) this.#saved = grown(this.#saved, this.#savedLength, needed);
  }

  #save(from: number, to: number): void {
    if (to <= from) return;
    // Past its limit a namespace name is only known to be too long; its end reports that.
    if (this.#mode === SKIP && this.#state === VALUE && this.#savedLength > MAX_NAMESPACE_BYTES) return;
    this.#room(to - from);
    copyBytes(this.#chunk, from, to, this.#saved, this.#savedLength);
    this.#savedLength += to - from;
  }

  #saveByte(byte: number): void {
    this.#room(1);
    this.#saved[this.#savedLength++] = byte;
  }

  #saveCharacter(codePoint: number): void {
    if (codePoint < 0x80) {
      this.#saveByte(codePoint);
      return;
    }
    this.#hasMultibyte = true;
    this.#room(4);
    this.#savedLength += this.#saved.write(String.fromCodePoint(codePoint), this.#savedLength, 'utf8');
  }

  #startRun(isWanted: boolean, from: number): void {
    this.#isWanted = isWanted;
    this.#run = isWanted ? from : -1;
    this.#savedLength = 0;
    this.#hasMultibyte = false;
    this.#isAfterCr = false;
    this.#brackets = 0;
  }

  /** Saves the run up to here and suspends it. */
  #pauseRun(to: number): void {
    if (this.#run >= 0) this.#save(this.#run, to);
    this.#run = -1;
  }

  #resumeRun(from: number): void {
    if (this.#isWanted) this.#run = from;
  }

  /** The text of the run that ends before `to`. */
  #runText(to: number): string {
    if (this.#savedLength === 0) {
      if (this.#run < 0 || this.#run === to) return '';
      return this.#hasMultibyte ? utf8Text(this.#chunk, this.#run, to) : asciiText(this.#chunk, this.#run, to);
    }
    if (this.#run >= 0) this.#save(this.#run, to);
    return this.#hasMultibyte ? utf8Text(this.#saved, 0, this.#savedLength) : asciiText(this.#saved, 0, this.#savedLength);
  }

  // ——— capture of payloads ———

  #saveCapture(to: number): void {
    const more = to - this.#capture;
    if (more <= 0) return;
    const needed = this.#capturedLength + more;
    if (needed > this.#captured.length) this.#captured = grown(this.#captured, this.#capturedLength, needed);
    copyBytes(this.#chunk, this.#capture, to, this.#captured, this.#capturedLength);
    this.#capturedLength = needed;
  }

  #dropCapture(): void {
    this.#capture = -1;
    this.#capturedLength = 0;
    this.#payloadLevel = 0;
    this.#payloadName = undefined;
    this.#payloadAttributes = undefined;
  }

  /** Builds the payload that ends before `#at`. Its declarations are still in scope. */
  #endPayload(): void {
    const name = this.#payloadName!;
    const level = this.#payloadLevel;
    const attributes = this.#payloadAttributes!;
    const lang = attributes['xml:lang'] === undefined ? this.#langOf(this.#elements[level - 2]!) : undefined;
    let invalid: string | undefined;
    let added = NOTHING;
    const room = Math.min(MAX_INHERITED_BYTES, this.#limits.maxStanzaBytes - this.#inheritedBytes);
    const inherited = this.#inherited(level, room);
    const insertion = inherited?.map((binding) => ` ${declarationOf(binding)}='${escapeAttribute(binding.uri)}'`).join('');
    if (inherited === undefined || insertion === undefined || Buffer.byteLength(insertion) > room) {
      invalid = 'inherits too many namespace declarations';
    } else if (insertion !== '') {
      added = Buffer.from(insertion, 'utf8');
      this.#inheritedBytes += added.length;
      for (const binding of inherited) attributes[declarationOf(binding)] = binding.uri;
    }
    const tail = this.#at - this.#capture;
    const received = this.#capturedLength + tail;
    // A copy: a view would hold the whole chunk of 64 KiB for as long as the payload lives.
    const bytes = Buffer.allocUnsafe(received + added.length);
    const split = 1 + name.bytes.length;
    if (added.length === 0) {
      this.#captured.copy(bytes, 0, 0, this.#capturedLength);
      this.#chunk.copy(bytes, this.#capturedLength, this.#capture, this.#at);
    } else {
      this.#saveCapture(this.#at);
      this.#captured.copy(bytes, 0, 0, split);
      added.copy(bytes, split);
      this.#captured.copy(bytes, split + added.length, split, received);
    }
    const parent = this.#elements[level - 2]!;
    const payload = new OpaqueElement(name.text, attributes, bytes, lang, invalid);
    payload.parent = parent;
    parent.children.push(payload);
    this.#dropCapture();
    this.#mode = KEEP;
  }

  /**
   * The declarations that the payload at `level` uses or might use and does not make itself; undefined when they are too
   * many for the limit or too long for `room`. Stops there: small payloads may come by the thousand.
   */
  #inherited(level: number, room: number): Binding[] | undefined {
    const found: Binding[] = [];
    let length = 0;
    for (const binding of this.#scope.values()) {
      if (binding.level === 0 || binding.level === level) continue; // `xml`, and what the payload declares itself
      // The default namespace of the header reaches the payload through the stanza, which states it (see #keepElement).
      if (binding.level === 1 && binding.prefix !== '' && binding.payload !== this.#payloadNumber) continue;
      found.push(binding);
      length += " xmlns=''".length + binding.prefix.length + binding.uri.length; // what it takes at the very least
      if (found.length > MAX_INHERITED_DECLARATIONS || length > room) return undefined;
    }
    return found;
  }

  /** The language in force at an element of the stanza (XML 1.0 §2.12); an empty one takes it back. */
  #langOf(element: Element): string | undefined {
    let found: string | undefined;
    for (let at: Element | null = element; at !== null && found === undefined; at = at.parent) found = at.attrs['xml:lang'];
    found ??= this.#headerLang;
    return found === '' ? undefined : found;
  }

  // ——— the machine ———

  /** Reads at least one byte in the current state. There is one at `#at`. */
  #step(): void {
    switch (this.#state) {
      case TEXT:
        this.#readText();
        break;
      case AFTER_LT:
        this.#readAfterLt();
        break;
      case ELEMENT_NAME:
      case ATTRIBUTE_NAME:
        this.#readName();
        break;
      case IN_TAG:
      case IN_TAG_SPACE:
      case BEFORE_EQUALS:
      case BEFORE_QUOTE:
      case EMPTY_TAG:
        this.#readTag();
        break;
      case VALUE:
        this.#readValue();
        break;
      case END_NAME:
      case END_SPACE:
        this.#readEndTag();
        break;
      case BETWEEN:
        this.#readBetween();
        break;
      case REFERENCE:
        this.#readReference();
        break;
      case BANG:
        this.#readBang();
        break;
      case CDATA:
        this.#readCdata();
        break;
      case START:
      case PROLOG:
        this.#readProlog();
        break;
      case DECLARATION:
        this.#readDeclaration();
        break;
      default:
        throw new Error(`tokenizer in state ${this.#state} was asked to read`);
    }
  }

  #readProlog(): void {
    const byte = this.#chunk[this.#at]!;
    if (byte === LT) {
      this.#begin();
      this.#at++;
      this.#state = AFTER_LT;
      return;
    }
    if (byte === SPACE || byte === LF || byte === CR || byte === TAB) {
      // XML 1.0 §2.8: a declaration is the very first thing. White space after a restart still belongs to the old stream (§11.7).
      if (!this.#isRestarted) this.#mayDeclare = false;
      this.#at++;
      return;
    }
    if (byte === 0xfe || byte === 0xff || byte === 0) fault('unsupported-encoding', 'the stream is not in UTF-8');
    // Also U+FEFF: it is a character like any other and no byte order mark (RFC 6120 §11.6).
    fault(isUtf8Lead(byte) ? 'not-well-formed' : 'bad-utf8', 'text before the stream header');
  }

  /** In `<?xml … ?>`, collected as a whole: it is short, and read once per stream. */
  #readDeclaration(): void {
    const byte = this.#chunk[this.#at++]!;
    const length = this.#savedLength;
    if (length < DECLARATION_OPENING.length) {
      if (byte !== DECLARATION_OPENING[length]) fault('restricted', 'a processing instruction'); // RFC 6120 §11.1
    } else if (length === DECLARATION_OPENING.length && NAME_BYTES[byte] !== 0) {
      fault('restricted', 'a processing instruction');
    }
    this.#saveByte(byte);
    if (byte !== GT) {
      if (length >= MAX_DECLARATION_BYTES) fault('not-well-formed', 'an XML declaration without end');
      return;
    }
    const found = XML_DECLARATION.exec(asciiText(this.#saved, 0, this.#savedLength));
    if (found === null) fault('not-well-formed', 'an XML declaration that is none');
    const encoding = found[1]?.slice(1, -1).toLowerCase();
    if (encoding !== undefined && encoding !== 'utf-8') fault('unsupported-encoding', 'a declared encoding other than UTF-8'); // §11.6
    this.#savedLength = 0;
    this.#finish();
    this.#mayDeclare = false;
    this.#state = PROLOG;
  }

  #readBetween(): void {
    const chunk = this.#chunk;
    const end = this.#end;
    let at = this.#at;
    while (at < end) {
      const byte = chunk[at]!;
      if (byte === LT) {
        this.#at = at;
        this.#begin();
        this.#stanzaNumber++;
        this.#inheritedBytes = 0;
        this.#at++;
        this.#state = AFTER_LT;
        return;
      }
      // RFC 6120 §11.7: white space separates stanzas and keeps connections alive.
      if (byte !== SPACE && byte !== LF && byte !== CR && byte !== TAB) {
        this.#at = at;
        fault(isUtf8Lead(byte) ? 'not-well-formed' : 'bad-utf8', 'text between stanzas');
      }
      at++;
    }
    this.#at = at;
  }

  #readText(): void {
    const chunk = this.#chunk;
    const end = this.#end;
    let at = this.#at;
    if (this.#utf8Needs > 0) at = this.#readMultibyte(at, end);
    for (;;) {
      if (this.#isAfterCr && at < end) at = this.#passLf(chunk, at);
      const plain = at;
      while (at < end && TEXT_BYTES[chunk[at]!] === PLAIN) at++;
      if (at > plain) this.#brackets = 0;
      if (at === end) break;
      const byte = chunk[at]!;
      if (byte === LT) {
        this.#endText(at);
        if (this.#mode === KEEP && this.#hasOpaqueChildren[this.#level - 1] === true) this.#capture = at;
        this.#at = at + 1;
        this.#state = AFTER_LT;
        return;
      }
      if (byte === CLOSE_BRACKET) {
        this.#brackets++;
        at++;
        continue;
      }
      if (byte === GT) {
        if (this.#brackets >= 2) fault('not-well-formed', ']]> in text'); // XML 1.0 §2.4
        at++;
      } else if (byte === AMP) {
        this.#startReference(at, TEXT);
        return;
      } else if (byte === CR) {
        at = this.#readCr(at, LF);
      } else if (byte >= 0x80) {
        at = this.#readMultibyte(at, end);
      } else {
        fault('not-well-formed', 'a control character');
      }
      this.#brackets = 0;
    }
    this.#at = at;
  }

  /** Puts the text before `to` into the element that is open. */
  #endText(to: number): void {
    if (!this.#isWanted) return;
    if (this.#savedLength > 0 || (this.#run >= 0 && to > this.#run)) {
      const text = this.#runText(to);
      const children = this.#elements[this.#level - 1]!.children;
      const last = children.length - 1;
      // Text and CDATA sections are one piece of text.
      if (last >= 0 && typeof children[last] === 'string') children[last] += text;
      else children.push(text);
    }
    this.#isWanted = false;
    this.#run = -1;
    this.#savedLength = 0;
  }

  #startText(from: number): void {
    this.#startRun(this.#mode === KEEP, from);
    this.#state = TEXT;
  }

  /** After a CR that became `replacement`: a LF that follows belongs to it (XML 1.0 §2.11). */
  #readCr(at: number, replacement: number): number {
    this.#pauseRun(at);
    if (this.#isWanted) this.#saveByte(replacement);
    this.#isAfterCr = true;
    this.#resumeRun(at + 1);
    return at + 1;
  }

  #passLf(chunk: Buffer, at: number): number {
    this.#isAfterCr = false;
    if (chunk[at] !== LF) return at;
    this.#resumeRun(at + 1);
    return at + 1;
  }

  /** Checks UTF-8 (RFC 3629) and the production Char from `at`; stops at the first ASCII byte or at `end`, in mid-character if need be. */
  #readMultibyte(from: number, end: number): number {
    const chunk = this.#chunk;
    let at = from;
    let needs = this.#utf8Needs;
    let low = this.#utf8Low;
    let high = this.#utf8High;
    let isAfterEf = this.#utf8IsAfterEf;
    this.#hasMultibyte = true;
    while (at < end) {
      const byte = chunk[at]!;
      if (needs === 0) {
        if (byte < 0x80) break;
        low = 0x80;
        high = 0xbf;
        isAfterEf = false;
        if (byte < 0xc2) fault('bad-utf8', 'a continuation or an overlong sequence');
        if (byte < 0xe0) needs = 1;
        else if (byte < 0xf0) {
          needs = 2;
          if (byte === 0xe0) low = 0xa0;
          else if (byte === 0xed) high = 0x9f;
          else if (byte === 0xef) isAfterEf = true;
        } else if (byte < 0xf5) {
          needs = 3;
          if (byte === 0xf0) low = 0x90;
          else if (byte === 0xf4) high = 0x8f;
        } else fault('bad-utf8', 'a byte that UTF-8 does not have');
      } else {
        if (byte < low || byte > high) {
          if (isAfterEf && needs === 1 && byte > 0xbd && byte <= 0xbf) fault('not-well-formed', 'U+FFFE or U+FFFF');
          fault('bad-utf8', 'a broken sequence');
        }
        needs--;
        low = 0x80;
        high = isAfterEf && byte === 0xbf ? 0xbd : 0xbf;
      }
      at++;
    }
    this.#utf8Needs = needs;
    this.#utf8Low = low;
    this.#utf8High = high;
    this.#utf8IsAfterEf = isAfterEf;
    return at;
  }

  #readAfterLt(): void {
    const byte = this.#chunk[this.#at]!;
    if (NAME_BYTES[byte] === NAME_START) {
      this.#run = this.#at;
      this.#savedLength = 0;
      this.#hash = HASH_START;
      this.#attributeCount = 0;
      this.#state = ELEMENT_NAME;
      this.#readName();
      return;
    }
    if (byte === SLASH) {
      if (this.#level === 0) fault('not-well-formed', 'an end tag before the stream header');
      if (this.#mode === KEEP && this.#capture >= 0) this.#dropCapture();
      this.#at++;
      this.#matched = 0;
      this.#state = END_NAME;
      return;
    }
    if (byte === BANG_SIGN) {
      if (this.#mode === KEEP && this.#capture >= 0) this.#dropCapture();
      this.#at++;
      this.#matched = 0;
      this.#state = BANG;
      return;
    }
    if (byte === QUESTION) {
      if (this.#level > 0 || !this.#mayDeclare) fault('restricted', 'a processing instruction'); // RFC 6120 §11.1
      this.#savedLength = 0;
      this.#saveByte(LT);
      this.#state = DECLARATION;
      return;
    }
    if (byte === 0 && this.#level === 0) fault('unsupported-encoding', 'the stream is not in UTF-8');
    fault('not-well-formed', '< before something else than a name');
  }

  /** After `<!`: only a CDATA section inside a stanza may be there. */
  #readBang(): void {
    const byte = this.#chunk[this.#at++]!;
    if (byte === CDATA_OPENING[this.#matched]) {
      this.#matched++;
      if (this.#matched < CDATA_OPENING.length) return;
      if (this.#level < 2) fault('not-well-formed', 'text between stanzas');
      this.#startRun(this.#mode === KEEP, this.#at);
      this.#state = CDATA;
      return;
    }
    const isLetter = (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a);
    if (this.#matched === 0 && (byte === MINUS || isLetter)) fault('restricted', 'a comment or a document type'); // RFC 6120 §11.1
    if (this.#matched === 1 && byte === OPEN_BRACKET) fault('restricted', 'a conditional section');
    fault('not-well-formed', '<! before something else than a CDATA section');
  }

  #readCdata(): void {
    const chunk = this.#chunk;
    const end = this.#end;
    let at = this.#at;
    if (this.#utf8Needs > 0) at = this.#readMultibyte(at, end);
    for (;;) {
      if (this.#isAfterCr && at < end) at = this.#passLf(chunk, at);
      const plain = at;
      while (at < end && CDATA_BYTES[chunk[at]!] === PLAIN) at++;
      if (at > plain) this.#brackets = 0;
      if (at === end) break;
      const byte = chunk[at]!;
      if (byte === CLOSE_BRACKET) {
        this.#brackets++;
        at++;
        continue;
      }
      if (byte === GT) {
        at++;
        if (this.#brackets >= 2) {
          this.#pauseRun(at);
          if (this.#isWanted) {
            this.#savedLength -= 3; // the ]]> itself
            this.#endText(at);
          }
          this.#at = at;
          this.#startText(at);
          return;
        }
      } else if (byte === CR) {
        at = this.#readCr(at, LF);
      } else if (byte >= 0x80) {
        at = this.#readMultibyte(at, end);
      } else {
        fault('not-well-formed', 'a control character');
      }
      this.#brackets = 0;
    }
    this.#at = at;
  }

  #readName(): void {
    const chunk = this.#chunk;
    const end = this.#end;
    let at = this.#at;
    let hash = this.#hash;
    while (at < end) {
      const byte = chunk[at]!;
      if (NAME_BYTES[byte] === 0) break;
      hash = Math.imul(hash ^ byte, HASH_PRIME);
      at++;
    }
    this.#at = at;
    this.#hash = hash;
    if (at === end) return;
    const length = this.#savedLength + at - this.#run;
    if (length > this.#limits.maxNameBytes) fault('name-too-long', 'a name over the limit');
    let name: Name;
    if (this.#savedLength === 0) name = nameOf(chunk, this.#run, at, hash);
    else {
      this.#save(this.#run, at);
      name = nameOf(this.#saved, 0, length, hash);
      this.#savedLength = 0;
    }
    this.#run = -1;
    if (this.#state === ELEMENT_NAME) {
      this.#tagName = name;
      this.#state = IN_TAG;
      return;
    }
    // XML 1.0 §3.1; the same name by two prefixes is found when the tag is complete.
    for (let other = 0; other < this.#attributeCount; other++) {
      const seen = this.#attributeNames[other]!;
      if (seen.hash === name.hash && seen.text === name.text) fault('not-well-formed', 'a doubled attribute');
    }
    this.#attributeNames[this.#attributeCount] = name;
    this.#state = BEFORE_EQUALS;
  }

  #readTag(): void {
    const chunk = this.#chunk;
    const end = this.#end;
    let at = this.#at;
    let state = this.#state;
    while (at < end) {
      const byte = chunk[at]!;
      if (byte === SPACE || byte === LF || byte === CR || byte === TAB) {
        if (state === IN_TAG) state = IN_TAG_SPACE;
        else if (state === EMPTY_TAG) break;
        at++;
        continue;
      }
      if (state === IN_TAG_SPACE && NAME_BYTES[byte] === NAME_START) {
        if (this.#attributeCount >= this.#limits.maxAttributes) fault('too-many-attributes', 'an element over the limit');
        this.#at = at;
        this.#run = at;
        this.#savedLength = 0;
        this.#hash = HASH_START;
        this.#state = ATTRIBUTE_NAME;
        this.#readName();
        return;
      }
      if (state <= IN_TAG_SPACE) {
        if (byte === GT) {
          this.#at = at + 1;
          this.#endStartTag(false);
          return;
        }
        if (byte !== SLASH) break;
        state = EMPTY_TAG;
        at++;
        continue;
      }
      if (state === BEFORE_EQUALS) {
        if (byte !== EQUALS) break;
        state = BEFORE_QUOTE;
        at++;
        continue;
      }
      if (state === BEFORE_QUOTE) {
        if (byte !== QUOTE && byte !== APOS) break;
        this.#quote = byte;
        this.#at = at + 1;
        this.#state = VALUE;
        this.#startRun(this.#mode === KEEP || this.#isDeclaration(), at + 1);
        return;
      }
      if (byte !== GT) break; // EMPTY_TAG
      this.#at = at + 1;
      this.#endStartTag(true);
      return;
    }
    this.#at = at;
    this.#state = state;
    if (at < end) fault('not-well-formed', 'a start tag with something out of place');
  }

  /** Whether the attribute being read declares a namespace. */
  #isDeclaration(): boolean {
    return this.#attributeNames[this.#attributeCount]!.role >= DECLARES_DEFAULT;
  }

  #readValue(): void {
    const chunk = this.#chunk;
    const end = this.#end;
    const quote = this.#quote;
    let at = this.#at;
    if (this.#utf8Needs > 0) at = this.#readMultibyte(at, end);
    for (;;) {
      if (this.#isAfterCr && at < end) at = this.#passLf(chunk, at);
      while (at < end && VALUE_BYTES[chunk[at]!] === PLAIN) at++;
      if (at === end) break;
      const byte = chunk[at]!;
      if (byte === quote) {
        this.#endValue(at);
        this.#at = at + 1;
        return;
      }
      if (byte === QUOTE || byte === APOS) at++;
      else if (byte === AMP) {
        this.#startReference(at, VALUE);
        return;
      } else if (byte === CR) at = this.#readCr(at, SPACE);
      else if (byte === LF || byte === TAB) {
        // XML 1.0 §3.3.3
        this.#pauseRun(at);
        if (this.#isWanted) this.#saveByte(SPACE);
        at++;
        this.#resumeRun(at);
      } else if (byte >= 0x80) at = this.#readMultibyte(at, end);
      else fault('not-well-formed', byte === LT ? '< in an attribute' : 'a control character');
    }
    this.#at = at;
  }

  #endValue(to: number): void {
    let value = '';
    if (this.#isWanted) {
      const length = this.#savedLength + (this.#run >= 0 ? to - this.#run : 0);
      if (length > MAX_NAMESPACE_BYTES && this.#isDeclaration()) fault('name-too-long', 'a namespace name over the limit');
      value = this.#runText(to);
      this.#run = -1;
      this.#savedLength = 0;
      this.#isWanted = false;
    }
    this.#attributeValues[this.#attributeCount++] = value;
    this.#state = IN_TAG;
  }

  // ——— references ———

  #startReference(at: number, returnTo: number): void {
    this.#pauseRun(at);
    this.#at = at + 1;
    this.#referenceReturn = returnTo;
    this.#referenceLength = 0;
    this.#referenceValue = 0;
    this.#referenceBase = 0;
    this.#state = REFERENCE;
  }

  /** After `&`: a character by its number, or one of the five names; every other name is an entity, which RFC 6120 §11.1 forbids. */
  #readReference(): void {
    const byte = this.#chunk[this.#at++]!;
    const length = this.#referenceLength;
    if (byte === SEMICOLON) {
      this.#endReference();
      return;
    }
    this.#referenceLength = length + 1;
    if (this.#referenceBase === 0) {
      if (byte === HASH && length === 0) {
        this.#referenceBase = 10;
        this.#referenceLength = 0;
        return;
      }
      const kind = NAME_BYTES[byte];
      if (kind === 0 || (length === 0 && kind !== NAME_START)) fault('not-well-formed', '& without a reference');
      if (length >= this.#limits.maxNameBytes) fault('name-too-long', 'an entity name over the limit');
      // Four characters are enough to tell the five names from all others.
      this.#referenceValue = length < 4 ? this.#referenceValue * 256 + byte : -1;
      return;
    }
    if (byte === LOWER_X && length === 0 && this.#referenceBase === 10) {
      this.#referenceBase = 16;
      this.#referenceLength = 0;
      return;
    }
    let digit = -1;
    if (byte >= 0x30 && byte <= 0x39) digit = byte - 0x30;
    else if (this.#referenceBase === 16) {
      const lower = byte | 0x20;
      if (lower >= 0x61 && lower <= 0x66) digit = lower - 0x57;
    }
    if (digit < 0) fault('not-well-formed', 'a character reference with something else than digits');
    const value = this.#referenceValue * this.#referenceBase + digit;
    if (value > 0x10ffff) fault('not-well-formed', 'a reference to an illegal character');
    this.#referenceValue = value;
  }

  #endReference(): void {
    if (this.#referenceLength === 0) fault('not-well-formed', 'an empty reference');
    let character = this.#referenceValue;
    if (this.#referenceBase === 0) {
      character = PREDEFINED.get(character) ?? fault('restricted', 'an entity that is not predefined'); // RFC 6120 §11.1
    } else if (
      (character < SPACE && character !== TAB && character !== LF && character !== CR) ||
      (character >= 0xd800 && character <= 0xdfff) ||
      character === 0xfffe ||
      character === 0xffff
    ) {
      fault('not-well-formed', 'a reference to an illegal character'); // XML 1.0 §4.1
    }
    if (this.#isWanted) this.#saveCharacter(character);
    this.#isAfterCr = false;
    this.#brackets = 0;
    this.#resumeRun(this.#at);
    this.#state = this.#referenceReturn;
  }

  // ——— elements ———

  #endStartTag(isEmpty: boolean): void {
    const name = this.#tagName!;
    const level = this.#level + 1;
    if (level - 1 > this.#limits.maxDepth) fault('too-deep', 'elements nested over the limit');
    this.#undoMarks[level - 1] = this.#undo.length;
    this.#level = level;
    this.#names[level - 1] = name;
    this.#hasOpaqueChildren[level - 1] = false;
    const isPayload = this.#mode === KEEP && this.#capture >= 0;
    if (isPayload) this.#payloadNumber++;
    const count = this.#attributeCount;
    if (count > 0) this.#declare(count, level);
    if (name.role !== UNPREFIXED) this.#resolve(name, isPayload);
    if (count > 0) this.#checkAttributes(count, isPayload);
    if (this.#mode === KEEP) this.#keepElement(name, level, isPayload);
    if (level === 1) {
      this.#finish();
      this.#state = isEmpty ? CLOSE_DUE : BETWEEN;
      return;
    }
    if (isEmpty) this.#endElement();
    else this.#startText(this.#at);
  }

  /** Brings the declarations of a start tag into scope. */
  #declare(count: number, level: number): void {
    for (let at = 0; at < count; at++) {
      const attribute = this.#attributeNames[at]!;
      if (attribute.role < DECLARES_DEFAULT) continue;
      const uri = this.#attributeValues[at]!;
      const prefix = attribute.role === DECLARES_DEFAULT ? '' : attribute.local;
      // Namespaces in XML §3: reserved prefixes and namespace names; §5: a prefix cannot be undeclared.
      if (prefix === 'xmlns' || uri === NS.xmlns) fault('not-well-formed', 'xmlns declared');
      if ((prefix === 'xml') !== (uri === NS.xml)) fault('not-well-formed', 'xml declared as something else');
      if (prefix !== '' && uri === '') fault('not-well-formed', 'a prefix without namespace');
      if (prefix === 'xml') continue;
      const binding = new Binding(prefix, uri, level);
      this.#undo.push([prefix, this.#scope.get(prefix)]);
      this.#scope.set(prefix, binding);
      if (level === 1) this.#headerBindings.push(binding);
      this.#namespaceBytes += prefix.length + uri.length;
    }
    // While a stanza is kept its own limit holds this down; while it is skipped nothing else would.
    if (this.#namespaceBytes > 2 * this.#limits.maxStanzaBytes) fault('too-big', 'namespace declarations over the limit');
  }

  /** Finds the declaration of a prefix that is used; notes it when it is the stream header's. */
  #resolve(name: Name, isPayload: boolean): string {
    const binding = this.#scope.get(name.prefix);
    if (binding === undefined) fault('not-well-formed', 'an unbound prefix'); // RFC 6120 §11.3
    if (binding.level === 1) {
      if (isPayload || this.#mode === OPAQUE) binding.payload = this.#payloadNumber;
      else if (this.#mode === KEEP) binding.stanza = this.#stanzaNumber;
    }
    return binding.uri;
  }

  #checkAttributes(count: number, isPayload: boolean): void {
    let prefixed = 0;
    for (let at = 0; at < count; at++) {
      const attribute = this.#attributeNames[at]!;
      if (attribute.role !== PREFIXED) continue;
      const uri = this.#resolve(attribute, isPayload);
      if (prefixed++ === 0) continue;
      // Namespaces in XML §6.3: the same name by two prefixes.
      for (let other = 0; other < at; other++) {
        const seen = this.#attributeNames[other]!;
        if (seen.role === PREFIXED && seen.local === attribute.local && this.#scope.get(seen.prefix)!.uri === uri) {
          fault('not-well-formed', 'a doubled attribute');
        }
      }
    }
  }

  #keepElement(name: Name, level: number, isPayload: boolean): void {
    const attributes = newAttributes();
    const count = this.#attributeCount;
    for (let at = 0; at < count; at++) {
      attributes[this.#attributeNames[at]!.text] = this.#attributeValues[at];
      this.#attributeValues[at] = '';
    }
    if (isPayload) {
      this.#payloadName = name;
      this.#payloadAttributes = attributes;
      this.#payloadLevel = level;
      this.#mode = OPAQUE;
      return;
    }
    const element = new WireElement(name.text, attributes);
    if (level === 1) {
      this.#elements[0] = undefined;
      this.#headerDefault = attributes.xmlns ?? '';
      this.#headerLang = attributes['xml:lang'];
      this.#event = { kind: 'open', header: element };
      return;
    }
    if (level === 2) {
      // Stands by itself: the header's default namespace is stated.
      if (attributes.xmlns === undefined && this.#headerDefault !== '') attributes.xmlns = this.#headerDefault;
    } else {
      const parent = this.#elements[level - 2]!;
      element.parent = parent;
      parent.children.push(element);
    }
    this.#elements[level - 1] = element;
    if (this.#opaque?.(element)) this.#hasOpaqueChildren[level - 1] = true;
  }

  #readEndTag(): void {
    const chunk = this.#chunk;
    const end = this.#end;
    let at = this.#at;
    if (this.#state === END_NAME) {
      const expected = this.#names[this.#level - 1]!.bytes;
      const length = expected.length;
      let matched = this.#matched;
      while (matched < length && at < end) {
        if (chunk[at] !== expected[matched]) fault('not-well-formed', 'an end tag without its start tag');
        at++;
        matched++;
      }
      this.#matched = matched;
      if (matched === length) this.#state = END_SPACE;
    }
    while (at < end) {
      const byte = chunk[at++]!;
      if (byte === GT) {
        this.#at = at;
        this.#endElement();
        return;
      }
      if (byte !== SPACE && byte !== LF && byte !== CR && byte !== TAB) {
        fault('not-well-formed', 'an end tag with something out of place');
      }
    }
    this.#at = at;
  }

  #endElement(): void {
    const level = this.#level;
    if (this.#mode === OPAQUE && level === this.#payloadLevel) this.#endPayload();
    const mark = this.#undoMarks[level - 1]!;
    if (this.#undo.length > mark) this.#undeclare(mark);
    this.#level = level - 1;
    if (level > 2) {
      this.#startText(this.#at);
      return;
    }
    if (level === 1) {
      this.#event = this.#close();
      return;
    }
    const bytes = this.#at - this.#origin;
    if (this.#mode === SKIP) {
      this.#event = { kind: 'oversize', head: this.#head!, bytes, path: this.#path };
      this.#head = undefined;
      this.#path = [];
      this.#mode = KEEP;
    } else {
      const element = this.#elements[1]!;
      this.#seal(element);
      this.#elements.length = 1;
      this.#event = { kind: 'stanza', element, bytes };
    }
    this.#finish();
    this.#state = BETWEEN;
  }

  #undeclare(mark: number): void {
    while (this.#undo.length > mark) {
      const [prefix, before] = this.#undo.pop()!;
      const gone = this.#scope.get(prefix)!;
      this.#namespaceBytes -= prefix.length + gone.uri.length;
      if (before === undefined) this.#scope.delete(prefix);
      else this.#scope.set(prefix, before);
    }
  }

  /** Copies the header's declarations that the stanza uses onto it, so that it stands by itself. */
  #seal(stanza: WireElement): void {
    for (const binding of this.#headerBindings) {
      if (binding.stanza === this.#stanzaNumber && binding.prefix !== '') stanza.attrs[declarationOf(binding)] = binding.uri;
    }
  }
}

/** The characters behind the predefined entities (XML 1.0 §4.6), by their packed names. */
const PREDEFINED = new Map<number, number>(
  (
    [
      ['lt', LT],
      ['gt', GT],
      ['amp', AMP],
      ['apos', APOS],
      ['quot', QUOTE],
    ] as const
  ).map(([name, character]) => [Buffer.from(name, 'latin1').reduce((packed, byte) => packed * 256 + byte, 0), character]),
);

/** The attribute that makes a declaration. */
function declarationOf(binding: Binding): string {
  return binding.prefix === '' ? 'xmlns' : `xmlns:${binding.prefix}`;
}

function firstElement(parent: Element): Element | undefined {
  for (const child of parent.children) if (typeof child === 'object') return child;
  return undefined;
}
