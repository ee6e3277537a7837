/**
 * Estimates tokens, time and cost of a resolved training, asks providers for offers, and assembles the plan.
 */
import { isFree } from "../../billing/prices/charge.ts";
import { type Lists, listsAt } from "../../billing/prices/lists.ts";
import type { Actor, Ctx } from "../../ctx.ts";
import { formatMoney } from "../../lib/text/format.ts";
import { dataWarnings } from "./data-checks.ts";
import type { Facts } from "./defaults.ts";
import type { TrainFacts } from "./facts.ts";
import { learnedMemory } from "./history.ts";
import { completionTokens } from "./method-defaults.ts";
import { type PlannedOffer, planOffers } from "./offers.ts";
import type { TrainPlan } from "./plan.ts";
import type { TrainRequest } from "./request.ts";
import { isRefused, type Resolution } from "./spec.ts";
import { suggestFor } from "./suggestions.ts";
import { estimateSeconds, expectedSpeed, type Speed, secondsRange, totalTokens } from "./throughput.ts";

interface Pricing {
  /** Tokens the run processes; null while the rows are not counted. */
  tokens: number | null;
  /** The providers' offers; null when they were not asked. */
  asked: { offers: PlannedOffer[]; unanswered: string[] } | null;
  /** The best offer on which the run fits. */
  best: PlannedOffer | null;
  /** The prices that apply. */
  lists: Lists;
  /** Throughput on the best offer, otherwise on a machine like this one. */
  speed: Speed;
}

/**
 * Estimates how long a run takes and, with `offers`, asks providers for machines and prices.
 * Providers that do not answer in time are listed in `unanswered`.
 */
export async function price(
  ctx: Ctx,
  actor: Actor,
  request: TrainRequest,
  facts: TrainFacts,
  { resolved, spec }: Resolution,
  { offers }: { offers: boolean },
): Promise<Pricing> {
  const { numbers, past } = facts;
  const tokens = totalTokens(spec, numbers.tokens?.total ?? null);
  const lists = await listsAt(ctx.db, actor.org, ctx.clock.now());
  const judge = {
    memory: resolved.memory,
    tokens,
    lists,
    past,
    machineMb: numbers.machine.memoryMb,
    suggest: (roomMb: number) =>
      suggestFor(request, numbers, resolved, roomMb, (other) => isRefused(request, facts, other)),
  };
  const asked = offers && facts.ready ? await planOffers(ctx, spec, judge) : null;
  const best = asked?.offers.find((one) => one.fits && one.out === null) ?? null;
  const on = { cpus: numbers.machine.cpus, gpus: spec.need.gpus, gpuName: best?.gpuName ?? null };
  return { tokens, asked, best, lists, speed: expectedSpeed(past, spec, null, on) };
}

/**
 * Number of rows longer than a length: counted for common lengths, otherwise estimated from the histogram; null while
 * tokens are not counted.
 */
function rowsCut({ tokens }: Facts, maxLength: number): number | null {
  if (tokens === null) return null;
  if (tokens.max <= maxLength) return 0;
  const counted = tokens.over[String(maxLength)];
  if (counted !== undefined) return counted;
  const above = (tokens.histogram ?? []).reduce((sum, { from, to, count }) => {
    const share = (to - 1 - maxLength) / Math.max(1, to - from);
    return sum + count * Math.min(1, Math.max(0, share));
  }, 0);
  return Math.max(1, Math.round(above));
}

type Unwarned = Omit<TrainPlan, "warnings" | "findings" | "overlap">;

/** A warning about rows that are too long; null when all fit. */
function lengthWarning({ spec, rowsCut: cut, longest }: Unwarned): string | null {
  if (!cut) return null;
  const { train_rows: rows } = spec.dataset;
  const { max_length: most } = spec.hyperparameters;
  const share = Math.max(1, Math.round((cut / Math.max(1, rows)) * 100));
  if (spec.method.type === "grpo")
    return `${cut} of ${rows} prompts (${share}%) leave no room for a completion of ${spec.method.max_completion_length} tokens and will be skipped.`;
  return `${cut} of ${rows} rows (${share}%) are longer than ${most} tokens, the longest has ${longest}: ${
    spec.method.type === "pretrain"
      ? "they are split into several rows, so no text is lost."
      : "they are truncated at the end, answers included."
  }`;
}

/** A model learns a short task in 40 to 60 steps; see docs/hyperparameters.md. */
const ENOUGH_STEPS = 40;
const MOST_EPOCHS = 50;

