export type XmlFaultKind =
  | 'not-well-formed' // RFC 6120 §11.3
  | 'restricted' // §11.1
  | 'bad-utf8' // §11.6
  | 'unsupported-encoding' // §11.6
  | 'too-big'
  | 'too-deep'
  | 'too-many-attributes'
  | 'name-too-long';

/** What is wrong with the bytes, in XML's own words; the transport turns it into a stream error. */
export class XmlFault extends Error {
  override readonly name = 'XmlFault';
  readonly kind: XmlFaultKind;

  /** `what` is for the log and holds nothing that the peer sent. */
  constructor(kind: XmlFaultKind, what: string) {
    super(`${kind}: ${what}`);
    this.kind = kind;
  }
}

/** Throws. */
export function fault(kind: XmlFaultKind, what: string): never {
  throw new XmlFault(kind, what);
}
