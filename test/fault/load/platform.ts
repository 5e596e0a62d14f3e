import { type Element, RawClient } from '../../support/raw-client.ts';
import type { Timeline } from '../timeline.ts';

/**
 * A platform that wants to be connected, whatever happens: it logs in, comes back when it is cut off, resumes its stream
 * where it can (XEP-0198 §5), else binds anew, and finds out by itself when the other side is silent.
 */

export interface PlatformOptions {
  readonly user: string;
  readonly resource: string;
  readonly domain: string;
  readonly ca: string;
  /** Direct TLS ports to choose from, asked at each attempt. */
  readonly ports: () => readonly number[];
  /** Client certificate, PEM: logs in by EXTERNAL instead of SCRAM with the user's name as password. */
  readonly certificate?: { readonly cert: string; readonly key: string };
  /** `resume`: stream management with resumption; `none`: without stream management. */
  readonly management: 'resume' | 'none';
  /** Silence after which it asks whether the other side is there, ms; it gives up after twice that. */
  readonly silenceMs?: number;
  /** Time for the connection and the login, each, ms. */
  readonly connectMs?: number;
  readonly random: () => number;
  readonly timeline: Timeline;
}

export interface PlatformEvents {
  /** A new session; `incarnation` counts them from 1. */
  bound?(incarnation: number): void | Promise<void>;
  /** The session went on over a new connection. */
  resumed?(): void;
  /** The connection is gone; the session may be resumed. */
  lost?(): void;
  message?(message: Element): void;
}

/** The request may have been handled or not: its session ended before the answer came. */
export class AnswerLost extends Error {
  override readonly name = 'AnswerLost';
}

interface Waiting {
  readonly resolve: (answer: Element) => void;
  readonly reject: (error: Error) => void;
}

const CONNECT_MS = 8_000;
const MAX_PAUSE_MS = 1_000;
const SM = 'urn:xmpp:sm:3';

export class Platform {
  readonly options: PlatformOptions;
  events: PlatformEvents = {};
  incarnation = 0;
  resumptions = 0;
  isUp = false;
  #client: RawClient | undefined;
  #wantsUp = false;
  #loop: Promise<void> | undefined;
  readonly #waiting = new Map<string, Waiting>();
  readonly #whenUp: (() => void)[] = [];
  #ids = 0;
  /** XEP-0198: the session to resume, what we handled, what the server did not acknowledge of ours. */
  #previd: string | undefined;
  #handled = 0;
  #isCounting = false;
  #unacknowledged: string[] = [];
  #acknowledged = 0;
  #lastBytesMs = 0;
  #askedMs: number | undefined;

  constructor(options: PlatformOptions) {
    this.options = options;
  }

  get jid(): string {
    return `${this.options.user}@${this.options.domain}`;
  }

  /** Connects and stays connected until `stop`; resolves when it is up for the first time. */
  async start(): Promise<void> {
    if (this.#wantsUp) throw new Error('started twice');
    this.#wantsUp = true;
    this.#loop = this.#stayConnected();
    await this.up();
  }

  /** Resolves while there is a session over a connection. */
  up(): Promise<void> {
    if (this.isUp) return Promise.resolve();
    return new Promise((resolve) => this.#whenUp.push(resolve));
  }

  /** Ends the session in order, and does not come back. */
  async stop(): Promise<void> {
    this.#wantsUp = false;
    const client = this.#client;
    if (client !== undefined && !client.isClosed) {
      // XEP-0198 §4: what was handled is said before the stream is closed, or it comes again at the next login.
      if (this.#isCounting) client.send(`<a xmlns='${SM}' h='${this.#handled}'/>`);
      client.send('</stream:stream>');
      await client.closed(3_000).catch(() => client.kill());
    }
    this.#forgetSession();
    await this.#loop;
  }

  /** As `stop`, without a word: the process died. */
  async die(): Promise<void> {
    this.#wantsUp = false;
    this.#client?.kill();
    this.#forgetSession();
    await this.#loop;
  }

  /** Breaks the connection; it comes back by itself. */
  cut(): void {
    this.#client?.kill();
  }

  /** Reads nothing more, as a consumer that hangs; the silence of the other side is its own then. */
  stopReading(): void {
    this.#client?.socket.pause();
  }

  readAgain(): void {
    this.#client?.socket.resume();
  }

  /** Waits for the answer, which may come on a later connection of the same session. @throws AnswerLost */
  request(type: 'get' | 'set', child: string, to: string, id = `q${++this.#ids}-${this.incarnation}`): Promise<Element> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.send(`<iq type='${type}' id='${id}' to='${to}'>${child}</iq>`);
    });
  }

