import { isChannelMessage, RespStream } from './resp-stream.ts';
import type { TcpProxy } from './tcp-proxy.ts';

export type BellFault = 'none' | 'drop' | 'double' | 'reorder';

/** Stands between Redis and an instance, and treats messages of channels badly; every other reply passes as it came. */
export class BellTamper {
  fault: BellFault = 'none';
  /** Of the bells that could have been treated badly, how many were. */
  share = 0.5;
  random: () => number = Math.random;
  /** Bells that did not pass as they came. */
  tampered = 0;
  readonly #streams = new Map<number, { readonly replies: RespStream; held: Buffer | undefined }>();

  constructor(link: TcpProxy) {
    link.change = (chunk, direction, connection) => {
      if (direction === 'to-server') return chunk;
      let stream = this.#streams.get(connection);
      if (stream === undefined) {
        stream = { replies: new RespStream(), held: undefined };
        this.#streams.set(connection, stream);
      }
      const state = stream;
      return Buffer.concat(state.replies.push(chunk).flatMap((reply) => this.#pass(reply, state)));
    };
  }

  #pass(reply: Buffer, stream: { held: Buffer | undefined }): Buffer[] {
    if (!isChannelMessage(reply)) return [reply];
    const { held } = stream;
    stream.held = undefined;
    const behind = held === undefined ? [] : [held];
    if (this.fault === 'none' || this.random() >= this.share) return [reply, ...behind];
    this.tampered++;
    switch (this.fault) {
      case 'drop':
        return behind;
      case 'double':
        return [reply, reply, ...behind];
      case 'reorder':
        // It comes behind the next one.
        stream.held = reply;
        return behind;
    }
  }
}
