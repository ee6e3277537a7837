/** Runs a few pieces of work at a time, with turns between callers: frequent callers do not keep the others waiting. */
import { AppError } from "../errors.ts";

interface FairQueueOptions {
  /** Work that runs at the same time. */
  slots: number;
  /** Waiting work of all callers and of one caller. More is refused. */
  maxWaiting: number;
  maxWaitingEach: number;
  /** Code and subject of the refusal, as in "Too many Python graders". */
  code: string;
  what: string;
}

export interface FairQueue {
  /**
   * Runs `work` when a slot is free. The waiting caller with the least running work is next; equals take turns.
   * @param asker the caller; null for the server's own work, which is never refused
   * @param signal removes waiting work from the queue; running work must check it itself
   * @throws AppError `rate_limited` when too much waits; the reason of `signal`; whatever `work` throws
   */
  run<T>(asker: string | null, work: () => Promise<T>, signal?: AbortSignal): Promise<T>;
  /** Number of running and of waiting pieces of work. */
  counts(): { running: number; waiting: number };
}

const RETRY_AFTER_S = 5;

interface Asker {
  /** Waiting work in order of arrival; each function starts its work. */
  line: Set<() => void>;
  running: number;
  /** Sequence number of its last start. */
  served: number;
}

export function createFairQueue(options: FairQueueOptions): FairQueue {
  /** Callers with running or waiting work. */
  const askers = new Map<string | null, Asker>();
  let running = 0;
  let waiting = 0;
  let starts = 0;

  const before = (a: Asker, b: Asker) => a.running - b.running || a.served - b.served;

  /** Starts the next work. */
  function next(): void {
    if (running >= options.slots) return;
    const [chosen] = [...askers.values()].filter(({ line }) => line.size > 0).sort(before);
    const [go] = chosen?.line ?? [];
    if (!chosen || !go) return;
    chosen.line.delete(go);
    waiting--;
    take(chosen);
    go();
  }

  function take(asker: Asker): void {
    running++;
    asker.running++;
    asker.served = ++starts;
  }

  function release(key: string | null, asker: Asker): void {
    running--;
    asker.running--;
    forget(key, asker);
    next();
  }

  function forget(key: string | null, { line, running: left }: Asker): void {
    if (line.size === 0 && left === 0) askers.delete(key);
  }

  function refuse(mine: boolean): AppError {
    const whose = mine ? "of yours are already waiting" : "are waiting";
    const message = `Too many ${options.what} ${whose}. Try again in a few seconds.`;
    return new AppError("rate_limited", options.code, message, { retryAfterS: RETRY_AFTER_S });
  }

  async function turn(key: string | null, asker: Asker, signal?: AbortSignal): Promise<void> {
    if (running < options.slots) return take(asker);
    if (key !== null && asker.line.size >= options.maxWaitingEach) throw refuse(true);
    if (key !== null && waiting >= options.maxWaiting) throw refuse(false);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const stop = () => {
      // Its turn may have come at the same moment; then `run` checks the signal.
      if (!asker.line.delete(resolve)) return;
      waiting--;
      reject(signal?.reason);
    };
    asker.line.add(resolve);
    waiting++;
    signal?.addEventListener("abort", stop, { once: true });
    try {
      await promise;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  return {
    async run(key, work, signal) {
      signal?.throwIfAborted();
      const asker = askers.get(key) ?? { line: new Set(), running: 0, served: 0 };
      askers.set(key, asker);
      try {
        await turn(key, asker, signal);
      } catch (error) {
        forget(key, asker);
        throw error;
      }
      try {
        signal?.throwIfAborted();
        return await work();
      } finally {
        release(key, asker);
      }
    },
    counts: () => ({ running, waiting }),
  };
}
