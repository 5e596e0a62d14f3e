import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { Element, escapeAttribute, NS, serializeStanza, type XmlEvent, XmlTokenizer } from '@xmpp-grid/stream';
import { ScramClient } from './scram-client.ts';

/** How a platform proves who it is. */
export type Credential = { readonly password: string } | { readonly certificate: Buffer; readonly key: Buffer };

export interface ClientOptions {
  readonly host: string;
  readonly port: number;
  readonly mode: 'starttls' | 'direct-tls';
  readonly domain: string;
  /** Localpart of the account. */
  readonly name: string;
  readonly credential: Credential;
  /** PEM of the authority that issued the server's certificate. */
  readonly ca: Buffer;
}

/** An error answer, with its defined condition. */
export class RequestError extends Error {
  override readonly name = 'RequestError';
  readonly condition: string;

  constructor(condition: string, text: string) {
    super(text === '' ? condition : `${condition}: ${text}`);
    this.condition = condition;
  }
}

const LIMITS = {
  maxStanzaBytes: 8 * 1024 ** 2,
  hardStanzaBytes: 8 * 1024 ** 2,
  maxDepth: 64,
  maxAttributes: 64,
  maxNameBytes: 1024,
};
/** Everything that is waited for comes within this time or fails. */
const DEADLINE_MS = 10_000;
/** Messages kept until somebody takes them; beyond it the oldest goes. */
const MAX_MESSAGES = 1000;

