/**
 * Cuts a stream of Redis replies (RESP2, RESP3) into whole ones, without reading more into them than where they end; so a
 * test can drop, double or swap some of them.
 */
export class RespStream {
  #held: Buffer = Buffer.alloc(0);

  /** The whole replies that end with this chunk. */
  push(chunk: Buffer): Buffer[] {
    const data = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const replies: Buffer[] = [];
    let at = 0;
    for (;;) {
      const end = endOf(data, at);
      if (end === undefined) break;
      replies.push(data.subarray(at, end));
      at = end;
    }
    this.#held = Buffer.from(data.subarray(at));
    return replies;
  }
}

const CR = 0x0d;

/** Where the reply that begins at `at` ends (exclusive); undefined: it is not whole. */
function endOf(data: Buffer, at: number): number | undefined {
  const lineEnd = data.indexOf(CR, at);
  if (lineEnd === -1 || lineEnd + 2 > data.length) return undefined;
  const kind = String.fromCharCode(data[at] as number);
  const next = lineEnd + 2;
  const count = Number(data.toString('latin1', at + 1, lineEnd));
  switch (kind) {
    case '$':
    case '=':
    case '!': {
      if (count < 0) return next;
      const end = next + count + 2;
      return end <= data.length ? end : undefined;
    }
    case '*':
    case '~':
    case '>':
    case '%': {
      let end = next;
      for (let i = 0; i < count * (kind === '%' ? 2 : 1); i++) {
        const after = endOf(data, end);
        if (after === undefined) return undefined;
        end = after;
      }
      return end;
    }
    default:
      return next; // one line: + - : _ # , (
  }
}

/** Whether a reply is a message of a channel, sharded or not, pushed or in an array. */
export const isChannelMessage = (reply: Buffer): boolean =>
  /^[*>]3\r\n\$[78]\r\ns?message\r\n/.test(reply.toString('latin1', 0, 32));