  /** Sends a stanza; while the connection is gone it waits for the resumption. */
  send(stanza: string): void {
    if (this.#isCounting) this.#unacknowledged.push(stanza);
    if (this.isUp) this.#client?.send(stanza);
    else if (!this.#isCounting) this.#failWaiting();
  }

  async #stayConnected(): Promise<void> {
    for (let failures = 0; this.#wantsUp; ) {
      try {
        const client = await this.#connect();
        failures = 0;
        if (!this.#wantsUp) client.kill();
        await this.#watch(client);
        this.isUp = false;
        this.events.lost?.();
        if (!this.#canResume()) this.#forgetSession();
      } catch (error) {
        this.#client?.kill();
        this.isUp = false;
        if (failures === 3) this.options.timeline.tally(`cannot connect: ${(error as Error).message.slice(0, 200)}`);
        failures++;
      }
      if (!this.#wantsUp) break;
      // With jitter, so that a thousand do not come back as one.
      const pause = Math.min(MAX_PAUSE_MS, 20 * 2 ** failures) * (0.5 + this.options.random());
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
    this.isUp = false;
  }

  #canResume(): boolean {
    return this.#previd !== undefined;
  }

  /** Nothing of the old session can be told any more. */
  #forgetSession(): void {
    this.#previd = undefined;
    this.#isCounting = false;
    this.#unacknowledged = [];
    this.#acknowledged = 0;
    this.#handled = 0;
    this.#failWaiting();
  }

  #failWaiting(): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(new AnswerLost('the session ended before the answer came'));
  }

  async #connect(): Promise<RawClient> {
    const { ports, domain, ca, user, certificate, random, connectMs = CONNECT_MS } = this.options;
    const all = ports();
    const port = all[Math.floor(random() * all.length)] as number;
    const opening = RawClient.connect({
      port,
      domain,
      ca,
      directTls: true,
      ...(certificate ?? {}),
    });
    const client = await withDeadline(
      opening,
      connectMs,
      'no connection',
      () =>
        void opening.then(
          (late) => late.kill(),
          () => undefined,
        ),
    );
    client.keepsBytes = false;
    this.#client = client;
    const gone = client.closed(2 * connectMs).then(() => {
      throw new Error(`the connection closed during the login: ${client.inbox.map(String).join('')}`);
    });
    gone.catch(() => undefined);
    const login = async () => {
      await client.openStream();
      if (certificate === undefined) await client.scram(user, user);
      else await client.external();
      if (this.#canResume()) {
        client.send(`<resume xmlns='${SM}' previd='${this.#previd}' h='${this.#handled}'/>`);
        const isResumed = await new Promise<boolean>((resolve) => {
          // Nothing may come between <resumed/> and the counting of what follows it in the same chunk.
          client.tap = (element) => {
            if (element.name === 'resumed') {
              this.#attach(client);
              this.#takeAcknowledgement(Number(element.attrs.h));
              resolve(true);
              return true;
            }
            if (element.name === 'failed') {
              this.options.timeline.tally(`was answered ${element}`);
              client.tap = undefined;
              resolve(false);
              return true;
            }
            return false;
          };
        });
        if (isResumed) {
          this.resumptions++;
          for (const stanza of this.#unacknowledged) client.send(stanza);
          this.#nowUp();
          this.options.timeline.tally('resumed');
          this.events.resumed?.();
          return;
        }
        this.options.timeline.tally('could not resume, bound anew');
        this.#forgetSession();
      }
      await client.bind(this.options.resource);
      this.incarnation++;
      this.#attach(client);
      if (this.options.management === 'resume') {
        await new Promise<void>((resolve) => {
          this.#onEnabled = resolve;
          client.send(`<enable xmlns='${SM}' resume='true'/>`);
        });
      }
      this.#nowUp();
      // Not awaited: it may send requests, and the connection may break under them.
      void this.events.bound?.(this.incarnation);
    };
    await withDeadline(Promise.race([login(), gone]), connectMs, 'no login', () => client.kill());
    return client;
  }

  #onEnabled: (() => void) | undefined;

  #nowUp(): void {
    this.isUp = true;
    this.#lastBytesMs = performance.now();
    this.#askedMs = undefined;
    for (const resolve of this.#whenUp.splice(0)) resolve();
  }

  #attach(client: RawClient): void {
    client.tap = (element) => this.#take(element, client);
    for (const element of client.inbox.splice(0)) this.#take(element, client);
  }

  #take(element: Element, client: RawClient): boolean {
    if (client !== this.#client) return true; // what an abandoned connection still had
    this.#lastBytesMs = performance.now();
    this.#askedMs = undefined;
    switch (element.name) {
      case 'enabled':
        this.#previd = element.attrs.id as string;
        this.#handled = 0;
        this.#acknowledged = 0;
        this.#unacknowledged = [];
        this.#isCounting = true;
        this.#onEnabled?.();
        return true;
      case 'r':
        client.send(`<a xmlns='${SM}' h='${this.#handled}'/>`);
        return true;
      case 'a':
        this.#takeAcknowledgement(Number(element.attrs.h));
        return true;
      case 'iq':
        this.#count();
        this.#takeIq(element, client);
        return true;
      case 'message':
        this.#count();
        this.events.message?.(element);
        return true;
      case 'presence':
        this.#count();
        return true;
      case 'stream:error':
        this.options.timeline.tally(
          `was told ${element.children.map((child) => (typeof child === 'object' ? child.name : '')).join(' ')}`,
        );
        return true;
      default:
        return true;
    }
  }

  #count(): void {
    if (this.#isCounting) this.#handled++;
  }

  #takeAcknowledgement(h: number): void {
    if (!(h >= this.#acknowledged && h <= this.#acknowledged + this.#unacknowledged.length)) {
      throw new Error(
        `${this.options.user}: the server acknowledges ${h}, sent were ${this.#acknowledged + this.#unacknowledged.length}`,
      );
    }
    this.#unacknowledged.splice(0, h - this.#acknowledged);
    this.#acknowledged = h;
  }

  #takeIq(iq: Element, client: RawClient): void {
    if (iq.attrs.type === 'get' || iq.attrs.type === 'set') {
      const to = iq.attrs.from === undefined ? '' : ` to='${iq.attrs.from}'`;
      const stanza = `<iq type='result' id='${iq.attrs.id}'${to}/>`;
      if (this.#isCounting) this.#unacknowledged.push(stanza);
      // Until the session is up again, all that waits is sent in order, this behind it.
      if (this.isUp || !this.#isCounting) client.send(stanza);
      return;
    }
    const id = iq.attrs.id as string;
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    waiting?.resolve(iq);
  }

  /** Until the connection is gone, or the other side says nothing though asked. */
  async #watch(client: RawClient): Promise<void> {
    const silenceMs = this.options.silenceMs ?? 3_000;
    const timer = setInterval(() => {
      if (!this.isUp || client.socket.isPaused()) return;
      const now = performance.now();
      if (this.#askedMs !== undefined && now - this.#askedMs > silenceMs) {
        this.options.timeline.tally('got no answer and gave the connection up');
        client.kill();
      } else if (this.#askedMs === undefined && now - this.#lastBytesMs > silenceMs) {
        this.#askedMs = now;
        if (this.#isCounting) client.send(`<r xmlns='${SM}'/>`);
        else
          client.send(`<iq type='get' id='alive-${++this.#ids}' to='${this.options.domain}'><ping xmlns='urn:xmpp:ping'/></iq>`);
      }
    }, silenceMs / 4);
    try {
      while (!client.isClosed) await client.closed(3_600_000).catch(() => undefined);
    } finally {
      clearInterval(timer);
    }
  }
}

async function withDeadline<T>(work: Promise<T>, deadlineMs: number, what: string, giveUp: () => void): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      giveUp();
      reject(new Error(`${what} within ${deadlineMs / 1_000} s`));
    }, deadlineMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
    work.catch(() => undefined); // it lost the race
  }
}
