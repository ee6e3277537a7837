/** Jobs of the simulated year: the server carries each step out, and the book gets what it should cost. */
import type { Book } from "./book.ts";
import type { YearLab } from "./lab.ts";
import type { YearFailure, YearJob } from "./steps.ts";

/** Micro-dollars for a second of one GPU, and of an endpoint beside its GPU. */
export interface Rates {
  gpu: number;
  endpoint: number;
}

/** Pieces of a time, each with its rates. */
export type Costs = (from: number, to: number) => { from: number; to: number; rates: Rates }[];

interface Running {
  job: YearJob;
  number: number;
  /** Pieces of a time with what a second of the whole job costs in each. */
  costs: Costs;
  /** Since when time is charged, and the last checkpoint; null = it is loading, there is none. */
  workSince: number | null;
  savedAt: number | null;
}

export function workOf(lab: YearLab, book: Book) {
  const jobs = new Map<string, Running>();
  const find = (id: string): Running => {
    const found = jobs.get(id);
    if (!found) throw new Error(`no job ${id}`);
    return found;
  };
  /** The attempt is over: its time up to `to` is charged. @returns what it cost */
  function ended(of: Running, to: number): number {
    const { workSince: since, job } = of;
    Object.assign(of, { workSince: null, savedAt: null });
    if (since === null) return 0;
    return of.costs(since, Math.max(since, to)).reduce((sum, { from, to: until, rates }) => {
      const microsPerS = job.gpus * rates.gpu + (job.kind === "serve" ? rates.endpoint : 0);
      return sum + book.addTime(job.org, from, until, microsPerS);
    }, 0);
  }

  return {
    /** The first attempt, or the next one. Loading is not charged. */
    async launch(job: YearJob, costs: Costs): Promise<void> {
      const of = jobs.get(job.id) ?? { job, number: 0, costs, workSince: null, savedAt: null };
      jobs.set(job.id, of);
      of.number++;
      await lab.act({ do: "launch", job, number: of.number });
      await lab.act({ do: "phase", job, phase: "loading_model" });
    },
    async begin(id: string): Promise<void> {
      const of = find(id);
      await lab.act({ do: "phase", job: of.job, phase: of.job.kind === "serve" ? "serving" : "training" });
      of.workSince = lab.now();
    },
    async save(id: string): Promise<void> {
      const of = find(id);
      await lab.act({ do: "checkpoint", job: of.job });
      of.savedAt = lab.now();
    },
    /**
     * Our failure takes back what followed the last checkpoint. The rest is credited when it ends the job: otherwise
     * the next attempt resumes from that checkpoint.
     */
    async fail(id: string, reason: YearFailure): Promise<void> {
      const of = find(id);
      await lab.act({ do: "fail", job: of.job, number: of.number, reason });
      const kept = reason === "out_of_memory" ? lab.now() : (of.savedAt ?? 0);
      const cost = ended(of, kept);
      if (reason === "bad_result") book.addCredit(of.job.org, cost);
    },
    async end(id: string, how: "succeeded" | "cancelled"): Promise<void> {
      const of = find(id);
      await lab.act({ do: "end", job: of.job, how });
      ended(of, lab.now());
    },
    /** The server stopped it for a budget. */
    stopped: (id: string): void => void ended(find(id), lab.now()),
    isRunning: (id: string): boolean => jobs.get(id)?.workSince != null,
    /** Everything that still runs is metered up to now. */
    closeBook(): void {
      for (const of of jobs.values()) ended(of, lab.now());
    },
  };
}
export type YearWork = ReturnType<typeof workOf>;
