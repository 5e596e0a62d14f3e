import type { Expectations, Scenario } from '../scenario.ts';
import { INSTANCE_FAULTS } from './instances.ts';
import { REDIS_FAULTS } from './redis.ts';

/** Two faults, one after the other, of which the second meets what the first left behind. */

const byId = new Map([...INSTANCE_FAULTS, ...REDIS_FAULTS].map((scenario) => [scenario.id, scenario]));

function pair(firstId: string, secondId: string): Scenario {
  const first = byId.get(firstId);
  const second = byId.get(secondId);
  if (first === undefined || second === undefined) throw new Error(`no such scenarios: ${firstId}, ${secondId}`);
  return {
    id: `${firstId}+${secondId}`,
    title: `${first.title}, then ${second.title}`,
    cluster: { ...second.cluster, ...first.cluster },
    load: { ...second.load, ...first.load },
    expects: both(first.expects, second.expects),
    async inject(run) {
      await first.inject(run);
      await second.inject(run);
    },
  };
}

/** What is promised where either may have happened. */
function both(a: Expectations, b: Expectations): Expectations {
  const repeats = [a, b].flatMap(({ repeatsWithinMs }) => (repeatsWithinMs === undefined ? [] : [repeatsWithinMs]));
  return {
    ...(repeats.length === 0 ? {} : { repeatsWithinMs: Math.max(...repeats) }),
    mayTakeBack: a.mayTakeBack === true || b.mayTakeBack === true,
    resumes: a.resumes === true && b.resumes === true,
    recoversWithinMs: Math.max(a.recoversWithinMs, b.recoversWithinMs),
  };
}

export const PAIRS: readonly Scenario[] = [pair('F3', 'F4'), pair('F6', 'F1'), pair('F8', 'F2'), pair('F11', 'F3')];
