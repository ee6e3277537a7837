/** Turns a training request into the frozen spec: data, base model and machine are looked up once, every number is resolved, and nothing is looked up again. */
import { availableParallelism } from "node:os";
import { eq } from "drizzle-orm";
import { bf16Supported, cardsOf, memoryLimit, trainerIdentity } from "../compute/service.ts";
import { SPEC_VERSION, type TrainSpec } from "../contract/spec.ts";
import { factsOf, refusal } from "../contract/support.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { datasetRef } from "../datasets/model.ts";
import { resolveTrainingData, tokenStats } from "../datasets/service.ts";
import { organization } from "../db/schema/auth.ts";
import { AppError } from "../errors.ts";
import { checkTrainGrader } from "../graders/service.ts";
import { randomChars } from "../lib/ids.ts";
import { baseModelRef } from "../models/service.ts";
import { type Facts, type Resolved, resolveAuto } from "./auto.ts";
import { answerOf } from "./auto-method.ts";
import { estimateSeconds, expectedSpeed, secondsRange, totalTokens } from "./estimate.ts";
import { learnedMemory, pastRuns } from "./history.ts";
import { modelShape } from "./memory.ts";
import type { TrainPlan, TrainRequest } from "./model.ts";
import { planOffers } from "./offers.ts";
import { answerShares } from "./scored.ts";
import { beginningOf } from "./start.ts";
import { suggestFor } from "./suggest.ts";

const DAY_S = 86_400;
/** Waiting in the queue, silence, a whole attempt, and attempts that may fail. */
const LIMITS = { queued_s: 14 * DAY_S, no_progress_s: 1800, total_s: 7 * DAY_S, max_attempts: 5 };

/** Runs `work`; an AppError's `param` is renamed to what the caller's client knows. */
async function named<T>(param: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof AppError) || (error.param === param && error.kind !== "not_found")) throw error;
    const { kind, code, message, cause } = error;
    throw new AppError(kind === "not_found" ? "invalid" : kind, code, message, { param, cause });
  }
}

async function slugOf(ctx: Ctx, org: string): Promise<string> {
  const [row] = await ctx.db.select({ slug: organization.slug }).from(organization).where(eq(organization.id, org));
  const slug = (row?.slug ?? org)
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, "-")
    .replace(/^-+|-+$/g, "");
  return slug || "org";
}

/** What of a resolved run history is kept by. */
const kindOf = ({ method, hyperparameters, need }: Resolved) => ({
  ...{ method, hyperparameters },
  need: { ...need, max_price_per_hour: null, provider: null },
});

/** Everything resolved; what fits no GPU there is, as on GPUs with any memory, so that a plan can tell what is missing. */
function resolvedAnyway(request: TrainRequest, facts: Facts): Resolved {
  try {
    return resolveAuto(request, facts);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== "does_not_fit") throw error;
    const gpus = (facts.gpus ?? []).map((cards) => ({ ...cards, memoryMb: Number.MAX_SAFE_INTEGER }));
    return resolveAuto(request, { ...facts, gpus });
  }
}

/** Rows longer than a length: counted where it is one of the counted lengths, else read from the distribution; null while nobody counted. */
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

