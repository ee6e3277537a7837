/**
 * Training jobs: from a request to a plan or a job, and the moment a waiting job's data is ready and its spec is
 * frozen.
 */
import { eq } from "drizzle-orm";
import { type Actor, type Ctx, systemActor } from "../../ctx.ts";
import { resolveTrainingData } from "../../data/datasets/training-data.ts";
import { job } from "../../db/schema/jobs.ts";
import { AppError } from "../../errors.ts";
import { checkTrainGrader, compileTrainGrader } from "../../graders/training.ts";
import { emitAll } from "../../lib/bus.ts";
import type { JobRow } from "../jobs/model.ts";
import { placementOf } from "../jobs/placement.ts";
import { createJob, findRepeated, getJob, type RequestMarks } from "../jobs/store.ts";
import { finishJob, jobIn, move, note } from "../jobs/transitions.ts";
import { gatherFacts } from "./facts.ts";
import type { TrainPlan } from "./plan.ts";
import { price, toPlan } from "./price.ts";
import { parseTrainRequest, type TrainRequest } from "./request.ts";
import { resolve } from "./spec.ts";

/** How long a new job waits for its data before it is stored as `validating`: most files are ready by then. */
const DATA_WAIT_MS = 1500;

/**
 * Everything a run would do and need, before anything starts. Changes nothing.
 * @param options `offers`: whether providers are asked what they have for it; they are unless this is false
 * @throws AppError with `param`, the field of the request that cannot be
 */
export async function planTrainJob(
  ctx: Ctx,
  actor: Actor,
  request: TrainRequest,
  { offers = true }: { offers?: boolean } = {},
): Promise<TrainPlan> {
  const facts = await gatherFacts(ctx, actor, request);
  const resolution = resolve(request, facts, { anyMemory: offers });
  const { method } = resolution.spec;
  if (method.type === "grpo") await checkTrainGrader(ctx, actor, method.grader, facts.ready ? facts.data.id : null);
  return toPlan(facts, resolution, await price(ctx, request, facts, resolution, { offers }));
}

/** How long the run should take, at least and at most; nothing while the data is not known. */
function estimateOf({ secondsRange }: TrainPlan): { estimateLowS: number | null; estimateHighS: number | null } {
  return { estimateLowS: secondsRange?.[0] ?? null, estimateHighS: secondsRange?.[1] ?? null };
}

/** Whether data of a request is still being validated. What else may be wrong with it, the plan says. */
async function isValidating(ctx: Ctx, actor: Actor, request: TrainRequest): Promise<boolean> {
  for (const id of [request.training_file, request.validation_file]) {
    const version = id ? await resolveTrainingData(ctx, actor, id, "training_file").catch(() => null) : null;
    if (version?.status === "validating") return true;
  }
  return false;
}

/** Waits until the data of a request was validated, `DATA_WAIT_MS` at most. */
async function dataSettled(ctx: Ctx, actor: Actor, request: TrainRequest): Promise<void> {
  let changed = Promise.withResolvers<"changed">();
  const off = ctx.bus.on("dataset.changed", ({ org }) => {
    if (org === actor.org) changed.resolve("changed");
  });
  const late = Bun.sleep(DATA_WAIT_MS).then(() => "late" as const);
  try {
    while (await isValidating(ctx, actor, request)) {
      if ((await Promise.race([changed.promise, late])) === "late") return;
      changed = Promise.withResolvers();
    }
  } finally {
    off();
  }
}

/**
 * Makes a training job. While its data is being validated it waits in `validating` and is frozen once that is done.
 * @throws AppError with `param`, the field of the request that cannot be
 */
export async function createTrainJob(
  ctx: Ctx,
  actor: Actor,
  request: TrainRequest,
  options: RequestMarks & { parentId?: string } = {},
): Promise<JobRow> {
  if (options.retried || options.idempotencyKey) {
    const before = await findRepeated(ctx, actor, options);
    if (before) return before;
  }
  await dataSettled(ctx, actor, request);
  const plan = await planTrainJob(ctx, actor, request, { offers: false });
  const { spec } = plan;
  if (spec.method.type === "grpo") await compileTrainGrader(ctx, actor, spec.method.grader);
  const { priority, not_before, window, deadline } = request;
  const placement = placementOf(ctx, actor, { priority, not_before, window, deadline });
  return createJob(ctx, actor, {
    ...options,
    kind: "train",
    name: request.name || request.suffix || `${spec.base_model.id} on ${spec.dataset.dataset_id}`,
    spec,
    request: { ...request },
    metadata: request.metadata ?? {},
    place: { ...placement, ...estimateOf(plan) },
    validating: !plan.ready,
  });
}

/** Runs a training job again, with changes; fields set to null go back to `auto`. */
export async function rerunJob(
  ctx: Ctx,
  actor: Actor,
  id: string,
  changes: Partial<TrainRequest> = {},
): Promise<JobRow> {
  const row = await getJob(ctx, actor, id);
  if (row.kind !== "train") throw new AppError("invalid", "not_a_training_job", "Only training jobs can be run again.");
  // Moments that were meant for the first run, and a priority that somebody else gave, are not for this one.
  const { not_before: _not_before, deadline: _deadline, priority, ...request } = row.request;
  const kept = actor.role === "admin" || (typeof priority === "number" && priority <= 0) ? { priority } : {};
  const again = parseTrainRequest({ ...request, ...kept, ...changes });
  return createTrainJob(ctx, actor, again, { parentId: row.id });
}

/**
 * What became of a waiting job's request: its plan, or why it can never be one; null while the data is still being
 * validated.
 */
async function verdictOn(ctx: Ctx, row: JobRow): Promise<TrainPlan | AppError | null> {
  const actor: Actor = { ...systemActor(row.org), userId: row.createdBy };
  try {
    const plan = await planTrainJob(ctx, actor, parseTrainRequest(row.request), { offers: false });
    return plan.ready ? plan : null;
  } catch (error) {
    // Anything but a verdict on the request (a busy disk, a worker that died) is tried again with the next look.
    if (!(error instanceof AppError) || error.kind === "unavailable" || error.kind === "internal") throw error;
    return error;
  }
}

const DATA_CODES: Record<string, string> = {
  training_file: "invalid_training_file",
  validation_file: "invalid_validation_file",
};

/** A job whose data was being validated: frozen and queued when that is done, failed when the data is bad. */
export async function settleValidating(ctx: Ctx, row: JobRow): Promise<void> {
  const verdict = await verdictOn(ctx, row);
  if (!verdict) return;
  const messages = await ctx.write(async (tx) => {
    const now = await jobIn(tx, row.id);
    if (now?.state !== "validating") return [];
    if (verdict instanceof AppError) {
      const { message, param } = verdict;
      const error = { code: DATA_CODES[param ?? ""] ?? verdict.code, message, advice: null, param, detail: null };
      return (await finishJob(tx, ctx, now, { state: "failed", error })) ?? [];
    }
    if (now.spec.kind !== "train") return [];
    // The model id was told when the job was made; everything else is frozen now.
    const spec = { ...verdict.spec, output_model: now.spec.output_model };
    await tx
      .update(job)
      .set({ spec, ...estimateOf(verdict) })
      .where(eq(job.id, row.id));
    const message = await move(tx, now, "queued", { queuedAt: ctx.clock.now() });
    await note(tx, ctx, now, `Data validated: ${spec.dataset.train_rows} training rows; the job is queued`);
    return message ? [message] : [];
  });
  emitAll(ctx.bus, messages);
}
