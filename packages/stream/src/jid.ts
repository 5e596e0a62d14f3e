/**
 * JIDs: addresses of the form `[localpart@]domainpart[/resourcepart]` (RFC 7622).
 */
import { isIPv4, isIPv6 } from 'node:net';
import { domainToASCII, domainToUnicode } from 'node:url';
import { StanzaError } from './errors/stanza-error.ts';
import {
  checkULabel,
  isRightToLeft,
  mapDomain,
  opaqueString,
  PrecisError,
  satisfiesBidiRule,
  usernameCaseMapped,
} from './precis.ts';

/** RFC 7622 §3.1: bytes of UTF-8 in each part, after preparation. */
const MAX_PART_BYTES = 1023;
/** Longer input cannot be a JID, whatever preparation shortens: three parts, and NFC or width mapping save at most two thirds. */
const MAX_INPUT_CHARS = 3 * (3 * MAX_PART_BYTES) + 2;
/** RFC 1034 §3.1: 255 octets on the wire are 253 characters; RFC 7622 §3.2 lets these limits stand. */
const MAX_DOMAIN_CHARS = 253;

/** RFC 7622 §3.3.1 */
const FORBIDDEN_IN_LOCALPART = /["&'/:<>@]/;
const ASCII_LOCALPART = /^[!#-%(-.0-9;=?A-Z[-`a-z{-~]{1,1023}$/;
const ASCII_RESOURCEPART = /^[!-~][ -~]{0,1022}$/;
const LDH_LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const ASCII_DOMAIN = /^[A-Za-z0-9.-]{1,253}$/;

function malformed(what: string, cause?: unknown): StanzaError {
  const reason = cause instanceof PrecisError ? ` ${cause.message}` : '';
  return new StanzaError('jid-malformed', { text: `${what}${reason}`, cause });
}

function checkLength(part: string, what: string): string {
  if (part.length > MAX_PART_BYTES || Buffer.byteLength(part) > MAX_PART_BYTES) throw malformed(`${what} exceeds 1023 bytes`);
  return part;
}

/**
 * Prepares and enforces a localpart (UsernameCaseMapped without `"&'/:<>@`, 1 to 1023 bytes).
 *
 * @see RFC 7622 §3.3
 * @throws StanzaError `jid-malformed`
 */
export function prepareLocalpart(s: string): string {
  if (ASCII_LOCALPART.test(s)) return s.toLowerCase();
  if (s.length > 3 * MAX_PART_BYTES) throw malformed('localpart exceeds 1023 bytes');
  let prepared: string;
  try {
    prepared = usernameCaseMapped(s);
  } catch (error) {
    if (error instanceof PrecisError) throw malformed('localpart', error);
    throw error;
  }
  if (FORBIDDEN_IN_LOCALPART.test(prepared)) throw malformed('localpart has one of "&\'/:<>@');
  return checkLength(prepared, 'localpart');
}

/**
 * Prepares and enforces a resourcepart (OpaqueString, 1 to 1023 bytes). A leading space is refused, as in example 18
 * of RFC 7622 §3.5, although OpaqueString by itself would let it pass.
 *
 * @see RFC 7622 §3.4
 * @throws StanzaError `jid-malformed`
 */
export function prepareResourcepart(s: string): string {
  if (ASCII_RESOURCEPART.test(s)) return s;
  if (s.length > 3 * MAX_PART_BYTES) throw malformed('resourcepart exceeds 1023 bytes');
  let prepared: string;
  try {
    prepared = opaqueString(s);
  } catch (error) {
    if (error instanceof PrecisError) throw malformed('resourcepart', error);
    throw error;
  }
  if (prepared.startsWith(' ')) throw malformed('resourcepart begins with a space');
  return checkLength(prepared, 'resourcepart');
}

/**
 * Prepares and enforces a domainpart: IPv4 address, IPv6 address in brackets, or domain name, whose labels come out as
 * lower-case NR-LDH labels and U-labels. A final dot is stripped. A zone identifier in an IP literal is refused: it
 * means something on one machine only.
 *
 * @see RFC 7622 §3.2; RFC 5890; RFC 5891 §4.2
 * @throws StanzaError `jid-malformed`
 */
export function prepareDomainpart(s: string): string {
  const stripped = s.endsWith('.') ? s.slice(0, -1) : s; // before any other step (§3.2)
  if (stripped.length > 3 * MAX_PART_BYTES) throw malformed('domainpart exceeds 1023 bytes');
  if (stripped.startsWith('[')) {
    const inner = stripped.slice(1, -1);
    if (!stripped.endsWith(']') || !isIPv6(inner) || inner.includes('%')) throw malformed('domainpart is no IPv6 address');
    return domainToASCII(stripped); // one spelling for each address
  }
  if (isIPv4(stripped)) return stripped;
  if (ASCII_DOMAIN.test(stripped) && !/(?:^|\.)xn--/i.test(stripped)) {
    const lower = stripped.toLowerCase();
    for (const label of lower.split('.')) checkLdhLabel(label);
    return lower;
  }
  return prepareInternationalDomain(stripped);
}

function checkLdhLabel(label: string): void {
  // Two hyphens in places three and four are reserved: such a label is neither NR-LDH nor, here, an A-label (RFC 5890 §2.3.1).
  if (!LDH_LABEL.test(label) || label.slice(2, 4) === '--') throw malformed('domainpart has a label that is no host name label');
}

function prepareInternationalDomain(s: string): string {
  if (!s.isWellFormed()) throw malformed('domainpart has a lone surrogate');
  const labels: string[] = [];
  let asciiChars = -1;
  for (const mapped of mapDomain(s).split('.')) {
    // An A-label must be converted to a U-label (§3.2.1); what is no valid A-label stays as it was and fails below.
    const label = mapped.startsWith('xn--') ? domainToUnicode(mapped) : mapped;
    const ascii = /^[\x00-\x7f]*$/.test(label) ? label : aLabel(label);
    if (ascii === label) checkLdhLabel(label);
    else if (mapped.startsWith('xn--') && ascii !== mapped) throw malformed('domainpart has an A-label of another form');
    asciiChars += 1 + ascii.length;
    if (asciiChars > MAX_DOMAIN_CHARS) throw malformed('domainpart exceeds the limits of a domain name');
    labels.push(label);
  }
  // RFC 5893 §1.4: in a domain name with one right-to-left label every label is subject to the rule.
  if (labels.some(isRightToLeft) && !labels.every(satisfiesBidiRule)) throw malformed('domainpart breaks the Bidi Rule');
  return checkLength(labels.join('.'), 'domainpart');
}

/** Checks a U-label and returns its A-label. */
function aLabel(label: string): string {
  try {
    checkULabel(label);
  } catch (error) {
    if (error instanceof PrecisError) throw malformed('domainpart', error);
    throw error;
  }
  const ascii = domainToASCII(label);
  if (!ascii.startsWith('xn--') || ascii.length > 63 || domainToUnicode(ascii) !== label) {
    throw malformed('domainpart has a label without an A-label');
  }
  return ascii;
}

/**
 * An immutable address. Two JIDs that compare equal print equal: every part is kept as prepared (RFC 7622 §3), so
 * `toString()` serves as a key.
 */
export class JID {
  /** Undefined for a domain or a domain's resource. */
  readonly local: string | undefined;
  /** Host name with U-labels in lower case, IPv4 address, or IPv6 address in brackets. */
  readonly domain: string;
  /** Undefined for a bare JID. */
  readonly resource: string | undefined;
  /** The address without its resource, as text; what account and subscription tables are keyed by. */
  readonly bareString: string;
  #bare: JID | undefined;
  readonly #text: string;

  private constructor(local: string | undefined, domain: string, resource: string | undefined) {
    this.local = local;
    this.domain = domain;
    this.resource = resource;
    this.bareString = local === undefined ? domain : `${local}@${domain}`;
    this.#text = resource === undefined ? this.bareString : `${this.bareString}/${resource}`;
  }

  /**
   * Parses and prepares an address from outside. Recently parsed strings are remembered, so the hot path is one look-up.
   *
   * @throws StanzaError `jid-malformed`
   */
  static parse(s: string): JID {
    const known = recent.get(s);
    if (known) return known;
    const jid = parseUncached(s);
    recent.set(s, jid);
    return jid;
  }

  /**
   * Builds an address from parts that are not prepared yet.
   *
   * @throws StanzaError `jid-malformed`
   */
  static of(local: string | undefined, domain: string, resource?: string): JID {
    return new JID(
      local === undefined ? undefined : prepareLocalpart(local),
      prepareDomainpart(domain),
      resource === undefined ? undefined : prepareResourcepart(resource),
    );
  }

  /** The address without its resource; itself when it has none. */
  get bare(): JID {
    if (this.resource === undefined) return this;
    this.#bare ??= new JID(this.local, this.domain, undefined);
    return this.#bare;
  }

  get isBare(): boolean {
    return this.resource === undefined;
  }

  get isFull(): boolean {
    return this.resource !== undefined;
  }

  /**
   * The same bare address with another resource.
   *
   * @throws StanzaError `jid-malformed`
   */
  withResource(resource: string): JID {
    return new JID(this.local, this.domain, prepareResourcepart(resource));
  }

  equals(other: JID): boolean {
    return this.#text === other.#text;
  }

  toString(): string {
    return this.#text;
  }

  toJSON(): string {
    return this.#text;
  }
}

/** RFC 7622 §3.2: the first `/` ends the bare part, then the first `@` ends the localpart; before any mapping. */
function parseUncached(s: string): JID {
  if (s.length > MAX_INPUT_CHARS) throw malformed('address is too long');
  const slash = s.indexOf('/');
  const bare = slash < 0 ? s : s.slice(0, slash);
  const at = bare.indexOf('@');
  return JID.of(at < 0 ? undefined : bare.slice(0, at), bare.slice(at + 1), slash < 0 ? undefined : s.slice(slash + 1));
}

/**
 * A bounded memory of parsed addresses in two generations: when the young one is full it becomes the old one, so a hit
 * costs one or two look-ups and nothing is ever reordered. Holds at most twice 4,096 addresses of at most 256 characters.
 */
class RecentJids {
  #young = new Map<string, JID>();
  #old = new Map<string, JID>();

  get(s: string): JID | undefined {
    const young = this.#young.get(s);
    if (young) return young;
    const old = this.#old.get(s);
    if (old) this.set(s, old);
    return old;
  }

  set(s: string, jid: JID): void {
    if (s.length > 256) return;
    if (this.#young.size >= 4096) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(s, jid);
  }
}

const recent = new RecentJids();
