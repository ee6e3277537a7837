/** Runs and checks graders on behalf of a person, with that person's access to models. */
import type { Actor, Ctx } from "../ctx.ts";
import { AppError } from "../errors.ts";
import { resolveChatModel } from "../models/tuned/service.ts";
import { grade } from "./engine.ts";
import type { Ask, AskAs } from "./judge.ts";
import { type Grader, type RunGrader, runView } from "./model.ts";
import type { RunPython, RunPythonAs } from "./python.ts";
import { sampleOf } from "./template.ts";
import { checkGrader } from "./validate.ts";

/** Tools that graders use. */
interface GradingServices {
  ask: AskAs;
  python: RunPythonAs;
}

const MAX_ITEM_DEPTH = 64;

/** Whether a value is nested too deep. Without recursion, because a row may be nested deeper than the stack allows. */
function tooDeep(value: unknown): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_ITEM_DEPTH) return true;
    level = level.flatMap((each) => (typeof each === "object" && each !== null ? Object.values(each) : []));
  }
  return false;
}

const modelChecks = (ctx: Ctx, actor: Actor) => ({
  embeddingModel: ctx.config.embedding_model,
  model: async (name: string) => {
    await resolveChatModel(ctx, actor, name);
  },
});

/**
 * Grades one sample. Errors of the sample, a model or Python code are in the answer's `metadata.errors`.
 * @throws AppError 400 that names the field of a grader or row that cannot be used
 */
export async function runGrader(
  ctx: Ctx,
  actor: Actor,
  request: RunGrader,
  parts: GradingServices,
  signal: AbortSignal,
): Promise<ReturnType<typeof runView>> {
  const item = request.item ?? {};
  if (tooDeep(item))
    throw new AppError("invalid", "invalid_value", `item is nested deeper than ${MAX_ITEM_DEPTH} levels.`, {
      param: "item",
    });
  const sample = sampleOf(request.model_sample);
  if (tooDeep(sample.output_json)) delete sample.output_json;
  await checkGrader(request.grader, { ...modelChecks(ctx, actor), filledFrom: { item, sample } });
  const startedAt = ctx.clock.monotonic();
  const tools = {
    embeddingModel: ctx.config.embedding_model,
    ask: (...rest: Parameters<Ask>) => parts.ask(actor, ...rest),
    python: (...rest: Parameters<RunPython>) => parts.python(actor, ...rest),
    signal,
  };
  const graded = await grade(request.grader, { item, sample }, tools);
  return runView(request.grader, graded, (ctx.clock.monotonic() - startedAt) / 1000);
}

/** Checks a grader without running it. @throws AppError that names the field */
export async function validateGrader(
  ctx: Ctx,
  actor: Actor,
  grader: Grader,
  parts: GradingServices,
  signal: AbortSignal,
): Promise<{ grader: Grader }> {
  const python = async (source: string) => {
    const verdict = await parts.python(actor, { source, check: true, sample: null, item: {} }, signal);
    if ("runtime" in verdict) return verdict.runtime;
    if ("server" in verdict) throw new AppError("unavailable", "sandbox_failed", verdict.server);
    return null;
  };
  await checkGrader(grader, { ...modelChecks(ctx, actor), python });
  return { grader };
}
