import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** A Lua script as it is sent, its includes in place. */
export interface Script {
  readonly name: string;
  readonly keys: number;
  readonly source: string;
  readonly sha: string;
}

/** The same path from `src` and from `dist`: the compiler copies no Lua. */
const FOLDER = new URL('../../../src/store/redis/scripts/', import.meta.url);

function load(name: string): Script {
  const source = readFileSync(new URL(`${name}.lua`, FOLDER), 'utf8').replace(/^-- @include (\w+)$/gm, (_, part: string) =>
    readFileSync(new URL(`includes/${part}.lua`, FOLDER), 'utf8'),
  );
  return {
    name,
    keys: Number(name.slice(name.lastIndexOf('-') + 1)),
    source,
    sha: createHash('sha1').update(source).digest('hex'),
  };
}

/** Each file's header is its contract. */
export const SCRIPTS = {
  createTopic: load('create-topic-4'),
  publish: load('publish-8'),
  retract: load('retract-5'),
  purge: load('purge-5'),
  configure: load('configure-5'),
  deleteTopic: load('delete-topic-8'),
  changeAccess: load('change-access-6'),
  setSubscription: load('set-subscription-6'),
  nameTopic: load('name-topic-2'),
  forgetTopic: load('forget-topic-1'),
  readLog: load('read-log-2'),
  pageItems: load('page-items-2'),
  updatePositions: load('update-positions-4'),
  readPosition: load('read-position-2'),
  eraseWithdrawn: load('erase-withdrawn-2'),
  sweepTopic: load('sweep-topic-3'),
} as const satisfies Record<string, Script>;
