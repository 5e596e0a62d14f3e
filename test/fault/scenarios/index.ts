import type { Scenario } from '../scenario.ts';
import { killEmbedded } from './embedded.ts';

/** Every scenario, in the order of operations.md §4. */
export const SCENARIOS: readonly Scenario[] = [killEmbedded];
