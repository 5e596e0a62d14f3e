import type { Logger } from '../../observe/log.ts';
import type { ControlEvent, ControlFollow, ControlFollower, ControlLog } from '../control.ts';

/** One process: an event goes straight to its followers, in order. Nothing can be missed. */
export class EmbeddedControlLog implements ControlLog {
  readonly #log: Logger;
  readonly #followers = new Map<ControlFollower, Promise<void>>();

  constructor(log: Logger) {
    this.#log = log;
  }

  async append(event: ControlEvent): Promise<void> {
    for (const [follower, before] of this.#followers) {
      const done = before.then(() => this.#tell(follower, event));
      this.#followers.set(follower, done);
    }
  }

  async follow(follower: ControlFollower): Promise<ControlFollow> {
    this.#followers.set(follower, Promise.resolve());
    return {
      headAgeMs: 0,
      close: async () => {
        const last = this.#followers.get(follower);
        this.#followers.delete(follower);
        await last;
      },
    };
  }

  async #tell(follower: ControlFollower, event: ControlEvent): Promise<void> {
    try {
      await follower.event(event);
      return;
    } catch (error) {
      this.#log.error({ err: error, kind: event.kind }, 'a change could not be applied; all sessions are judged again');
    }
    while (this.#followers.has(follower)) {
      try {
        await follower.judgeAll();
        return;
      } catch (error) {
        this.#log.error({ err: error }, 'the sessions could not be judged again; trying once more');
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }
}
