import type { Scenario } from '../scenario.ts';
import { CLUSTER, RECOVERS_MS } from './instances.ts';

/** What happens to platforms and on the way to them (F12, F13, F19). */

const slow: Scenario = {
  id: 'F12',
  title: 'consumers stop reading',
  cluster: CLUSTER,
  load: { stubborn: 20 },
  expects: { resumes: true, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    const slowOnes = run.load.consumers.filter(() => run.random() < 0.25);
    if (slowOnes.length === 0) slowOnes.push(run.pick(run.load.consumers));
    run.breaks(`${slowOnes.length} consumers stop reading`);
    for (const { platform } of slowOnes) platform.stopReading();
    // The others go on: everything published meanwhile is acknowledged and reaches them.
    const others = run.load.consumers.length - slowOnes.length;
    await run.load.flow(300, 250 * others);
    for (const { platform } of slowOnes) platform.readAgain();
    run.repaired('they read again');
  },
};

const halfOpen: Scenario = {
  id: 'F13',
  title: 'half-open connections',
  cluster: CLUSTER,
  load: { silenceMs: 1_500 },
  expects: { resumes: true, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    const victim = run.pick(run.cluster.instances);
    await run.load.flow(50);
    run.breaks(`nothing passes between ${victim.name} and its clients, nobody is told`);
    victim.door.partition('to-server', 'to-client');
    // They find out, and resume elsewhere while their old instance still believes in them.
    await run.pause(run.between(4_000, 6_000));
    victim.door.heal();
    run.repaired('healed');
  },
};

const lostAnswers: Scenario = {
  id: 'F19',
  title: 'answers lost, publishes asked again',
  cluster: CLUSTER,
  load: { providerManagement: 'none' },
  expects: { resumes: true, recoversWithinMs: RECOVERS_MS },
  async inject(run) {
    for (let i = 0; i < 5; i++) {
      await run.load.flow(30);
      run.breaks('requests pass, answers do not, then everybody is cut');
      for (const { door } of run.cluster.instances) door.partition('to-client');
      await run.pause(run.between(50, 400));
      for (const { door } of run.cluster.instances) {
        door.cut();
        door.heal();
      }
    }
    run.repaired('answers pass');
    const { providers } = run.load;
    if (providers.every(({ askedAgain }) => askedAgain === 0)) run.wrong.push('no answer was lost: the fault did nothing');
  },
};

export const CLIENT_FAULTS: readonly Scenario[] = [slow, halfOpen, lostAnswers];
