/** What commands print: results on stdout, everything else on stderr. */

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, undefined, 2));
}

/** Columns as wide as their widest cell; control characters are made visible, so that a name cannot steer the terminal. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [head, ...rows.map((row) => row.map(visible))];
  const widths = head.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  return cells
    .map((row) => row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('  '))
    .join('\n');
}

export function visible(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f]/g,
    (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** `2026-11-24 10:05` in UTC. */
export function spellTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')}Z`;
}

const usesColour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined;

export const bold = (text: string): string => (usesColour ? `\x1b[1m${text}\x1b[0m` : text);
export const dim = (text: string): string => (usesColour ? `\x1b[2m${text}\x1b[0m` : text);
export const green = (text: string): string => (usesColour ? `\x1b[32m${text}\x1b[0m` : text);