/** A small platform: one stream, requests and events. Enough for the demonstration, and strict in what it reads. */
export class PlatformClient {
  #socket: Socket;
  #tokenizer = newTokenizer();
  readonly #events: XmlEvent[] = [];
  readonly #messages: Element[] = [];
  readonly #requests = new Map<string, (answer: Element | Error) => void>();
  /** Looks again whenever something arrived or the stream ended. */
  #waiters = new Set<() => void>();
  #isBound = false;
  #failure: Error | undefined;
  #lastId = 0;
  /** What the TLS layer and SASL settled on. */
  mechanism = '';
  tlsVersion = '';
  jid = '';

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#listen(socket);
  }

  /** Connects, logs in and binds a resource. @throws Error */
  static async connect(options: ClientOptions): Promise<PlatformClient> {
    const tls = tlsOptions(options);
    const { host, port } = options;
    if (options.mode === 'direct-tls') {
      const socket = connectTls({ ...tls, host, port, ALPNProtocols: ['xmpp-client'] }); // XEP-0368
      await within(once(socket, 'secureConnect'), 'the TLS handshake');
      const client = new PlatformClient(socket);
      await client.#logIn(options, socket);
      return client;
    }
    const plain = connectTcp({ host, port });
    await within(once(plain, 'connect'), 'the connection');
    const client = new PlatformClient(plain);
    await client.#open(options.domain);
    client.#send(new Element('starttls', { xmlns: NS.tls })); // RFC 6120 §5.4.2.1
    const proceed = await client.#stanza();
    if (proceed.name !== 'proceed') throw new Error(`STARTTLS was answered by <${proceed.name}/>`);
    plain.removeAllListeners('data');
    const socket = connectTls({ ...tls, socket: plain });
    await within(once(socket, 'secureConnect'), 'the TLS handshake');
    client.#socket = socket;
    client.#listen(socket);
    await client.#logIn(options, socket);
    return client;
  }

  /** Sends an iq and resolves with its result. @throws RequestError */
  async request(type: 'get' | 'set', to: string, payload: Element): Promise<Element> {
    const id = `r${++this.#lastId}`;
    const answered = new Promise<Element>((resolve, reject) => {
      this.#requests.set(id, (answer) => (answer instanceof Error ? reject(answer) : resolve(answer)));
    });
    this.#send(new Element('iq', { type, to, id }).cnode(payload).root());
    const answer = await within(answered, 'an answer');
    if (answer.attrs.type !== 'error') return answer;
    const error = answer.getChild('error');
    const condition = error?.children.find(
      (child): child is Element => child instanceof Element && child.getNS() === NS.stanzaErrors,
    );
    throw new RequestError(condition?.name ?? 'error', error?.getChildText('text', NS.stanzaErrors) ?? '');
  }

  /** Takes the first message that fits, waiting for it if need be. */
  async message(fits: (message: Element) => boolean): Promise<Element> {
    return await this.#until(() => {
      const index = this.#messages.findIndex(fits);
      return index === -1 ? undefined : this.#messages.splice(index, 1)[0];
    }, 'a message');
  }

  sendPresence(): void {
    this.#send(new Element('presence'));
  }

  /** Ends the stream in order (RFC 6120 §4.4). */
  async close(): Promise<void> {
    if (this.#failure !== undefined) return;
    this.#socket.write('</stream:stream>');
    const closed = once(this.#socket, 'close');
    this.#socket.end();
    await within(closed, 'the end of the stream');
  }

  /** Reads nothing more, and so never learns that the other side wants to end. */
  stopReading(): void {
    this.#socket.pause();
  }

  /** Breaks the connection, as a power cut would. */
  destroy(): void {
    this.#socket.destroy();
  }

  async #logIn(options: ClientOptions, socket: TLSSocket): Promise<void> {
    this.tlsVersion = socket.getProtocol() ?? '';
    const features = await this.#open(options.domain);
    const offered =
      features
        .getChild('mechanisms', NS.sasl)
        ?.getChildren('mechanism')
        .map((mechanism) => mechanism.getText()) ?? [];
    await this.#authenticate(options, socket, offered);
    await this.#open(options.domain);
    this.#isBound = true;
    const bound = await this.request('set', options.domain, new Element('bind', { xmlns: NS.bind }));
    this.jid = bound.getChild('bind', NS.bind)?.getChildText('jid') ?? '';
  }

  async #authenticate({ name, credential }: ClientOptions, socket: TLSSocket, offered: readonly string[]): Promise<void> {
    if ('certificate' in credential) {
      if (!offered.includes('EXTERNAL'))
        throw new Error(`the server does not take our certificate; it offers ${offered.join(', ')}`);
      this.mechanism = 'EXTERNAL';
      this.#auth('='); // RFC 6120 §6.4.2: an empty initial response
      await this.#saslOutcome('success');
      return;
    }
    this.mechanism = ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256'].find((mechanism) => offered.includes(mechanism)) ?? '';
    if (this.mechanism === '') throw new Error(`no mechanism in common; the server offers ${offered.join(', ')}`);
    const binds = this.mechanism.endsWith('-PLUS');
    const binding = binds ? socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0)) : undefined;
    const scram = new ScramClient(name, credential.password, binding);
    this.#auth(base64(scram.first()));
    const challenge = await this.#saslOutcome('challenge');
    this.#send(new Element('response', { xmlns: NS.sasl }).t(base64(await scram.final(challenge))));
    scram.verify(await this.#saslOutcome('success'));
  }

  #auth(text: string): void {
    this.#send(new Element('auth', { xmlns: NS.sasl, mechanism: this.mechanism }).t(text));
  }

  async #saslOutcome(wanted: 'challenge' | 'success'): Promise<string> {
    const answer = await this.#stanza();
    if (answer.name === wanted) return Buffer.from(answer.getText(), 'base64').toString('utf8');
    const condition = answer.children.find((child): child is Element => child instanceof Element);
    throw new Error(`login failed: ${condition?.name ?? answer.name}`);
  }

  /** Opens a stream, the first or after a restart, and resolves with its features. */
  async #open(domain: string): Promise<Element> {
    this.#tokenizer = newTokenizer();
    const header = `<?xml version='1.0'?><stream:stream xmlns='${NS.client}' xmlns:stream='${NS.streams}' to='${escapeAttribute(domain)}' version='1.0'>`;
    this.#socket.write(header);
    const opened = await this.#event();
    if (opened.kind !== 'open') throw new Error('the server sent no stream header');
    const features = await this.#stanza();
    if (features.name !== 'stream:features') throw new Error(`expected features, got <${features.name}/>`);
    return features;
  }

  #send(stanza: Element): void {
    this.#socket.write(serializeStanza(stanza));
  }

  #listen(socket: Socket): void {
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', (error) => this.#end(error));
    socket.on('close', () => this.#end(new Error('the connection is closed')));
  }

  #read(chunk: Buffer): void {
    try {
      this.#tokenizer.feed(chunk);
      for (let event = this.#tokenizer.next(); event !== undefined; event = this.#tokenizer.next()) this.#take(event);
    } catch (error) {
      this.#end(error as Error); // the server sent what is not XML
      this.#socket.destroy();
    }
    this.#wake();
  }

  #take(event: XmlEvent): void {
    if (event.kind === 'stanza' && event.element.name === 'stream:error') {
      const condition = event.element.children.find((child): child is Element => child instanceof Element);
      this.#end(new Error(`the server ended the stream: ${condition?.name ?? 'no reason given'}`));
    } else if (!this.#isBound || event.kind !== 'stanza') {
      this.#events.push(event);
    } else if (event.element.name === 'message') {
      this.#messages.push(event.element);
      if (this.#messages.length > MAX_MESSAGES) this.#messages.shift();
    } else if (event.element.name === 'iq') {
      this.#iq(event.element);
    }
  }

  #iq(iq: Element): void {
    const { type, id = '', from } = iq.attrs as Record<string, string>;
    if (type === 'result' || type === 'error') {
      this.#requests.get(id)?.(iq);
      this.#requests.delete(id);
      return;
    }
    const to = from === undefined ? {} : { to: from };
    if (iq.getChild('ping', NS.ping) !== undefined)
      this.#send(new Element('iq', { type: 'result', id, ...to })); // XEP-0199
    else {
      const error = new Element('error', { type: 'cancel' }).c('service-unavailable', { xmlns: NS.stanzaErrors }).root(); // RFC 6120 §8.4
      this.#send(new Element('iq', { type: 'error', id, ...to }).cnode(error).root());
    }
  }

  #event(): Promise<XmlEvent> {
    return this.#until(() => this.#events.shift(), 'the server');
  }

  async #stanza(): Promise<Element> {
    const event = await this.#event();
    if (event.kind === 'stanza') return event.element;
    throw new Error(event.kind === 'close' ? 'the server closed the stream' : 'the server sent something unexpected');
  }

  #until<T>(look: () => T | undefined, what: string): Promise<T> {
    const found = new Promise<T>((resolve, reject) => {
      const attempt = () => {
        const value = look();
        if (value === undefined && this.#failure === undefined) return;
        this.#waiters.delete(attempt);
        if (value === undefined) reject(this.#failure);
        else resolve(value);
      };
      this.#waiters.add(attempt);
      attempt();
    });
    return within(found, what);
  }

  #wake(): void {
    for (const waiter of [...this.#waiters]) waiter();
  }

  #end(error: Error): void {
    this.#failure ??= error;
    for (const answer of this.#requests.values()) answer(this.#failure);
    this.#requests.clear();
    this.#wake();
  }
}

/** Payloads of items stay bytes, so that they can be compared with what was published. */
function newTokenizer(): XmlTokenizer {
  return new XmlTokenizer(LIMITS, (parent) => parent.name === 'item');
}

function tlsOptions({ domain, ca, credential }: ClientOptions) {
  const own = 'certificate' in credential ? { cert: credential.certificate, key: credential.key } : {};
  return { ca, servername: domain, minVersion: 'TLSv1.2', ...own } as const;
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${DEADLINE_MS / 1000} s`)), DEADLINE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
