/** A plan: what a training would do and need before it starts, and its view for clients. */
import type { TrainSpec } from "../../contract/spec.ts";
import { type MemoryPlan, PARTS } from "./memory.ts";
import type { PlannedOffer } from "./offers.ts";
import type { Suggestion } from "./suggestions.ts";

/** Everything that a run would do and need. */
export interface TrainPlan {
  spec: TrainSpec;
  /** False while the data is being validated; rows, steps and tokens are unknown until then. */
  ready: boolean;
  /** The reason for each value that was `auto`, by request field. */
  reasons: Record<string, string>;
  steps: number;
  tokens: number | null;
  /** Whether `tokens` was counted over all rows or estimated from the first ones. */
  tokensExact: boolean;
  seconds: number | null;
  /** The range of `seconds`. */
  secondsRange: [low: number, high: number] | null;
  secondsBasis: "history" | "default";
  /** Finished runs that the time estimate is based on. */
  secondsRuns: number;
  memoryMb: number;
  memory: MemoryPlan;
  /** Runs that corrected the memory formula, and how many of them ran out of memory. */
  memoryRuns: number;
  outOfMemoryRuns: number;
  rowsCut: number | null;
  /** Tokens of the longest row; null while they are not counted. */
  longest: number | null;
  /** The providers' offers; null when they were not asked. */
  offers: PlannedOffer[] | null;
  /** Titles of providers that did not answer in time. */
  unanswered: string[];
  /** When the run fits no offer: the smallest change that makes it fit the best one. */
  suggestion: Suggestion | null;
  /** Messages that do not prevent the job. */
  warnings: string[];
}

function suggestionView({ change, words, effect, memoryMb }: Suggestion) {
  return { change, words, effect, memory_mb: memoryMb };
}

/** The view of an offer. */
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

/** The view of a plan. `reasons` has the reason for each value that was `auto`. */
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
      runs_out_of_memory: plan.outOfMemoryRuns,
    },
    offers: plan.offers?.map(offerView) ?? null,
    providers_without_answer: plan.unanswered,
    suggestion: plan.suggestion && suggestionView(plan.suggestion),
    longest_row: plan.longest,
    rows_cut: plan.rowsCut,
    warnings: plan.warnings,
  };
}
