import { connect as connectTcp } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { EventScanner } from './event-scanner.ts';
import { ScramClient } from './scram.ts';

/**
 * A platform of the bench: raw bytes on node:tls. It negotiates as RFC 6120 says and then hardly reads, so that
 * thousands of them fit beside the server that is measured. It is no client library: replies are found by pattern,
 * and it trusts the server not to put a `>` into an attribute.
 */

/** Where the server listens and how it is recognised. */
export interface Endpoint {
  readonly host: string;
  readonly starttlsPort: number;
  readonly directTlsPort: number;
  readonly domain: string;
  readonly broker: string;
  /** PEM of the authority that issued the server's certificate. */
  readonly ca: string;
}

export type TlsMode = 'starttls' | 'direct';

/** Who logs in: by password (SCRAM-SHA-256) or by client certificate (EXTERNAL). */
export interface Account {
  readonly user: string;
  readonly password?: string;
  readonly certificate?: { readonly cert: string; readonly key: string };
}

export interface ClientOptions {
  readonly endpoint: Endpoint;
  readonly tls: TlsMode;
  readonly account: Account;
  readonly resource: string;
  /** Source address; left out: the system chooses. One address has some 28,000 ports towards one listener. */
  readonly localAddress?: string;
}

/** Told what a bound client receives. */
export interface ClientEvents {
  /** `receivedAtMicros` is the monotonic clock when the chunk arrived. */
  event(source: number, seq: number, sentAtMicros: number, receivedAtMicros: number): void;
  bytes(count: number): void;
  /** The stream ended and nobody asked for it. */
  lost(why: string): void;
}

const STEP_TIMEOUT_MS = 60_000;
const CLOSE_TIMEOUT_MS = 5_000;
const SILENT: ClientEvents = { event() {}, bytes() {}, lost() {} };
const REFUSAL = /<stream:error\b|<failure\b|<\/stream:stream>/;

interface Waiting {
  readonly resolve: (text: string) => void;
  readonly reject: (error: Error) => void;
}

export class Client {
  readonly bareJid: string;
  readonly broker: string;
  readonly #socket: TLSSocket;
  readonly #scanner: EventScanner;
  readonly #replies = new Map<string, Waiting>();
  #events: ClientEvents = SILENT;
  #chunkMicros = 0;
  #iqCount = 0;
  /** Stanzas received since `<enabled/>`; undefined without stream management. */
  #handled: number | undefined;
  #closing = false;
  #ended = false;
  #lastText = '';
  /** While set, bytes are text for a negotiation step and not yet for the scanner. */
  #step: { readonly pattern: RegExp; readonly waiting: Waiting } | undefined;
  #stepText = '';

