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
import { randomChars } from "../lib/ids.ts";
import { baseModelRef } from "../models/service.ts";
import { type Facts, resolveAuto } from "./auto.ts";
import { estimateSeconds, expectedSpeed, totalTokens } from "./estimate.ts";
import type { TrainPlan, TrainRequest } from "./model.ts";
import { beginningOf } from "./start.ts";

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

function warningsOf(plan: Omit<TrainPlan, "warnings">, facts: Facts): string[] {
  const { spec } = plan;
  const warnings: string[] = [];
  if (plan.ready && spec.dataset.train_rows < 10)
    warnings.push(
      `Only ${spec.dataset.train_rows} training rows: expect memorising rather than learning; 50 to 100 are a start.`,
    );
  if (plan.rowsCut)
    warnings.push(
      `${plan.rowsCut} rows are longer than ${spec.hyperparameters.max_length} tokens and will be cut at the end.`,
    );
  if (plan.ready && spec.dataset.holdout_rows === 0)
    warnings.push("No hold-out rows: there will be no eval loss and no before-and-after comparison.");
  if (spec.need.gpus > 0) return warnings; // on a host of its own, which is asked when it starts
  if (plan.memoryMb > facts.machine.memoryMb)
    warnings.push(`It needs about ${plan.memoryMb} MB of memory; this machine has ${facts.machine.memoryMb} MB.`);
  else if (plan.memoryMb > facts.machine.memoryMb * 0.8)
    warnings.push("It will use most of this machine's memory; close other programs or lower the maximum length.");
  return warnings;
}

/**
 * Looks everything up and resolves every number.
 * @throws AppError with `param`: `model`, `training_file`, `validation_file`, or the field that cannot be
 */
export async function buildTrainSpec(ctx: Ctx, actor: Actor, request: TrainRequest): Promise<TrainPlan> {
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
    tokens: stats && { total: stats.tokens, max: stats.max, p95: stats.p95, over: stats.over, exact: stats.exact },
    base: {
      parameters: ref.parameters,
      context_length: ref.context_length,
      layers: layers || null,
      vocabulary: Number(base.architecture?.vocab_size) || null,
    },
    machine: { cpus: availableParallelism(), memoryMb: Math.floor(memoryLimit() / 2 ** 20), bf16: bf16Supported() },
  };
  const cards = await cardsOf(ctx, request.provider ?? null);
  if (cards.length) facts.gpus = cards;
  const resolved = resolveAuto(request, facts);
  const spec: TrainSpec = {
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
    output_model: `ft:${ref.id}:${await slugOf(ctx, actor.org)}:${request.suffix ?? ""}:${randomChars(6)}`,
    evaluate_after: request.evaluate_after ?? true,
    trainer: await trainerIdentity(ctx),
    need: {
      ...resolved.need,
      max_price_per_hour: request.max_price_per_hour ?? null,
      provider: request.provider ?? null,
    },
    limits: {
      ...LIMITS,
      max_attempts: typeof request.max_attempts === "number" ? request.max_attempts : LIMITS.max_attempts,
    },
  };
  if (from?.method === "reward" && spec.method.type !== "reward")
    throw new AppError(
      "invalid",
      "invalid_value",
      "A reward model can only go on as one: use the method 'reward', or begin from another model.",
      { param: "model" },
    );
  const refused = ready ? refusal(factsOf(spec)) : null;
  if (refused) throw new AppError("invalid", "not_supported", refused.reason, { param: refused.param });
  const { precision, max_length } = spec.hyperparameters;
  const speed = await expectedSpeed(ctx, actor.org, ref, precision, facts.machine.cpus);
  const tokens = totalTokens(spec, facts.tokens?.total ?? null);
  const cutAt = Object.keys(facts.tokens?.over ?? {})
    .map(Number)
    .filter((length) => length >= max_length)
    .sort((a, b) => a - b)[0];
  const longest = facts.tokens?.max ?? 0;
  const plan = {
    spec,
    ready,
    reasons: resolved.reasons,
    steps: spec.schedule.total_steps,
    tokens,
    tokensExact: facts.tokens?.exact ?? false,
    seconds: estimateSeconds(tokens, speed),
    secondsBasis: speed.basis,
    memoryMb: spec.need.memory_mb,
    rowsCut: facts.tokens === null ? null : longest <= max_length ? 0 : (facts.tokens.over[String(cutAt)] ?? null),
  };
  return { ...plan, warnings: warningsOf(plan, facts) };
}
