/**
 * Latencies of many processes in one distribution.
 *
 * Why not `createHistogram` of node:perf_hooks: it can be handed to a worker thread but not to another process,
 * and its iterator gives percentiles, not counts, so two of them cannot be merged exactly. Here counts travel as
 * numbers and merging is adding.
 */

/** Values below this are exact to the microsecond; above, buckets of 1/128 of their power of two (error < 0.8 %). */
const LINEAR = 256;
const SUB_BUCKETS = 128;
/** 2^36 µs = 19 hours; anything longer counts as that. */
const OCTAVES = 28;
const BUCKETS = LINEAR + OCTAVES * SUB_BUCKETS;

/** What the report prints. Microseconds; all 0 when nothing was recorded. */
export interface LatencySummary {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** A latency distribution as it travels between processes: [bucket, count] pairs in one row, and the exact extremes. */
export interface LatencyCounts {
  readonly pairs: readonly number[];
  readonly sum: number;
  readonly max: number;
}

export class Latencies {
  readonly #buckets = new Float64Array(BUCKETS);
  #count = 0;
  #sum = 0;
  #max = 0;

  get count(): number {
    return this.#count;
  }

  /** @param micros a duration; less than 0 counts as 0. */
  record(micros: number): void {
    const value = micros > 0 ? Math.round(micros) : 0;
    this.#buckets[bucketOf(value)]! += 1;
    this.#count += 1;
    this.#sum += value;
    if (value > this.#max) this.#max = value;
  }

  /** Adds another process's counts. @throws RangeError for a bucket that no recorder made. */
  add(counts: LatencyCounts): void {
    for (let i = 0; i < counts.pairs.length; i += 2) {
      const bucket = counts.pairs[i]!;
      const count = counts.pairs[i + 1]!;
      if (!(bucket >= 0 && bucket < BUCKETS)) throw new RangeError(`no latency bucket ${bucket}`);
      this.#buckets[bucket]! += count;
      this.#count += count;
    }
    this.#sum += counts.sum;
    this.#max = Math.max(this.#max, counts.max);
  }

  counts(): LatencyCounts {
    const pairs: number[] = [];
    for (const [bucket, count] of this.#buckets.entries()) if (count > 0) pairs.push(bucket, count);
    return { pairs, sum: this.#sum, max: this.#max };
  }

  /**
   * The smallest recorded value (to the bucket's upper edge) that at least `percent` of the values do not exceed.
   *
   * @param percent above 0, up to 100
   */
  percentile(percent: number): number {
    if (this.#count === 0) return 0;
    const rank = Math.max(1, Math.ceil((percent / 100) * this.#count - 1e-9));
    let seen = 0;
    for (const [bucket, count] of this.#buckets.entries()) {
      seen += count;
      if (seen >= rank) return Math.min(upperEdge(bucket), this.#max);
    }
    return this.#max;
  }

  summary(): LatencySummary {
    return {
      count: this.#count,
      mean: this.#count === 0 ? 0 : this.#sum / this.#count,
      p50: this.percentile(50),
      p90: this.percentile(90),
      p99: this.percentile(99),
      p999: this.percentile(99.9),
      max: this.#max,
    };
  }

  /** Counts between powers of two from the shortest to the longest, for a drawing: lower edge (µs, inclusive), count. */
  octaves(): { readonly fromMicros: number; readonly count: number }[] {
    const rows = new Map<number, number>();
    for (const [bucket, count] of this.#buckets.entries()) {
      if (count === 0) continue;
      const from = 2 ** Math.floor(Math.log2(Math.max(1, upperEdge(bucket))));
      rows.set(from, (rows.get(from) ?? 0) + count);
    }
    const edges = [...rows.keys()];
    const filled: { fromMicros: number; count: number }[] = [];
    if (edges.length === 0) return filled;
    for (let from = edges[0]!; from <= edges.at(-1)!; from *= 2) filled.push({ fromMicros: from, count: rows.get(from) ?? 0 });
    return filled;
  }
}

function bucketOf(value: number): number {
  if (value < LINEAR) return value;
  const octave = Math.floor(Math.log2(value)); // 8 or more
  const within = Math.floor(value / 2 ** (octave - 7)) - SUB_BUCKETS;
  return Math.min(BUCKETS - 1, LINEAR + (octave - 8) * SUB_BUCKETS + within);
}

/** The largest whole value that falls into a bucket. */
function upperEdge(bucket: number): number {
  if (bucket < LINEAR) return bucket;
  const octave = Math.floor((bucket - LINEAR) / SUB_BUCKETS) + 8;
  const within = (bucket - LINEAR) % SUB_BUCKETS;
  return (SUB_BUCKETS + within + 1) * 2 ** (octave - 7) - 1;
}
