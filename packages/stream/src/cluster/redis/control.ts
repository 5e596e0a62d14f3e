import type { Logger } from '../../observe/log.ts';
import { CONTROL_MAX_ENTRIES, type ControlEvent, type ControlFollow, type ControlFollower, type ControlLog } from '../control.ts';
import { BlockingReader, compareIds, parseEntries, readBehind } from './blocking-reader.ts';
import type { RedisConnections } from './connections.ts';
import { streamKeys } from './keys.ts';
import { asAnswer, streamScript } from './scripts.ts';

const APPEND = streamScript('append-control-1');

const PAGE = 256;
/** The head is confirmed with each read: well within the second after which an instance that cannot do so stops. */
const BLOCK_MS = 200;

export class RedisControlLog implements ControlLog {
  readonly #redis: RedisConnections;
  readonly #key: string;
  readonly #log: Logger;
  readonly #maxEntries: number;

  /** @param maxEntries how many stay, at least 1 */
  constructor(redis: RedisConnections, log: Logger, maxEntries = CONTROL_MAX_ENTRIES) {
    this.#redis = redis;
    this.#key = streamKeys(redis.settings.keyPrefix).control;
    this.#log = log;
    this.#maxEntries = maxEntries;
  }

  async append({ kind, body }: ControlEvent): Promise<void> {
    asAnswer(APPEND, ['appended'], await this.#redis.runDurably(APPEND, [this.#key], [kind, body, String(this.#maxEntries)]));
  }

  async follow(follower: ControlFollower): Promise<ControlFollow> {
    let confirmedMs = performance.now();
    const head = await this.#redis.ask((client) => client.xrevrange(this.#key, '+', '-', 'COUNT', 1));
    // A resolved id: `$`, sent anew with each read, would skip what arrives between two reads (style: following a stream).
    let at = head[0]?.[0] ?? '0-0';
    let mustJudge = false;
    const reader = new BlockingReader({
      redis: this.#redis,
      blockMs: BLOCK_MS,
      log: this.#log,
      what: 'the control log',
      round: async (client, read) => {
        const sentMs = performance.now();
        const [newest] = parseEntries(await read(client.xrevrange(this.#key, '+', '-', 'COUNT', 1)));
        if (compareIds(newest?.id ?? '0-0', at) < 0) {
          // A failover dropped the tail of the log: what we knew last is no longer in it.
          at = newest?.id ?? '0-0';
          mustJudge = true;
        }
        if (mustJudge) {
          await follower.judgeAll();
          mustJudge = false;
        }
        if (at === (newest?.id ?? '0-0')) confirmedMs = sentMs;
        for (const { id, fields } of await read(readBehind(client, this.#key, at, PAGE, BLOCK_MS))) {
          if (reader.isClosed) return;
          const isNext = fields.get('p') === at;
          at = id;
          try {
            // An entry whose predecessor is not ours: those between were trimmed, or the log forked.
            if (isNext) await follower.event({ kind: fields.get('k') ?? '', body: fields.get('b') ?? '' });
            else mustJudge = true;
          } catch (error) {
            this.#log.error(
              { err: error, kind: fields.get('k') },
              'a change could not be applied; all sessions are judged again',
            );
            mustJudge = true;
          }
        }
      },
    });
    return {
      get headAgeMs() {
        return performance.now() - confirmedMs;
      },
      close: () => reader.close(),
    };
  }
}
