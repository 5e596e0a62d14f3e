import { join } from 'node:path';
import { z } from 'zod';
import type { AdminOperations } from '../admin/operations.ts';

/**
 * The control socket: newline-delimited JSON between the command line and the running instance. One request
 * `{id, operation, argument}` is answered by one response `{id, result}` or `{id, error: {code, message}}`.
 */

/** 1 MiB: the largest listing that a client is expected to page through; requests are far smaller. */
export const MAX_MESSAGE_BYTES = 1024 ** 2;
/** Requests carry names and a password: 64 KiB is ample, and all that a connection can make the instance hold. */
export const MAX_REQUEST_BYTES = 64 * 1024;
export const MAX_CONNECTIONS = 16;
/** A connection that sends nothing is closed. */
export const IDLE_TIMEOUT_MS = 10_000;

export function controlSocketPath(dataDir: string): string {
  return join(dataDir, 'control.sock');
}

export type OperationName = keyof AdminOperations;

const text = z.string().min(1).max(3072);
const named = z.strictObject({ name: text });
const page = z.strictObject({ max: z.int().min(1).max(1000).optional(), after: text.optional() });
const nothing = z.strictObject({}).optional();

/** The argument that each operation takes; what is not here is refused. */
export const ARGUMENTS = {
  status: nothing,
  platformAdd: z.strictObject({
    name: text,
    role: text,
    password: z.string().min(1).max(1024).optional(),
    certificates: z
      .array(z.string().regex(/^[0-9a-f]{64}$/))
      .max(16)
      .optional(),
    replace: z.boolean().optional(),
  }),
  platformList: page,
  platformShow: named,
  platformDisable: named,
  platformEnable: named,
  platformRemove: named,
  topicList: page,
  topicShow: z.strictObject({ node: text }),
  sessionList: page,
} as const satisfies Record<OperationName, z.ZodType>;

export const requestSchema = z.strictObject({
  id: z.int().min(0),
  operation: z.enum(Object.keys(ARGUMENTS) as [OperationName, ...OperationName[]]),
  argument: z.unknown().optional(),
});

export const responseSchema = z.union([
  z.strictObject({ id: z.int(), result: z.unknown() }),
  z.strictObject({ id: z.int(), error: z.strictObject({ code: z.string(), message: z.string() }) }),
]);

export type ControlResponse = z.infer<typeof responseSchema>;

/** Splits a byte stream at newlines, holding at most `limit` bytes of an unfinished line. */
export class LineSplitter {
  readonly #limit: number;
  #held: Buffer[] = [];
  #heldBytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The lines that this chunk completes. @throws RangeError when a line is longer than the limit */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, start)) {
      this.#hold(chunk.subarray(start, end));
      lines.push(Buffer.concat(this.#held).toString('utf8'));
      this.#held = [];
      this.#heldBytes = 0;
      start = end + 1;
    }
    if (start < chunk.length) this.#hold(chunk.subarray(start));
    return lines;
  }

  #hold(part: Buffer): void {
    this.#heldBytes += part.length;
    if (this.#heldBytes > this.#limit) throw new RangeError(`a message may have ${this.#limit} bytes`);
    this.#held.push(part);
  }
}
