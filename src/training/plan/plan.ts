/** A plan: what a training would do and need before it starts, and its view for clients. */
import * as v from "valibot";
import { type Lists, listIds } from "../../billing/prices/lists.ts";
import type { TrainSpec } from "../../contract/spec.ts";
import { SPEC_SCHEMAS } from "../../contract/spec-schema.ts";
import { Finding, Overlap } from "../../data/validation/rows/report.ts";
import type { BurstPolicy } from "../../lib/text/burst-policy.ts";
import { Burst } from "../jobs/placement-model.ts";
import { type MemoryPlan, PARTS } from "./memory.ts";
import type { PlannedOffer } from "./offers.ts";
import type { Suggestion } from "./suggestions.ts";

const text = v.string();
const number = v.number();
const range = v.nullable(v.tuple([number, number]));

/** The smallest change that makes the run fit: request fields to set, and the memory it then needs in MiB. */
const SuggestionView = v.strictObject({
  change: v.record(text, v.unknown()),
  words: text,
  effect: v.picklist(["same", "quality"]),
  memory_mb: number,
});

/** One machine that a provider offers. Ranges are [low, high]. */
const OfferView = v.strictObject({
  provider: text,
  location: text,
  region: v.nullable(text),
  market: v.picklist(["own", "on_demand", "spot"]),
  /** Why it may not be used now: limits of the provider or of the job; null = it may. */
  out: v.nullable(text),
  gpus: number,
  gpu: v.nullable(text),
  cpus: number,
  memory_mb: number,
  needed_mb: number,
  fits: v.boolean(),
  available: v.boolean(),
  starts_in_s: number,
  price_per_hour_usd: number,
  /** How often such a machine is expected to be taken back in an hour, by experience or an assumption. */
  preemptions_per_hour: number,
  /** What the GPUs of an own machine cost the installation in an hour; offers are compared with it. */
  own_cost_per_hour_usd: number,
  /** What it is expected to cost in all, with the work that preemption repeats. */
  total_usd: v.nullable(number),
  /** Its seconds from launch to end, and the chance from 0 to 1 that the machine is taken back meanwhile. */
  total_seconds: v.nullable(number),
  preemption_chance: v.nullable(number),
  /** Other places where the provider has an equal machine at the same price. */
  also_in: v.array(text),
  /** The provider charges for it: it is no own machine. */
  rented: v.boolean(),
  /** Predicted seconds until it could be used; null = unknown. */
  predicted_wait_s: v.nullable(number),
  /** The burst policy would choose it; otherwise why not. */
  chosen: v.boolean(),
  not_chosen: v.nullable(text),
  seconds_range: range,
  /** What the provider charges. */
  cost_range_usd: range,
  /** What you are charged, before free allowances. */
  cost_usd: range,
  basis: v.picklist(["history", "default"]),
  runs: number,
  suggestion: v.nullable(SuggestionView),
});

/** What a training job would do and need. `reasons` has the reason for each value that was `auto`. */
export const PlanView = v.strictObject({
  object: v.literal("job.plan"),
  ready: v.boolean(),
  spec: SPEC_SCHEMAS.train,
  reasons: v.record(text, text),
  steps: number,
  tokens: v.nullable(number),
  tokens_exact: v.boolean(),
  seconds: v.nullable(number),
  seconds_basis: v.picklist(["history", "default"]),
  seconds_range: range,
  seconds_runs: number,
  /** On the first machine on which it fits, at the prices in force, before free allowances; null while unknown. */
  cost_usd: range,
  /** The maximum cost of the request; null = none. */
  max_cost_usd: v.nullable(number),
  /** Ids of the price lists that apply: yours, then that of the installation. */
  price_lists: v.array(text),
  memory_mb: number,
  memory: v.strictObject({
    device: v.picklist(["cpu", "gpu"]),
    total_mb: number,
    parts_mb: v.record(text, number),
    margin_mb: number,
    processes: number,
    correction: number,
    runs: number,
    runs_out_of_memory: number,
  }),
  offers: v.nullable(v.array(OfferView)),
  /** What the burst policy in force would decide now; null while the cost is unknown or nothing is offered. */
  burst: v.nullable(v.strictObject({ policy: Burst, leaves: v.boolean(), why: text })),
  providers_without_answer: v.array(text),
  suggestion: v.nullable(SuggestionView),
  longest_row: v.nullable(number),
  rows_cut: v.nullable(number),
  /** What the base model's chat template and tokenizer do to rows, with the first rows of each kind. */
  findings: v.array(Finding),
  /** Validation rows with the prompt of a training row; null while they are not compared. */
  overlap: v.nullable(Overlap),
  warnings: v.array(text),
});
export type PlanView = v.InferOutput<typeof PlanView>;

