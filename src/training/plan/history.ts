/**
 * What finished runs of this organization teach a plan: how fast they were, and how far their memory was from the
 * formula.
 */
import { and, desc, eq, inArray, or, sql } from "drizzle-orm";
import type { Offer } from "../../contract/provider.ts";
import type { TrainSpec } from "../../contract/spec.ts";
import type { Ctx } from "../../ctx.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { CONTEXT_MB } from "./memory.ts";

/** Runs that are looked at, and of those that are alike the newest that count. */
const RUNS = 40;
const NEWEST = 5;
/** A formula that is further off than this was fed with something else. */
const FACTOR = { least: 0.4, most: 4 };

/** Providers end work that takes so many times what was planned, or somewhat more. */
const ENDED_AT = 1.5;

/** One ended run of a base model. */
export interface PastRun {
  spec: TrainSpec;
  /** Where it ran: provider and kind of card. */
  place: string;
  tokensPerSecond: number | null;
  /** Most memory it held where it computed, in MiB; `atLeast`: it ran out there, and would have needed more. */
  memoryMb: number | null;
  atLeast: boolean;
}

/** What is alike about two runs. */
interface Kind {
  method: TrainSpec["method"];
  hyperparameters: Pick<TrainSpec["hyperparameters"], "precision">;
  need: Pick<TrainSpec["need"], "gpus">;
}

/** Where a run's speed was measured: the provider and its kind of GPU. */
export const hardwareOf = (provider: string, offer: Pick<Offer, "gpuName">) =>
  `${provider} ${offer.gpuName ?? ""}`.trim();

/** The newest ended runs of a base model, newest first. */
export async function pastRuns(ctx: Ctx, org: string, baseModel: string): Promise<PastRun[]> {
  const rows = await ctx.db
    .select({
      spec: job.spec,
      progress: job.progress,
      result: job.result,
      error: job.error,
      provider: attempt.provider,
      offer: attempt.offer,
    })
    .from(job)
    .leftJoin(attempt, and(eq(attempt.jobId, job.id), eq(attempt.number, job.attempts)))
    .where(
      and(
        eq(job.org, org),
        eq(job.kind, "train"),
        inArray(job.state, ["succeeded", "failed"]),
        or(eq(job.state, "succeeded"), sql`json_extract(${job.error}, '$.code') = 'out_of_memory'`),
        sql`json_extract(${job.spec}, '$.base_model.id') = ${baseModel}`,
      ),
    )
    .orderBy(desc(job.createdAt))
    .limit(RUNS);
  return rows.flatMap(({ spec, provider, offer, ...row }) => {
    if (spec.kind !== "train") return [];
    const { tokens_per_second: speed, canary } = row.progress;
    const result = row.result ?? {};
    const found = row.error ? (canary ?? {}) : result;
    const gpu = found.peak_gpu_reserved_mb;
    const measured = spec.need.gpus > 0 ? gpu && gpu + CONTEXT_MB : found.peak_memory_mb;
    // Nobody measured: it would have needed more than the card has, or of main memory than its walls left it.
    const limit = row.error ? (spec.need.gpus > 0 ? offer?.gpuMemoryMb : spec.need.memory_mb * ENDED_AT) : undefined;
    return {
      spec,
      place: provider && offer ? hardwareOf(provider, offer) : "",
      tokensPerSecond: row.error ? null : positive(speed),
      memoryMb: positive(measured ?? limit),
      atLeast: row.error !== null,
    };
  });
}

const positive = (value: number | null | undefined) => (typeof value === "number" && value > 0 ? value : null);
const median = (values: number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Alike in what memory and speed depend on most. */
const alike = (a: Kind, b: Kind) =>
  a.method.type === b.method.type &&
  a.method.adapter.type === b.method.adapter.type &&
  (a.method.quantization ?? "none") === (b.method.quantization ?? "none") &&
  a.hyperparameters.precision === b.hyperparameters.precision &&
  a.need.gpus > 0 === b.need.gpus > 0;

interface Learned {
  /** What the formula is multiplied by: 1 without runs. */
  factor: number;
  runs: number;
  /** Ran out of memory among them: the factor is one they would have fitted with at the least. */
  outOfMemory: number;
}

/** How the memory of runs like this one compared with the formula. */
export function learnedMemory(past: readonly PastRun[], kind: Kind): Learned {
  const found = past
    .filter((run) => run.memoryMb !== null && run.spec.need.formula_mb && alike(run.spec, kind))
    .slice(0, NEWEST)
    .map((run) => ({ ratio: (run.memoryMb ?? 0) / (run.spec.need.formula_mb ?? 1), atLeast: run.atLeast }));
  const usual = median(found.filter((run) => !run.atLeast).map((run) => run.ratio)) ?? 1;
  const bounds = found.filter((run) => run.atLeast).map((run) => run.ratio);
  const factor = Math.min(FACTOR.most, Math.max(FACTOR.least, usual, ...bounds));
  return { factor: found.length ? factor : 1, runs: found.length, outOfMemory: bounds.length };
}

/** Tokens a second of runs like this one at a place, else of any with its precision there; null where none was run. */
export function learnedSpeed(
  past: readonly PastRun[],
  kind: Kind,
  place: string | null,
): { speed: number; runs: number } | null {
  const { precision } = kind.hyperparameters;
  const here = past.filter(
    (run) =>
      run.tokensPerSecond !== null &&
      run.spec.hyperparameters.precision === precision &&
      (place === null || run.place === place),
  );
  const same = here.filter((run) => alike(run.spec, kind));
  const speeds = (same.length ? same : here).slice(0, NEWEST).map((run) => run.tokensPerSecond ?? 0);
  const speed = median(speeds);
  return speed === undefined ? null : { speed, runs: speeds.length };
}