function warningsOf(plan: Omit<TrainPlan, "warnings">, facts: Facts): string[] {
  const { spec, memory } = plan;
  const warnings: string[] = [];
  if (plan.ready && spec.dataset.train_rows < 10)
    warnings.push(
      `Only ${spec.dataset.train_rows} training rows: expect memorising rather than learning; 50 to 100 are a start.`,
    );
  if (plan.rowsCut) {
    const { train_rows: rows } = spec.dataset;
    const { max_length: most } = spec.hyperparameters;
    const share = Math.max(1, Math.round((plan.rowsCut / Math.max(1, rows)) * 100));
    const texts = spec.method.type === "pretrain";
    warnings.push(
      spec.method.type === "grpo"
        ? `${plan.rowsCut} of ${rows} prompts (${share}%) leave no room for an answer of ${spec.method.max_completion_length} tokens and will be left out.`
        : `${plan.rowsCut} of ${rows} rows (${share}%) are longer than ${most} tokens, the longest has ${plan.longest}: ${
            texts
              ? "they become several rows; nothing is lost."
              : "what lies behind is cut off, the end of the answer first."
          }`,
    );
  }
  if (plan.ready && spec.dataset.holdout_rows === 0)
    warnings.push("No hold-out rows: there will be no eval loss and no before-and-after comparison.");
  if (spec.need.gpus > 0) return warnings; // on a host of its own, which is asked when it starts
  if (memory.total > facts.machine.memoryMb)
    warnings.push(`It needs about ${memory.total} MB of memory; this machine has ${facts.machine.memoryMb} MB.`);
  else if (memory.total > facts.machine.memoryMb * 0.8)
    warnings.push("It will use most of this machine's memory; close other programs or lower the maximum length.");
  return warnings;
}

/**
 * Looks everything up and resolves every number. With `offers` providers are asked what they have for it.
 * @throws AppError with `param`: `model`, `training_file`, `validation_file`, or the field that cannot be
 */