/** What the burst policy of a planned run would decide now. */
interface PlannedBurst {
  policy: BurstPolicy;
  leaves: boolean;
  /** As a sentence. */
  why: string;
}

/** Everything that a run would do and need. */
export interface TrainPlan {
  spec: TrainSpec;
  /** False while the data is being validated; rows, steps and tokens are unknown until then. */
  ready: boolean;
  /** Why the run has to wait for its base model; null when it is installed. */
  waits: string | null;
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
  /** What is charged on the first offer on which the run fits, before free allowances; null while it is unknown. */
  costUsd: [low: number, high: number] | null;
  /** The maximum cost of the request; null = none. */
  maxCostUsd: number | null;
  /** The prices that apply. */
  lists: Lists;
  /** The providers' offers; null when they were not asked. */
  offers: PlannedOffer[] | null;
  /** What the burst policy in force would decide now; null while that is unknown. */
  burst: PlannedBurst | null;
  /** Titles of providers that did not answer in time. */
  unanswered: string[];
  /** When the run fits no offer: the smallest change that makes it fit the best one. */
  suggestion: Suggestion | null;
  /** What the base model's chat template and tokenizer do to rows; empty while they are not counted. */
  findings: Finding[];
  /** Validation rows with the prompt of a training row; null while they are not compared. */
  overlap: Overlap | null;
  /** Messages that do not prevent the job. */
  warnings: string[];
}

function suggestionView({ change, words, effect, memoryMb }: Suggestion): v.InferOutput<typeof SuggestionView> {
  return { change: { ...change }, words, effect, memory_mb: memoryMb };
}

/** The chance that a machine is taken back at least once during the run. */
export const preemptionChance = ({ preemptions }: PlannedOffer): number | null =>
  preemptions === null ? null : -Math.expm1(-preemptions);

/** The view of an offer. */
function offerView(one: PlannedOffer): v.InferOutput<typeof OfferView> {
  return {
    provider: one.provider,
    location: one.location,
    region: one.region,
    market: one.market,
    out: one.out,
    gpus: one.gpus,
    gpu: one.gpuName,
    cpus: one.cpus,
    memory_mb: one.memoryMb,
    needed_mb: one.neededMb,
    fits: one.fits,
    available: one.available,
    starts_in_s: one.startsInS,
    price_per_hour_usd: one.pricePerHour,
    preemptions_per_hour: one.preemptionsPerHour,
    own_cost_per_hour_usd: one.ownCostPerHour,
    total_usd: one.totalUsd,
    total_seconds: one.totalSeconds,
    preemption_chance: preemptionChance(one),
    also_in: one.alsoIn,
    rented: one.rented,
    predicted_wait_s: one.waitS,
    chosen: one.chosen,
    not_chosen: one.notChosen,
    seconds_range: one.seconds,
    cost_range_usd: one.costUsd,
    cost_usd: one.chargeUsd,
    basis: one.basis,
    runs: one.runs,
    suggestion: one.suggestion && suggestionView(one.suggestion),
  };
}

/** The view of a plan. `reasons` has the reason for each value that was `auto`. */
export function planView(plan: TrainPlan): PlanView {
  return {
    object: "job.plan",
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
    cost_usd: plan.costUsd,
    max_cost_usd: plan.maxCostUsd,
    price_lists: listIds(plan.lists),
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
    burst: plan.burst,
    providers_without_answer: plan.unanswered,
    suggestion: plan.suggestion && suggestionView(plan.suggestion),
    longest_row: plan.longest,
    rows_cut: plan.rowsCut,
    findings: plan.findings,
    overlap: plan.overlap,
    warnings: plan.warnings,
  };
}
