/**
 * The audit events of this package as types, and a file that keeps them so that a change is noticed: each line carries
 * the hash of the line before it.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { createInterface } from 'node:readline';

/** What happened. No event carries a credential or a payload. */
export type AuditEvent =
  | {
      readonly kind: 'login';
      readonly account: string;
      readonly mechanism: string;
      readonly role: string;
      readonly remoteAddress: string;
      readonly certificateFingerprint?: string;
    }
  | {
      readonly kind: 'login-refused';
      /** As prepared; undefined when the client did not get so far as to name one. */
      readonly account: string | undefined;
      readonly mechanism: string;
      readonly condition: string;
      readonly why: string;
      readonly remoteAddress: string;
    }
  | { readonly kind: 'account-changed'; readonly account: string; readonly by: string; readonly change: string }
  | { readonly kind: 'topic-changed'; readonly account: string; readonly action: string; readonly node: string; readonly detail?: string }
  | { readonly kind: 'denied'; readonly account: string; readonly action: string; readonly node: string; readonly why: string };

/** Takes audit events. Synchronous and unable to fail: a sink that writes somewhere queues and reports its own trouble. */
export interface AuditSink {
  record(event: AuditEvent): void;
}

interface AuditLine {
  readonly seq: number;
  readonly at: string;
  readonly event: AuditEvent;
  /** SHA-256, hex, of the line before; 64 zeros on the first. */
  readonly previous: string;
}

const GENESIS = '0'.repeat(64);
/** Events that may wait for the disk before new ones are refused and counted. */
const MAX_QUEUED = 10_000;

function hashLine(line: string): string {
  return createHash('sha256').update(line).digest('hex');
}

/**
 * An append-only file of JSON lines. Owner: the one instance that opened it. Lines are written in order, several at a
 * time; `flush` tells when those so far are on disk.
 */
export class AuditFile implements AuditSink {
  readonly #file: FileHandle;
  readonly #now: () => number;
  readonly #onTrouble: (error: Error) => void;
  #seq: number;
  #previous: string;
  #queue: string[] = [];
  #dropped = 0;
  #writing: Promise<void> | undefined;

  private constructor(file: FileHandle, state: ChainState, now: () => number, onTrouble: (error: Error) => void) {
    this.#file = file;
    this.#seq = state.lines;
    this.#previous = state.head;
    this.#now = now;
    this.#onTrouble = onTrouble;
  }

  /**
   * Opens or creates the file and continues its chain.
   *
   * @throws AuditChainError when the file's chain is broken: somebody must look before anything is added
   */
  static async open(
    path: string,
    options: { readonly now: () => number; readonly onTrouble: (error: Error) => void },
  ): Promise<AuditFile> {
    const file = await open(path, 'a', 0o600);
    try {
      return new AuditFile(file, await verifyAuditFile(path), options.now, options.onTrouble);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Events that found the queue full, since the file was opened. */
  get dropped(): number {
    return this.#dropped;
  }

  record(event: AuditEvent): void {
    if (this.#queue.length >= MAX_QUEUED) {
      this.#dropped++;
      return;
    }
    const line: AuditLine = { seq: this.#seq + 1, at: new Date(this.#now()).toISOString(), event, previous: this.#previous };
    const text = JSON.stringify(line);
    this.#seq = line.seq;
    this.#previous = hashLine(text);
    this.#queue.push(text);
    this.#writing ??= this.#drain();
  }

  /** Resolves when every event recorded so far is on disk or has been reported as lost. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#writing;
  }

  /** Flushes and closes; events recorded afterwards are lost and reported. */
  async close(): Promise<void> {
    await this.flush();
    await this.#file.close();
  }

  async #drain(): Promise<void> {
    try {
      await Promise.resolve(); // lets the events of this tick gather
      while (this.#queue.length > 0) {
        const batch = this.#queue;
        this.#queue = [];
        await this.#file.appendFile(`${batch.join('\n')}\n`);
        await this.#file.datasync();
      }
    } catch (error) {
      this.#onTrouble(new Error('the audit file cannot be written; events are lost', { cause: error }));
    } finally {
      this.#writing = undefined;
    }
  }
}

/** The chain of an audit file does not hold. `line` counts from 1. */
export class AuditChainError extends Error {
  override readonly name: string = 'AuditChainError';
  readonly line: number;

  constructor(line: number, what: string) {
    super(`audit file, line ${line}: ${what}`);
    this.line = line;
  }
}

export interface ChainState {
  readonly lines: number;
  /** Hash of the last line. Kept elsewhere, it also proves that no line was cut off the end. */
  readonly head: string;
}

/**
 * Walks a file's chain from its first line.
 *
 * @throws AuditChainError at the first line that is damaged, out of order or does not follow from the one before
 */
export async function verifyAuditFile(path: string): Promise<ChainState> {
  let lines = 0;
  let head = GENESIS;
  const input = createReadStream(path, 'utf8');
  for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
    lines++;
    let line: AuditLine;
    try {
      line = JSON.parse(text) as AuditLine;
    } catch (cause) {
      throw Object.assign(new AuditChainError(lines, 'is not JSON'), { cause });
    }
    if (line.seq !== lines) throw new AuditChainError(lines, 'is out of sequence');
    if (line.previous !== head) throw new AuditChainError(lines, 'does not follow from the line before');
    head = hashLine(text);
  }
  return { lines, head };
}