export async function buildTrainSpec(
  ctx: Ctx,
  actor: Actor,
  request: TrainRequest,
  options: { offers?: boolean } = {},
): Promise<TrainPlan> {
  const { base, from } = await named("model", () => beginningOf(ctx, actor, request.model));
  const version = await named("training_file", () =>
    resolveTrainingData(ctx, actor, request.training_file, "training_file"),
  );
  const validation = request.validation_file
    ? await named("validation_file", () =>
        resolveTrainingData(ctx, actor, request.validation_file as string, "validation_file"),
      )
    : null;
  if (request.provider && !ctx.compute.get(request.provider))
    throw new AppError("invalid", "unknown_provider", `There is no provider called '${request.provider}'.`, {
      param: "provider",
    });
  const ready = version.status === "ready" && (!validation || validation.status === "ready");
  if (ready && version.trainRows === 0)
    throw new AppError("invalid", "no_training_rows", "The data has no training rows.", { param: "training_file" });
  if (ready && validation && validation.rowType !== version.rowType)
    throw new AppError(
      "invalid",
      "wrong_row_type",
      `The rows to validate by are of the type '${validation.rowType}', those to train on '${version.rowType}'. Use data of the same type.`,
      { param: "validation_file" },
    );
  const ref = baseModelRef(base);
  if (typeof request.max_length === "number" && ref.context_length && request.max_length > ref.context_length)
    throw new AppError(
      "invalid",
      "invalid_value",
      `'max_length' is over the context of ${ref.id}: ${ref.context_length} tokens.`,
      {
        param: "max_length",
      },
    );
  const stats = ready ? await tokenStats(ctx, actor, version.id, base.id).catch(() => null) : null;
  const layers = Number(base.architecture?.layers);
  if (typeof request.lora_layers === "number" && layers && request.lora_layers > layers)
    throw new AppError("invalid", "invalid_value", `'lora_layers' is over the ${layers} layers of ${ref.id}.`, {
      param: "lora_layers",
    });
  const facts: Facts = {
    ...(ready ? { rowType: version.rowType } : {}),
    ...(from ? { start: from.adapter } : {}),
    trainRows: version.trainRows,
    holdoutRows: version.holdoutRows,
    tokens: stats && {
      total: stats.tokens,
      max: stats.max,
      p95: stats.p95,
      over: stats.over,
      exact: stats.exact,
      histogram: stats.histogram,
    },
    base: { ...modelShape(ref.parameters, base.architecture), context_length: ref.context_length },
    machine: { cpus: availableParallelism(), memoryMb: Math.floor(memoryLimit() / 2 ** 20), bf16: bf16Supported() },
  };
  const cards = await cardsOf(ctx, request.provider ?? null);
  if (cards.length) facts.gpus = cards;
  if (ready && version.rowType !== "text") Object.assign(facts, await answerShares(ctx, actor, version.id));
  const past = await pastRuns(ctx, actor.org, ref.id);
  // What was learned is of runs like this one, and what this one is like is known once it is resolved.
  const resolve = () => (options.offers ? resolvedAnyway(request, facts) : resolveAuto(request, facts));
  const learned = learnedMemory(past, kindOf(resolve()));
  facts.memoryFactor = learned.factor;
  const first = resolve();
  const names = {
    output_model: `ft:${ref.id}:${await slugOf(ctx, actor.org)}:${request.suffix ?? ""}:${randomChars(6)}`,
    trainer: await trainerIdentity(ctx),
  };
  const specOf = (resolved: Resolved): TrainSpec => ({
    version: SPEC_VERSION,
    kind: "train",
    base_model: ref,
    dataset: datasetRef(version),
    validation: validation && datasetRef(validation),
    method: resolved.method,
    ...(from ? { start: from.start } : {}),
    hyperparameters: resolved.hyperparameters,
    schedule: resolved.schedule,
    parallel: resolved.parallel,
    suffix: request.suffix ?? null,
    // Prompts have no answers to compare with: the reward on hold-out rows is what tells.
    evaluate_after: resolved.method.type !== "grpo" && (request.evaluate_after ?? true),
    ...names,
    need: {
      ...resolved.need,
      max_price_per_hour: request.max_price_per_hour ?? null,
      provider: request.provider ?? null,
    },
    limits: {
      ...LIMITS,
      max_attempts: typeof request.max_attempts === "number" ? request.max_attempts : LIMITS.max_attempts,
    },
  });
  const spec = specOf(first);
  if (from?.method === "reward" && spec.method.type !== "reward")
    throw new AppError(
      "invalid",
      "invalid_value",
      "A reward model can only go on as one: use the method 'reward', or begin from another model.",
      { param: "model" },
    );
  const refused = ready ? refusal(factsOf(spec)) : null;
  if (refused) throw new AppError("invalid", "not_supported", refused.reason, { param: refused.param });
  if (spec.method.type === "grpo") await checkTrainGrader(ctx, actor, spec.method.grader, ready ? version.id : null);
  const tokens = totalTokens(spec, facts.tokens?.total ?? null);
  const judge = {
    ...{ memory: first.memory, tokens, past, machineMb: facts.machine.memoryMb },
    suggest: (roomMb: number) =>
      suggestFor(request, facts, first, roomMb, (resolved) => refusal(factsOf(specOf(resolved))) !== null),
  };
  const asked = options.offers && ready ? await planOffers(ctx, spec, judge) : null;
  const best = asked?.offers.find((one) => one.fits);
  const on = { cpus: facts.machine.cpus, gpus: spec.need.gpus, gpuName: best?.gpuName ?? null };
  const speed = expectedSpeed(past, spec, null, on);
  const seconds = estimateSeconds(tokens, speed);
  const plan = {
    spec,
    ready,
    reasons: first.reasons,
    steps: spec.schedule.total_steps,
    tokens,
    tokensExact: facts.tokens?.exact ?? false,
    seconds,
    secondsRange: best?.seconds ?? secondsRange(seconds, speed.basis),
    secondsBasis: speed.basis,
    secondsRuns: speed.runs,
    memoryMb: spec.need.memory_mb,
    memory: first.memory,
    memoryRuns: learned.runs,
    memoryShort: learned.outOfMemory,
    rowsCut: rowsCut(facts, spec.hyperparameters.max_length - answerOf(spec.method)),
    longest: facts.tokens?.max ?? null,
    offers: asked?.offers ?? null,
    silent: asked?.silent ?? [],
    suggestion: best ? null : (asked?.offers.find((one) => one.suggestion)?.suggestion ?? null),
  };
  return { ...plan, warnings: warningsOf(plan, facts) };
}
