/**
 * What ingestion remembers between batches: ids and ends of series, and how many log lines a job has. One per server,
 * since only its writer changes them.
 */
import { perContext } from "../../ctx.ts";
import { type Lru, lruOf } from "../../lib/lru.ts";

/** The end of a series, so that a batch need not read it. `value` is null when the last one was not finite. */
export interface SeriesEnd {
  id: number;
  lastStep: number | null;
  lastValue: number | null;
  points: number;
}

interface IngestState {
  /** By `seriesKey`. */
  series: Lru<SeriesEnd>;
  /** Log lines stored, by job. */
  logs: Lru<number>;
}

/** What ingestion of a server remembers. */
export const stateOf = perContext((): IngestState => ({ series: lruOf(20_000), logs: lruOf(2000) }));

const seriesKey = (jobId: string, key: string) => `${jobId}\n${key}`;

/**
 * Changes made inside a transaction: `commit` hands them to the memory, and an aborted transaction just forgets them.
 */
export interface Draft {
  series(jobId: string, key: string): SeriesEnd | undefined;
  setSeries(jobId: string, key: string, end: SeriesEnd): void;
  logs(jobId: string): number | undefined;
  setLogs(jobId: string, count: number): void;
  commit(): void;
}

export function draftOf(state: IngestState): Draft {
  const series = new Map<string, SeriesEnd>();
  const logs = new Map<string, number>();
  return {
    series: (jobId, key) => series.get(seriesKey(jobId, key)) ?? state.series.get(seriesKey(jobId, key)),
    setSeries: (jobId, key, end) => void series.set(seriesKey(jobId, key), end),
    logs: (jobId) => logs.get(jobId) ?? state.logs.get(jobId),
    setLogs: (jobId, count) => void logs.set(jobId, count),
    commit() {
      for (const [key, end] of series) state.series.set(key, end);
      for (const [jobId, count] of logs) state.logs.set(jobId, count);
    },
  };
}
