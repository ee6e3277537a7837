/** Caches of the ingestion between batches: ids and ends of series, and the number of log lines by job. */
import { perContext } from "../../ctx.ts";
import { type Lru, lruOf } from "../../lib/lru.ts";

/** The end of a series, cached so that a batch need not read it. `lastValue` is null when it was not finite. */
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

/** The caches of a server. Only its writer changes them. */
export const stateOf = perContext((): IngestState => ({ series: lruOf(20_000), logs: lruOf(2000) }));

const seriesKey = (jobId: string, key: string) => `${jobId}\n${key}`;

/** Changes inside a transaction: `commit` writes them to the caches; an aborted transaction discards them. */
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
