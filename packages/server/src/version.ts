import { readFileSync } from 'node:fs';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };

/** Version of the program, from its package.json (one directory above both `src` and `dist`). */
export const VERSION = version;
