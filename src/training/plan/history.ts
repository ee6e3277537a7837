/**
 * Throughput and memory of an organization's finished runs, which correct the estimates of new plans.
 */
import { and, desc, eq, inArray, or, sql } from "drizzle-orm";
import type { Offer } from "../../contract/provider.ts";
import type { TrainSpec } from "../../contract/spec.ts";
import type { Ctx } from "../../ctx.ts";
import { attempt, job } from "../../db/schema/jobs.ts";
import { CONTEXT_MB } from "./memory.ts";

/** Runs to load, and how many of the newest similar ones are used. */
const RUNS = 40;
const NEWEST = 5;
/** Bounds of the correction factor; a larger error means different inputs. */
const FACTOR = { least: 0.4, most: 4 };

/** Providers end work that takes about this many times the planned memory. */
const MEMORY_LIMIT_FACTOR = 1.5;

/** One ended run of a base model. */
export interface PastRun {
  spec: TrainSpec;
  /** Where it ran: provider and GPU model. */
  place: string;
  tokensPerSecond: number | null;
  /** Peak memory on the device that computed, in MiB. `atLeast`: it ran out of memory and needed more. */
  memoryMb: number | null;
  atLeast: boolean;
}

/** The settings that similar runs share. */
interface RunKind {
  method: TrainSpec["method"];
  hyperparameters: Pick<TrainSpec["hyperparameters"], "precision">;
  need: Pick<TrainSpec["need"], "gpus">;
}

/** Where a run's throughput was measured: the provider and its GPU model. */
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
    // Without a measurement: it needed more than the GPU has, or more main memory than its limit.
    const limit = row.error
      ? spec.need.gpus > 0
        ? offer?.gpuMemoryMb
        : spec.need.memory_mb * MEMORY_LIMIT_FACTOR
      : undefined;
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

/** Equal in the settings that memory and throughput depend on most. */
const isSimilar = (a: RunKind, b: RunKind) =>
  a.method.type === b.method.type &&
  a.method.adapter.type === b.method.adapter.type &&
  (a.method.quantization ?? "none") === (b.method.quantization ?? "none") &&
  a.hyperparameters.precision === b.hyperparameters.precision &&
  a.need.gpus > 0 === b.need.gpus > 0;

interface Learned {
  /** Factor for the formula; 1 without runs. */
  factor: number;
  runs: number;
  /** How many of them ran out of memory; the factor is at least what they needed. */
  outOfMemory: number;
}

/** The ratio of measured memory to the formula in similar runs. */
export function learnedMemory(past: readonly PastRun[], kind: RunKind): Learned {
  const found = past
    .filter((run) => run.memoryMb !== null && run.spec.need.formula_mb && isSimilar(run.spec, kind))
    .slice(0, NEWEST)
    .map((run) => ({ ratio: (run.memoryMb ?? 0) / (run.spec.need.formula_mb ?? 1), atLeast: run.atLeast }));
  const usual = median(found.filter((run) => !run.atLeast).map((run) => run.ratio)) ?? 1;
  const bounds = found.filter((run) => run.atLeast).map((run) => run.ratio);
  const factor = Math.min(FACTOR.most, Math.max(FACTOR.least, usual, ...bounds));
  return { factor: found.length ? factor : 1, runs: found.length, outOfMemory: bounds.length };
}

/** Tokens per second of similar runs at a place, else of any run there in this precision; null without runs. */
export function learnedSpeed(
  past: readonly PastRun[],
  kind: RunKind,
  place: string | null,
): { speed: number; runs: number } | null {
  const { precision } = kind.hyperparameters;
  const here = past.filter(
    (run) =>
      run.tokensPerSecond !== null &&
      run.spec.hyperparameters.precision === precision &&
      (place === null || run.place === place),
  );
  const same = here.filter((run) => isSimilar(run.spec, kind));
  const speeds = (same.length ? same : here).slice(0, NEWEST).map((run) => run.tokensPerSecond ?? 0);
  const speed = median(speeds);
  return speed === undefined ? null : { speed, runs: speeds.length };
}
