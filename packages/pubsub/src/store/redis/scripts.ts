import { loadScript } from '@xmpp-grid/stream';

/** The same path from `src` and from `dist`: the compiler copies no Lua. */
const FOLDER = new URL('../../../src/store/redis/scripts/', import.meta.url);

const load = (name: string) => loadScript(FOLDER, name);

/** Each file's header is its contract. */
export const SCRIPTS = {
  createTopic: load('create-topic-4'),
  publish: load('publish-8'),
  retract: load('retract-5'),
  purge: load('purge-5'),
  configure: load('configure-5'),
  deleteTopic: load('delete-topic-9'),
  changeAccess: load('change-access-6'),
  setSubscription: load('set-subscription-6'),
  nameTopic: load('name-topic-2'),
  forgetTopic: load('forget-topic-1'),
  readLog: load('read-log-2'),
  pageItems: load('page-items-2'),
  updatePositions: load('update-positions-5'),
  readPosition: load('read-position-3'),
  eraseWithdrawn: load('erase-withdrawn-2'),
  sweepTopic: load('sweep-topic-3'),
} as const;
