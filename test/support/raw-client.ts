import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { connect as connectTcp, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { Element, XmlTokenizer } from '@xmpp-grid/stream';

/**
 * A client that sends raw XML and hands out what comes back as elements: nothing in it helps the server.
 * Every wait has a deadline and says what it waited for and what came instead.
 */

const HEADER_NS = "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'";
const DEADLINE_MS = 8_000;

export interface RawClientOptions {
  readonly port: number;
  readonly domain: string;
  readonly host?: string;
  readonly ca?: string | Buffer;
  /** Client certificate for EXTERNAL, PEM. */
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  readonly directTls?: boolean;
  readonly tls?: ConnectionOptions;
}

type Waiter = { readonly wants: (element: Element) => boolean; readonly resolve: (element: Element) => void };

export class RawClient {
  readonly domain: string;
  jid = '';
  /** Everything received and not yet taken, oldest first. */
  readonly inbox: Element[] = [];
  /** Every byte received since the connection opened. */
  received = '';
  header: Element | undefined;
  isClosed = false;
  sawStreamClose = false;
  /** Sees every element first; true takes it away from the inbox. */
  tap: ((element: Element) => boolean) | undefined;
  /** Off saves memory where a test receives hundreds of megabytes. */
  keepsBytes = true;
  #socket!: Socket;
  readonly #options: RawClientOptions;
  #tokenizer = newTokenizer();
  #waiters: Waiter[] = [];
  #closeWaiters: (() => void)[] = [];
  #ids = 0;

  private constructor(options: RawClientOptions) {
    this.#options = options;
    this.domain = options.domain;
  }

  /** Opens TCP, or TLS for a direct port; sends nothing. */
  static async connect(options: RawClientOptions): Promise<RawClient> {
    const client = new RawClient(options);
    const host = options.host ?? '127.0.0.1';
    const socket = options.directTls
      ? connectTls({ host, port: options.port, ...client.#tlsOptions() })
      : connectTcp({ host, port: options.port, noDelay: true });
    await new Promise<void>((resolve, reject) => {
      socket.once(options.directTls ? 'secureConnect' : 'connect', () => resolve());
      socket.once('error', reject);
    });
    client.#attach(socket);
    return client;
  }

  /** Logs in by SCRAM over STARTTLS (or direct TLS) and binds. */
  static async login(
    options: RawClientOptions & {
      readonly user: string;
      readonly password: string;
      readonly resource?: string;
      readonly mechanism?: string;
    },
  ): Promise<RawClient> {
    const client = await RawClient.connect(options);
    await client.openStream();
    if (!options.directTls) await client.startTls();
    await client.scram(options.user, options.password, options.mechanism);
    await client.bind(options.resource);
    return client;
  }

  #tlsOptions(): ConnectionOptions {
    const { ca, cert, key, domain, tls } = this.#options;
    return {
      servername: domain,
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      ALPNProtocols: ['xmpp-client'],
      ...tls,
    };
  }

  #attach(socket: Socket): void {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('close', () => this.#onClose());
    socket.on('error', () => this.#onClose());
  }

  get socket(): Socket {
    return this.#socket;
  }

  get tlsSocket(): TLSSocket {
    return this.#socket as TLSSocket;
  }

  #onClose(): void {
    this.isClosed = true;
    for (const resolve of this.#closeWaiters.splice(0)) resolve();
  }

  #onData(chunk: Buffer): void {
    if (this.keepsBytes) this.received += chunk.toString('utf8');
    this.#tokenizer.feed(chunk);
    for (;;) {
      const event = this.#tokenizer.next();
      if (event === undefined) return;
      if (event.kind === 'open') this.header = event.header;
      else if (event.kind === 'close') this.sawStreamClose = true;
      else if (event.kind === 'stanza') this.#deliver(event.element);
    }
  }

  #deliver(element: Element): void {
    if (this.tap?.(element) === true) return;
    const index = this.#waiters.findIndex((waiter) => waiter.wants(element));
    if (index < 0) this.inbox.push(element);
    else this.#waiters.splice(index, 1)[0]?.resolve(element);
  }

  send(xml: string | Buffer): void {
    this.#socket.write(xml);
  }

  /** The next element that `wants` accepts, from what came already or what comes. Others stay in the inbox. */
  async next(wants: (element: Element) => boolean = () => true, what = 'an element', deadlineMs = DEADLINE_MS): Promise<Element> {
    const index = this.inbox.findIndex(wants);
    if (index >= 0) return this.inbox.splice(index, 1)[0] as Element;
    return await new Promise<Element>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters = this.#waiters.filter((each) => each !== waiter);
        reject(
          new Error(
            `waited for ${what}; closed: ${this.isClosed}; inbox: ${this.inbox.map(String).join('\n')}; last bytes: ${this.received.slice(-600)}`,
          ),
        );
      }, deadlineMs);
      const waiter: Waiter = {
        wants,
        resolve: (element) => {
          clearTimeout(timer);
          resolve(element);
        },
      };
      this.#waiters.push(waiter);
    });
  }

  nextMessage(what = 'a message', deadlineMs = DEADLINE_MS): Promise<Element> {
    return this.next((element) => element.name === 'message', what, deadlineMs);
  }

  /** Answers nothing; waits until the server ends the connection. */
  async closed(deadlineMs = DEADLINE_MS): Promise<void> {
    if (this.isClosed) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`the connection stayed open; last bytes: ${this.received.slice(-600)}`)),
        deadlineMs,
      );
      this.#closeWaiters.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** The condition of the stream error with which the server ends this stream; waits for the end. */
  async streamError(): Promise<string> {
    const error = await this.next((element) => element.name === 'stream:error', 'a stream error');
    await this.closed();
    return (error.children.find((child) => typeof child === 'object' && child.name !== 'text') as Element).name;
  }

  /** Sends a header and waits for the features. */
  async openStream(attributes = `to='${this.domain}' version='1.0'`): Promise<Element> {
    this.#tokenizer = newTokenizer();
    this.send(`<?xml version='1.0'?><stream:stream ${attributes} ${HEADER_NS}>`);
    return await this.next((element) => element.name === 'stream:features', 'features');
  }

  async startTls(): Promise<Element> {
    this.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    await this.next((element) => element.name === 'proceed', '<proceed/>');
    const plain = this.#socket;
    plain.removeAllListeners('data');
    plain.removeAllListeners('close');
    const secure = connectTls({ socket: plain, ...this.#tlsOptions() });
    await new Promise<void>((resolve, reject) => {
      secure.once('secureConnect', () => resolve());
      secure.once('error', reject);
      secure.once('close', () => reject(new Error('closed during the handshake')));
    });
    this.#attach(secure);
    return await this.openStream();
  }

  auth(mechanism: string, initial: string | undefined): void {
    this.send(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='${mechanism}'>${initial ?? ''}</auth>`);
  }

  /** Runs SCRAM; resolves with the features of the new stream, rejects with the failure's condition. */
  async scram(user: string, password: string, mechanism = 'SCRAM-SHA-256', authzid = ''): Promise<Element> {
    const isPlus = mechanism.endsWith('-PLUS');
    const hash = mechanism.includes('SHA-256') ? 'sha256' : 'sha1';
    const binding = isPlus
      ? this.tlsSocket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0))
      : Buffer.alloc(0);
    const gs2 = `${isPlus ? 'p=tls-exporter' : 'n'},${authzid === '' ? '' : `a=${authzid}`},`;
    const nonce = randomBytes(18).toString('base64');
    const first = `n=${user.replace(/=/g, '=3D').replace(/,/g, '=2C')},r=${nonce}`;
    this.auth(mechanism, Buffer.from(gs2 + first).toString('base64'));
    const challenge = Buffer.from((await this.#saslReply()).text(), 'base64').toString();
    const fields = new Map(challenge.split(',').map((field) => [field.slice(0, 1), field.slice(2)]));
    const final = `c=${Buffer.concat([Buffer.from(gs2), binding]).toString('base64')},r=${fields.get('r')}`;
    const salted = saltedPassword(password, fields.get('s') as string, Number(fields.get('i')), hash);
    const hmac = (key: Buffer, text: string) => createHmac(hash, key).update(text).digest();
    const clientKey = hmac(salted, 'Client Key');
    const stored = createHash(hash).update(clientKey).digest();
    const message = `${first},${challenge},${final}`;
    const signature = hmac(stored, message);
    const proof = Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] as number)));
    this.send(
      `<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>${Buffer.from(`${final},p=${proof.toString('base64')}`).toString('base64')}</response>`,
    );
    const success = Buffer.from((await this.#saslReply()).text(), 'base64').toString();
    const wanted = `v=${hmac(hmac(salted, 'Server Key'), message).toString('base64')}`;
    if (success !== wanted) throw new Error(`the server proved nothing: ${success}`);
    return await this.openStream();
  }

  async external(authzid?: string): Promise<Element> {
    this.auth('EXTERNAL', authzid === undefined ? '=' : Buffer.from(authzid).toString('base64'));
    await this.#saslReply();
    return await this.openStream();
  }

  async #saslReply(): Promise<Element> {
    const reply = await this.next((element) => ['challenge', 'success', 'failure'].includes(element.name), 'SASL');
    if (reply.name === 'failure') throw new Error((reply.children[0] as Element).name);
    return reply;
  }

  async bind(resource?: string): Promise<string> {
    const asked = resource === undefined ? '' : `<resource>${resource}</resource>`;
    const reply = await this.iq('set', `<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>${asked}</bind>`);
    if (reply.attrs.type !== 'result') throw new Error(`bind: ${reply}`);
    this.jid = reply.getChild('bind')?.getChildText('jid') as string;
    return this.jid;
  }

  newId(): string {
    return `c${++this.#ids}`;
  }

  /** Sends a request and waits for its answer, whatever its type. */
  async iq(type: 'get' | 'set', child: string, to?: string, id = this.newId()): Promise<Element> {
    this.send(`<iq type='${type}' id='${id}'${to === undefined ? '' : ` to='${to}'`}>${child}</iq>`);
    return await this.next(
      (element) => element.name === 'iq' && element.attrs.id === id && element.attrs.type !== 'get',
      `the answer to ${child}`,
    );
  }

  /** A round trip behind everything sent so far: what has not arrived by then will not. */
  async marker(): Promise<void> {
    await this.iq('get', "<ping xmlns='urn:xmpp:ping'/>", this.domain);
  }

  /** Closes the stream in order. */
  async close(): Promise<void> {
    if (!this.isClosed) this.send('</stream:stream>');
    await this.closed();
  }

  /** Cuts the connection without a word. */
  kill(): void {
    this.#socket.destroy();
  }
}

const newTokenizer = () =>
  new XmlTokenizer({
    maxStanzaBytes: 16_777_216,
    hardStanzaBytes: 16_777_216,
    maxDepth: 200,
    maxAttributes: 100,
    maxNameBytes: 1_024,
  });

const salted = new Map<string, Buffer>();
function saltedPassword(password: string, salt: string, iterations: number, hash: string): Buffer {
  const key = `${hash} ${iterations} ${salt} ${password}`;
  const known = salted.get(key);
  if (known !== undefined) return known;
  const made = pbkdf2Sync(password, Buffer.from(salt, 'base64'), iterations, hash === 'sha256' ? 32 : 20, hash);
  salted.set(key, made);
  return made;
}

export { Element };
