import type { Scenario } from '../scenario.ts';
import { CLIENT_FAULTS } from './clients.ts';
import { killEmbedded } from './embedded.ts';
import { INSTANCE_FAULTS } from './instances.ts';
import { PAIRS } from './pairs.ts';
import { REDIS_FAULTS } from './redis.ts';
import { RIGHTS_FAULTS } from './rights.ts';

const order = (id: string) => (id.includes('+') ? 2_000 : Number(/\d+/.exec(id)?.[0] ?? 1_000));

/** Every scenario, by number, then those with names, then pairs. */
export const SCENARIOS: readonly Scenario[] = [
  killEmbedded,
  ...INSTANCE_FAULTS,
  ...REDIS_FAULTS,
  ...CLIENT_FAULTS,
  ...RIGHTS_FAULTS,
  ...PAIRS,
].toSorted((a, b) => order(a.id) - order(b.id));
