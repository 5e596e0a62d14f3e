import { type AccountRoles, type AccountStore, type Standing, standingOf } from '@xmpp-grid/auth';
import type { Delivery } from '@xmpp-grid/pubsub';
import {
  type AccessEnd,
  type ControlFollow,
  type ControlLog,
  JID,
  type Logger,
  type ResumeStates,
  type Sessions,
} from '@xmpp-grid/stream';

/** Kind of the control log's event whose body is a bare JID: that account was added, changed, disabled or removed. */
export const ACCOUNT_CHANGED = 'account';

/** How often each live account is read again, whatever the control log says (delivery.md §8.2). */
const REREAD_MS = 60_000;
const SLICE_MS = 1_000;

/** What the standing of a login means for its session. */
const ENDS: Readonly<Record<Standing, AccessEnd | undefined>> = {
  stands: undefined,
  missing: 'account-removed',
  disabled: 'account-disabled',
  'role-changed': 'role-changed',
  'credential-cut': 'credential-cut',
};

export interface RightsOptions {
  readonly control: ControlLog;
  readonly accounts: AccountStore;
  readonly roles: AccountRoles;
  readonly resumeStates: ResumeStates;
  readonly sessions: Sessions;
  readonly delivery: Delivery;
  readonly log: Logger;
}

/**
 * Keeps the sessions of this instance to the rights that their accounts have now: follows the control log, and reads every
 * live account again once a minute.
 *
 * @throws StoreUnavailable when the log's head cannot be read
 */
export async function followRights(options: RightsOptions): Promise<ControlFollow> {
  const { control, accounts, roles, resumeStates, sessions, delivery, log } = options;

  const judge = async (account: JID): Promise<void> => {
    roles.invalidate(account.bareString);
    const now = (await accounts.get(account))?.account;
    await sessions.rejudge(account, (who) => ENDS[standingOf(now, who)]);
    if (now?.state !== 'enabled') await resumeStates.dropAll(account);
    await delivery.rejudgeAccount(account.bareString);
  };
  const liveAccounts = (): Map<string, JID> => {
    const live = new Map<string, JID>();
    for (const { jid } of sessions.all()) live.set(jid.bareString, jid.bare);
    return live;
  };

  const follow = await control.follow({
    event: async ({ kind, body }) => {
      if (kind === ACCOUNT_CHANGED) await judge(JID.parse(body));
      else log.warn({ kind }, 'the control log names a change that this version does not know');
    },
    judgeAll: async () => {
      roles.invalidateAll();
      for (const account of liveAccounts().values()) await judge(account);
    },
  });

  /** Accounts of the round that are still to be read; a round begins a minute after the last one did. */
  let rest: JID[] = [];
  let perSlice = 1;
  let sinceMs = Number.NEGATIVE_INFINITY;
  let isReading = false;
  const readSlice = async (): Promise<void> => {
    if (rest.length === 0 && performance.now() - sinceMs >= REREAD_MS) {
      sinceMs = performance.now();
      rest = [...liveAccounts().values()];
      perSlice = Math.max(1, Math.ceil((rest.length * SLICE_MS) / REREAD_MS));
    }
    for (let i = 0; i < perSlice && rest.length > 0; i++) {
      await judge(rest.at(-1) as JID);
      rest.pop(); // judged: after a failure it is still there
    }
  };
  const timer = setInterval(() => {
    if (isReading) return;
    isReading = true;
    readSlice()
      .catch((error: unknown) => log.warn({ err: error }, 'live accounts cannot be read again; trying once more'))
      .finally(() => {
        isReading = false;
      });
  }, SLICE_MS);
  timer.unref();

  return {
    get headAgeMs() {
      return follow.headAgeMs;
    },
    async close() {
      clearInterval(timer);
      await follow.close();
    },
  };
}
