/**
 * Puts pages of the Prometheus text format together: each metric's HELP and TYPE once, then the samples of all pages. The pages'
 * samples must differ in a label.
 *
 * Why not sums (prom-client's AggregatorRegistry): a worker that dies takes its counts with it, and Prometheus would read the
 * smaller sum as a counter that began anew, so that the whole remaining sum appears as one burst. With a label for the worker, only
 * its own series begin anew. It also keeps what no sum can tell: which worker is busy, large or behind.
 */
export function mergeMetrics(pages: readonly string[]): string {
  const families = new Map<string, { readonly head: string[]; readonly samples: string[] }>();
  for (const page of pages) {
    let family = { head: [] as string[], samples: [] as string[] };
    let isFirst = true;
    for (const line of page.split('\n')) {
      if (line === '') continue;
      const [, word, name] = /^# (HELP|TYPE) (\S+)/.exec(line) ?? [];
      if (name === undefined) {
        family.samples.push(line);
        continue;
      }
      if (word === 'HELP') {
        const known = families.get(name);
        isFirst = known === undefined;
        family = known ?? { head: [], samples: [] };
        families.set(name, family);
      }
      if (isFirst) family.head.push(line);
    }
  }
  return [...families.values()].map(({ head, samples }) => `${[...head, ...samples].join('\n')}\n`).join('\n');
}
