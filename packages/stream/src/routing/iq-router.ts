/** Answers requests from a table of routes: one per (type, namespace, element). */
import { Element } from 'ltx';
import { type StanzaCondition, StanzaError, type StanzaErrorOptions } from '../errors/stanza-error.ts';
import type { IqContext, IqRoute } from './service.ts';

/** A stanza error whose answer carries content of its own beside `<error/>`, as XEP-0060 §8.8.2.4 wants it. */
export class IqFailure extends StanzaError {
  override readonly name: string = 'IqFailure';
  /** Put before `<error/>` in the answer. */
  readonly content: Element;

  constructor(condition: StanzaCondition, content: Element, options: StanzaErrorOptions = {}) {
    super(condition, options);
    this.content = content;
  }
}

const routeKey = (type: string, ns: string, name: string): string => `${type} ${ns} ${name}`;

/** Told about an error that is a bug of ours; the peer gets `internal-server-error` and nothing of it. */
export type OnBug = (error: unknown, iq: Element) => void;

/**
 * Holds the routes of one service. The look-up is one `Map.get`, whatever the number of routes.
 */
export class IqRouter {
  readonly #routes = new Map<string, IqRoute>();
  readonly #onBug: OnBug;

  constructor(routes: readonly IqRoute[], onBug: OnBug) {
    this.#onBug = onBug;
    for (const route of routes) this.register(route);
  }

  /** Adds a route. Throws when there is one for the same request: two owners are a mistake of the program. */
  register(route: IqRoute): void {
    const key = routeKey(route.type, route.ns, route.name);
    if (this.#routes.has(key)) throw new Error(`two routes for ${key}`);
    this.#routes.set(key, route);
  }

  get routes(): readonly IqRoute[] {
    return [...this.#routes.values()];
  }

  /**
   * Answers an IQ of type get or set exactly once (RFC 6120 §8.2.3): resolves with the one stanza to send back, of type
   * result or error, and never rejects.
   */
  async answer(iq: Element, base: Omit<IqContext, 'iq' | 'payload'>): Promise<Element> {
    try {
      const payload = soleChild(iq);
      const route = this.#routes.get(routeKey(iq.attrs.type, payload.getNS() ?? '', payload.getName()));
      if (!route) throw new StanzaError('service-unavailable'); // RFC 6120 §8.4
      return iqResult(iq, await route.handle({ ...base, iq, payload }));
    } catch (error) {
      if (error instanceof StanzaError) return iqError(iq, error);
      this.#onBug(error, iq);
      return iqError(iq, new StanzaError('internal-server-error'));
    }
  }
}

/** The one child element of a request (RFC 6120 §8.2.3 rule 4). */
function soleChild(iq: Element): Element {
  const children = iq.getChildElements();
  const payload = children[0];
  if (payload === undefined || children.length > 1) {
    throw new StanzaError('bad-request', { text: 'a request has exactly one child element' });
  }
  return payload;
}

/** `from` and `to` change places; the id is copied (RFC 6120 §8.1.3, §8.2.3). */
function answerTo(iq: Element, type: 'result' | 'error'): Element {
  const attrs: Record<string, string> = { type };
  if (iq.attrs.to !== undefined) attrs.from = iq.attrs.to;
  if (iq.attrs.from !== undefined) attrs.to = iq.attrs.from;
  if (iq.attrs.id !== undefined) attrs.id = iq.attrs.id;
  return new Element('iq', attrs);
}

/** The result of a request; without a child it is empty. */
export function iqResult(iq: Element, child: Element | undefined): Element {
  const answer = answerTo(iq, 'result');
  if (child) answer.cnode(child);
  return answer;
}

/** The error answer to a request. The request is not repeated in it (RFC 6120 §8.3.1 leaves that open; it may be megabytes). */
export function iqError(iq: Element, error: StanzaError): Element {
  const answer = answerTo(iq, 'error');
  if (error instanceof IqFailure) answer.cnode(error.content);
  answer.cnode(error.toElement());
  return answer;
}
