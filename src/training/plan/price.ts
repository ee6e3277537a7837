/**
 * Prices a resolved training: its tokens, machines that providers offer for it, its time and cost; and puts the plan
 * together.
 */
import type { Ctx } from "../../ctx.ts";
import type { Facts } from "./defaults.ts";
import type { TrainFacts } from "./facts.ts";
import { learnedMemory } from "./history.ts";
import { answerOf } from "./method-defaults.ts";
import { type PlannedOffer, planOffers } from "./offers.ts";
import type { TrainPlan } from "./plan.ts";
import type { TrainRequest } from "./request.ts";
import { isRefused, type Resolution } from "./spec.ts";
import { suggestFor } from "./suggestions.ts";
import { estimateSeconds, expectedSpeed, type Speed, secondsRange, totalTokens } from "./throughput.ts";

interface Pricing {
  /** Tokens the run goes through; null while the rows are not counted. */
  tokens: number | null;
  /** What providers offer; null when nobody asked them. */
  asked: { offers: PlannedOffer[]; silent: string[] } | null;
  /** The best offer it fits. */
  best: PlannedOffer | null;
  /** Of the best offer, else of a machine like this one. */
  speed: Speed;
}

/**
 * Finds out how long a run takes and, with `offers`, what providers have for it and ask for it.
 * Providers that do not answer in time are left out and named.
 */
export async function price(
  ctx: Ctx,
  request: TrainRequest,
  facts: TrainFacts,
  { resolved, spec }: Resolution,
  { offers }: { offers: boolean },
): Promise<Pricing> {
  const { numbers, past } = facts;
  const tokens = totalTokens(spec, numbers.tokens?.total ?? null);
  const judge = {
    memory: resolved.memory,
    tokens,
    past,
    machineMb: numbers.machine.memoryMb,
    suggest: (roomMb: number) =>
      suggestFor(request, numbers, resolved, roomMb, (other) => isRefused(request, facts, other)),
  };
  const asked = offers && facts.ready ? await planOffers(ctx, spec, judge) : null;
  const best = asked?.offers.find((one) => one.fits) ?? null;
  const on = { cpus: numbers.machine.cpus, gpus: spec.need.gpus, gpuName: best?.gpuName ?? null };
  return { tokens, asked, best, speed: expectedSpeed(past, spec, null, on) };
}

/**
 * Rows longer than a length: counted where it is one of the counted lengths, else read from the distribution; null
 * while nobody counted.
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

/** What the lengths of the rows mean for the run; null when all fit. */
function lengthWarning({ spec, rowsCut: cut, longest }: Omit<TrainPlan, "warnings">): string | null {
  if (!cut) return null;
  const { train_rows: rows } = spec.dataset;
  const { max_length: most } = spec.hyperparameters;
  const share = Math.max(1, Math.round((cut / Math.max(1, rows)) * 100));
  if (spec.method.type === "grpo")
    return `${cut} of ${rows} prompts (${share}%) leave no room for an answer of ${spec.method.max_completion_length} tokens and will be left out.`;
  return `${cut} of ${rows} rows (${share}%) are longer than ${most} tokens, the longest has ${longest}: ${
    spec.method.type === "pretrain"
      ? "they become several rows; nothing is lost."
      : "what lies behind is cut off, the end of the answer first."
  }`;
}

function warningsOf(plan: Omit<TrainPlan, "warnings">, { machine }: Facts): string[] {
  const { spec, memory } = plan;
  const warnings: string[] = [];
  if (plan.ready && spec.dataset.train_rows < 10)
    warnings.push(
      `Only ${spec.dataset.train_rows} training rows: expect memorizing rather than learning; 50 to 100 are a start.`,
    );
  const lengths = lengthWarning(plan);
  if (lengths) warnings.push(lengths);
  if (plan.ready && spec.dataset.holdout_rows === 0)
    warnings.push("No hold-out rows: there will be no eval loss and no before-and-after comparison.");
  if (spec.need.gpus > 0) return warnings; // on a host of its own, which is asked when it starts
  if (memory.total > machine.memoryMb)
    warnings.push(`It needs about ${memory.total} MB of memory; this machine has ${machine.memoryMb} MB.`);
  else if (memory.total > machine.memoryMb * 0.8)
    warnings.push("It will use most of this machine's memory; close other programs or lower the maximum length.");
  return warnings;
}

/** The plan of a resolved and priced run. */
export function toPlan(facts: TrainFacts, { resolved, spec }: Resolution, pricing: Pricing): TrainPlan {
  const { ready, numbers } = facts;
  const { tokens, asked, best, speed } = pricing;
  const seconds = estimateSeconds(tokens, speed);
  const learned = learnedMemory(facts.past, spec);
  const plan = {
    spec,
    ready,
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
    memoryShort: learned.outOfMemory,
    rowsCut: rowsCut(numbers, spec.hyperparameters.max_length - answerOf(spec.method)),
    longest: numbers.tokens?.max ?? null,
    offers: asked?.offers ?? null,
    silent: asked?.silent ?? [],
    suggestion: best ? null : (asked?.offers.find((one) => one.suggestion)?.suggestion ?? null),
  };
  return { ...plan, warnings: warningsOf(plan, numbers) };
}
