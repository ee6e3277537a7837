/** A plan: what a training would do and need before anything starts, and how clients see it. */
import type { TrainSpec } from "../../contract/spec.ts";
import { type MemoryPlan, PARTS } from "./memory.ts";
import type { PlannedOffer } from "./offers.ts";
import type { Suggestion } from "./suggestions.ts";

/** Everything a run would do and need. */
export interface TrainPlan {
  spec: TrainSpec;
  /** False while the data is still being validated: then rows, steps and tokens are not known yet. */
  ready: boolean;
  /** Why each `auto` became what it is, by request field. */
  reasons: Record<string, string>;
  steps: number;
  tokens: number | null;
  /** Whether `tokens` was counted to the last row or estimated from the first. */
  tokensExact: boolean;
  seconds: number | null;
  /** The same at least and at most. */
  secondsRange: [low: number, high: number] | null;
  secondsBasis: "history" | "default";
  /** Finished runs here that the time rests on. */
  secondsRuns: number;
  memoryMb: number;
  memory: MemoryPlan;
  /** Runs here that corrected the memory formula, and how many of them ran out of memory. */
  memoryRuns: number;
  memoryShort: number;
  rowsCut: number | null;
  /** Tokens of the longest row; null while they are not counted. */
  longest: number | null;
  /** What providers offer for it; null when nobody asked them. */
  offers: PlannedOffer[] | null;
  /** Titles of providers that did not answer in time. */
  silent: string[];
  /** The smallest change with which it fits the best of the offers, when it fits none. */
  suggestion: Suggestion | null;
  /** Worth knowing; nothing here stops the job. */
  warnings: string[];
}

function suggestionView({ change, words, effect, memoryMb }: Suggestion) {
  return { change, words, effect, memory_mb: memoryMb };
}

/** A machine a planned run could have. */
function offerView(one: PlannedOffer) {
  return {
    provider: one.provider,
    location: one.location,
    gpus: one.gpus,
    gpu: one.gpuName,
    cpus: one.cpus,
    memory_mb: one.memoryMb,
    needed_mb: one.neededMb,
    fits: one.fits,
    available: one.available,
    starts_in_s: one.startsInS,
    price_per_hour_usd: one.pricePerHour,
    seconds_range: one.seconds,
    cost_range_usd: one.costUsd,
    basis: one.basis,
    runs: one.runs,
    suggestion: one.suggestion && suggestionView(one.suggestion),
  };
}

/** A plan: what a job would do and take. `reasons` say why each `auto` became what it is. */
export function planView(plan: TrainPlan) {
  return {
    object: "job.plan" as const,
    ready: plan.ready,
    spec: plan.spec,
    reasons: plan.reasons,
    steps: plan.steps,
    tokens: plan.tokens,
    tokens_exact: plan.tokensExact,
    seconds: plan.seconds,
    seconds_basis: plan.secondsBasis,
    seconds_range: plan.secondsRange,
    seconds_runs: plan.secondsRuns,
    memory_mb: plan.memoryMb,
    memory: {
      device: plan.memory.device,
      total_mb: plan.memory.total,
      parts_mb: Object.fromEntries(PARTS.map((part) => [part, Math.round(plan.memory.parts[part])])),
      margin_mb: Math.round(plan.memory.margin),
      processes: plan.memory.processes,
      correction: plan.memory.factor,
      runs: plan.memoryRuns,
      runs_out_of_memory: plan.memoryShort,
    },
    offers: plan.offers?.map(offerView) ?? null,
    providers_without_answer: plan.silent,
    suggestion: plan.suggestion && suggestionView(plan.suggestion),
    longest_row: plan.longest,
    rows_cut: plan.rowsCut,
    warnings: plan.warnings,
  };
}
