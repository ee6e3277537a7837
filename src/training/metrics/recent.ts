/** Keeps the last committed batches in memory for live streams; bounded, and empty while no stream is open. */
import { perContext } from "../../ctx.ts";
import { type BatchPayload, batchText } from "./payload.ts";

const MAX_BATCHES = 512;
const MAX_WEIGHT = 200_000;

interface Entry {
  id: number;
  jobId: string;
  weight: number;
  payload: BatchPayload;
  text: string | null;
}

interface Recent {
  push(payload: BatchPayload): void;
  /** Texts of the jobs' batches after `after`, oldest first, and the last id covered; null when `after` is too old. */
  after(jobs: ReadonlySet<string>, after: number, limit: number): { texts: string[]; upTo: number } | null;
  /** Adds a reader; the returned function removes it. */
  open(): () => void;
  readonly readers: number;
}

function createRecent(): Recent {
  let entries: Entry[] = [];
  /** Every batch above this id is in `entries`; null while unknown. */
  let floor: number | null = null;
  let weight = 0;
  let readers = 0;
  return {
    push(payload) {
      if (readers === 0) return;
      let own = payload.logs.length + payload.samples.length * 20 + 1;
      for (const values of payload.points.values()) own += values.size;
      floor ??= payload.batchId - 1;
      entries.push({ id: payload.batchId, jobId: payload.jobId, weight: own, payload, text: null });
      weight += own;
      while (entries.length > MAX_BATCHES || (weight > MAX_WEIGHT && entries.length > 1)) {
        const dropped = entries.shift();
        if (!dropped) break;
        floor = dropped.id;
        weight -= dropped.weight;
      }
    },
    after(jobs, after, limit) {
      if (floor === null || after < floor) return null;
      const texts: string[] = [];
      let upTo = after;
      for (const entry of entries) {
        if (entry.id <= after) continue;
        if (jobs.has(entry.jobId)) {
          if (texts.length >= limit) break;
          entry.text ??= batchText(entry.payload);
          texts.push(entry.text);
        }
        upTo = entry.id;
      }
      return { texts, upTo };
    },
    open() {
      readers++;
      let counted = true;
      return () => {
        if (!counted) return;
        counted = false;
        if (--readers > 0) return;
        entries = [];
        floor = null;
        weight = 0;
      };
    },
    get readers() {
      return readers;
    },
  };
}

/** The recent batches of a server. */
export const recentOf = perContext(createRecent);
