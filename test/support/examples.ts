import { readFileSync } from 'node:fs';

interface Example {
  readonly example: number;
  readonly text: string;
}

const fixtures = new URL('../fixtures/', import.meta.url);
const { examples } = JSON.parse(readFileSync(new URL('xep/xep-0060.json', fixtures), 'utf8')) as { examples: readonly Example[] };

/** The text of an example of XEP-0060. */
export function xep0060(number: number): string {
  const found = examples.find(({ example }) => Number(example) === number);
  if (!found) throw new Error(`XEP-0060 has no example ${number}`);
  return found.text;
}

/** The text of an example of RFC 8600, by the number of its file. */
export function rfc8600(file: string): string {
  return readFileSync(new URL(`rfc8600/${file}.xml`, fixtures), 'utf8');
}