  private constructor(socket: TLSSocket, bareJid: string, broker: string) {
    this.#socket = socket;
    this.bareJid = bareJid;
    this.broker = broker;
    this.#scanner = new EventScanner({
      event: (source, seq, micros) => {
        if (this.#handled !== undefined) this.#handled += 1;
        this.#events.event(source, seq, micros, this.#chunkMicros);
      },
      iq: (text) => this.#onIq(text),
      ackRequested: () => {
        if (this.#handled !== undefined) this.write(`<a xmlns='urn:xmpp:sm:3' h='${this.#handled}'/>`);
      },
      streamEnded: (text) => {
        this.#lastText = text;
      },
    });
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('error', (error) => this.#onEnd(error.message));
    socket.on('close', () => this.#onEnd('the connection closed'));
  }

  /** Connects, authenticates and binds. @throws Error with what the server said when it refuses */
  static async open(options: ClientOptions): Promise<Client> {
    const { endpoint, account } = options;
    const socket = await openTls(options);
    const client = new Client(socket, `${account.user}@${endpoint.domain}`, endpoint.broker);
    try {
      await client.#authenticate(endpoint.domain, account);
      await client.request(`<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>${options.resource}</resource></bind>`);
      return client;
    } catch (error) {
      client.#closing = true;
      socket.destroy();
      throw new Error(`${account.user} could not log in: ${(error as Error).message}`, { cause: error });
    }
  }

  /** Connects by TLS alone, for the floor: no XMPP is spoken, marks are counted. */
  static async openBare(
    endpoint: Pick<Endpoint, 'host' | 'directTlsPort' | 'domain' | 'ca'>,
    certificate?: Account['certificate'],
  ): Promise<Client> {
    const socket = await openTls({
      endpoint: { ...endpoint, starttlsPort: 0, broker: '' },
      tls: 'direct',
      account: { user: '', ...(certificate === undefined ? {} : { certificate }) },
      resource: '',
    });
    return new Client(socket, '', '');
  }

  /** Sets who is told of events from now on. */
  listen(events: ClientEvents): void {
    this.#events = events;
    if (this.#ended) events.lost(`ended before it was listened to: ${this.#lastText}`);
  }

  write(text: string): void {
    this.#socket.write(text);
  }

  /** Sends an IQ of type set (or `type`) and resolves with the result. @throws Error with the error stanza */
  request(payload: string, to?: string, type: 'set' | 'get' = 'set'): Promise<string> {
    this.#iqCount += 1;
    const id = `b${this.#iqCount}`;
    return new Promise((resolve, reject) => {
      if (this.#ended) {
        reject(new Error(`the stream has ended: ${this.#lastText}`));
        return;
      }
      this.#replies.set(id, { resolve, reject });
      this.write(`<iq type='${type}' id='${id}'${to === undefined ? '' : ` to='${to}'`}>${payload}</iq>`);
    });
  }

  /** Asks for acknowledgements (XEP-0198 §3, without resumption) and answers each `<r/>` from now on. */
  async enableStreamManagement(): Promise<void> {
    this.write(`<enable xmlns='urn:xmpp:sm:3'/>`);
    await this.#expect(/<enabled\b[^>]*>(?:\s*<\/enabled>)?/, () => {
      this.#handled = 0; // before the bytes behind <enabled/> are scanned
    });
  }

  /** Closes the stream (RFC 6120 §4.4) and waits until the server has closed its side. */
  async close(): Promise<void> {
    if (this.#ended) return;
    this.#closing = true;
    const closed = new Promise<void>((resolve) => this.#socket.once('close', () => resolve()));
    this.#socket.end('</stream:stream>');
    const giveUp = setTimeout(() => this.#socket.destroy(), CLOSE_TIMEOUT_MS);
    await closed;
    clearTimeout(giveUp);
  }

  /** Drops the connection without a word. */
  destroy(): void {
    this.#closing = true;
    this.#socket.destroy();
  }

  async #authenticate(domain: string, account: Account): Promise<void> {
    const header = streamHeader(domain);
    this.write(header);
    await this.#expect(/<\/stream:features>/);
    if (account.certificate !== undefined) {
      this.write(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>`);
      await this.#expect(/<success\b[^>]*\/>|<success\b[^>]*>[^<]*<\/success>/);
    } else {
      const scram = new ScramClient(account.user, account.password ?? '');
      this.write(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-256'>${base64(scram.first)}</auth>`);
      const challenge = await this.#expect(/<challenge\b[^>]*>([^<]*)<\/challenge>/);
      this.write(
        `<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>${base64(scram.final(unbase64(challenge[1] ?? '')))}</response>`,
      );
      const success = await this.#expect(/<success\b[^>]*\/>|<success\b[^>]*>([^<]*)<\/success>/);
      scram.verify(unbase64(success[1] ?? ''));
    }
    this.write(header);
    await this.#expect(/<\/stream:features>/);
  }

  /** Waits for text that matches; what follows the match goes on to the scanner. */
  #expect(pattern: RegExp, matched?: () => void): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.#step?.waiting.reject(new Error(`no answer within 60 s, got ${this.#stepText}`)),
        STEP_TIMEOUT_MS,
      );
      const settle = (then: () => void) => {
        clearTimeout(timer);
        this.#step = undefined;
        then();
      };
      this.#step = {
        pattern,
        waiting: {
          resolve: () => {
            const match = pattern.exec(this.#stepText);
            const rest = Buffer.from(this.#stepText.slice((match?.index ?? 0) + (match?.[0].length ?? 0)), 'latin1');
            this.#stepText = '';
            settle(() => {
              matched?.();
              if (match !== null) resolve(match);
              if (rest.length > 0) this.#scanner.push(rest);
            });
          },
          reject: (error) => settle(() => reject(error)),
        },
      };
      if (this.#ended) this.#step.waiting.reject(new Error('the connection closed'));
    });
  }

  #onData(chunk: Buffer): void {
    const [seconds, nanos] = process.hrtime();
    this.#chunkMicros = seconds * 1e6 + nanos / 1e3;
    this.#events.bytes(chunk.length);
    if (this.#step === undefined) {
      this.#scanner.push(chunk);
      return;
    }
    this.#stepText += chunk.toString('latin1');
    if (this.#step.pattern.test(this.#stepText)) this.#step.waiting.resolve(this.#stepText);
    else if (REFUSAL.test(this.#stepText)) this.#step.waiting.reject(new Error(`the server answered ${this.#stepText}`));
  }

  #onIq(text: string): void {
    if (this.#handled !== undefined) this.#handled += 1;
    const head = text.slice(0, text.indexOf('>'));
    const id = attribute(head, 'id') ?? '';
    const type = attribute(head, 'type');
    if (type === 'get' || type === 'set') {
      const from = attribute(head, 'from');
      const to = from === undefined ? '' : ` to='${from}'`;
      if (text.includes('urn:xmpp:ping')) this.write(`<iq type='result' id='${id}'${to}/>`);
      else
        this.write(
          `<iq type='error' id='${id}'${to}><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`,
        );
      return;
    }
    const waiting = this.#replies.get(id);
    if (waiting === undefined) return;
    this.#replies.delete(id);
    if (type === 'result') waiting.resolve(text);
    else waiting.reject(new Error(`refused: ${text}`));
  }

  #onEnd(why: string): void {
    if (this.#ended) return;
    this.#ended = true;
    const said = this.#lastText || this.#stepText;
    const reason = said === '' ? why : `${why}; the server's last words: ${said}`;
    this.#step?.waiting.reject(new Error(reason));
    for (const waiting of this.#replies.values()) waiting.reject(new Error(reason));
    this.#replies.clear();
    if (!this.#closing) this.#events.lost(reason);
  }
}

const streamHeader = (domain: string) =>
  `<?xml version='1.0'?><stream:stream to='${domain}' version='1.0' xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`;
const base64 = (text: string) => Buffer.from(text, 'utf8').toString('base64');
const unbase64 = (text: string) => Buffer.from(text, 'base64').toString('utf8');
const attribute = (head: string, name: string) => new RegExp(`\\s${name}=(["'])(.*?)\\1`).exec(head)?.[2];

function openTls(options: ClientOptions): Promise<TLSSocket> {
  const { endpoint, account } = options;
  const secure: ConnectionOptions = {
    ca: endpoint.ca,
    servername: endpoint.domain,
    minVersion: 'TLSv1.3',
    ...(account.certificate ?? {}),
  };
  const local = options.localAddress === undefined ? {} : { localAddress: options.localAddress };
  if (options.tls === 'direct') {
    return secured(
      connectTls({ ...secure, ...local, host: endpoint.host, port: endpoint.directTlsPort, ALPNProtocols: ['xmpp-client'] }),
    );
  }
  return new Promise((resolve, reject) => {
    const plain = connectTcp({ ...local, host: endpoint.host, port: endpoint.starttlsPort });
    const deadline = setTimeout(() => plain.destroy(new Error('no STARTTLS within 60 s')), STEP_TIMEOUT_MS);
    let text = '';
    let asked = false;
    const onEnd = () => reject(new Error(`the connection closed before TLS; the server said ${text}`));
    const onError = (error: Error) => reject(error);
    const onData = (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (REFUSAL.test(text)) {
        plain.destroy(new Error(`STARTTLS refused: ${text}`));
      } else if (!asked && text.includes('</stream:features>')) {
        asked = true;
        plain.write(`<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>`);
      } else if (asked && /<proceed\b[^>]*>/.test(text)) {
        detach();
        resolve(secured(connectTls({ ...secure, socket: plain })));
      }
    };
    const detach = () => {
      clearTimeout(deadline);
      plain.off('data', onData).off('close', onEnd).off('error', onError);
    };
    plain.setNoDelay(true);
    plain.on('data', onData).on('close', onEnd).on('error', onError);
    plain.write(streamHeader(endpoint.domain));
  });
}

function secured(socket: TLSSocket): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}