/** A warning about a run that is too short to learn much; null otherwise. */
function stepsWarning({ steps, spec, ready }: Unwarned): string | null {
  if (!ready || steps >= ENOUGH_STEPS) return null;
  const { n_epochs, max_steps, batch_size } = spec.hyperparameters;
  const epochs = Math.ceil((ENOUGH_STEPS * n_epochs) / steps);
  const change =
    max_steps !== null && steps === max_steps
      ? "Raise max_steps, or leave it out"
      : epochs <= MOST_EPOCHS
        ? `Raise n_epochs to ${epochs}, or leave n_epochs and batch_size at auto`
        : "Lower batch_size, raise n_epochs, or leave both at auto";
  return `Only ${steps} ${steps === 1 ? "step" : "steps"} of ${batch_size} rows, which may be too few to learn from: short tasks take 40 to 60. ${change}.`;
}

/** A warning about a warm-up that was asked for and left out; null otherwise. */
const warmupWarning = (request: TrainRequest, { steps, spec, ready }: Unwarned): string | null =>
  ready && typeof request.warmup_ratio === "number" && request.warmup_ratio > spec.hyperparameters.warmup_ratio
    ? `The warm-up is left out: of ${steps} steps none can be spared.`
    : null;

/** A warning about a run that costs more than its request allows; null otherwise. */
function costWarning({ costUsd, maxCostUsd }: Unwarned): string | null {
  if (costUsd === null || maxCostUsd === null || costUsd[1] <= maxCostUsd) return null;
  const most = formatMoney(maxCostUsd);
  return costUsd[0] > maxCostUsd
    ? `It costs more than its maximum of ${most}: it will save a checkpoint there and wait until you raise it.`
    : `It may cost more than its maximum of ${most}: then it saves a checkpoint and waits until you raise it.`;
}

function warningsOf(request: TrainRequest, plan: Unwarned, { machine }: Facts): string[] {
  const { spec, memory } = plan;
  const warnings: string[] = plan.waits ? [plan.waits] : [];
  if (plan.ready && spec.dataset.train_rows < 10)
    warnings.push(
      `Only ${spec.dataset.train_rows} training rows: the model will memorize them rather than learn. Start with 50 to 100 rows.`,
    );
  for (const warning of [lengthWarning(plan), stepsWarning(plan), warmupWarning(request, plan), costWarning(plan)])
    if (warning) warnings.push(warning);
  const { eval_rows: evaluated } = spec.schedule;
  if (plan.ready && evaluated === 0)
    warnings.push("No validation rows: there will be no eval loss and no comparison before and after training.");
  if (spec.need.gpus > 0) return warnings; // on another host, which is asked when the job starts
  if (memory.total > machine.memoryMb)
    warnings.push(`The run needs about ${memory.total} MB of memory; this machine has ${machine.memoryMb} MB.`);
  else if (memory.total > machine.memoryMb * 0.8)
    warnings.push(
      "The run will use most of this machine's memory. Close other programs, or lower the max sequence length.",
    );
  return warnings;
}

/** The plan of a resolved and priced run. */
export function toPlan(
  request: TrainRequest,
  facts: TrainFacts,
  { resolved, spec }: Resolution,
  pricing: Pricing,
): TrainPlan {
  const { ready, numbers } = facts;
  const { tokens, asked, best, lists, speed } = pricing;
  const seconds = estimateSeconds(tokens, speed);
  const learned = learnedMemory(facts.past, spec);
  const plan = {
    spec,
    ready,
    waits: facts.waits,
    reasons: resolved.reasons,
    steps: spec.schedule.total_steps,
    tokens,
    tokensExact: numbers.tokens?.exact ?? false,
    seconds,
    secondsRange: best?.seconds ?? secondsRange(seconds, speed.basis),
    secondsBasis: speed.basis,
    secondsRuns: speed.runs,
    memoryMb: spec.need.memory_mb,
    memory: resolved.memory,
    memoryRuns: learned.runs,
    outOfMemoryRuns: learned.outOfMemory,
    rowsCut: rowsCut(numbers, spec.hyperparameters.max_length - completionTokens(spec.method)),
    longest: numbers.tokens?.max ?? null,
    costUsd: best?.chargeUsd ?? (isFree(lists) ? ([0, 0] as [number, number]) : null),
    maxCostUsd: request.max_cost_usd ?? null,
    lists,
    offers: asked?.offers ?? null,
    burst: null,
    unanswered: asked?.unanswered ?? [],
    suggestion: best ? null : (asked?.offers.find((one) => one.suggestion)?.suggestion ?? null),
  };
  const { data, validation, checks } = facts;
  const about = checks ? dataWarnings({ spec, data, validation, facts: checks }) : [];
  return {
    ...plan,
    findings: checks?.stats?.findings ?? [],
    overlap: checks?.overlap ?? null,
    warnings: [...warningsOf(request, plan, numbers), ...about],
  };
}
