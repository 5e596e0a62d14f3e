/**
 * Loaded into an instance before the program (`node --import`), for faults that nobody can do to a process from outside: a
 * wall clock that jumps, an event loop that stands still. Told what to do over the IPC channel of the process.
 */

export type FaultHook =
  /** The wall clock of this process goes wrong by so much from now on, ms; the monotonic one stays right. */
  | { readonly kind: 'clock'; readonly offsetMs: number }
  /** The event loop does nothing else for so long, ms. */
  | { readonly kind: 'stall'; readonly ms: number };

const RealDate = Date;
let offsetMs = 0;

globalThis.Date = class extends RealDate {
  constructor(...args: unknown[]) {
    if (args.length === 0) super(RealDate.now() + offsetMs);
    else super(...(args as [number]));
  }
  static override now(): number {
    return RealDate.now() + offsetMs;
  }
} as DateConstructor;

process.on('message', (hook: FaultHook) => {
  if (hook.kind === 'clock') {
    offsetMs = hook.offsetMs;
    return;
  }
  const until = performance.now() + hook.ms;
  while (performance.now() < until);
});
process.channel?.unref(); // the program ends when it is done, not when its parent says so
