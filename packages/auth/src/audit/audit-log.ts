/**
 * The audit events of this package as types, and a file that keeps them so that a change is noticed: each line carries
 * the hash of the line before it.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

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
  | {
      readonly kind: 'topic-changed';
      readonly account: string;
      readonly action: string;
      readonly node: string;
      readonly detail?: string;
    }
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
/** How long events gather before they are written together; a crash loses no more than these. */
const GATHER_MS = 50;
/** Events that may wait for the disk; further ones are dropped and counted. */
const MAX_QUEUED = 10_000;
/** Longer than any line written here: JIDs have 3,071 bytes at most and reasons are sentences. */
const MAX_LINE_BYTES = 64 * 1024;
const NEWLINE = 0x0a;

function hashLine(line: string | Buffer): string {
  return createHash('sha256').update(line).digest('hex');
}

/**
 * An append-only file of JSON lines. Owner: the one instance that opened it. Lines are written in order, several at a
 * time; `flush` tells when those so far are on disk.
 *
 * After a write that failed nothing more is written: the lines behind the gap would not follow from those before it.
 * The trouble is reported once, all later events count as dropped, and the next start continues from the last whole line.
 */
export class AuditFile implements AuditSink {
  readonly #file: FileHandle;
  readonly #now: () => number;
  readonly #onTrouble: (error: Error) => void;
  #seq: number;
  #previous: string;
  #queue: string[] = [];
  #dropped = 0;
  #hasFailed = false;
  #writing: Promise<void> | undefined;

  private constructor(file: FileHandle, state: ChainState, now: () => number, onTrouble: (error: Error) => void) {
    this.#file = file;
    this.#seq = state.lines;
    this.#previous = state.head;
    this.#now = now;
    this.#onTrouble = onTrouble;
  }

  /**
   * Opens or creates the file and continues its chain. The rest of a line that a crash cut short is removed.
   *
   * @throws AuditChainError when the file's chain is broken: somebody must look before anything is added
   */
  static async open(
    path: string,
    options: { readonly now: () => number; readonly onTrouble: (error: Error) => void },
  ): Promise<AuditFile> {
    const file = await open(path, 'a', 0o600);
    try {
      const state = await verifyAuditFile(path);
      if (state.tornBytes > 0) await file.truncate(state.wholeBytes);
      return new AuditFile(file, state, options.now, options.onTrouble);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Events that were not written, since the file was opened: the queue was full, or a write had failed. */
  get dropped(): number {
    return this.#dropped;
  }

  record(event: AuditEvent): void {
    if (this.#hasFailed || this.#queue.length >= MAX_QUEUED) {
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

  /** Flushes and closes. To be called last. */
  async close(): Promise<void> {
    await this.flush();
    await this.#file.close();
  }

  async #drain(): Promise<void> {
    let batch: string[] = [];
    try {
      // Each write waits for the disk: a storm of logins shares it (bench/ scenario `login`).
      await new Promise<void>((resolve) => setTimeout(resolve, GATHER_MS));
      while (this.#queue.length > 0) {
        batch = this.#queue;
        this.#queue = [];
        await this.#file.appendFile(`${batch.join('\n')}\n`);
        await this.#file.datasync();
      }
    } catch (error) {
      this.#hasFailed = true;
      this.#dropped += batch.length + this.#queue.length;
      this.#queue = [];
      this.#onTrouble(new Error('the audit file cannot be written; no more events are kept', { cause: error }));
    } finally {
      this.#writing = undefined;
    }
  }
}

/** The chain of an audit file does not hold. `line` counts from 1. */
export class AuditChainError extends Error {
  override readonly name: string = 'AuditChainError';
  readonly line: number;

  constructor(line: number, what: string, cause?: unknown) {
    super(`audit file, line ${line}: ${what}`, cause === undefined ? undefined : { cause });
    this.line = line;
  }
}

export interface ChainState {
  /** Whole lines. */
  readonly lines: number;
  /** Hash of the last of them. Kept elsewhere, it also proves that no line was cut off the end. */
  readonly head: string;
  readonly wholeBytes: number;
  /** Bytes behind the last newline: what a crash left of a line. */
  readonly tornBytes: number;
}

/**
 * Walks a file's chain from its first line.
 *
 * @throws AuditChainError at the first line that is damaged, out of order or does not follow from the one before
 */
export async function verifyAuditFile(path: string): Promise<ChainState> {
  let lines = 0;
  let head = GENESIS;
  let wholeBytes = 0;
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    let bytes = Buffer.concat([rest, chunk]);
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE)) {
      const text = bytes.subarray(0, end);
      bytes = bytes.subarray(end + 1);
      lines++;
      checkLine(text, lines, head);
      head = hashLine(text);
      wholeBytes += end + 1;
    }
    if (bytes.length > MAX_LINE_BYTES) throw new AuditChainError(lines + 1, 'is too long to be an audit line');
    rest = bytes;
  }
  return { lines, head, wholeBytes, tornBytes: rest.length };
}

function checkLine(text: Buffer, number: number, head: string): void {
  let line: AuditLine;
  try {
    line = JSON.parse(text.toString('utf8')) as AuditLine;
  } catch (cause) {
    throw new AuditChainError(number, 'is not JSON', cause);
  }
  if (line?.seq !== number) throw new AuditChainError(number, 'is out of sequence');
  if (line.previous !== head) throw new AuditChainError(number, 'does not follow from the line before');
}
