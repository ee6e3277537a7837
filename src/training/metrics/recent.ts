/**
 * The last committed batches in memory, so that live streams need no query; bounded, and empty while nobody listens.
 */
import type { Writer } from "../../db/write.ts";
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
  /**
   * Texts of the jobs' batches after `after`, oldest first, and the id they reach to; null when memory does not go back
   * that far.
   */
  after(jobs: ReadonlySet<string>, after: number, limit: number): { texts: string[]; upTo: number } | null;
  /** Counts a reader in; the returned function counts it out. */
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
        const gone = entries.shift();
        if (!gone) break;
        floor = gone.id;
        weight -= gone.weight;
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

const all = new WeakMap<Writer, Recent>();

/** The memory that belongs to a writer queue. */
export function recentOf(write: Writer): Recent {
  let recent = all.get(write);
  if (!recent) {
    recent = createRecent();
    all.set(write, recent);
  }
  return recent;
}
